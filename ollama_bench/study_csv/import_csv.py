"""import_csv.py - reads the CSV tree of the original Go tool into results.db.

    python import_csv.py ollama              every <model>/test_results_<level>/ below it
    python import_csv.py ollama --dry-run    say what would be stored, write nothing

Fills run, target, level, request, power_source, power_sample, process, process_sample
and event (what was left out, and why). A tree read twice is stored once.

The original tool appended one start after the other to the same files and gave its
requests no time. What can be known follows from this:
  * a line of duration_metrics.csv is a level, its Timestamp (whole seconds) the end;
  * all requests of a level were sent together, TTFB after that came the first token, and
    ResponseDuration (TotalDuration is the same number) later the last one, so the start
    is the end less the longest TTFB + ResponseDuration;
  * levels of a model that follow each other upwards without a long pause are one run.
"""

from __future__ import annotations

import os
import sys

if "SUDO_UID" in os.environ and hasattr(os, "geteuid") and os.geteuid() == 0:
    sys.dont_write_bytecode = True  # a __pycache__ of root's in your clone would be in your way

import argparse
import hashlib
import json
import re
import sqlite3
import textwrap
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from ollama_bench.terminal import standard  # first: it says so where the packages are missing
from ollama_bench.storage import db
from ollama_bench.privilege import privilege

TOOL_VERSION = "original Go tool"  # run.tool_version: what made the numbers, not what read them
LONGEST_PAUSE_S = (
    300  # the tool paused 10 s between levels; a level that was deleted later leaves two minutes
)
NOMINAL_SAMPLE_S = 1.0  # it asked powermetrics for a sample a second ...
LONGEST_SAMPLE_S = 3.0  # ... and got one every 1.4 s: a longer gap is a hole, not a sample
IDLE_GPU_W = 0.1  # a GPU that takes less is not busy, whatever its usage column says
SAME_DURATION_S = 0.0015  # two durations written with three decimals are the same within this

COLUMNS = {  # what each file's columns must hold; a line that differs was cut or is not ours
    "duration_metrics.csv": {
        "Timestamp": "time",
        "Concurrency": "count",
        "MaxDuration": "number",
        "MinDuration": "number",
        "AvgDuration": "number",
        "P99Duration": "number",
    },
    "request_summary.csv": {
        "RequestID": "count",
        "TTFB": "number",
        "TotalDuration": "number",
        "ResponseDuration": "number",
        "WaitingTime": "number",
        "TokenCount": "count",
        "StatusCode": "count",
        "Status": "word",
    },
    "gpu_metrics.csv": {
        "Timestamp": "time",
        "Usage%": "maybe",
        "Power(W)": "number",
        "Frequency(MHz)": "maybe",
    },
    "process": {
        "Timestamp": "time",
        "PID": "count",
        "CPU%": "number",
        "MEM%": "number",
        "Threads": "count",
        "FDs": "maybe",
        "VSZ": "count",
        "RSS": "count",
    },
}
PATTERNS = {
    "time": re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)", re.ASCII),
    "count": re.compile(r"\d{1,15}", re.ASCII),  # 1,024 times as much still fits SQLite's 64 bits
    "number": re.compile(
        r"\d{1,7}(\.\d{1,9})?", re.ASCII
    ),  # ten million seconds, watts or megahertz are none
    "maybe": re.compile(
        r"(\d{1,7}(\.\d{1,9})?)?", re.ASCII
    ),  # empty where our own export knew nothing
    "word": re.compile(r"[A-Za-z_]{1,40}"),
}


LEVEL = re.compile("test_results_[1-9][0-9]{0,5}")


class ImportFailed(Exception):
    """The tree cannot be imported; str() is one line for the user."""


@dataclass
class Level:
    """One level as the files tell it; instants in seconds since 1970."""

    concurrency: int
    started_unix: float
    ended_unix: float
    requests: list[dict]
    samples: list[tuple] = field(default_factory=list)  # start, end, watts, MHz, busy ratio
    looks: dict[int, dict[float, dict]] = field(
        default_factory=dict
    )  # lines of process files, by pid and instant


class Notes:
    """What was read and what was left out: how often, and where first."""

    def __init__(self) -> None:
        self.read: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()
        self.examples: dict[str, str] = {}

    def drop(self, reason: str, where: str) -> None:
        self.left_out[reason] += 1
        self.examples.setdefault(reason, where)

    def lines(self) -> list[str]:
        """One line a reason, e.g. "2 x line cut in half (1/process_7_metrics.csv:15 ...)"."""
        return [
            f"{count:,} x {reason} ({self.examples[reason]}{' ...' if count > 1 else ''})"
            for reason, count in self.left_out.items()
        ]


