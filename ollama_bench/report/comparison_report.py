"""Compare two sides and print it on the terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from sqlite_utils import Database

from ollama_bench.analysis import (
    comparability,
    comparison,
    gate,
    run_lookup,
)
from ollama_bench.analysis.change_noise import LEVEL_RATIO
from ollama_bench.analysis.comparability import Difference
from ollama_bench.analysis.comparison import (
    ALIKE_RATIO,
    Change,
    Comparison,
    failed_share,
)
from ollama_bench.analysis.conditions import COMPARED, Condition
from ollama_bench.analysis.crowd import RATE, name_count, name_places, noun
from ollama_bench.analysis.gate import signed
from ollama_bench.analysis.study import Study
from ollama_bench.analysis.wording import digits, join, name_run, percent
from ollama_bench.storage.results_file import ResultsError
from ollama_bench.terminal.command_line import name_program
from ollama_bench.terminal.output import clean, shorten

HEADING = (
    "  what            before    after   change  interval         verdict"
)
LINE_CELLS = 79
MOST_RUNS_NAMED = 5


def compare(
    database: Database,
    a: str,
    b: str,
    models: Sequence[str],
    conditions: Sequence[Condition],
) -> list[gate.Line]:
    """Print every change from A to B; return what is said of the conditions.

    A and B are run numbers, labels or models. Raises ResultsError if there is nothing to compare.
    """
    sides = [
        run_lookup.find_side(database, name, models) for name in (a, b)
    ]
    pairs = run_lookup.pair_lengths(*sides)
    for before, after in pairs:
        refuse_same_runs(before, after)
    pairs = [pair for pair in pairs if shares_level(*pair)]
    if not pairs:
        raise ResultsError(
            f"{a} and {b} share no level: nothing to compare"
        )
    asked = {
        condition.metric: condition.below
        for condition in conditions
        if condition.is_change
    }
    differences = [
        comparability.find_differences(database, *pair) for pair in pairs
    ]
    found = [
        comparison.find_changes(
            *pair,
            asked,
            comparability.reasons_by_level(unlike),
            run_lookup.find_history(database, *pair),
        )
        for pair, unlike in zip(pairs, differences, strict=True)
    ]
    comparison.judge_together(found, asked)
    lines = []
    for pair, unlike, one in zip(pairs, differences, found, strict=True):
        print_comparison(*pair, unlike, one)
        lengths = pair[0].prompts or pair[1].prompts
        lines += gate.say_where(
            gate.check_changes(one, conditions), lengths
        )
    return lines + check_unpaired(sides, pairs, conditions)


def shares_level(before: Study, after: Study) -> bool:
    return bool(set(before.by_size()) & set(after.by_size()))


def check_unpaired(
    sides: Sequence[Sequence[Study]],
    pairs: Sequence[tuple[Study, Study]],
    conditions: Sequence[Condition],
) -> list[gate.Line]:
    """Print the lengths that one side lacks; return that those gone fail each condition."""
    lines = []
    for word, side, place in (
        ("before", sides[0], 0),
        ("after", sides[1], 1),
    ):
        for study in side:
            if any(study is pair[place] for pair in pairs):
                continue
            lengths = study.prompts or "its prompts' length"
            print_wrapped(f"only {word}: {lengths}")
            if word == "before":
                lines += [
                    gate.Line(
                        gate.FAILED,
                        f"failed: {condition.text}: not measured now, {lengths}",
                    )
                    for condition in conditions
                ]
    return lines


def refuse_same_runs(before: Study, after: Study) -> None:
    """Raise ResultsError where a run would be compared with itself."""
    sides = [
        {run["run_id"] for run in study.runs} for study in (before, after)
    ]
    shared = [str(run) for run in sorted(sides[0] & sides[1])]
    if shared and before.model == after.model:
        word = "run" if len(shared) == 1 else "runs"
        named = shorten(join(shared))
        raise ResultsError(
            f"invalid --compare: both sides have {word} {named}"
        )


def print_comparison(
    before: Study,
    after: Study,
    differences: Sequence[Difference],
    found: Comparison,
) -> None:
    """Print what is compared, what speaks against it, and every change."""
    print_wrapped(f"before  {describe_study(before)}")
    print_wrapped(f"after   {describe_study(after)}")
    for text in describe_shed_load(found):
        print_wrapped(f"! {text}")
    for difference in differences:
        print_wrapped(f"! {difference.text}")
    crowd = noun(found.rows)
    size = "rate/s" if crowd == RATE else crowd
    print(f"\n{size:>7}{HEADING}")
    for n in [*found.shared, None]:
        for line in lines_at(n, found):
            print(line)
    print_unshared(found)
    print_conclusion(found)


def describe_shed_load(found: Comparison) -> list[str]:
    """Return where fewer of the requests were answered than before."""
    return [
        f"{percent(new.ratio)} of the requests {name_places(n, found.rows)} failed after, "
        f"{percent(old.ratio)} before: waits and speeds are those of the rest"
        for n, (old, new) in comparison.shed_load(found).items()
    ]


def print_conclusion(found: Comparison) -> None:
    """Print what the changes amount to, and what would show more."""
    judged = [change for change in found.changes if change.noise]
    if not judged:
        print("\nNothing is alike on both sides: no change can be told.")
        return
    whole = [change for change in judged if change.at is None] or judged
    first = next(
        (
            change
            for change in whole
            if change.metric == "output_tokens_per_s"
        ),
        whole[0],
    )
    text = describe_noise(first)
    if not any(change.verdict == "changed" for change in judged):
        text = f"No difference shown. {text}"
    if any(change.verdict == "cannot tell" for change in judged):
        text += f" {describe_need(first)}"
    print()
    print(textwrap.fill(text, LINE_CELLS))


def describe_noise(change: Change) -> str:
    """Say what is taken for chance."""
    if change.noise is None:
        return ""
    old, new = change.noise.runs
    ratio = percent(change.noise.run_ratio)
    sides = "two runs" if old == new == 1 else f"{old} and {new} runs"
    what = COMPARED[change.metric]
    if change.noise.known_by == "runs":
        return (
            f"Between {sides}: {what} varies by {ratio} from run to run."
        )
    if change.noise.known_by == "history":
        return (
            f"Between {sides}: earlier runs of this machine vary by {ratio} "
            f"({what})."
        )
    return (
        f"Between {sides}: how much runs vary here is not known, {ratio} is "
        f"assumed, and {percent(LEVEL_RATIO)} or more for a level measured once."
    )


def describe_need(change: Change) -> str:
    """Say how many runs a side would show a change of 10 %."""
    what, size = COMPARED[change.metric], percent(ALIKE_RATIO)
    count = comparison.runs_needed(change)
    if count is None:
        return f"Not even {comparison.MOST_RUNS} runs a side would show {size} in '{what}'."
    return (
        f"{count} runs a side would show {size} in '{what}' over all levels "
        f"({name_program('bench')} --label A ..., --label B ...). "
        "'seen from' is the least change that would have shown in 4 of 5 cases."
    )


def describe_study(study: Study) -> str:
    runs = [
        f"run {shorten(name_run(run))}"
        for run in study.runs[:MOST_RUNS_NAMED]
    ]
    if len(study.runs) > MOST_RUNS_NAMED:
        runs.append(f"{len(study.runs) - MOST_RUNS_NAMED} more")
    return f"{study.name}: {', '.join(runs)}"


def lines_at(n: int | None, found: Comparison) -> list[str]:
    """Return the lines of a level, or of all levels for None."""
    lines = [] if n is None else failure_lines(n, found)
    return lines + [
        change_line(change) for change in found.changes if change.at == n
    ]


def failure_lines(n: int, found: Comparison) -> list[str]:
    """Return a line with how many requests failed at a level, of how many; none if none did."""
    sides = [
        failed_share(levels)
        for levels in (found.before.get(n, []), found.after.get(n, []))
    ]
    if not any(share and share.hits for share in sides):
        return []
    old, new = (
        f"{share.hits}/{share.of}" if share else "0/0" for share in sides
    )
    return [f"{n:>7}  {'failed':<13} {old:>8} {new:>8}"]


def change_line(change: Change) -> str:
    place, before, after = "all", "", ""
    if change.at is not None:
        place, before, after = (
            str(change.at),
            digits(change.before),
            digits(change.after),
        )
    ratio = "" if change.log_ratio is None else signed(change.ratio)
    interval = ""
    if change.verdict == "cannot tell" and change.least_seen is not None:
        interval = f"seen from {whole(change.least_seen)}"
    elif change.interval is not None:
        interval = " to ".join(map(signed, change.interval))
    what = COMPARED[change.metric]
    figures = f"{before:>8} {after:>8} {ratio:>8}  {interval:<16}"
    return f"{place:>7}  {what:<13} {figures} {change.verdict}"


def whole(ratio: float) -> str:
    """Write a change in whole per cent."""
    return f"{ratio:+.0%}" if ratio < 10 else signed(ratio)


def print_unshared(found: Comparison) -> None:
    for word, own, other in (
        ("before", found.before, found.after),
        ("after", found.after, found.before),
    ):
        if only := sorted(set(own) - set(other)):
            print_wrapped(
                f"only {word}: {name_count(', '.join(map(str, only)), found.rows)}"
            )


def print_wrapped(text: str) -> None:
    print(
        textwrap.fill(clean(text), LINE_CELLS, subsequent_indent="     ")
    )
