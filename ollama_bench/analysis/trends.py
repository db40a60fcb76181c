"""How speed and wait go with the number of requests at once, in sentences."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean

from ollama_bench.analysis.crowd import name_count
from ollama_bench.analysis.drift import could_make, find_drift
from ollama_bench.analysis.study import (
    FULL_LOAD,
    Study,
    read_arguments,
    size_of,
)
from ollama_bench.analysis.wording import (
    digits,
    join,
    percent,
    seconds,
    span,
)
from ollama_bench.statistics.intervals import Interval
from ollama_bench.statistics.scaling_law import Law, fit_law

NEAR_BEST_RATIO = 0.9  # from here on more load buys little
# less than this share of the best at the highest level is a fall
FALLING_RATIO = 0.95
# a wait that grows by this factor from one level to the next has jumped ...
JUMP_RATIO = 3.0
JUMP_S = 0.5  # ... if people can notice it
# of the mean reply lengths of two levels: from here on their throughput is not compared
UNLIKE_RATIO = 2.0

ByConcurrency = dict[int, float]


def comparable_rates(study: Study) -> ByConcurrency:
    """Return the throughput at full load of each level; none where their work is unlike.

    The plain figure of a burst measures its longest reply, so levels are compared by this one.
    """
    return {} if has_unlike_replies(study) else study.mean(FULL_LOAD)


def has_unlike_replies(study: Study) -> bool:
    """Tell whether some levels' replies are so much longer that their work is another."""
    lengths = study.mean("output_tokens_mean").values()
    return bool(lengths) and max(lengths) >= UNLIKE_RATIO * min(lengths)


def describe_order(study: Study) -> str:
    """Say how often and in which order the levels were sent; nothing if there is only one."""
    groups = study.by_size()
    if len(groups) < 2 or len(study.runs) > 1:
        return ""
    counts = [*map(len, groups.values())]
    if max(counts) > 1:
        times = span(counts, str)
        if any(level.get("trial") for level in study.levels):
            return ""  # a search chose them
        if any(run.get("budget") for run in read_arguments(study)):
            return f"Each level was sent {times} times, those around the knee more often."
        return f"Each level was sent {times} times, in an order drawn at random."
    in_time = sorted(study.levels, key=lambda level: level["level_id"])
    order = ", ".join(f"{size_of(level):.12g}" for level in in_time)
    return f"Each level was sent once, in the order {order}."


def write_repeats(
    study: Study,
    column: str,
    n: int,
    write: Callable[[float], str],
    unit: str = "",
) -> str:
    """Write the mean of a level's repeats, and their number and spread if there are several."""
    values = [
        level[column]
        for level in study.by_size()[n]
        if level[column] is not None
    ]
    mean = write(fmean(values))
    if len(values) < 2:
        return f"{mean}{unit}"
    spread = span(values, write)
    spread = "" if spread == mean else f"{spread}, "
    return f"{mean}{unit} ({spread}{len(values)} repeats)"


def write_rate(study: Study, n: int) -> str:
    """Write the throughput of a level at full load."""
    return write_repeats(study, FULL_LOAD, n, digits, " tokens/s")


def describe_throughput(study: Study) -> str:
    """Write the throughput of all requests together: its rise, and what comes after."""
    rates = comparable_rates(study)
    if len(rates) < 2:
        return ""
    low, top, turn = min(rates), max(rates), find_turn(study, rates)
    start, end = (write_rate(study, n) for n in (low, turn))
    first = name_count(low, study.levels)
    text = f"{start} with {first} and {end} with {turn}, at full load"
    if turn == top:
        return text
    rest = [rate for n, rate in rates.items() if n >= turn]
    return f"{text}; from there to {name_count(top, study.levels)} {span(rest)}"


def find_turn(study: Study, rates: ByConcurrency) -> int:
    """Return the level up to which throughput rises; the highest where that is not seen to end."""
    knee = find_knee(study, rates)
    return knee if knee is not None and min(rates) < knee else max(rates)


def describe_waits(study: Study) -> str:
    """Say how the mean wait goes, and where it jumps."""
    mean = study.mean("ttft_mean_s")
    if len(mean) < 2:
        return ""
    low, top = min(mean), max(mean)
    before, after = find_jump(mean) or (top, top)

    def write(n: int) -> str:
        return write_repeats(study, "ttft_mean_s", n, seconds)

    start, end = write(low), write(before)
    parts = [f"is {start} with {name_count(low, study.levels)}"]
    if before > low and start == end:
        both = f"{low} and with {name_count(before, study.levels)}"
        parts[0] = f"is {start} with {both}"
    elif before > low:
        parts.append(f"{end} with {before}")
    if after > before:
        parts.append(f"jumps to {write(after)} with {after}")
    if after < top:
        verb = "rises" if mean[top] > mean[after] else "falls"
        parts.append(f"{verb} to {write(top)} with {top}")
    return f"The mean wait {join(parts)}."


def find_jump(mean: ByConcurrency) -> tuple[int, int] | None:
    """Return the two neighbouring levels between which a wait grows most, if that is a jump."""
    levels = list(mean)
    steps = [
        (a, b)
        for a, b in zip(levels, levels[1:], strict=False)
        if is_jump(mean[a], mean[b])
    ]
    return max(
        steps,
        key=lambda step: mean[step[1]] / max(mean[step[0]], 1e-9),
        default=None,
    )


