"""bench_kills.py - is anything lost or doubled when a part of a fleet is killed?

    python benchmarks/bench_kills.py             # each role 20 times; POSIX, some half an hour
    python benchmarks/bench_kills.py --only worker --times 5 --seed 7

A cluster of Dask on this machine: a scheduler and two workers, each with its nanny. bench.py sends
a level through it, and the same as its control, to the simulator, which logs what it served, and
after a random time one of the roles gets SIGKILL: bench.py itself (the coordinator), a worker, the
scheduler, or a nanny. Then `--resume` goes on with a cluster that is whole again.

LOST are requests that the server had answered more than a second before the kill and that are not
stored as completed with all their chunks, and where bench.py lives those of that second that it
does not tell of. EARLIEST is how long before the kill the earliest was answered of all that lack.
DOUBLED are numbers of a level, prefixes or chunks that are there twice, and requests that are
stored as completed and were never answered. WRONG are statuses, exit codes and texts that do not
tell what happened. RESUMED are runs that were complete afterwards, with what had been stored before
as it was. The exit code is 1 where anything was lost, doubled, wrong or not resumed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field

# the programs are files, not an installed package
ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from local_cluster import LocalCluster

from ollama_bench.simulator import child

ROLES = ("coordinator", "worker", "scheduler", "nanny")
# tokens: not those of a warm-up, which are 8
LEVELS, REQUESTS, TOKENS = (6,), 90, 10
PATIENCE_S = 240
NS = 10**9
REQUEST_ROWS = """
SELECT request.id, request.number, prefix, request.status, error, worker, level_id,
  lost_worker, level.status AS level_status, concurrency,
  (SELECT count(*) FROM chunk WHERE request_id = request.id) AS chunks
FROM request JOIN main.level ON level.id = level_id ORDER BY request.id"""
RUN_STATUS = "SELECT status FROM run"
LEVEL_ROWS = """
SELECT level.id, concurrency, level.status,
  coalesce(is_control, 0) AS is_control FROM main.level"""
# as if it had given its last sign of life a day ago
DEAD = (
    "UPDATE run SET seen_unix = seen_unix - 86400 WHERE status = 'running'"
)
HEADING = "ROLE         KILLS  MID-LEVEL  LOST  EARLIEST  DOUBLED  WRONG  RESUMED"


@dataclass
class Findings:
    """What the kills of one role have come to."""

    kills: int = 0
    mid_level: int = 0
    lost: int = 0
    earliest_s: float = 0.0  # before the kill
    doubled: int = 0
    resumed: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether nothing was lost, doubled, wrong or not resumed."""
        bad = self.lost + self.doubled + len(self.wrong)
        return bad == 0 and self.resumed == self.kills

    def note_lost(
        self, role: str, rows: list[dict], served: dict[str, float]
    ) -> None:
        """Count what was answered, so many seconds before the kill, and is not there."""
        by_prefix = {row["prefix"]: row for row in rows}
        for prefix, ago_s in served.items():
            row = by_prefix.get(prefix)
            if row is not None and is_whole(row):
                continue
            self.earliest_s = max(self.earliest_s, ago_s)
            may_lack = role == "coordinator" or (row and is_told(row))
            self.lost += ago_s > 1 or not may_lack

    def format_line(self, role: str) -> str:
        """One line of the table."""
        return (
            f"{role:<12} {self.kills:5} {self.mid_level:10} {self.lost:5} "
            f"{self.earliest_s:7.2f} s {self.doubled:8} {len(self.wrong):6} "
            f"{self.resumed:8}"
        )


