"""Choose the runs that an analysis is about, and read what the results file knows of them.

    chosen = selection.choose(database, models=["qwen3:8b"], run_ids=[])
    for study in chosen:
        study.model, study.runs, study.levels ...

Every later query joins the TEMP table ``chosen (run_id, model, machine)`` that choose() makes, with
the number of the machine, and leaves out the levels in ``aside``: the warm twins of --cache both,
which are not repeats of the cold ones, interrupted levels that --resume has measured again, and
the controls at the end of a run.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlite_utils import Database

from ollama_bench.analysis.folder_names import (
    assign_folders,
    name_length_folder,
    safe_name,
)
from ollama_bench.analysis.machines import (
    UNKNOWN,
    name_machines,
    number_machines,
)
from ollama_bench.analysis.study import IN_STUDY, OF_LENGTH, Row
from ollama_bench.analysis.study import Study as Study
from ollama_bench.inputs.objectives import Objective
from ollama_bench.storage.results_file import ResultsError
from ollama_bench.terminal.command_line import name_program
from ollama_bench.terminal.figures import name_lengths
from ollama_bench.terminal.output import shorten

MOST_ROWS = 2**63 - 1  # the largest id that SQLite can be asked for
MOST_RUNS = 200  # that an error names

LEVELS = f"""
SELECT level_summary.*,
  energy.source AS power_source,
  energy.coverage_ratio,
  energy.energy_j,
  energy.idle_w,
  energy.joules_per_output_token,
  energy.net_joules_per_output_token,
  energy.output_tokens_per_joule,
  energy.mean_w,
  energy.max_w,
  energy.mean_gpu_mhz,
  energy.mean_gpu_busy_ratio,
  energy.gpu_energy_j,
  energy.gpu_power_w,
  energy.gpu_joules_per_output_token,
  energy.net_energy_j,
  energy.system_power_w,
  energy.system_energy_j,
  energy.system_joules_per_output_token,
  energy.gpu_coverage_ratio,
  energy.uncovered_most_j,
  energy.uncounted_tokens,
  replies.min_output_tokens,
  replies.max_output_tokens,
  replies.cut_by_length,
  replies.cached_tokens,
  replies.max_load_s,
  replies.other_model,
  machine.mean_cpu_ratio,
  machine.swap_change_bytes,
  machine.server_cpu_cores,
  machine.hot_samples,
  full_load.full_load_tokens_per_s,
  waiting.waiting_s,
  waiting.waiting_for_slot_s,
  (SELECT sum(slots) FROM target
    WHERE target.run_id = level_summary.run_id
      AND target.model = level_summary.model
    HAVING count(slots) = count(*)) AS slots
FROM level_summary JOIN chosen USING (run_id, model)
LEFT JOIN energy_summary AS energy USING (level_id)
LEFT JOIN level_replies AS replies USING (level_id)
LEFT JOIN level_machine AS machine USING (level_id)
LEFT JOIN full_load USING (level_id)
LEFT JOIN level_waiting AS waiting USING (level_id)
WHERE level_summary.model = :model AND chosen.machine = :machine
  AND (
    level_id NOT IN (SELECT level_id FROM aside)
    OR level_id IN (
      SELECT max(id) FROM level
      WHERE is_control = 1 AND status = 'finished'
      GROUP BY run_id, model))
  AND {OF_LENGTH}
  AND (
    level_summary.status = 'finished'
    OR level_summary.completed > 0)
ORDER BY
  level_summary.concurrency,
  level_summary.run_id,
  level_summary.repeat"""
# the number of a run's machine
MACHINE_NUMBER = f"coalesce(machine, {UNKNOWN})"
NUMBERED = """
CREATE TEMP TABLE numbered (machine_id INTEGER PRIMARY KEY, machine INTEGER)"""
NEWEST = f"""
WITH measured AS (
  SELECT DISTINCT
    level.run_id,
    level.model,
    {MACHINE_NUMBER} AS machine,
    run.source,
    run.label,
    row_number() OVER (
      PARTITION BY level.model, {MACHINE_NUMBER}
      ORDER BY
        run.status = 'finished' DESC,
        run.started_unix DESC,
        run.id DESC
    ) AS place
  FROM (
    SELECT DISTINCT run_id, model
    FROM level WHERE status = 'finished') AS level
  JOIN run ON run.id = level.run_id
  LEFT JOIN numbered USING (machine_id))
