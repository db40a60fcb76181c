"""compare.py - what changed between two runs, and what of it is more than noise.

    analyze.py --compare 6 7                      run numbers, labels or model names
    analyze.py qwen3:8b --compare 6 7             one model of runs with several
    analyze.py --compare old new --fail-if 'ttft>10%' --fail-if 'error_ratio>0.01'

The requests of one burst share the state of the machine, so a level counts as one value, however
many requests it has. Noise is judged from the repeats of a level (bench.py --repeat 3), or, where
there are none, from how well the levels agree with each other.
"""
from __future__ import annotations

import argparse
import math
import re
import textwrap
from dataclasses import dataclass, replace
from statistics import NormalDist, fmean, geometric_mean, variance
from typing import Collection

import db
import selection
import standard
from selection import Study
from verdict import digits

FALSE_ALARM_RATIO = 0.05  # of comparisons of two equal runs may find any change
FEWEST = 3                # repeats of a level, or levels, whose spread says something
WORTH_RATIO = 0.01        # a smaller change is not worth a word, however sure
WORTH_ONCE_RATIO = 0.03   # the same without repeats: a warmer machine moves all levels of a run together
MOST_LOG = 700.0          # exp() of more is no number
ALMOST_NORMAL = 1000      # degrees of freedom from which Student's t is the normal distribution

COLUMNS = {"ttft": "ttft_mean_s", "tokens_per_s": "tokens_per_s_mean", "e2e": "e2e_mean_s", "error_ratio": "error_ratio",
           "output_tokens_per_s": "output_tokens_per_s", "joules_per_token": "joules_per_output_token",
           "gpu_joules_per_token": "gpu_joules_per_output_token"}
FIGURES = frozenset("""requests in_flight completed errors error_ratio ttft_mean_s ttft_p50_s ttft_p95_s ttft_p99_s ttft_max_s ttfat_mean_s
ttft_p95_with_errors_s ttft_p99_with_errors_s tokens_per_s_mean tokens_per_s_p50 tokens_per_s_min tpot_mean_s itl_mean_s itl_p50_s itl_p95_s itl_p99_s
itl_max_s itl_chunks e2e_mean_s e2e_p50_s e2e_p95_s e2e_p99_s e2e_max_s output_tokens prompt_tokens chunks output_tokens_per_s requests_per_s duration_s
peak_streaming good_requests good_ratio goodput_per_s ttft_mean_low_s ttft_mean_high_s tokens_per_s_mean_low tokens_per_s_mean_high client_send_skew_s
client_send_lag_p50_s client_send_lag_p99_s client_send_lag_max_s client_paused_s slept_s client_held_s client_digest_lag_max_s in_flight_mean client_read_lag_p99_s client_stall_p99_s client_cpu_ratio client_limited rate_per_s pool_waits never_sent coverage_ratio energy_j idle_w
joules_per_output_token net_joules_per_output_token output_tokens_per_joule mean_w max_w mean_gpu_mhz mean_gpu_busy_ratio
gpu_energy_j gpu_power_w gpu_joules_per_output_token on_battery low_power_mode""".split())  # of a level; a bound may name them
SHOWN = {"ttft": "wait (s)", "tokens_per_s": "tokens/s each", "output_tokens_per_s": "tokens/s all", "joules_per_token": "J/token",
         "gpu_joules_per_token": "GPU J/token"}
CONDITIONS = {"on_battery": ("on mains", "on battery"),  # columns of a level: 0 and 1 in words
              "low_power_mode": ("without low power mode", "in low power mode")}
OF_A_SLEEP = {"slept_s", "client_limited", "client_paused_s"}  # figures of a level that a sleep leaves true
LOADS = {"burst": "bursts", "closed": "closed loops", "open": "open loops"}
COUNTED = {"server": "tokens", "chunks": "chunks", "words": "words"}  # output_tokens_source


@dataclass
class Condition:
    """A bound that fails the run: a metric below or above a value, or a change in per cent."""
    metric: str
    below: bool
    limit: float
    is_change: bool
    text: str
    or_equal: bool = False

    def holds(self, value: float) -> bool:
        return self.or_equal and value == self.limit or (value < self.limit if self.below else value > self.limit)


