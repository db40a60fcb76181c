"""compare.py - what changed between two runs, and what of it is more than noise.

    analyze.py --compare 6 7                      run numbers, labels or model names
    analyze.py qwen3:8b --compare 6 7             one model of runs with several
    analyze.py --compare old new --fail-if 'ttft>10%' --fail-if 'output_tokens_per_s<-5%'

Waits and rates of requests carry a 95 % bootstrap interval of the change in their mean.
Throughput and energy are one number for a level, so theirs needs --repeat; without it the
change is shown and not judged.
"""
from __future__ import annotations

import argparse
import random
import re
import textwrap
from dataclasses import dataclass
from statistics import fmean

import db
import selection
from selection import Study
from verdict import digits

SEED = 20250202     # the same file gives the same interval every time
RESAMPLES = 1000    # the ends of a 95 % interval rest on 25 of them each
MOST_DRAWS = 2_000_000  # values drawn for one interval: bounds the time with many requests
FEWEST_REPEATS = 3  # resampling two values says nothing

REQUEST_METRICS = {"ttft": "ttft_s", "tokens_per_s": "tokens_per_s", "e2e": "e2e_s"}
LEVEL_METRICS = {"output_tokens_per_s": "output_tokens_per_s", "joules_per_token": "joules_per_output_token", "error_ratio": "error_ratio"}
ABSOLUTE = {**LEVEL_METRICS, "ttft": "ttft_mean_s", "tokens_per_s": "tokens_per_s_mean", "e2e": "e2e_mean_s"}
SHOWN = {"ttft": "wait", "tokens_per_s": "tokens/s each", "output_tokens_per_s": "tokens/s all", "joules_per_token": "J/token"}


@dataclass
class Condition:
    """A bound that fails the run: a metric below or above a value, or a change in per cent."""
    metric: str
    below: bool
    limit: float
    is_change: bool
    text: str

    def holds(self, value: float) -> bool:
        return value < self.limit if self.below else value > self.limit


@dataclass
class Change:
    """One metric at one level: both means, the relative change, and its interval where there is one."""
    concurrency: int
    metric: str
    before: float
    after: float
    interval: tuple[float, float] | None

    @property
    def ratio(self) -> float:
        return self.after / self.before - 1

    @property
    def verdict(self) -> str:
        if self.interval is None:
            return "one value"
        low, high = self.interval
        return "changed" if low > 0 or high < 0 else "noise"


def report(database, a: str, b: str, models: list[str], conditions: list[Condition]) -> int:
    """Print every change from A to B; 1 when a condition holds or cannot be told."""
    before, after = resolve(database, a, models), resolve(database, b, models)
    if not conditions_possible(before, after):
        raise db.ResultsError(f"{a} and {b} share no level: nothing to compare")
    changes = all_changes(database, before, after)
    for word, study in (("from", before), ("to  ", after)):
        print(textwrap.fill(f"{word} {name(study)}", 79, subsequent_indent="     "))
    print()
    print("at once  what            before    after   change  95 % interval      so it")
    for change in changes:
        interval = "" if change.interval is None else f"{signed(change.interval[0])} to {signed(change.interval[1])}"
        print(f"{change.concurrency:>7}  {SHOWN[change.metric]:<13} {digits(change.before):>8} {digits(change.after):>8} "
              f"{signed(change.ratio):>8}  {interval:<18} {change.verdict}")
    if any(change.interval is None for change in changes):
        print("\none value on each side: bench.py --repeat 3 on both sides gives an interval")
    return gate(changes, conditions)


def signed(ratio: float) -> str:
    return f"{ratio:+.1%}" if abs(ratio) < 1 else f"{ratio:+.0%}"


def resolve(database, wish: str, models: list[str]) -> Study:
    """A run's number, a run's label (the newest of that name), or a model's newest run; of these the model asked for."""
    if wish.isdecimal():
        studies = selection.choose(database, models, [int(wish)])
    elif labelled := list(database.query("SELECT id FROM run WHERE label = ? ORDER BY started_unix DESC LIMIT 1", [wish])):
        studies = selection.choose(database, models, [labelled[0]["id"]])
    else:
        studies = selection.choose(database, [wish], [])
    if len(studies) > 1:
        names = ", ".join(study.model for study in studies)
        raise db.ResultsError(f"{wish} holds several models ({names}): name one, as in analyze.py {studies[0].model} --compare ...")
    return studies[0]