SELECT other.run_id, other.model, other.machine
FROM measured JOIN measured AS other
  ON other.model = measured.model
    AND other.machine = measured.machine
    AND (other.run_id = measured.run_id
      OR (other.source = 'import'
        AND measured.source = 'import'
        AND other.label IS measured.label))
WHERE measured.place = 1"""
CHOSEN = """
CREATE TEMP TABLE chosen (run_id INTEGER, model TEXT, machine INTEGER,
  PRIMARY KEY (run_id, model))"""
ASIDE = """
CREATE TEMP TABLE aside AS
SELECT level_id FROM level_standing JOIN chosen USING (run_id, model)
WHERE superseded OR is_warm_twin OR is_control"""
OF_RUNS = f"""chosen.model = :model AND chosen.run_id IN (
  SELECT run_id FROM level WHERE model = :model AND {IN_STUDY})"""
LENGTHS = """
SELECT DISTINCT asked_prompt_tokens, prompt_mix FROM level JOIN chosen USING (run_id, model)
WHERE model = ? AND machine = ? ORDER BY prompt_mix IS NOT NULL, asked_prompt_tokens, prompt_mix"""
RUNS = f"""
SELECT runs.*, run.arguments FROM runs JOIN chosen USING (run_id) JOIN run ON run.id = run_id
WHERE {OF_RUNS} ORDER BY started_utc, run_id"""
TARGETS = f"""
SELECT target.* FROM target JOIN chosen USING (run_id, model) WHERE {OF_RUNS} ORDER BY id"""
MACHINE = f"""
SELECT machine.* FROM machine JOIN run ON machine.id = machine_id
JOIN chosen ON chosen.run_id = run.id
WHERE {OF_RUNS} ORDER BY run.started_unix DESC LIMIT 1"""
OF_LEVELS = f"level_id IN (SELECT id FROM level WHERE {IN_STUDY})"
OUTCOMES = f"""
SELECT outcomes.* FROM outcomes JOIN chosen USING (run_id, model)
WHERE model = :model AND {OF_LEVELS} AND status NOT IN ('completed', 'in_flight')
  AND level_id NOT IN (SELECT level_id FROM aside)"""
SOURCES = f"""
SELECT DISTINCT name, device, scope FROM power_source JOIN chosen USING (run_id)
WHERE {OF_RUNS}
  AND EXISTS (SELECT 1 FROM power_sample WHERE source_id = power_source.id)
  AND coalesce(watcher, '') IN (
    SELECT watcher FROM server_machine AS own
    WHERE own.run_id = power_source.run_id
  )
ORDER BY name, device"""
CACHE_EFFECT = f"""
SELECT cache_effect.* FROM cache_effect JOIN chosen USING (run_id, model)
WHERE model = :model
  AND cold_level_id IN (SELECT id FROM level WHERE {IN_STUDY}) ORDER BY concurrency"""
TURNS = f"""
SELECT turn_summary.* FROM turn_summary JOIN chosen USING (run_id, model)
WHERE model = :model AND {OF_LEVELS} AND level_id NOT IN (SELECT level_id FROM aside)
  AND level_id IN (SELECT level_id FROM request WHERE turn > 1)
ORDER BY concurrency, run_id, repeat, turn"""
HOSTS = f"""
SELECT host_summary.* FROM host_summary JOIN chosen USING (run_id, model)
WHERE model = :model AND {OF_LEVELS} AND level_id NOT IN (SELECT level_id FROM aside)
  AND level_id IN (SELECT level.id FROM level JOIN target USING (run_id, model)
    GROUP BY level.id HAVING count(*) > 1)
ORDER BY concurrency, run_id, repeat, host"""
MACHINE_ENERGY = f"""
SELECT energy_by_machine.*
FROM energy_by_machine
JOIN chosen USING (run_id, model)
WHERE model = :model
  AND {OF_LEVELS}
  AND level_id NOT IN (
    SELECT level_id FROM aside
  )
  AND run_id IN (
    SELECT run_id
    FROM server_machine
    GROUP BY run_id
    HAVING count(*) > 1 OR max(watcher) <> ''
  )