@dataclass
class Change:
    """One metric at one level, or over all levels, and how sure its change is."""
    at: int | None        # concurrency; None: over all levels
    metric: str
    before: float | None  # geometric mean of the repeats; None over all levels
    after: float | None   # the same; None also where it had values and now has none
    log_ratio: float | None = None  # ln(after / before)
    spread: tuple[tuple[float, int], ...] = ()  # parts of its variance, each with its degrees of freedom; none: unknown
    worth: float = WORTH_RATIO
    interval: tuple[float, float] | None = None  # of the ratio, see judge()

    @property
    def ratio(self) -> float:
        return math.expm1(self.log_ratio)

    @property
    def verdict(self) -> str:
        if self.log_ratio is None:
            return "gone"
        if self.interval is None:
            return "unknown"
        low, high = self.interval
        if low <= 0 <= high:
            return "noise"
        return "changed" if abs(self.ratio) >= self.worth else f"under {self.worth:.0%}"


@dataclass
class Comparison:
    """Two studies by concurrency, and every change between them."""
    before: dict[int, list[dict]]
    after: dict[int, list[dict]]
    changes: list[Change]

    @property
    def shared(self) -> list[int]:
        return sorted(set(self.before) & set(self.after))

    @property
    def dead(self) -> list[int]:
        """Levels that had replies, and now have none or are not there."""
        return [n for n, levels in self.before.items() if total(levels, "completed") and not total(self.after.get(n, []), "completed")]


def report(database, a: str, b: str, models: list[str], conditions: list[Condition]) -> int:
    """Print every change from A to B; 1 when a condition holds or cannot be told."""
    before, after = resolve(database, a, models), resolve(database, b, models)
    found = compared(before, after, {condition.metric for condition in conditions})
    if not found.shared:
        raise db.ResultsError(f"{a} and {b} share no level: nothing to compare")
    say(f"from {name(before)}")
    say(f"to   {name(after)}")
    for doubt in doubts(database, before, after):
        say(f"! {doubt}")
    print_changes(found)
    return gate(found, conditions)


def resolve(database, wish: str, models: list[str]) -> Study:
    """A run's number, a run's label (the newest of that name), or a model's newest run; of these the model asked for."""
    if wish.isascii() and wish.isdecimal() and len(wish) < 20:
        studies = selection.choose(database, models, [int(wish)])
    elif labelled := list(database.query("SELECT id FROM run WHERE label = ? ORDER BY started_unix DESC LIMIT 1", [wish])):
        studies = selection.choose(database, models, [labelled[0]["id"]])
    else:
        studies = selection.choose(database, [wish], [])
        for model in models:  # a model as A or B names itself; another MODEL beside it is a mistake
            selection.match(model, [studies[0].model])
    if len(studies) > 1:
        names = ", ".join(study.model for study in studies)
        raise db.ResultsError(f"{wish} holds several models ({names}): name one, as in analyze.py {studies[0].model} --compare ...")
    return studies[0]


def compared(before: Study, after: Study, named: Collection[str] = ()) -> Comparison:
    """Every metric at every level that both sides have, then over all levels together.

    Joules of the GPU alone only where they are named, or of a level no more is known. Levels in
    which the machine slept are as if they were not there.
    """
    before, after = (replace(study, levels=[level for level in study.levels if not level["slept_s"]])
                     for study in (before, after))
    found = Comparison(before.by_concurrency(), after.by_concurrency(), [])
    is_gpu_shown = "gpu_joules_per_token" in named or any(
        known([level], "gpu_joules_per_token") and not known([level], "joules_per_token")
        for study in (before, after) for level in study.levels)
    metrics = [metric for metric in SHOWN if is_gpu_shown or metric != "gpu_joules_per_token"]
    at_levels = [change for n in found.shared for metric in metrics
                 if (change := at_level(n, metric, found.before[n], found.after[n]))]
    over_all = [change for metric in SHOWN if (change := over_levels(metric, at_levels))]
    found.changes = at_levels + over_all
    judge(found.changes)
    return found


def at_level(n: int, metric: str, before: list[dict], after: list[dict]) -> Change | None:
    """What a metric did at one level; None where it had no values."""
    old, new = known(before, metric), known(after, metric)
    if not old:
        return None
    if not new:
        return Change(n, metric, geometric_mean(old), None)
    means = geometric_mean(old), geometric_mean(new)
    spread = (mean_variance(old), mean_variance(new)) if min(len(old), len(new)) >= FEWEST else ()
    return Change(n, metric, *means, math.log(means[1] / means[0]), spread)


