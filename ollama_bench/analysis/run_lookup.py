"""Find the study that the user of --compare means."""

from __future__ import annotations

from collections.abc import Sequence

from sqlite_utils import Database

from ollama_bench.analysis import selection
from ollama_bench.analysis.study import Study
from ollama_bench.storage.results_file import ResultsError
from ollama_bench.terminal.command_line import name_program

LONGEST_NUMBER = 19  # digits of an id
LABELLED = (
    "SELECT id FROM run WHERE label = ? ORDER BY started_unix DESC LIMIT 1"
)


def find_study(
    database: Database, name: str, models: Sequence[str]
) -> Study:
    """Return the study of a run's number, a run's label (the newest) or a model (its newest run).

    Raises ResultsError if there is none, or several models to choose from.
    """
    studies = find_studies(database, name, models)
    if len(studies) > 1:
        names = ", ".join(study.model for study in studies)
        raise ResultsError(
            f"{name} has several models ({names}): name one, "
            f"as in {name_program('analyze')} {studies[0].model} --compare ..."
        )
    return studies[0]


def find_studies(
    database: Database, name: str, models: Sequence[str]
) -> list[Study]:
    if name.isascii() and name.isdecimal() and len(name) <= LONGEST_NUMBER:
        return selection.choose(database, models, [int(name)])
    if labelled := list(database.query(LABELLED, [name])):
        return selection.choose(database, models, [labelled[0]["id"]])
    studies = selection.choose(database, [name], [])
    # A or B names a model itself; another MODEL beside it is a mistake
    for model in models:
        selection.match(model, [studies[0].model])
    return studies
