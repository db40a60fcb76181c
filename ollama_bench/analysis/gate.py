"""Check conditions: each line that comes back fails the run, or says why nobody can tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ollama_bench.analysis.comparison import (
    ALIKE_RATIO,
    FALSE_ALARM_RATIO,
    WORTH_RATIO,
    Change,
    Comparison,
    known_shares,
    shed_load,
)
from ollama_bench.analysis.conditions import COLUMNS, Condition
from ollama_bench.analysis.crowd import name_place, name_places
from ollama_bench.analysis.study import P95_FLOOR, P99_FLOOR, Row, Study
from ollama_bench.analysis.wording import digits, percent
from ollama_bench.statistics.multiplicity import holm
from ollama_bench.statistics.proportions import (
    Share,
    difference_interval,
    fisher_p,
    least_shown,
    one_sided_p,
)

# exit codes; 2 is a wrong command line
PASSED, FAILED, CANNOT_TELL = 0, 1, 3
TRUE_OF_A_SLEEP = {
    "slept_s",
    "client_limited",
    "client_paused_s",
}  # figures that a sleep leaves true
# NULL with so many ended requests: the failures, which are infinite
INFINITE_FROM = {
    "ttft_p95_with_errors_s": P95_FLOOR,
    "ttft_p99_with_errors_s": P99_FLOOR,
}
# more failures than chance gives once in 1,000 equal sides
SHED_ALPHA = 0.001
# a rise that chance gives more often on equal sides is no sign of one
SIGN_ALPHA = 0.25
# of the requests: so many more that fail may not pass, chance or not
MUCH_SHED_RATIO = 0.25


class Line(NamedTuple):
    """What is said of a condition, and the exit code that it asks for."""

    code: int
    text: str


def exit_code(lines: Sequence[Line]) -> int:
    """Return 1 if a condition failed, 3 if nobody can tell of one, else 0."""
    return min(
        (line.code for line in lines if line.code != PASSED),
        default=PASSED,
    )


def check_values(
    studies: Sequence[Study], conditions: Sequence[Condition]
) -> list[Line]:
    """Return a line for each level past a bound, and for each that cannot be checked."""
    return [
        line
        for condition in conditions
        for line in check_value(condition, studies)
    ]


def check_value(
    condition: Condition, studies: Sequence[Study]
) -> list[Line]:
    levels = [
        (study, level) for study in studies for level in study.levels
    ]
    column = COLUMNS.get(condition.metric, condition.metric)
    if all(
        value_of(level, column) is None and level["completed"]
        for _, level in levels
    ):
        text = f"cannot check {condition.text}: no level has it"
        return [Line(CANNOT_TELL, text)]
    lines = []
    for study, level in levels:
        value = value_of(level, column)
        place = f"{condition.text} {name_place([level])}"
        whose = f" of {study.name}"
        if study.prompts:
            place, whose = place + whose, ""
        if value is None and level["completed"] == 0:
            text = f"failed: {place}: no request completed"
            lines.append(Line(FAILED, text))
        elif doubt := doubt_of(level, column):
            lines.append(
                Line(CANNOT_TELL, f"cannot check {place}: {doubt}")
            )
        elif value is not None and condition.holds(value):
            shown = "infinite" if value == float("inf") else digits(value)
            text = f"failed: {place}{whose} ({shown})"
            lines.append(Line(FAILED, text))
    return lines


def value_of(level: Row, column: str) -> float | None:
    """Return a figure of a level; infinite where failures are counted as that."""
    value: float | None = level[column]
    floor = INFINITE_FROM.get(column)
    if value is None and floor:
        is_enough = level["completed"] + level["errors"] >= floor
        return float("inf") if is_enough else None
    return value


def doubt_of(level: Row, column: str) -> str:
    """Return why a level cannot be held to a bound; "" if it can."""
    if level["slept_s"] and column not in TRUE_OF_A_SLEEP:
        return "the machine slept"
    if level["status"] != "finished":
        return "it was interrupted"
    return "" if value_of(level, column) is not None else "not known"


def check_changes(
    found: Comparison, conditions: Sequence[Condition]
) -> list[Line]:
    """Return a line for each change past a bound, each dead level and all that cannot be checked.

    A change past a bound fails if it is more than chance; else nobody can tell.
    """
    return [
        line
        for condition in conditions
        for line in check_change(condition, found)
    ]


def say_where(lines: Sequence[Line], place: str) -> list[Line]:
    """Return the lines with what they are about, where that is not the only thing compared."""
    end = f", {place}" if place else ""
    return [Line(line.code, f"{line.text}{end}") for line in lines]


def check_change(condition: Condition, found: Comparison) -> list[Line]:
    lines = []
    for n in found.dead:
        now = "none" if n in found.after else "not measured"
        text = f"{condition.text} {name_places(n, found.rows)}: had replies, now {now}"
        lines.append(Line(FAILED, f"failed: {text}"))
    for n in sorted(found.unfinished - set(found.shared)):
        text = (
            f"{condition.text} {name_places(n, found.rows)}: "
            "it has not come to its end"
        )
        lines.append(Line(CANNOT_TELL, f"cannot check {text}"))
    lines += check_likeness(condition, found)
    if condition.metric == "error_ratio":
        return lines + check_error_ratio(condition, found)
    return (
        lines
        + check_shed_load(condition, found)
        + check_metric(condition, found)
    )


def check_likeness(condition: Condition, found: Comparison) -> list[Line]:
    """Return a line for each reason why some levels are not two measurements of one thing."""
    places: dict[str, list[int]] = {}
    for n in found.shared:
        for reason in found.unlike.get(n, ()):
            places.setdefault(reason, []).append(n)
    return [
        Line(
            CANNOT_TELL,
            f"cannot check {condition.text} "
            f"{name_places(levels, found.rows)}: {reason}",
        )
        for reason, levels in places.items()
    ]


def check_shed_load(condition: Condition, found: Comparison) -> list[Line]:
    """Return the levels that answer fewer now: what the rest got says nothing of the lost ones."""
    lines = []
    count = len(known_shares(found)) * found.reports
    for n, (old, new) in shed_load(found).items():
        place = f"{condition.text} {name_places(n, found.rows)}"
        why = (
            f"{percent(new.ratio)} of the requests failed, "
            f"before {percent(old.ratio)}"
        )
        if fisher_p(old, new) <= SHED_ALPHA / count:
            lines.append(Line(FAILED, f"failed: {place}: {why}"))
        elif (
            new.ratio - old.ratio >= MUCH_SHED_RATIO
            or one_sided_p(old, new) < SIGN_ALPHA
        ):
            lines.append(Line(CANNOT_TELL, f"cannot check {place}: {why}"))
    return lines


def check_metric(condition: Condition, found: Comparison) -> list[Line]:
    changes = [
        change
        for change in found.changes
        if change.metric == condition.metric
        and change.at not in found.dead
        and not change.is_unlike
    ]
    if not changes:
        is_said = (
            found.dead or found.unfinished or any(found.unlike.values())
        )
        return [] if is_said else [on_no_level(condition)]
    lines = []
    for change in changes:
        place = f"{condition.text} {describe_place(change.at, found)}"
        if change.verdict == "gone":
            text = f"failed: {place}: had values, now none"
            lines.append(Line(FAILED, text))
        elif is_past(condition, change):
            lines.append(describe_past(change, place))
    return lines


def is_past(condition: Condition, change: Change) -> bool:
    return abs(change.ratio) >= WORTH_RATIO and condition.holds(
        change.ratio
    )


def describe_past(change: Change, place: str) -> Line:
    ratio = signed(change.ratio)
    if change.verdict == "changed":
        return Line(FAILED, f"failed: {place} ({ratio})")
    text = f"cannot check {place} ({ratio}): may be chance"
    if change.least_seen is not None:
        text += f", a change is seen from {signed(change.least_seen)}"
    return Line(CANNOT_TELL, text)


def check_error_ratio(
    condition: Condition, found: Comparison
) -> list[Line]:
    """Return where the share of failures moved past a bound: a difference, not a ratio.

    It fails if Fisher's test shows a difference. If it does not, nobody can tell where there is a
    sign of one and the 95 % interval of the difference (Newcombe) reaches more than 10 points past
    the bound. Else it passes, and what so few requests would have shown is said.
    """
    shares: dict[int | None, tuple[Share, Share]] = dict(
        known_shares(found).items()
    )
    if not shares:
        return [] if found.dead else [on_no_level(condition)]
    if len(shares) > 1:
        shares[None] = sum_shares(shares)
    p_values = [fisher_p(old, new) for old, new in shares.values()]
    budget = FALSE_ALARM_RATIO / found.reports
    levels = holm(p_values, budget)
    strictest = budget / len(shares)
    lines = []
    for (n, (old, new)), p, level in zip(
        shares.items(), p_values, levels, strict=True
    ):
        if not condition.holds(new.ratio - old.ratio):
            continue
        place = describe_place(n, found)
        text = f"{condition.text} {place} ({digits(old.ratio)} to {digits(new.ratio)})"
        if p < level:
            lines.append(Line(FAILED, f"failed: {text}"))
            continue
        shown = describe_shown(old, new, strictest)
        if is_sign(condition, old, new) and is_wide(condition, old, new):
            text = f"cannot check {text}: may be chance{shown}"
            lines.append(Line(CANNOT_TELL, text))
        else:
            text = f"passed: {text}: no more than chance gives{shown}"
            lines.append(Line(PASSED, text))
    return lines


def is_sign(condition: Condition, old: Share, new: Share) -> bool:
    """Tell whether a change is rarer by chance; where none is past the bound too, it always is."""
    return (
        condition.holds(0.0)
        or new.ratio != old.ratio
        and one_sided_p(old, new) < SIGN_ALPHA
    )


def describe_shown(old: Share, new: Share, alpha: float) -> str:
    """Say how many failures a rise would have taken; "" where fewer fail now."""
    if new.ratio <= old.ratio:
        return ""
    fewest = least_shown(old, new.of, alpha)
    if fewest is None:
        return f", {new.of} requests are too few to show a rise"
    return f", a rise is shown from {fewest} of {new.of} on"


def is_wide(condition: Condition, old: Share, new: Share) -> bool:
    low, high = difference_interval(old, new)
    if condition.below:
        return low < condition.limit - ALIKE_RATIO
    return high > condition.limit + ALIKE_RATIO


def sum_shares(
    shares: Mapping[int | None, tuple[Share, Share]],
) -> tuple[Share, Share]:
    sides = zip(*shares.values(), strict=True)
    old, new = (
        Share(sum(one.hits for one in side), sum(one.of for one in side))
        for side in sides
    )
    return old, new


def on_no_level(condition: Condition) -> Line:
    text = f"cannot check {condition.text}: no level has it on both sides"
    return Line(CANNOT_TELL, text)


def describe_place(n: int | None, found: Comparison) -> str:
    return "over all levels" if n is None else name_places(n, found.rows)


def signed(ratio: float) -> str:
    """Write a change in per cent."""
    if ratio >= 10:
        return ">+999%"
    return f"{ratio:+.1%}" if abs(ratio) < 1 else f"{ratio:+.0%}"