def over_levels(metric: str, changes: list[Change]) -> Change | None:
    """The mean change of a metric over its levels; None below three.

    Its noise is that of the repeats where every level has them, else the spread of the levels' changes.
    """
    levels = [change for change in changes if change.metric == metric and change.after is not None]
    if len(levels) < FEWEST:
        return None
    ratios = [change.log_ratio for change in levels]
    if all(change.spread for change in levels):
        parts = tuple((part / len(levels) ** 2, freedom) for change in levels for part, freedom in change.spread)
        return Change(None, metric, None, None, fmean(ratios), parts)
    return Change(None, metric, None, None, fmean(ratios), ((variance(ratios) / len(ratios), len(ratios) - 1),), WORTH_ONCE_RATIO)


def known(levels: list[dict], metric: str) -> list[float]:
    return [level[COLUMNS[metric]] for level in levels if (level[COLUMNS[metric]] or 0) > 0]


def total(levels: list[dict], column: str) -> int:
    return sum(level[column] for level in levels)


# Statistics.

def judge(changes: list[Change]) -> None:
    """Give each change whose noise is known its interval.

    Of two equal runs one comparison in 20 finds anything: the changes over all levels share one half of
    that chance, those at the levels the other (Bonferroni; Dunn 1961, Multiple Comparisons among Means).
    Where a metric has changed over all levels, its levels need no such care and have plain 95 % intervals
    (Fisher's protected least significant difference).
    """
    over = [change for change in changes if change.spread and change.at is None]
    levels = [change for change in changes if change.spread and change.at is not None]
    share = FALSE_ALARM_RATIO / (2 if over and levels else 1)
    for change in over:
        change.interval = interval(change.log_ratio, change.spread, share / len(over))
    moved = {change.metric for change in over if change.verdict == "changed"}
    for change in levels:
        change.interval = interval(change.log_ratio, change.spread, FALSE_ALARM_RATIO if change.metric in moved else share / len(levels))


def mean_variance(values: list[float]) -> tuple[float, int]:
    """The variance of the mean of the logarithms, and its degrees of freedom."""
    return variance(map(math.log, values)) / len(values), len(values) - 1


def interval(log_ratio: float, spread: tuple[tuple[float, int], ...], alpha: float) -> tuple[float, float]:
    """The 1 - alpha interval of a change, as a ratio less 1.

    Welch's t interval of a difference of logarithms, where spread holds the variance of both means
    (Welch 1947, The Generalization of 'Student's' Problem; degrees of freedom after Satterthwaite 1946).
    """
    whole = sum(part for part, _ in spread)
    if whole == 0:
        return math.expm1(log_ratio), math.expm1(log_ratio)
    freedom = whole**2 / sum(part**2 / freedom for part, freedom in spread)
    half = t_quantile(1 - alpha / 2, freedom) * whole**0.5
    return math.expm1(log_ratio - half), math.expm1(min(log_ratio + half, MOST_LOG))


def t_quantile(p: float, freedom: float) -> float:
    """The t that Student's distribution is below with probability p, from 0.5 to 1.

    P(0 < T < t) is the integral of cos(x)^(freedom - 1) from 0 to atan(t / sqrt(freedom)), over twice
    that to pi / 2 (Abramowitz and Stegun 26.7).
    """
    if freedom > ALMOST_NORMAL:
        return NormalDist().inv_cdf(p)
    wanted = (2 * p - 1) * area(math.pi / 2, freedom - 1)
    low, high = 0.0, math.pi / 2
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if area(middle, freedom - 1) < wanted else (low, middle)
    return math.tan(low) * freedom**0.5


def area(end: float, power: float, steps: int = 200) -> float:
    """The integral of cos(x)^power from 0 to end, by Simpson's rule."""
    heights = [max(0.0, math.cos(end * i / steps)) ** power for i in range(steps + 1)]
    return (heights[0] + 4 * sum(heights[1::2]) + 2 * sum(heights[2:-1:2]) + heights[-1]) * end / steps / 3


# Saying.

def name(study: Study) -> str:
    runs = ", ".join(f"run {run['run_id']} ({standard.brief(str(run['label']))})" for run in study.runs)
    return f"{standard.brief(study.model)}: {runs}"


