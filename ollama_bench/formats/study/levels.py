"""What the lines of a tree say: levels with their requests and samples, and runs of levels.

The original tool appended one start after the other to the same files and gave its requests no
time. What can be known follows from this:
  * a line of duration_metrics.csv is a level, its Timestamp (whole seconds) the end;
  * all requests of a level were sent together, TTFB later came the first token, and
    ResponseDuration (TotalDuration is the same number) after that the last one, so the start
    is the end less the longest TTFB + ResponseDuration;
  * levels of a model that follow each other upwards without a long pause are one run.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from ollama_bench.formats.study.columns import (
    GpuLine,
    LevelLine,
    ProcessLine,
    RequestLine,
)
from ollama_bench.formats.study.tree import (
    LEVEL_PREFIX,
    Line,
    Notes,
    read_gpu_lines,
    read_level_lines,
    read_process_lines,
    read_request_lines,
)

# the tool paused 10 s between levels; a level deleted later leaves 2 min
LONGEST_PAUSE_S = 300
NOMINAL_SAMPLE_S = 1.0  # it asked powermetrics for a sample a second ...
# ... and got one every 1.4 s: a longer gap is a hole, not a sample
LONGEST_SAMPLE_S = 3.0
# a GPU that takes less is not busy, whatever its usage column says
IDLE_GPU_W = 0.1
# durations of three decimals are the same within this
SAME_DURATION_S = 0.0015

ALWAYS_BUSY = "GPU usage of 100 % stored as unknown: it reads 100.00 even below 0.1 W"
REPEATED = (
    "level that another folder holds too, with as many samples or more"
)
GPU_OUTSIDE = "GPU sample outside its level: the sampler ran on after the level had ended"
NO_TIME = "requests of unknown time: no line in duration_metrics.csv"


@dataclass(frozen=True)
class PowerSample:
    """Power of the GPU over a window; instants in seconds since 1970."""

    start_unix: float
    end_unix: float
    watts: float
    mhz: float | None
    busy_ratio: float | None


@dataclass
class Level:
    """One level as the files tell it; instants in seconds since 1970."""

    concurrency: int
    started_unix: float
    ended_unix: float
    requests: list[RequestLine]
    power_samples: list[PowerSample] = field(default_factory=list)
    # pid: what was seen of the process at each second
    process_samples: dict[int, dict[float, ProcessLine]] = field(
        default_factory=dict
    )


def read_model(folders: list[Path], notes: Notes) -> list[Level]:
    """Read every level of a model in order of time, with the samples of its own window."""
    levels: list[Level] = []
    gpu_lines = {
        folder: read_gpu_lines(folder, notes) for folder in folders
    }
    all_gpu = [
        line.values for lines in gpu_lines.values() for line in lines
    ]
    is_always_busy = usage_is_constant(all_gpu)
    for folder in folders:
        here = read_levels(folder, notes)
        assign_power_samples(
            here, gpu_lines[folder], is_always_busy, notes
        )
        for lines in read_process_lines(folder, notes):
            assign_process_samples(here, lines, notes)
        levels += here
    levels = drop_repeated(levels, notes)
    return sorted(levels, key=lambda level: level.started_unix)


def drop_repeated(levels: list[Level], notes: Notes) -> list[Level]:
    """Keep each level once, the one with most samples: copies of a folder may differ in these."""
    kept: dict[str, Level] = {}
    for level in sorted(levels, key=count_samples, reverse=True):
        key = json.dumps(list_identity(level))
        if key in kept:
            notes.leave_out(REPEATED, f"level {level.concurrency}")
        else:
            kept[key] = level
    return list(kept.values())


def count_samples(level: Level) -> int:
    processes = sum(map(len, level.process_samples.values()))
    return len(level.power_samples) + processes


def list_identity(level: Level) -> list[object]:
    """Return what tells a level from any other: its requests and when they ended."""
    return [level.concurrency, level.ended_unix, level.requests]


# Requests: which lines belong to which level, and when.


def read_levels(folder: Path, notes: Notes) -> list[Level]:
    """Read the levels of one folder in order of time."""
    concurrency = int(folder.name[len(LEVEL_PREFIX) :])
    lines = read_request_lines(folder, notes)
    groups = split_by_number(lines, concurrency, notes)
    levels = []
    for end, group in pair_ends(
        read_level_lines(folder, notes), groups, notes
    ):
        waits = [line["TTFB"] + line["ResponseDuration"] for line in group]
        started_unix = end["Timestamp"] - max(waits, default=0)
        levels.append(
            Level(concurrency, started_unix, end["Timestamp"], group)
        )
    return levels


def split_by_number(
    lines: list[Line[RequestLine]], concurrency: int, notes: Notes
) -> list[list[RequestLine]]:
    """Split requests by starts of the tool: a number that was seen before begins the next."""
    groups: list[list[RequestLine]] = []
    seen: set[int] = set()
    for line in lines:
        number = line.values["RequestID"]
        if not 1 <= number <= concurrency:
            notes.leave_out(
                "request whose number is not of this level", line.where
            )
            continue
        if not groups or number in seen or len(seen) == concurrency:
            groups.append([])
            seen = set()
        seen.add(number)
        groups[-1].append(line.values)
    return groups


def pair_ends(
    ends: list[Line[LevelLine]],
    groups: list[list[RequestLine]],
    notes: Notes,
) -> list[tuple[LevelLine, list[RequestLine]]]:
    """Pair the end of each level with its requests; by MaxDuration if some are missing."""
    if len(ends) == len(groups):
        return [
            (end.values, group)
            for end, group in zip(ends, groups, strict=True)
        ]
    pairs, rest = [], list(groups)
    for end in ends:
        longest_s = end.values["MaxDuration"]
        same = [
            group
            for group in rest
            if is_same_duration(find_longest(group), longest_s)
        ]
        if same:
            pairs.append((end.values, same[0]))
            rest.remove(same[0])
        else:
            notes.leave_out("level without its requests", end.where)
    for group in rest:
        notes.leave_out(NO_TIME, f"{len(group)} requests")
    return pairs


def find_longest(group: list[RequestLine]) -> float:
    return max(line["ResponseDuration"] for line in group)


def is_same_duration(one_s: float, other_s: float) -> bool:
    return abs(one_s - other_s) <= SAME_DURATION_S


# Samples: each level keeps those that its own files hold of its own time.


def usage_is_constant(lines: list[GpuLine]) -> bool:
    """Whether usage is 100.00 in every line, idle ones included: the tool never parsed it."""
    is_full = all(line["Usage%"] == 100 for line in lines)
    return is_full and any(line["Power(W)"] < IDLE_GPU_W for line in lines)


def assign_power_samples(
    levels: list[Level],
    lines: list[Line[GpuLine]],
    is_always_busy: bool,
    notes: Notes,
) -> None:
    """Give GPU samples to the level they overlap; a sample reaches back to the one before."""
    before: float | None = None
    for line in sorted(lines, key=lambda line: line.values["Timestamp"]):
        values = line.values
        end = values["Timestamp"]
        if end == before:
            notes.leave_out(
                "second GPU sample of the same second", line.where
            )
            continue
        start = end - NOMINAL_SAMPLE_S
        if before is not None and end - before <= LONGEST_SAMPLE_S:
            start = before
        before = end
        level = find_overlapping(levels, start, end)
        if level is None:
            notes.leave_out(GPU_OUTSIDE, line.where)
            continue
        usage = values["Usage%"]
        if is_always_busy:
            notes.leave_out(ALWAYS_BUSY, line.where)
            usage = None
        busy_ratio = None if usage is None else min(usage / 100, 1.0)
        sample = PowerSample(
            start,
            end,
            values["Power(W)"],
            values["Frequency(MHz)"],
            busy_ratio,
        )
        level.power_samples.append(sample)


def find_overlapping(
    levels: list[Level], start: float, end: float
) -> Level | None:
    for level in levels:
        if end > level.started_unix and start < level.ended_unix:
            return level
    return None


def assign_process_samples(
    levels: list[Level], lines: list[Line[ProcessLine]], notes: Notes
) -> None:
    """Give process samples to the level in whose time they fall, one per instant."""
    for line in lines:
        at = line.values["Timestamp"]
        level = find_containing(levels, at)
        if level is None:
            notes.leave_out("process sample outside its level", line.where)
            continue
        samples = level.process_samples.setdefault(line.values["PID"], {})
        if at in samples:  # two writers at once
            notes.leave_out(
                "second process sample of the same second", line.where
            )
        else:
            samples[at] = line.values


def find_containing(levels: list[Level], at: float) -> Level | None:
    for level in levels:
        if level.started_unix <= at <= level.ended_unix:
            return level
    return None


# Runs.


def split_into_runs(levels: list[Level]) -> list[list[Level]]:
    """Split levels in order of time; a run ends where concurrency falls or the pause is long."""
    runs: list[list[Level]] = []
    for level in levels:
        if runs and follows(runs[-1][-1], level):
            runs[-1].append(level)
        else:
            runs.append([level])
    return runs


def follows(last: Level, level: Level) -> bool:
    pause_s = level.started_unix - last.ended_unix
    return (
        level.concurrency >= last.concurrency
        and pause_s <= LONGEST_PAUSE_S
    )


def make_import_key(model: str, run: list[Level]) -> str:
    """Return the same key for the same requests at the same time, wherever the tree is."""
    said = [list_identity(level) for level in run]
    return f"{model} {hashlib.sha256(json.dumps(said).encode()).hexdigest()[:32]}"
