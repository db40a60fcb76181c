"""selection.py - which runs an analysis is about, and what results.db knows of them.

    chosen = selection.choose(database, models=["qwen3:8b"], run_ids=[])
    for study in chosen: study.model, study.runs, study.levels ...

Every later query joins the TEMP table `chosen (run_id, model)` that choose() makes, and leaves
out the levels in `aside`: the warm twins of --cache both, which are not repeats of the cold ones,
and interrupted levels that --resume has fired again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from statistics import fmean

from ollama_bench.storage import db

MOST_ROWS = 2**63 - 1  # the largest id that SQLite can be asked for
MOST_RUNS = 200  # runs named in one error line would fill the screen: only this many are looked at

LEVELS = """SELECT level_summary.*, energy.source AS power_source, energy.coverage_ratio, energy.energy_j, energy.idle_w,
  energy.joules_per_output_token, energy.net_joules_per_output_token, energy.output_tokens_per_joule, energy.mean_w,
  energy.max_w, energy.mean_gpu_mhz, energy.mean_gpu_busy_ratio,
  energy.gpu_energy_j, energy.gpu_power_w, energy.gpu_joules_per_output_token,
  replies.min_output_tokens, replies.mean_output_tokens, replies.max_output_tokens, replies.cut_by_length,
  replies.cached_tokens, replies.max_load_s,
  machine.mean_cpu_ratio, machine.max_memory_used_bytes, machine.swap_change_bytes, machine.server_cpu_cores,
  machine.server_max_rss_bytes, machine.thermal_samples, machine.hot_samples
FROM level_summary JOIN chosen USING (run_id, model)
LEFT JOIN energy_summary AS energy USING (level_id)
LEFT JOIN level_replies AS replies USING (level_id)
LEFT JOIN level_machine AS machine USING (level_id)
WHERE level_summary.model = :model AND level_id NOT IN (SELECT level_id FROM aside)
  AND (level_summary.status = 'finished' OR level_summary.completed > 0)
ORDER BY level_summary.concurrency, level_summary.run_id, level_summary.repeat"""


@dataclass
class Study:
    """One model with the runs chosen for it; levels in rising order, repeats after each other."""

    model: str
    runs: list[dict]  # of the view runs, oldest first
    levels: list[dict]  # of level_summary, with energy, replies and machine beside
    targets: list[dict]  # the model on its server, as described in each run
    machine: dict | None  # the computer of the newest run; None when unknown
    outcomes: list[dict]  # of the view outcomes, failures only
    sources: list[dict]  # name, device and scope of what gave watts
    cache_effect: list[dict]  # of the view of that name: levels measured cold and warm
    objectives: dict[str, float]  # column of request: bound, as the newest run was told to judge by
    folder: str = ""  # of its files: no other model of the results file has it

    @property
    def simulated(self) -> bool:
        return any(run["simulated"] for run in self.runs)

    def by_concurrency(self) -> dict[int, list[dict]]:
        """The levels with the same number at once together, rising."""
        groups: dict[int, list[dict]] = {}
        for level in self.levels:
            groups.setdefault(level["concurrency"], []).append(level)
        return groups

    def mean(self, column: str) -> dict[int, float]:
        """A column at each concurrency, the mean of its repeats; those unknown are not in it."""
        known = {
            n: [level[column] for level in levels if level[column] is not None]
            for n, levels in self.by_concurrency().items()
        }
        return {n: fmean(values) for n, values in known.items() if values}


def choose(database, models: list[str], run_ids: list[int]) -> list[Study]:
    """The studies asked for, by name; without run_ids the newest finished run of each model.

    An imported run brings its model's other imported runs with it: the original tool wrote
    them into the same files. Raises ResultsError when the file has no such run or model.
    """
    pairs = [
        (row["run_id"], row["model"])
        for row in (chosen_by_id(database, run_ids) if run_ids else newest(database))
    ]
    names = sorted({model for _, model in pairs})
    if not names:
        raise db.ResultsError("no run with a finished level in this file: run bench.py first")
    wanted = [match(name, names) for name in models] or names
    database.execute("DROP TABLE IF EXISTS temp.chosen")
    database.execute(
        "CREATE TEMP TABLE chosen (run_id INTEGER, model TEXT, PRIMARY KEY (run_id, model))"
    )
    database.conn.executemany(
        "INSERT INTO chosen VALUES (?, ?)", [pair for pair in pairs if pair[1] in wanted]
    )
    database.execute("DROP TABLE IF EXISTS temp.aside")
    database.execute("""CREATE TEMP TABLE aside AS SELECT warm_level_id AS level_id
        FROM cache_effect JOIN chosen USING (run_id, model)
        UNION SELECT level_id FROM level_summary JOIN chosen USING (run_id, model) WHERE superseded""")
    return [read_study(database, model) for model in dict.fromkeys(wanted)]


def newest(database) -> list[dict]:
    """(run_id, model) of the newest run of each model, finished ones first."""
    return list(
        database.query("""
        WITH measured AS (
          SELECT DISTINCT level.run_id, level.model, run.source, row_number() OVER (
            PARTITION BY level.model ORDER BY run.status = 'finished' DESC, run.started_unix DESC, run.id DESC) AS place
          FROM (SELECT DISTINCT run_id, model FROM level WHERE status = 'finished') AS level
          JOIN run ON run.id = level.run_id)
        SELECT other.run_id, other.model FROM measured JOIN measured AS other
          ON other.model = measured.model AND (other.run_id = measured.run_id
            OR (other.source = 'import' AND measured.source = 'import'))
        WHERE measured.place = 1""")
    )


def chosen_by_id(database, run_ids: list[int]) -> list[dict]:
    """(run_id, model) of the runs named."""
    found = []
    for run_id in run_ids:
        rows = list(
            database.query(
                "SELECT DISTINCT run_id, model FROM level WHERE run_id = ?",
                [max(min(run_id, MOST_ROWS), 0)],
            )
        )
        if not rows:
            known = [
                str(row["run_id"])
                for row in database.query(
                    f"SELECT DISTINCT run_id FROM level ORDER BY 1 LIMIT {MOST_RUNS}"
                )
            ]
            raise db.ResultsError(
                f"no run {run_id} with levels in this file: it has {', '.join(known) or 'none'}"
            )
        found += rows
    return found


def match(name: str, names: list[str]) -> str:
    """The stored model that a user means: its name, or its folder's."""
    for stored in names:
        if name == stored:
            return stored
    for stored in names:
        if name == safe_name(stored):
            return stored
    raise db.ResultsError(f"no model {name} in these runs: they have {', '.join(names)}")