def doubts(database, before: Study, after: Study) -> list[str]:
    """What keeps the two sides from being two measurements of the same thing."""
    sides = [word for word, study in (("from", before), ("to", after)) if study.simulated]
    found = [f"{' and '.join(sides)} simulated: no measurement of a real machine"] if sides else []
    for word, study in (("from", before), ("to", after)):
        found += [f"the machine slept for {level['slept_s']:.0f} s in {word}, at {level['concurrency']} at once:"
                  f" that level cannot be trusted and is not compared"
                  for level in study.levels if level["slept_s"]]
    old, new = fired(before), fired(after)
    if old and new and old != new:
        found.append(f"from fires {old}, to fires {new}: a change may come from that")
    for column, words in CONDITIONS.items():
        old, new = ran(before, column, words), ran(after, column, words)
        if old and new and old != new:
            found.append(f"from ran {old}, to ran {new}: a change may come from that")
    old, new = counted(database, before), counted(database, after)
    if old and new and old != new:
        found.append(f"from counts {old}, to counts {new}: tokens/s and J/token do not compare")
    return found


def fired(study: Study) -> str:
    """Which load a study's levels are; '' where that is not known of one."""
    kinds = {(level["load"], level["rate_per_s"] if level["load"] == "open" else None) for level in study.levels}
    if any(load is None for load, _ in kinds):
        return ""
    words = [LOADS[load] + (f" of {rate:g} requests/s" if rate else "") for load, rate in sorted(kinds, key=str)]
    return " and ".join(words)


def ran(study: Study, column: str, words: tuple[str, str]) -> str:
    """How a study's levels ran; '' where that is not known of any."""
    values = {level[column] for level in study.levels} - {None}
    return ("partly " if len(values) > 1 else "") + words[max(values)] if values else ""


def counted(database, study: Study) -> str:
    """What a study's output tokens are."""
    marks = ", ".join("?" * len(study.levels))
    rows = database.query(f"""SELECT DISTINCT output_tokens_source AS source FROM request WHERE status = 'completed'
        AND output_tokens_source IS NOT NULL AND level_id IN ({marks}) ORDER BY 1""", [level["level_id"] for level in study.levels])
    return " and ".join(COUNTED[row["source"]] for row in rows)


def print_changes(found: Comparison) -> None:
    print("\nat once  what            before    after   change  95 % interval      so it is")
    for n in [*found.shared, None]:
        for line in failed_lines(n, found) + [change_line(change) for change in found.changes if change.at == n]:
            print(line)
    for word, mine, other in (("from", found.before, found.after), ("to", found.after, found.before)):
        if only := sorted(set(mine) - set(other)):
            say(f"only in {word}: {', '.join(map(str, only))} at once")
    if any(change.verdict == "unknown" for change in found.changes):
        print(f"\nunknown: measured fewer than {FEWEST} times on a side; bench.py --repeat {FEWEST} tells")


def change_line(change: Change) -> str:
    at = "all" if change.at is None else change.at
    before, after = ("", "") if change.at is None else (digits(change.before), digits(change.after))
    ratio = "" if change.log_ratio is None else signed(change.ratio)
    span = "" if change.interval is None else f"{signed(change.interval[0])} to {signed(change.interval[1])}"
    return f"{at:>7}  {SHOWN[change.metric]:<13} {before:>8} {after:>8} {ratio:>8}  {span:<18} {change.verdict}"


def failed_lines(n: int | None, found: Comparison) -> list[str]:
    """How many requests failed at a level, of how many; nothing where none did."""
    sides = [(total(levels.get(n, []), "errors"), total(levels.get(n, []), "completed")) for levels in (found.before, found.after)]
    old, new = (f"{errors}/{errors + completed}" for errors, completed in sides)
    return [f"{n:>7}  {'failed':<13} {old:>8} {new:>8}"] if any(errors for errors, _ in sides) else []


def signed(ratio: float) -> str:
    if ratio >= 10:
        return ">+999%"
    return f"{ratio:+.1%}" if abs(ratio) < 1 else f"{ratio:+.0%}"


def say(text: str) -> None:
    print(textwrap.fill(standard.clean(text), 79, subsequent_indent="     "))


# Conditions.

def gate(found: Comparison, conditions: list[Condition]) -> int:
    """1 when a change goes past a bound and is not noise, when a level has died, or when a bound cannot be told."""
    lines = [line for condition in conditions for line in broken(condition, found)]
    for line in lines:
        print(line)
    return int(bool(lines))