ORDER BY
  concurrency,
  run_id,
  repeat,
  hosts"""
# The end of a level that has none is where its run gave its last sign of life, if it is the one
# that runs, else where its last request ended. One process has one run at a time.
OTHER_RUNS = f"""
WITH loaded AS (
  SELECT
    level.id AS level_id,
    level.run_id,
    pid,
    {MACHINE_NUMBER} AS machine,
    replace(host, '//localhost:', '//127.0.0.1:') AS host,
    started_unix + level.started_ns / 1e9 AS from_unix,
    CASE WHEN level.ended_ns IS NULL
      AND level.status = 'running'
      AND run.status = 'running'
    THEN seen_unix
    ELSE started_unix + coalesce(
      level.ended_ns,
      (SELECT max(ended_ns) FROM request
        WHERE level_id = level.id)
    ) / 1e9 END AS to_unix
  FROM level
  JOIN run ON run.id = level.run_id
  LEFT JOIN numbered USING (machine_id)
  JOIN target ON target.run_id = run.id
    AND target.model = level.model
)
SELECT
  other.run_id,
  min(max(own.from_unix, other.from_unix)) AS from_unix,
  max(min(own.to_unix, other.to_unix)) AS to_unix
FROM loaded AS own
JOIN loaded AS other
  ON other.host = own.host
  AND other.pid <> own.pid
  AND other.run_id <> own.run_id
  AND (
    other.machine = own.machine
    OR own.host NOT LIKE '%//127.%'
  )
  AND other.from_unix < own.to_unix
  AND own.from_unix < other.to_unix
