"""What changed in the machine during a run: its first level fired again at the end."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ollama_bench.analysis.change_noise import LEVEL_RATIO
from ollama_bench.analysis.crowd import name_loads
from ollama_bench.analysis.study import FULL_LOAD, Row, Study
from ollama_bench.analysis.wording import digits, percent

# a drift this small makes no knee
LEAST_DRIFT = 0.03
# within so many standard deviations 95 % of chance is
SURELY = 1.96
# of the GPU's clock, in what is said beside a drift
LEAST_CLOCK_CHANGE = 0.03


@dataclass(frozen=True)
class Drift:
    """A first level and its control."""

    before: Row
    after: Row
    column: str  # the speed that both have

    @property
    def change(self) -> float:
        """The control's speed / the first level's, less 1."""
        ratio: float = self.after[self.column] / self.before[self.column]
        return ratio - 1

    @property
    def is_seen(self) -> bool:
        return abs(self.change) >= LEAST_DRIFT

    @property
    def is_shown(self) -> bool:
        """Tell whether it is more than single levels of an unchanged machine differ by.

        A level is assumed to vary as a comparison of runs assumes, and each of its requests
        as much again.
        """
        variance = sum(
            LEVEL_RATIO**2 * (1 + 1 / max(1, level["completed"]))
            for level in (self.before, self.after)
        )
        spread = SURELY * math.sqrt(variance)
        return abs(math.log1p(self.change)) > spread


def find_drift(study: Study) -> Drift | None:
    """Return the largest drift of the study's runs; None where no run has a control."""
    found = [
        Drift(first, control, column)
        for control in study.controls
        for first in study.levels
        if is_first_of(control, first)
        if (column := shared_speed(first, control))
    ]
    return max(found, key=lambda drift: abs(drift.change), default=None)


def is_first_of(control: Row, level: Row) -> bool:
    same = ("run_id", "concurrency", "cache")
    return (
        all(control[name] == level[name] for name in same)
        and control["status"] == level["status"] == "finished"
        and not control["slept_s"]
        and not level["slept_s"]
    )


def shared_speed(first: Row, control: Row) -> str:
    """Return the column of a speed that is known of both, "" if there is none."""
    for column in (FULL_LOAD, "tokens_per_s_mean"):
        if first[column] and control[column]:
            return column
    return ""


def describe_drift(study: Study) -> str:
    """Say what the control found, with the heat and the clock where they are known."""
    drift = find_drift(study)
    if drift is None:
        return ""
    before, after = drift.before, drift.after
    text = (
        f"The first level, {name_loads([before])}, was sent again at the end as a "
        f"control: {digits(after[drift.column])} tokens/s instead of "
        f"{digits(before[drift.column])} ({write_change(drift.change)})"
    )
    if not drift.is_shown:
        return f"{text}, which shows no change of the machine."
    parts = [f"{text}, so the machine changed"]
    clocks = before["mean_gpu_mhz"], after["mean_gpu_mhz"]
    if (
        all(clocks)
        and abs(clocks[1] / clocks[0] - 1) >= LEAST_CLOCK_CHANGE
    ):
        parts.append(
            f"the GPU's clock was {digits(clocks[1])} MHz instead of {digits(clocks[0])}"
        )
    if any(level["hot_samples"] for level in [*study.levels, after]):
        parts.append("the system reported thermal pressure")
    return f"{'; '.join(parts)}."


def write_change(change: float) -> str:
    return f"{'-' if change < 0 else '+'}{percent(abs(change))}"


def could_make(study: Study, rates: dict[int, float], n: int) -> bool:
    """Tell whether the drift could be why no level has a higher rate than that at n.

    A level that was measured after n may have been slower by the whole loss, one before n by the
    whole gain; levels that the drift lifts above n's rate could be the better ones.
    """
    drift = find_drift(study)
    if drift is None or not drift.is_seen:
        return False
    places = place_in_time(study)
    factor = max(1 + drift.change, 1 / (1 + drift.change))
    is_later_slower = drift.change < 0
    return any(
        (places[other] > places[n]) == is_later_slower
        and rate * factor > rates[n]
        for other, rate in rates.items()
        if other != n
    )


def place_in_time(study: Study) -> dict[int, int]:
    """Return when each concurrency was measured first: its level's id grows with time."""
    return {
        n: min(level["level_id"] for level in levels)
        for n, levels in study.by_size().items()
    }
