"""What each further server gives: the throughput of runs that asked 1, 2 ... of them.

The runs are found in the results file: those that were asked the same, but for the servers, how
requests were spread over them, and the levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlite_utils import Database

from ollama_bench.analysis.crowd import name_count
from ollama_bench.analysis.study import OF_LENGTH, Study
from ollama_bench.analysis.wording import digits, join

# what a run was asked, without what may differ
ASKED = """CASE WHEN json_valid(arguments)
  THEN json_remove(arguments, '$.host', '$.api', '$.balance', '$.levels') END"""
# of each run that is like the newest of the study: its best level, by the mean of its repeats
RUNS = f"""
WITH asked AS (
  SELECT run.id AS run_id, {ASKED} AS words, simulated, coalesce(machine, -1) AS place
  FROM run LEFT JOIN temp.numbered USING (machine_id) WHERE source = 'bench'
), mean AS (
  SELECT run_id, model, hosts, concurrency, load, avg(output_tokens_per_s) AS tokens_per_s
  FROM level_summary
  WHERE model = :model AND {OF_LENGTH} AND status = 'finished' AND completed > 0
    AND NOT is_control AND coalesce(slept_s, 0) = 0 AND cache IS :cache
  GROUP BY run_id, hosts, concurrency
)
SELECT hosts, mean.run_id, concurrency, load, max(tokens_per_s) AS tokens_per_s
FROM mean JOIN asked ON asked.run_id = mean.run_id
JOIN asked AS this ON this.run_id = :run_id
WHERE tokens_per_s IS NOT NULL AND asked.words = this.words
  AND asked.simulated = this.simulated AND asked.place = this.place
GROUP BY mean.run_id ORDER BY hosts, mean.run_id = :run_id, mean.run_id"""


# numbers of servers that runs of a model asked
NUMBERS = """
SELECT count(DISTINCT hosts) AS numbers
FROM (SELECT count(*) AS hosts FROM target WHERE model = ? GROUP BY run_id)"""


@dataclass(frozen=True)
class HostCount:
    """The best level of a run that asked so many servers."""

    hosts: int
    run_id: int
    concurrency: int
    tokens_per_s: float
    load: str

    @property
    def level(self) -> str:
        """Which level it was, in words."""
        return name_count(
            self.concurrency,
            [{"concurrency": self.concurrency, "load": self.load}],
        )


def find_scaling(database: Database, study: Study) -> list[HostCount]:
    """Return a run for each number of servers, the newest; [] where there are not two numbers.

    Of the study's own number its newest run.
    """
    numbers = next(database.query(NUMBERS, [study.model]))["numbers"]
    # what is below reads every level of the file
    if not study.levels or numbers < 2:
        return []
    key = {
        **study.key,
        "run_id": study.runs[-1]["run_id"],
        "cache": study.levels[0]["cache"],
    }
    newest = {
        row["hosts"]: HostCount(**row) for row in database.query(RUNS, key)
    }
    return [*newest.values()] if len(newest) > 1 else []


def describe_scaling(scaling: Sequence[HostCount]) -> list[str]:
    """Say what more servers gave, and what as many as good as the fewest would."""
    if not scaling:
        return []
    least, *others = scaling
    parts = [
        f"{one.hosts} gave {digits(one.tokens_per_s / least.tokens_per_s)} times as many "
        f"({digits(one.tokens_per_s)}; {digits(one.hosts / least.hosts)} would be ideal)"
        for one in others
    ]
    servers = "1 server" if least.hosts == 1 else f"{least.hosts} servers"
    return [
        f"By the number of servers: {servers} gave {digits(least.tokens_per_s)} tokens/s, "
        f"{join(parts)}, each at its best level."
    ]