def broken(condition: Condition, found: Comparison) -> list[str]:
    """What is to be said against a condition; nothing when it is kept."""
    against = more_errors if condition.metric == "error_ratio" else beyond
    dead = [f"failed: {condition.text} at {n} at once: had replies, now {'none' if n in found.after else 'not measured'}" for n in found.dead]
    return dead + against(condition, found)


def beyond(condition: Condition, found: Comparison) -> list[str]:
    """The changes past a bound that are more than noise; all that are past it where nothing tells the noise."""
    told = [change for change in found.changes if change.metric == condition.metric and change.at not in found.dead]
    if not told:
        return [] if found.dead else [f"cannot tell {condition.text}: no level has it on both sides"]
    lines = [f"failed: {condition.text} at {change.at} at once: had values, now none" for change in told if change.verdict == "gone"]
    past = [change for change in told if change.log_ratio is not None and condition.holds(change.ratio)]
    lines += [f"failed: {condition.text} {place(change)} ({signed(change.ratio)})" for change in past if change.verdict == "changed"]
    if not any(change.at is None for change in told):
        lines += [f"cannot tell {condition.text} {place(change)} ({signed(change.ratio)}): noise unknown" for change in past if change.verdict == "unknown"]
    return lines


def place(change: Change) -> str:
    return "over all levels" if change.at is None else f"at {change.at} at once"


def more_errors(condition: Condition, found: Comparison) -> list[str]:
    """The levels whose error ratio rose (or fell) past a bound: a difference, not a relative change."""
    ratios = {n: (error_ratio(found.before[n]), error_ratio(found.after[n])) for n in found.shared if n not in found.dead}
    told = {n: pair for n, pair in ratios.items() if None not in pair}
    if not told:
        return [] if found.dead else [f"cannot tell {condition.text}: no level has it on both sides"]
    return [f"failed: {condition.text} at {n} at once ({digits(old)} to {digits(new)})" for n, (old, new) in told.items()
            if condition.holds(new - old)]


def error_ratio(levels: list[dict]) -> float | None:
    """Of all repeats together; None where no request ended."""
    ended = total(levels, "errors") + total(levels, "completed")
    return total(levels, "errors") / ended if ended else None


def gate_absolute(studies: list[Study], conditions: list[Condition]) -> int:
    """1 when a level of a study is past a bound, or when a bound cannot be told."""
    failed = False
    for condition in conditions:
        column = COLUMNS.get(condition.metric, condition.metric)
        told = [(study, level, level[column]) for study in studies for level in study.levels if level[column] is not None]
        slept = [one for one in told if one[1]["slept_s"] and column not in OF_A_SLEEP]
        told = [one for one in told if one not in slept]
        hits = [(study, level, value) for study, level, value in told if condition.holds(value)]
        if not told and not slept:
            print(f"cannot tell {condition.text}: no level has it")
        for _, level, _ in slept:
            print(f"cannot tell {condition.text} at {level['concurrency']} at once: the machine slept")
        for study, level, value in hits:
            print(f"failed: {condition.text} at {level['concurrency']} at once of {standard.clean_line(study.model)} ({digits(value)})")
        failed = failed or bool(hits or slept) or not told
    return int(failed)


def condition(text: str) -> Condition:
    """ttft>10%, ttft_p99_s>=2 or error_ratio>.01 as a Condition; argparse shows what is wrong with it."""
    match = re.fullmatch(r"\s*([a-z_0-9]+)\s*([<>])(=?)\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*(%?)\s*", text)
    if not match or match[1] not in COLUMNS.keys() | FIGURES or (match[5] and match[1] not in SHOWN) or math.isinf(limit := float(match[4])):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no condition: METRIC<VALUE or METRIC>=VALUE; METRIC is one of {', '.join(COLUMNS)} "
            f"or a figure of level_summary such as ttft_p99_s or goodput_per_s; with % for a change: {', '.join(SHOWN)}")
    return Condition(match[1], match[2] == "<", limit / (100 if match[5] else 1), bool(match[5]), text, bool(match[3]))


def positive(text: str, what: str) -> float:
    """A number above zero; argparse shows what is wrong with it."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e12:
        raise argparse.ArgumentTypeError(f"{what} takes a number above 0, not {text!r}")
    return value