class Killer:
    """Runs bench.py through a cluster, kills, and looks at what is left."""

    def __init__(
        self, cluster: LocalCluster, url: str, log: pathlib.Path
    ) -> None:
        self._cluster, self._url, self._log = cluster, url, log

    def start(
        self, folder: pathlib.Path, *more: str
    ) -> subprocess.Popen[str]:
        """Start a run; what it says goes into files of the folder."""
        command = [
            *(sys.executable, str(ROOT / "bench.py")),
            *(",".join(map(str, LEVELS)), "--host", self._url),
            *("--requests", str(REQUESTS), "--tokens", str(TOKENS)),
            *("--prompt", f"{folder.name} is tried."),
            *("--fleet", self._cluster.address, "--no-monitor"),
            *("--cooldown", "0", "--idle", "0", "--plain", *more),
        ]
        with (
            (folder / "out").open("w") as out,
            (folder / "err").open("w") as err,
        ):
            return subprocess.Popen(
                command, cwd=folder, stdout=out, stderr=err, text=True
            )

    def wait_for_fleet(
        self, folder: pathlib.Path, process: subprocess.Popen[str]
    ) -> None:
        """Return once the workers are found."""
        until_s = time.monotonic() + PATIENCE_S
        while "fleet: " not in (folder / "out").read_text():
            if process.poll() is not None or time.monotonic() > until_s:
                sys.exit("bench_kills.py: " + read(folder / "err"))
            time.sleep(0.01)

    def measure_span(self, folder: pathlib.Path) -> float:
        """Return how long a run takes that nobody harms, from its fleet on, seconds."""
        process = self.start(folder)
        self.wait_for_fleet(folder, process)
        begun_s = time.monotonic()
        if process.wait(PATIENCE_S):
            sys.exit("bench_kills.py: " + read(folder / "err"))
        return time.monotonic() - begun_s

    def harm(
        self,
        role: str,
        after_s: float,
        folder: pathlib.Path,
        found: Findings,
        chance: random.Random,
    ) -> None:
        """Kill a role so long after the fleet is found; add up what is left of the run."""
        path = folder / "results.db"
        process = self.start(folder)
        self.wait_for_fleet(folder, process)
        time.sleep(after_s)
        was_running = process.poll() is None
        victim = process
        if role != "coordinator":
            victim = self._cluster.find(role, chance)
        victim.kill()
        killed_ns = time.perf_counter_ns()
        victim.wait(PATIENCE_S)
        code = process.wait(PATIENCE_S)
        ended_ns = time.perf_counter_ns()
        rows, levels = look(path, REQUEST_ROWS), look(path, LEVEL_ROWS)
        said = read(folder / "err")
        self._cluster.heal()
        why = self._go_on(folder, rows)
        # the server writes its log while nothing streams
        served = self._list_served(folder)
        found.kills += 1
        found.resumed += not why
        statuses = {level["status"] for level in levels}
        is_hit = bool(statuses & {"running", "interrupted"})
        found.mid_level += is_hit
        found.note_lost(
            role,
            rows,
            {
                prefix: (killed_ns - at_ns) / NS
                for prefix, at_ns in served.items()
                if at_ns < ended_ns
            },
        )
        for some in (rows, look(path, REQUEST_ROWS)):
            found.doubled += count_doubled(some, served)
        why = why or describe_wrong(
            role, code, is_hit and was_running, rows, said
        )
        if why:
            found.wrong.append(f"{folder.name}: {why}")

    def _list_served(self, folder: pathlib.Path) -> dict[str, int]:
        """Return the prefix of each request of a run that was answered whole, and when."""
        served = {}
        for line in self._log.read_text().splitlines():
            record = json.loads(line)
            prefix, _, rest = record["prompt_prefix"].partition(" ")
            is_own = rest.startswith(f"{folder.name} is")
            is_measured = len(record["due_ns"]) == TOKENS
            if is_own and is_measured and record["outcome"] == "done":
                served[prefix] = record["end_ns"]
        return served

    def _go_on(self, folder: pathlib.Path, before: list[dict]) -> str:
        """Resume a run, as if it had been dead for long; return what it lacks then."""
        path, code = folder / "results.db", 0
        runs = look(path, RUN_STATUS)
        if not runs or runs[0]["status"] != "finished":
            look(path, DEAD)
            code = self.start(folder, "--resume").wait(PATIENCE_S)
        if code:
            said = read(folder / "err")
            return f"--resume ended with {code}: {said}"
        return describe_unfinished(path, before)


def is_whole(row: dict) -> bool:
    """Whether a request is stored as completed, with all its chunks."""
    return row["status"] == "completed" and row["chunks"] == TOKENS


def is_told(row: dict) -> bool:
    """Whether a request is said to be lost with its worker, or cut with its level."""
    is_cut = row["level_status"] == "interrupted"
    return is_cut and row["status"] in ("client_error", "cancelled")