def name(study: Study) -> str:
    return f"{study.model}: " + ", ".join(f"run {run['run_id']} ({run['label']})" for run in study.runs)


def conditions_possible(before: Study, after: Study) -> bool:
    return bool(set(before.by_concurrency()) & set(after.by_concurrency()))


def all_changes(database, before: Study, after: Study) -> list[Change]:
    """Every metric that both sides have, at every level that both sides have."""
    found = []
    old_levels, new_levels = before.by_concurrency(), after.by_concurrency()
    for n in sorted(set(old_levels) & set(new_levels)):
        for metric in SHOWN:
            of_requests = metric in REQUEST_METRICS
            old, new = (request_values(database, levels[n], metric) if of_requests else level_values(levels[n], metric)
                        for levels in (old_levels, new_levels))
            if old and new and fmean(old) > 0:
                least = 2 if of_requests else FEWEST_REPEATS
                interval = bootstrap(old, new) if min(len(old), len(new)) >= least else None
                found.append(Change(n, metric, fmean(old), fmean(new), interval))
    return found


def request_values(database, levels: list[dict], metric: str) -> list[float]:
    column = REQUEST_METRICS[metric]
    marks = ", ".join("?" * len(levels))
    rows = database.query(f"""SELECT {column} AS value FROM request
        WHERE status = 'completed' AND {column} IS NOT NULL AND level_id IN ({marks}) ORDER BY id""", [level["level_id"] for level in levels])
    return [row["value"] for row in rows]


def level_values(levels: list[dict], metric: str) -> list[float]:
    return [level[LEVEL_METRICS[metric]] for level in levels if level[LEVEL_METRICS[metric]] is not None]


def bootstrap(old: list[float], new: list[float]) -> tuple[float, float]:
    """The 95 % percentile interval of mean(new) / mean(old) - 1, seeded."""
    chance = random.Random(SEED)
    times = max(200, min(RESAMPLES, MOST_DRAWS // (len(old) + len(new))))
    ratios = sorted(fmean(chance.choices(new, k=len(new))) / fmean(chance.choices(old, k=len(old))) - 1 for _ in range(times))
    return ratios[int(0.025 * times)], ratios[int(0.975 * times) - 1]


# Conditions.

def gate(changes: list[Change], conditions: list[Condition]) -> int:
    """1 when a change goes past a bound and is not noise, or when a bound cannot be told."""
    failed = False
    for condition in conditions:
        told = [change for change in changes if change.metric == condition.metric]
        hits = [change for change in told if condition.holds(change.ratio) and change.verdict != "noise"]
        if not told:
            print(f"cannot tell {condition.text}: no level has it on both sides")
        for change in hits:
            print(f"failed: {condition.text} at {change.concurrency} at once ({signed(change.ratio)})")
        failed = failed or bool(hits) or not told
    return int(failed)


def gate_absolute(studies: list[Study], conditions: list[Condition]) -> int:
    """1 when a level of a study is past a bound, or when a bound cannot be told."""
    failed = False
    for condition in conditions:
        told = [(study, level, level[ABSOLUTE[condition.metric]]) for study in studies for level in study.levels
                if level[ABSOLUTE[condition.metric]] is not None]
        hits = [(study, level, value) for study, level, value in told if condition.holds(value)]
        if not told:
            print(f"cannot tell {condition.text}: no level has it")
        for study, level, value in hits:
            print(f"failed: {condition.text} at {level['concurrency']} at once of {study.model} ({digits(value)})")
        failed = failed or bool(hits) or not told
    return int(failed)


def condition(text: str) -> Condition:
    """ttft>10% or error_ratio>0.01 as a Condition; argparse shows what is wrong with it."""
    match = re.fullmatch(r"\s*([a-z_0-9]+)\s*([<>])\s*([+-]?\d+(?:\.\d+)?)\s*(%?)\s*", text)
    if not match or match[1] not in ABSOLUTE or (match[4] and match[1] not in SHOWN):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no condition: METRIC<VALUE or METRIC>VALUE, with % for a change; METRIC is one of {', '.join(ABSOLUTE)}")
    return Condition(match[1], match[2] == "<", float(match[3]) / (100 if match[4] else 1), bool(match[4]), text)


def positive(text: str, what: str) -> float:
    """A number above zero; argparse shows what is wrong with it."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e12:
        raise argparse.ArgumentTypeError(f"{what} takes a number above 0, not {text!r}")
    return value