def read_study(database, model: str) -> Study:
    asked = {"model": model}
    runs = list(
        database.query(
            """SELECT runs.* FROM runs JOIN chosen USING (run_id)
        WHERE chosen.model = :model ORDER BY started_utc, run_id""",
            asked,
        )
    )
    targets = list(
        database.query(
            "SELECT target.* FROM target JOIN chosen USING (run_id, model) WHERE model = :model ORDER BY id",
            asked,
        )
    )
    machines = list(
        database.query(
            """SELECT machine.* FROM machine JOIN run ON machine.id = machine_id
        JOIN chosen ON chosen.run_id = run.id WHERE chosen.model = :model ORDER BY run.started_unix DESC LIMIT 1""",
            asked,
        )
    )
    outcomes = list(
        database.query(
            """SELECT outcomes.* FROM outcomes JOIN chosen USING (run_id, model)
        WHERE model = :model AND status NOT IN ('completed', 'in_flight')
                     AND level_id NOT IN (SELECT level_id FROM aside)""",
            asked,
        )
    )
    sources = list(
        database.query(
            """SELECT DISTINCT name, device, scope FROM power_source JOIN chosen USING (run_id)
        WHERE chosen.model = :model AND EXISTS (SELECT 1 FROM power_sample WHERE source_id = power_source.id) ORDER BY name, device""",
            asked,
        )
    )
    effects = list(
        database.query(
            """SELECT cache_effect.* FROM cache_effect JOIN chosen USING (run_id, model)
        WHERE model = :model ORDER BY concurrency""",
            asked,
        )
    )
    objectives = {
        row["metric"]: row["bound"]
        for row in database.query(
            "SELECT metric, bound FROM objective WHERE run_id = ?", [runs[-1]["run_id"]]
        )
    }
    return Study(
        model,
        runs,
        list(database.query(LEVELS, asked)),
        targets,
        machines[0] if machines else None,
        outcomes,
        sources,
        effects,
        objectives,
        folders(database)[model],
    )


def folders(database) -> dict[str, str]:
    """A folder for each model of the file, even where only their letters' case differs: who came first has the plain name."""
    found: dict[str, str] = {}
    for row in database.query("SELECT model FROM level GROUP BY model ORDER BY min(id)"):
        plain = folder = safe_name(row["model"])
        taken, number = {name.casefold() for name in found.values()}, 1
        while folder.casefold() in taken:
            number += 1
            folder = f"{plain}-{number}"
        found[row["model"]] = folder
    return found


def safe_name(model: str) -> str:
    """A model's name as a folder name, on every system."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", model).strip(".-")[:100]
    reserved = re.fullmatch(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?", name)
    return f"model-{name}" if reserved or not name else name