def count_doubled(rows: list[dict], served: dict[str, int]) -> int:
    """Return what is there twice, and what is there and was never answered."""
    numbers = Counter((row["level_id"], row["number"]) for row in rows)
    prefixes = Counter(row["prefix"] for row in rows if row["prefix"])
    twice = sum(
        count - 1 for one in (numbers, prefixes) for count in one.values()
    )
    more = sum(row["chunks"] > TOKENS for row in rows)
    made_up = sum(
        row["status"] == "completed" and row["prefix"] not in served
        for row in rows
    )
    return twice + more + made_up


def describe_wrong(
    role: str, code: int, is_hit: bool, rows: list[dict], said: str
) -> str:
    """Return what does not tell what happened; "" where all does."""
    expected = {
        "coordinator": {-9} if is_hit else {-9, 0},
        "scheduler": {1} if is_hit else {0, 1},
    }.get(role, {0})
    if code not in expected or len(said.splitlines()) > 1:
        return f"ended with {code} {said}"
    if role == "coordinator":
        return ""
    untold = [row for row in rows if row["status"] is None]
    unnamed = [
        row
        for row in rows
        if row["status"] == "client_error"
        and row["worker"] == row["lost_worker"]
        and f"worker {row['worker']} was lost" not in (row["error"] or "")
    ]
    if untold or unnamed:
        return f"{len(untold)} without a status, {len(unnamed)} unnamed"
    return ""


def describe_unfinished(path: pathlib.Path, before: list[dict]) -> str:
    """Return what a resumed run lacks; "" where it is whole."""
    check = look(path, "PRAGMA integrity_check")[0]["integrity_check"]
    if check != "ok" or look(path, "PRAGMA foreign_key_check"):
        return f"the file is broken: {check}"
    done = {
        row["id"]: row["concurrency"]
        for row in look(path, LEVEL_ROWS)
        if row["status"] == "finished" and not row["is_control"]
    }
    if sorted(done.values()) != sorted(LEVELS):
        return f"finished levels: {sorted(done.values())}"
    rows = look(path, REQUEST_ROWS)
    whole = Counter(row["level_id"] for row in rows if is_whole(row))
    if any(whole[level_id] != REQUESTS for level_id in done):
        return f"completed requests of levels: {dict(whole)}"
    kept = {row["id"]: row["chunks"] for row in rows}
    gone = sum(kept.get(row["id"]) != row["chunks"] for row in before)
    return f"{gone} requests changed by --resume" if gone else ""


def look(path: pathlib.Path, sql: str) -> list[dict]:
    """Return what a statement gives; nothing where a kill left a file without any table."""
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.row_factory = sqlite3.Row
        if not database.execute("SELECT 1 FROM sqlite_schema").fetchone():
            return []
        return [dict(row) for row in database.execute(sql)]


def read(path: pathlib.Path) -> str:
    return path.read_text().strip()


def main() -> int:
    """Kill, print the table and return the exit code."""
    wanted = parse_args()
    chance = random.Random(wanted.seed)
    has_failed = False
    with contextlib.ExitStack() as stack:
        top = pathlib.Path(
            stack.enter_context(tempfile.TemporaryDirectory())
        )
        log = top / "server.jsonl"
        server = stack.enter_context(
            child.start(
                *("--log", str(log), "--slots", "16"),
                *("--ttft", "50", "--itl", "20"),
            )
        )
        cluster = stack.enter_context(LocalCluster(workers=2))
        killer = Killer(cluster, server.url, log)
        (top / "unharmed").mkdir()
        span_s = killer.measure_span(top / "unharmed")
        print(f"load average {os.getloadavg()[0]:.1f}, seed {wanted.seed}")
        print(f"a run takes {span_s:.1f} s from its fleet on")
        print(HEADING, flush=True)
        for role in wanted.only:
            found = Findings()
            for number in range(wanted.times):
                folder = top / f"{role}-{number}"
                folder.mkdir()
                after_s = chance.uniform(0, span_s)
                killer.harm(role, after_s, folder, found, chance)
                print(found.format_line(role), file=sys.stderr)
            print(
                found.format_line(role),
                *found.wrong,
                sep="\n  ",
                flush=True,
            )
            has_failed |= not found.is_clean
    return int(has_failed)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench_kills.py",
        description="is anything lost or doubled when a part of a fleet is killed?",
    )
    parser.add_argument("--only", nargs="+", choices=ROLES, default=ROLES)
    parser.add_argument(
        "--times",
        type=int,
        default=20,
        help="of each role (default %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