def main(argv: list[str] | None = None) -> int:
    standard.prepare()
    arguments = parse_args(argv)
    try:
        privilege.drop()
        for model, folders in find_models(arguments.dir).items():
            notes = Notes()
            runs = split_into_runs(read_model(folders, notes))
            keys = [import_key(model, run) for run in runs]
            known = known_keys(arguments.db)
            print_report(model, runs, notes, [key in known for key in keys])
            if not arguments.dry_run:
                store(
                    arguments.db,
                    model,
                    [pair for pair in zip(runs, keys) if pair[1] not in known],
                    notes,
                )
    except (
        ImportFailed,
        db.ResultsError,
        privilege.PrivilegeError,
        sqlite3.Error,
        OSError,
    ) as error:
        print(f"import_csv.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    command = f"python analyze.py --db {standard.quoted(arguments.db)}"
    print("dry run: nothing was written" if arguments.dry_run else f"next: {command}")
    return 0


# Finding and reading.


def find_models(top: Path) -> dict[str, list[Path]]:
    """The level folders of each model at or below a folder: .../<model>/test_results_<level>."""
    if not top.is_dir():
        raise ImportFailed(
            f"{top} is not a folder: name the one that holds <model>/test_results_<level>/"
        )
    models: dict[str, list[Path]] = {}
    for pattern in ("test_results_*", "*/test_results_*", "*/*/test_results_*"):
        for folder in sorted(top.resolve().glob(pattern)):
            if folder.is_dir() and LEVEL.fullmatch(folder.name):
                models.setdefault(visible(folder.parent.name), []).append(folder)
    if not models:
        raise ImportFailed(f"no <model>/test_results_<level>/ in {top} or in the folders below it")
    return models


def read_model(folders: list[Path], notes: Notes) -> list[Level]:
    """Every level of a model in order of time, with the samples of its own window."""
    levels: list[Level] = []
    gpu_lines = {folder: read_lines(folder / "gpu_metrics.csv", notes) for folder in folders}
    usage_is_fiction = usage_says_nothing(
        [line for lines in gpu_lines.values() for _, line in lines]
    )
    for folder in folders:
        here = read_levels(folder, notes)
        give_samples(here, gpu_lines[folder], usage_is_fiction, notes)
        for path in sorted(folder.glob("process_*_metrics.csv")):
            give_looks(here, read_lines(path, notes), notes)
        levels += here
    return sorted(levels, key=lambda level: level.started_unix)


def read_lines(path: Path, notes: Notes) -> list[tuple[str, dict]]:
    """The good lines of a file as (where, values); the others go into the notes."""
    columns = COLUMNS["process" if path.name.startswith("process_") else path.name]
    if not path.is_file():
        notes.drop("file absent", brief(path))
        return []
    header, *lines = path.read_bytes().decode("utf-8", "replace").split("\n")
    if header.rstrip("\r").lstrip("\ufeff") != ",".join(columns):
        notes.drop("file without the expected header", brief(path))
        return []
    if lines and lines.pop():  # what stands behind the last line's end
        notes.drop("last line without an end, perhaps cut", f"{brief(path)}:{len(lines) + 2}")
    good = []
    for number, line in enumerate(lines, 2):
        where = f"{brief(path)}:{number}"
        values = line.rstrip("\r").split(",")
        notes.read[re.sub(r"\d+", "PID", path.name)] += 1
        if len(values) == len(columns) and all(map(fits, columns.values(), values)):
            good.append(
                (
                    where,
                    {
                        name: parse(kind, text)
                        for (name, kind), text in zip(columns.items(), values)
                    },
                )
            )
        else:
            notes.drop("line cut in half", where)
    return good


def fits(kind: str, text: str) -> bool:
    return PATTERNS[kind].fullmatch(text) is not None and (
        kind != "time" or to_unix(text) is not None
    )


def parse(kind: str, text: str):
    if kind == "time":
        return to_unix(text)
    if kind == "maybe":
        return float(text) if text else None
    return {"count": int, "number": float, "word": str}[kind](text)


def to_unix(text: str) -> float | None:
    """RFC 3339 to seconds since 1970; None when it is no date."""
    whole = re.sub(
        r"\.(\d{1,6})", lambda found: f".{found[1]:0<6}", text.replace("Z", "+00:00")
    )  # Python 3.10 knows 3 or 6 digits
    try:
        return datetime.fromisoformat(whole).timestamp()
    except ValueError:
        return None


def brief(path: Path) -> str:
    return f"{path.parent.name.replace('test_results_', '')}/{path.name}"


# Requests: which lines belong to which level, and when.


def read_levels(folder: Path, notes: Notes) -> list[Level]:
    """The levels that one folder's files tell of, in order of time."""
    concurrency = int(folder.name[len("test_results_") :])
    groups = split_by_number(read_lines(folder / "request_summary.csv", notes), concurrency, notes)
    ends = read_lines(folder / "duration_metrics.csv", notes)
    levels = []
    for end, group in pair(ends, groups, notes):
        last_s = max((line["TTFB"] + line["ResponseDuration"] for line in group), default=0)
        levels.append(Level(concurrency, end["Timestamp"] - last_s, end["Timestamp"], group))
    return levels


def split_by_number(
    lines: list[tuple[str, dict]], concurrency: int, notes: Notes
) -> list[list[dict]]:
    """Each start of the tool numbers its requests anew: a number seen before begins the next."""
    groups: list[list[dict]] = []
    seen: set[int] = set()
    for where, line in lines:
        if not 1 <= line["RequestID"] <= concurrency:
            notes.drop("request whose number is not of this level", where)
            continue
        if not groups or line["RequestID"] in seen or len(seen) == concurrency:
            groups.append([])
            seen = set()
        seen.add(line["RequestID"])
        groups[-1].append(line)
    return groups


def pair(
    ends: list[tuple[str, dict]], groups: list[list[dict]], notes: Notes
) -> list[tuple[dict, list[dict]]]:
    """Put each line of duration_metrics.csv to its requests: in order, by MaxDuration when some are missing."""
    if len(ends) == len(groups):
        return [(end, group) for (_, end), group in zip(ends, groups)]
    pairs, rest = [], list(groups)
    for where, end in ends:
        same = [
            group for group in rest if abs(longest_s(group) - end["MaxDuration"]) <= SAME_DURATION_S
        ]
        if same:
            pairs.append((end, same[0]))
            rest.remove(same[0])
        else:
            notes.drop("level without its requests", where)
    for group in rest:
        notes.drop(
            "requests of unknown time: no line in duration_metrics.csv", f"{len(group)} requests"
        )
    return pairs


def longest_s(group: list[dict]) -> float:
    return max(line["ResponseDuration"] for line in group)


# Samples: each level keeps those that its own files hold of its own time.


def usage_says_nothing(lines: list[dict]) -> bool:
    """Is usage 100.00 in every line, idle ones included? The tool never parsed the idle residency."""
    return all(line["Usage%"] == 100 for line in lines) and any(
        line["Power(W)"] < IDLE_GPU_W for line in lines
    )


def give_samples(
    levels: list[Level], lines: list[tuple[str, dict]], usage_is_fiction: bool, notes: Notes
) -> None:
    """Hand GPU samples to the level they overlap; a sample reaches back to the one before."""
    before = None
    for where, line in sorted(lines, key=lambda item: item[1]["Timestamp"]):
        end = line["Timestamp"]
        if end == before:
            notes.drop("second GPU sample of the same second", where)
            continue
        start = (
            before
            if before is not None and end - before <= LONGEST_SAMPLE_S
            else end - NOMINAL_SAMPLE_S
        )
        before = end
        level = next(
            (level for level in levels if end > level.started_unix and start < level.ended_unix),
            None,
        )
        if level is None:
            notes.drop(
                "GPU sample outside its level: the sampler ran on after the level had ended", where
            )
            continue
        busy = (
            None if usage_is_fiction or line["Usage%"] is None else min(line["Usage%"] / 100, 1.0)
        )
        if usage_is_fiction:
            notes.drop(
                "GPU usage of 100 % stored as unknown: it reads 100.00 even below 0.1 W", where
            )
        level.samples.append((start, end, line["Power(W)"], line["Frequency(MHz)"], busy))


def give_looks(levels: list[Level], lines: list[tuple[str, dict]], notes: Notes) -> None:
    """Hand process samples to the level in whose time they fall, one a second."""
    for where, line in lines:
        at = line["Timestamp"]
        level = next(
            (level for level in levels if level.started_unix <= at <= level.ended_unix), None
        )
        if level is None:
            notes.drop("process sample outside its level", where)
            continue
        looks = level.looks.setdefault(line["PID"], {})
        if at in looks:  # two writers at once
            notes.drop("second process sample of the same second", where)
        else:
            looks[at] = line


# Runs.


def split_into_runs(levels: list[Level]) -> list[list[Level]]:
    """Levels in order of time; a run ends where concurrency falls or the pause is long."""
    runs: list[list[Level]] = []
    for level in levels:
        last = runs[-1][-1] if runs else None
        if (
            last
            and level.concurrency >= last.concurrency
            and level.started_unix - last.ended_unix <= LONGEST_PAUSE_S
        ):
            runs[-1].append(level)
        else:
            runs.append([level])
    return runs


def import_key(model: str, run: list[Level]) -> str:
    """The same for the same requests at the same time, wherever the tree lies."""
    said = [[level.concurrency, level.ended_unix, level.requests] for level in run]
    return f"{model} {hashlib.sha256(json.dumps(said).encode()).hexdigest()[:32]}"


def known_keys(path: str) -> set[str]:
    """The keys already in a results file; none when it does not exist yet."""
    if not Path(path).exists():
        return set()
    database = db.connect(path, readonly=True)
    try:
        return {
            row[0]
            for row in database.execute("SELECT import_key FROM run WHERE import_key IS NOT NULL")
        }
    finally:
        database.close()


# Storing.


def store(path: str, model: str, runs: list[tuple[list[Level], str]], notes: Notes) -> None:
    """Write new runs in one transaction: all of a model or nothing."""
    database = db.connect(path)
    database.execute("BEGIN IMMEDIATE")
    try:
        for run, key in runs:
            store_run(database, model, run, key, notes)
        database.execute("COMMIT")
    except BaseException:
        database.execute("ROLLBACK")
        raise
    finally:
        database.close()


def store_run(database, model: str, run: list[Level], key: str, notes: Notes) -> None:
    zero = run[0].started_unix
    run_id = insert(
        database,
        "run",
        {
            "label": f"{model} (imported)",
            "source": "import",
            "status": "finished",
            "started_unix": zero,
            "ended_ns": ns(max(level.ended_unix for level in run) - zero),
            "tool_version": TOOL_VERSION,
            "import_key": key,
            "arguments": json.dumps(
                {"model": model, "levels": [level.concurrency for level in run]}
            ),
        },
    )
    target_id = insert(
        database, "target", {"run_id": run_id, "host": "unknown", "api": "ollama", "model": model}
    )
    source_id = (
        insert(
            database,
            "power_source",
            {
                "run_id": run_id,
                "name": "powermetrics",
                "device": "gpu",
                "kind": "gauge",
                "status": "ok",
                "scope": "the GPU alone, as powermetrics estimates it; processor and memory are not in it",
                "samples": sum(len(level.samples) for level in run),
            },
        )
        if any(level.samples for level in run)
        else None
    )
    pids = sorted({pid for level in run for pid in level.looks})
    processes = {pid: insert(database, "process", {"run_id": run_id, "pid": pid}) for pid in pids}
    repeats: Counter[int] = Counter()
    for level in run:
        repeats[level.concurrency] += 1
        store_requests(database, run_id, target_id, model, level, repeats[level.concurrency], zero)
        store_samples(database, source_id, processes, level, zero)
    for text in notes.lines():
        insert(
            database,
            "event",
            {
                "run_id": run_id,
                "kind": "import_left_out",
                "detail": f"of all runs of {model}: {text}",
            },
        )


def store_requests(
    database, run_id: int, target_id: int, model: str, level: Level, repeat: int, zero: float
) -> None:
    sent = ns(level.started_unix - zero)
    level_id = insert(
        database,
        "level",
        {
            "run_id": run_id,
            "model": model,
            "concurrency": level.concurrency,
            "repeat": repeat,
            "status": "finished",
            "started_ns": sent,
            "ended_ns": ns(level.ended_unix - zero),
        },
    )
    for line in level.requests:
        insert(
            database,
            "request",
            {
                "level_id": level_id,
                "target_id": target_id,
                "number": line["RequestID"],
                "sent_ns": sent,
                **outcome(line, sent),
            },
        )


def outcome(line: dict, sent: int) -> dict:
    """How a request ended. The tool wrote zeros where it knew nothing: they become NULL."""
    said = {"http_status": line["StatusCode"]}
    if line["StatusCode"] != 200:
        return {
            **said,
            "status": "http_error",
            "error": f"status {line['StatusCode']}, noted as {line['Status']}",
        }
    if line["TTFB"] == 0 and line["ResponseDuration"] == 0:
        return {**said, "status": "empty", "error": f"no duration, noted as {line['Status']}"}
    first = sent + ns(line["TTFB"])
    last = first + ns(line["ResponseDuration"])
    done = line["Status"] == "Completed"
    return {
        **said,
        "status": "completed" if done else "truncated",
        "error": None if done else f"noted as {line['Status']}",
        "first_text_ns": first,
        "last_text_ns": last,
        "ended_ns": last,
        "output_tokens": line["TokenCount"],
        "output_tokens_source": "words",
    }


def store_samples(
    database, source_id: int | None, processes: dict[int, int], level: Level, zero: float
) -> None:
    for start, end, watts, mhz, busy_ratio in level.samples:
        energy_j = watts * (end - start)
        insert(
            database,
            "power_sample",
            {
                "source_id": source_id,
                "start_ns": ns(start - zero),
                "end_ns": ns(end - zero),
                "energy_j": energy_j,
                "gpu_energy_j": energy_j,
                "gpu_busy_ratio": busy_ratio,
                "gpu_mhz": mhz,
            },
        )
    for pid, looks in level.looks.items():
        for line in looks.values():
            insert(
                database,
                "process_sample",
                {
                    "process_id": processes[pid],
                    "at_ns": ns(line["Timestamp"] - zero),
                    "cpu_ratio": line["CPU%"] / 100,
                    "memory_ratio": line["MEM%"] / 100,
                    "rss_bytes": line["RSS"] * 1024,
                    "vms_bytes": line["VSZ"] * 1024,
                    "threads": line["Threads"],
                    "fds": None if line["FDs"] is None else int(line["FDs"]),
                },
            )


def insert(database, table: str, row: dict) -> int:
    marks = ", ".join("?" * len(row))
    return database.execute(
        f"INSERT INTO [{table}] ({', '.join(row)}) VALUES ({marks})", list(row.values())
    ).lastrowid


def ns(seconds: float) -> int:
    return round(seconds * 1e9)


# Saying.


def print_report(model: str, runs: list[list[Level]], notes: Notes, known: list[bool]) -> None:
    say(
        f"{model}: read "
        + ", ".join(f"{count:,} lines of {name}" for name, count in sorted(notes.read.items()))
    )
    for run, old in zip(runs, known):
        requests = [line for level in run for line in level.requests]
        failed = sum(outcome(line, 0)["status"] != "completed" for line in requests)
        say(
            f"  run of {utc(run[0].started_unix)}{' (stored before)' if old else ''}: "
            f"levels {' '.join(str(level.concurrency) for level in run)}: {len(requests):,} requests, {failed:,} failed; "
            f"{sum(len(level.samples) for level in run):,} GPU samples, "
            f"{sum(len(looks) for level in run for looks in level.looks.values()):,} process samples"
        )
    for line in notes.lines():
        say(f"  left out: {line}")
    say("  tokens are the tool's count of words (output_tokens_source = 'words')")


def say(text: str) -> None:
    """Print within 79 columns, what runs over indented below."""
    print(
        textwrap.fill(
            visible(text),
            79,
            subsequent_indent="    ",
            break_on_hyphens=False,
            drop_whitespace=True,
        )
    )


def visible(text: str) -> str:
    """Text of a folder's name or a file made safe for a terminal and for SQLite."""
    return "".join(letter if letter.isprintable() else "·" for letter in text)


def utc(unix: float) -> str:
    return datetime.fromtimestamp(unix, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="import_csv.py",
        description="Read the CSV tree of the original Go tool into results.db.",
    )
    parser.add_argument(
        "dir",
        type=Path,
        metavar="DIR",
        help="folder that holds ollama/<model>/test_results_<level>/, or one below it",
    )
    parser.add_argument("--db", default="results.db", help="results file (default: results.db)")
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be stored, write nothing"
    )
    arguments = parser.parse_args(argv)
    standard.refuse_nul(parser, arguments)
    return arguments


if __name__ == "__main__":
    sys.exit(main())
