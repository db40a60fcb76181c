"""Find the runs that a user names: by number, by label or by model."""

from __future__ import annotations

from collections.abc import Sequence

from sqlite_utils import Database

from ollama_bench.analysis import selection
from ollama_bench.analysis.study import Study
from ollama_bench.analysis.wording import join
from ollama_bench.storage.results_file import ResultsError
from ollama_bench.terminal.command_line import name_program
from ollama_bench.terminal.output import shorten

LONGEST_NUMBER = 19  # digits of an id
MOST_LABELS = 20  # that an error names
MOST_HISTORY = 50  # earlier runs that tell how much runs vary
LABELLED = """
SELECT id FROM run WHERE label = ? AND id IN (SELECT run_id FROM level) ORDER BY id"""
HAS_RUN = "SELECT 1 FROM level WHERE run_id = ? LIMIT 1"
LABELS = f"""
SELECT label FROM run WHERE label IS NOT NULL AND id IN (SELECT run_id FROM level)
GROUP BY label ORDER BY max(started_unix) DESC LIMIT {MOST_LABELS}"""
# finished runs of the same arguments, machine, server and label as a run
EARLIER = """
SELECT other.id FROM run JOIN run AS other ON other.machine_id = run.machine_id
  AND other.arguments = run.arguments AND other.label IS run.label
  AND other.simulated = run.simulated
  AND other.status = 'finished' AND other.source = 'bench'
WHERE run.id = :id AND run.source = 'bench'
  AND EXISTS (SELECT 1 FROM level WHERE run_id = other.id AND model = :model)
  AND (SELECT group_concat(server_version) FROM target WHERE run_id = other.id)
    IS (SELECT group_concat(server_version) FROM target WHERE run_id = run.id)
ORDER BY other.started_unix DESC LIMIT :most"""


def find_side(
    database: Database, name: str, models: Sequence[str]
) -> list[Study]:
    """Return the studies of a run's number, of all runs of a label or of a model (its newest run).

    There is one for each length of prompts. Raises ResultsError if there is none, or several
    models to choose from.
    """
    studies = find_studies(database, name, models)
    machines = {study.place for study in studies}
    if len(machines) > 1:
        raise ResultsError(
            f"{name} was measured on several machines ({join(sorted(machines))}): "
            "name runs of one"
        )
    names = [*dict.fromkeys(study.model for study in studies)]
    if len(names) > 1:
        raise ResultsError(
            f"{name} has several models ({', '.join(names)}): name one, "
            f"as in {name_program('analyze')} {names[0]} --compare ..."
        )
    return studies


def pair_lengths(
    before: Sequence[Study], after: Sequence[Study]
) -> list[tuple[Study, Study]]:
    """Return the studies of both sides whose prompts have the same length.

    Where each side has one they are a pair, whatever their lengths.
    """
    if len(before) == len(after) == 1:
        return [(before[0], after[0])]
    return [
        (old, new)
        for old in before
        for new in after
        if is_same_length(old, new)
    ]


def is_same_length(one: Study, other: Study) -> bool:
    return (one.asked_prompt_tokens, one.prompt_mix) == (
        other.asked_prompt_tokens,
        other.prompt_mix,
    )


def find_studies(
    database: Database, name: str, models: Sequence[str]
) -> list[Study]:
    if runs := look_up(database, name):
        return selection.choose(database, models, runs)
    try:
        studies = selection.choose(database, [name], [])
    except ResultsError as error:
        raise ResultsError(f"{error}; {list_labels(database)}") from None
    # A or B names a model itself; another MODEL beside it is a mistake
    for model in models:
        selection.match(model, [studies[0].model])
    return studies


def find_runs(database: Database, names: Sequence[str]) -> list[int]:
    """Return the runs of some numbers and labels. Raises ResultsError if one is not known."""
    found: dict[int, None] = {}
    for name in names:
        runs = look_up(database, name)
        if not runs:
            raise ResultsError(
                f"no run {name} in this file; {list_labels(database)}"
            )
        found |= dict.fromkeys(runs)
    return [*found]


def look_up(database: Database, name: str) -> list[int]:
    """Return the run of a number, or all runs of a label; a number may be of no run."""
    labelled = [row["id"] for row in database.query(LABELLED, [name])]
    if name.isascii() and name.isdecimal() and len(name) <= LONGEST_NUMBER:
        number = int(name)
        is_there = [
            *database.query(HAS_RUN, [min(number, selection.MOST_ROWS)])
        ]
        return [number] if is_there or not labelled else labelled
    return labelled


def list_labels(database: Database) -> str:
    labels = [row["label"] for row in database.query(LABELS)]
    return (
        f"labels are {', '.join(map(shorten, labels))}"
        if labels
        else "it has no labels"
    )


def find_history(
    database: Database, before: Study, after: Study
) -> list[Study]:
    """Return earlier runs of this machine that were alike, a study for each group.

    A group has the arguments, the server's version and the label of a run that is compared.
    """
    compared = {
        run["run_id"] for study in (before, after) for run in study.runs
    }
    groups: dict[tuple[int, ...], Study] = {}
    for study in (before, after):
        for run in study.runs:
            values = {
                "id": run["run_id"],
                "model": study.model,
                "most": MOST_HISTORY,
            }
            ids = {row["id"] for row in database.query(EARLIER, values)}
            groups[tuple(sorted(ids - compared))] = study
    return [
        found
        for ids, study in groups.items()
        if len(ids) > 1
        for found in selection.choose(database, [study.model], ids)
        if is_same_length(found, study)
    ]