def is_jump(before_s: float, after_s: float) -> bool:
    return (
        after_s >= JUMP_RATIO * before_s and after_s - before_s >= JUMP_S
    )


def describe_best(study: Study) -> str:
    """Say where the throughput is best; nothing if too few levels were measured."""
    rates = comparable_rates(study)
    if len(rates) < 3:
        return ""
    best = best_level(rates)
    drift = find_drift(study)
    if drift and could_make(study, rates, best):
        return (
            "Where throughput is best cannot be told: the first level and the same one "
            f"at the end differ by {percent(abs(drift.change))}."
        )
    rate = f"{write_rate(study, best)}{failures_at(study, best)}"
    plateau = describe_plateau(study, rates)
    crowd = name_count(best, study.levels)
    text = f"Throughput is best with {crowd}: {rate}{plateau}."
    sound = {
        n: rate for n, rate in rates.items() if not failures_at(study, n)
    }
    if sound and best not in sound:
        best = best_level(sound)
        rate = write_rate(study, best)
        text += f" Of the levels without failures it is best with {best}: {rate}."
    return text


def is_best_said(study: Study) -> bool:
    """Tell whether describe_throughput says all that describe_best would."""
    rates = comparable_rates(study)
    if len(rates) < 2:
        return False
    best = best_level(rates)
    return best == find_turn(study, rates) and not failures_at(study, best)


def best_level(rates: ByConcurrency) -> int:
    return max(rates, key=lambda n: rates[n])


def first_near_best(rates: ByConcurrency) -> int:
    """Return the fewest at once with a throughput near the best."""
    best = max(rates.values())
    return min(
        n for n, rate in rates.items() if rate >= NEAR_BEST_RATIO * best
    )


def find_knee(study: Study, rates: ByConcurrency) -> int | None:
    """Return where throughput stops rising, below the highest level; None if it need not be so."""
    first = first_near_best(rates)
    if first == max(rates):
        return None
    # others count as higher only if they leave what is near the best
    lowered = {
        n: rate if n == first else NEAR_BEST_RATIO * rate
        for n, rate in rates.items()
    }
    return None if could_make(study, lowered, first) else first


def describe_plateau(study: Study, rates: ByConcurrency) -> str:
    """Say from where on the throughput is near the best, or how far it falls off again."""
    best, first = best_level(rates), find_knee(study, rates)
    if first is None or first == best:
        return ""
    near = percent(1 - NEAR_BEST_RATIO)
    later = [rate / rates[best] for n, rate in rates.items() if n > first]
    if min(later) >= NEAR_BEST_RATIO:
        return f"; from {first} on it is within {near} of that"
    return (
        f"; {first} come within {near} of that, "
        f"and more get {span(later, percent)} of it"
    )


def failures_at(study: Study, n: int) -> str:
    """Return ", 9 of 48 failed" over all repeats of a level; "" if none did."""
    levels = study.by_size()[n]
    errors = sum(level["errors"] for level in levels)
    requests = sum(level["requests"] for level in levels)
    return f", {errors} of {requests} failed" if errors else ""


def describe_law(study: Study) -> str:
    """Say what the Universal Scalability Law gives, with its error; nothing if it does not fit."""
    rates = comparable_rates(study)
    drift = find_drift(study)
    if drift and drift.is_seen:
        return ""
    law = fit_law(list(rates.items()))
    if law is None:
        return ""
    errors = {
        n: abs(law.at(n) / rate - 1)
        for n, rate in rates.items()
        if rate > 0
    }
    worst = max(errors, key=lambda n: errors[n])
    measured = f" (measured {digits(rates[1])})" if 1 in rates else ""
    contention = write_range(law.contention, law.contention_range)
    crosstalk = write_range(law.crosstalk, law.crosstalk_range)
    return (
        f"Universal Scalability Law over {len(rates)} levels: {digits(law.alone)} tokens/s "
        f"alone{measured}, contention {contention}, crosstalk {crosstalk}, "
        f"{describe_peak(law, rates)}; the fit is off by {percent(law.error)} (rms), "
        f"at most by {percent(errors[worst])}, with {name_count(worst, study.levels)}."
    )


def write_range(value: float, interval: Interval) -> str:
    """Write a parameter with its 95 % range."""
    return f"{digits(value)} ({span(interval)})"


def describe_peak(law: Law, rates: ByConcurrency) -> str:
    """Say where the law has its peak; one that was not passed would be a guess."""
    falls = rates[max(rates)] < FALLING_RATIO * max(rates.values())
    if falls and law.peak and law.peak <= max(rates):
        return f"a peak near {law.peak:.0f}"
    return "no fall up to the highest level measured"


def describe_cache(study: Study) -> str:
    """Say what a warm prompt cache changes at the highest level that was measured with both."""
    columns = "warm_ttft_mean_s", "cold_ttft_mean_s"
    known = [
        pair
        for pair in study.cache_effect
        if None not in (pair[column] for column in columns)
    ]
    if not known:
        return ""
    top = max(pair["concurrency"] for pair in known)
    warm, cold = (
        seconds(
            fmean(
                pair[column]
                for pair in known
                if pair["concurrency"] == top
            )
        )
        for column in columns
    )
    return (
        f"With a warm prompt cache a request waits {warm} instead of {cold}, "
        f"with {name_count(top, study.levels)}; all other figures are with a cold cache."
    )