WHERE own.level_id IN (
  SELECT level.id
  FROM level JOIN chosen USING (run_id, model)
  WHERE model = :model
    AND {IN_STUDY}
    AND level.id NOT IN (SELECT level_id FROM aside)
)
GROUP BY other.run_id
ORDER BY other.run_id"""
CACHES = "SELECT level_id, cache FROM aside JOIN level ON id = level_id"
OBJECTIVES = "SELECT metric, bound, share FROM objective WHERE run_id = ?"


def choose(
    database: Database, models: Sequence[str], run_ids: Sequence[int]
) -> list[Study]:
    """Return the studies asked for, by name: each is of one model on one machine.

    Without run_ids it is the newest finished run of each. Of those a model has a study for each
    length of its prompts, rising, mixtures last.

    An imported run brings its model's other imported runs of the same label with it: other tools
    write a file for each level. Raises ResultsError if the file has no such run or model, or if
    nothing finished in them.
    """
    studies = [
        study
        for model, machine in choose_runs(database, models, run_ids)
        for study in read_studies(database, model, machine)
    ]
    name_machine_of_each(database, studies)
    if not studies:
        numbers = ", ".join(map(str, run_ids))
        raise ResultsError(
            f"nothing finished in run {numbers}: there is nothing to show"
        )
    return studies


def choose_runs(
    database: Database, models: Sequence[str], run_ids: Sequence[int]
) -> list[tuple[str, int]]:
    """Make the TEMP tables of a choice; return each model and the number of its machine.

    Raises ResultsError if the file has no such run or model.
    """
    number_machine_rows(database)
    rows = (
        find_by_id(database, run_ids)
        if run_ids
        else list(database.query(NEWEST))
    )
    names = sorted({row["model"] for row in rows})
    if not names:
        raise ResultsError(
            f"no run with a finished level in this file: run {name_program('bench')} first"
        )
    wanted = [match(name, names) for name in models] or names
    rows = [row for row in rows if row["model"] in wanted]
    make_selection_tables(
        database,
        [(row["run_id"], row["model"], row["machine"]) for row in rows],
    )
    return sorted(
        {(row["model"], row["machine"]) for row in rows},
        # in the order asked for, then by machine
        key=lambda key: (wanted.index(key[0]), key[1]),
    )


def make_selection_tables(
    database: Database, chosen: list[tuple[int, str, int]]
) -> None:
    """Make the TEMP tables that every later query joins."""
    database.execute("DROP TABLE IF EXISTS temp.chosen")
    database.execute(CHOSEN)
    database.conn.executemany(
        "INSERT INTO chosen VALUES (?, ?, ?)", chosen
    )
    database.execute("DROP TABLE IF EXISTS temp.aside")
    database.execute(ASIDE)


def number_machine_rows(database: Database) -> None:
    """Make the TEMP table that says which rows of machine are one machine."""
    database.execute("DROP TABLE IF EXISTS temp.numbered")
    database.execute(NUMBERED)
    database.conn.executemany(
        "INSERT INTO numbered VALUES (?, ?)",
        number_machines(database).items(),
    )


def name_machine_of_each(
    database: Database, studies: Sequence[Study]
) -> None:
    """Name the machine of each study where they are of several."""
    if len({study.machine_number for study in studies}) < 2:
        return
    names = name_machines(database)
    for study in studies:
        study.place = names[study.machine_number]


def find_by_id(database: Database, run_ids: Sequence[int]) -> list[Row]:
    """Return run_id, model and machine of some runs. Raises ResultsError if one is not there."""
    found: list[Row] = []
    for run_id in run_ids:
        bounded = max(min(run_id, MOST_ROWS), 0)
        sql = (
            f"SELECT DISTINCT run_id, model, {MACHINE_NUMBER} AS machine FROM level "
            "JOIN run ON run.id = run_id LEFT JOIN numbered USING (machine_id) "
            "WHERE run_id = ?"
        )
        rows = list(database.query(sql, [bounded]))
        if not rows:
            there = ", ".join(list_runs(database)) or "none"
            raise ResultsError(
                f"no run {run_id} with levels in this file: it has {there}"
            )
        found += rows
    return found


def list_runs(database: Database) -> list[str]:
    sql = f"SELECT DISTINCT run_id FROM level ORDER BY 1 LIMIT {MOST_RUNS}"
    return [str(row["run_id"]) for row in database.query(sql)]


def match(name: str, names: Sequence[str]) -> str:
    """Return the stored model of this name or of this folder. Raises ResultsError."""
    for stored in names:
        if name == stored:
            return stored
    for stored in names:
        if name == safe_name(stored):
            return stored
    raise ResultsError(
        f"no model {shorten(name)} in these runs: they have {', '.join(map(shorten, names))}"
    )


def read_studies(
    database: Database, model: str, machine: int
) -> list[Study]:
    """Read a chosen model on a machine: a study for each length of prompts that has levels."""
    found = [
        read_study(database, model, machine, *row.values())
        for row in database.query(LENGTHS, [model, machine])
    ]
    studies = [study for study in found if study.levels]
    if len(studies) > 1:
        for study in studies:
            lengths = study.asked_prompt_tokens, study.prompt_mix
            study.prompts = name_lengths(*lengths) or "other prompts"
            study.folder = name_length_folder(study.folder, *lengths)
    return studies


def read_aside(database: Database) -> dict[int, str | None]:
    """Return the levels that no answer counts, each with its cache."""
    return dict(database.execute(CACHES).fetchall())


def name_file(database: Database) -> str:
    """Return the path of a results file; "" of one in memory."""
    _, _, path = next(database.execute("PRAGMA database_list"))
    return str(path)


def read_study(
    database: Database,
    model: str,
    machine: int,
    tokens: int | None,
    mix: str | None,
) -> Study:
    """Read the levels of a chosen model on a machine whose prompts have a length."""

    def rows(sql: str) -> list[Row]:
        key = {
            "model": model,
            "machine": machine,
            "prompt_tokens": tokens,
            "prompt_mix": mix,
        }
        return list(database.query(sql, key))

    runs, machines = rows(RUNS), rows(MACHINE)
    measured, aside = rows(LEVELS), read_aside(database)
    levels = [row for row in measured if row["level_id"] not in aside]
    has_twins = "warm" in aside.values()
    has_hosts = any(row["hosts"] > 1 for row in levels)
    targets = rows(TARGETS)
    is_far = any(row["watcher"] for row in targets)
    bounds = database.query(OBJECTIVES, [runs[-1]["run_id"]])
    return Study(
        model=model,
        runs=runs,
        levels=levels,
        targets=targets,
        machine=machines[0] if machines else None,
        outcomes=rows(OUTCOMES),
        sources=rows(SOURCES),
        cache_effect=rows(CACHE_EFFECT) if has_twins else [],
        turns=rows(TURNS),
        hosts=rows(HOSTS) if has_hosts else [],
        machine_energy=rows(MACHINE_ENERGY) if has_hosts or is_far else [],
        other_runs=rows(OTHER_RUNS),
        objectives={
            row["metric"]: Objective(row["bound"], row["share"])
            for row in bounds
        },
        file=name_file(database),
        folder=assign_folders(database)[model, machine],
        machine_number=machine,
        controls=[row for row in measured if row["level_id"] in aside],
        asked_prompt_tokens=tokens,
        prompt_mix=mix,
    )
