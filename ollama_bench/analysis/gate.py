"""Check conditions: each line that comes back fails the run."""

from __future__ import annotations

from collections.abc import Sequence

from ollama_bench.analysis.comparison import Change, Comparison, error_ratio
from ollama_bench.analysis.conditions import COLUMNS, Condition
from ollama_bench.analysis.study import Study
from ollama_bench.analysis.wording import digits
from ollama_bench.terminal.output import clean_line

TRUE_OF_A_SLEEP = {
    "slept_s",
    "client_limited",
    "client_paused_s",
}  # figures that a sleep leaves true


def check_values(
    studies: Sequence[Study], conditions: Sequence[Condition]
) -> list[str]:
    """Return a line for each level past a bound, and for each bound that cannot be checked."""
    lines = []
    for condition in conditions:
        column = COLUMNS.get(condition.metric, condition.metric)
        levels = [
            (study, level) for study in studies for level in study.levels
        ]
        known = [
            (study, level)
            for study, level in levels
            if level[column] is not None
        ]
        if not known:
            lines.append(f"cannot check {condition.text}: no level has it")
        else:
            lines += [
                f"cannot check {condition.text} at {level['concurrency']} at once: "
                "no request completed"
                for _, level in levels
                if level[column] is None and level["completed"] == 0
            ]
        if column not in TRUE_OF_A_SLEEP:
            lines += [
                f"cannot check {condition.text} at {level['concurrency']} at once: "
                "the machine slept"
                for _, level in known
                if level["slept_s"]
            ]
            known = [
                (study, level)
                for study, level in known
                if not level["slept_s"]
            ]
        lines += [
            f"failed: {condition.text} at {level['concurrency']} at once "
            f"of {clean_line(study.model)} ({digits(level[column])})"
            for study, level in known
            if condition.holds(level[column])
        ]
    return lines


def check_changes(
    found: Comparison, conditions: Sequence[Condition]
) -> list[str]:
    """Return a line for each change past a bound that is not noise, and for each dead level.

    A bound that cannot be checked fails, too.
    """
    return [
        line
        for condition in conditions
        for line in check_change(condition, found)
    ]


def check_change(condition: Condition, found: Comparison) -> list[str]:
    lines = []
    for n in found.dead:
        now = "none" if n in found.after else "not measured"
        lines.append(
            f"failed: {condition.text} at {n} at once: had replies, now {now}"
        )
    if condition.metric == "error_ratio":
        return lines + check_error_ratio(condition, found)
    return lines + check_metric(condition, found)


def check_metric(condition: Condition, found: Comparison) -> list[str]:
    """Return the changes past a bound: those that are more than noise, or whose noise is unknown.

    The latter count only if nothing tells the noise over all levels.
    """
    changes = [
        change
        for change in found.changes
        if change.metric == condition.metric
    ]
    changes = [change for change in changes if change.at not in found.dead]
    if not changes:
        return [] if found.dead else [on_no_level(condition)]
    lines = [
        f"failed: {condition.text} at {change.at} at once: had values, now none"
        for change in changes
        if change.verdict == "gone"
    ]
    past = [
        change
        for change in changes
        if change.log_ratio is not None and condition.holds(change.ratio)
    ]
    lines += [
        f"failed: {condition.text} {describe_place(change)} ({signed(change.ratio)})"
        for change in past
        if change.verdict == "changed"
    ]
    if not any(change.at is None for change in changes):
        lines += [
            f"cannot check {condition.text} {describe_place(change)} "
            f"({signed(change.ratio)}): noise unknown"
            for change in past
            if change.verdict == "unknown"
        ]
    return lines


def check_error_ratio(condition: Condition, found: Comparison) -> list[str]:
    """Return the levels whose error ratio rose or fell past a bound: a difference, not a ratio."""
    alive = [n for n in found.shared if n not in found.dead]
    known = []
    for n in alive:
        old, new = error_ratio(found.before[n]), error_ratio(found.after[n])
        if old is not None and new is not None:
            known.append((n, old, new))
    if not known:
        return [] if found.dead else [on_no_level(condition)]
    return [
        f"failed: {condition.text} at {n} at once ({digits(old)} to {digits(new)})"
        for n, old, new in known
        if condition.holds(new - old)
    ]


def on_no_level(condition: Condition) -> str:
    return f"cannot check {condition.text}: no level has it on both sides"


def describe_place(change: Change) -> str:
    return (
        "over all levels"
        if change.at is None
        else f"at {change.at} at once"
    )


def signed(ratio: float) -> str:
    """Write a change in per cent."""
    if ratio >= 10:
        return ">+999%"
    return f"{ratio:+.1%}" if abs(ratio) < 1 else f"{ratio:+.0%}"
