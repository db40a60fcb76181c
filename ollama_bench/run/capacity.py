"""Search for the highest level that meets the objectives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ollama_bench.inputs.objectives import ENOUGH_RATIO, find_reach
from ollama_bench.run.plan import Level
from ollama_bench.run.record import RunRecord

STORED = """
SELECT demand_summary.* FROM demand_summary WHERE level_id = (
  SELECT level_id FROM level_summary
  WHERE status = 'finished' AND coalesce(slept_s, 0) = 0 AND run_id = ?
    AND (model, concurrency, repeat, cache, is_control) = (?, ?, ?, ?, ?)
    AND (asked_prompt_tokens, prompt_mix) IS (?, ?)
  ORDER BY level_id DESC LIMIT 1)"""


@dataclass(frozen=True)
class Capacity:
    """What a search found: the highest level that met the objectives, the lowest that missed.

    They are more than 1 apart if the search was interrupted, or a probe could not be judged.
    """

    good: int
    bad: int
    highest: int  # the highest level to try

    @property
    def is_known(self) -> bool:
        return self.bad - self.good == 1

    def sentence(self, model: str, objectives: str) -> str:
        """Say what was found; "" if nothing was."""
        within = f"at once within {objectives}"
        if "@" not in objectives:
            within += f" ({ENOUGH_RATIO:.0%} of the requests)"
        if self.is_known:
            many = (
                f"{self.good} or more"
                if self.good == self.highest
                else str(self.good)
            )
            if not self.good:
                return f"{model} cannot meet {objectives} even with one request at a time."
            return f"{model} serves {many} {within}."
        if not self.good and self.bad > self.highest:
            return ""
        known = f"between {self.good} and {self.bad - 1}"
        if self.bad > self.highest:
            known = f"{self.good} or more"
        return (
            f"The search was interrupted: {model} serves {known} {within}."
        )


def search(
    highest: int, measure: Callable[[int, str], float | None]
) -> Capacity:
    """Double until the objectives are missed, then bisect.

    measure(concurrency, title) measures a level and returns how far it reached what is demanded,
    from 1 on all; None if that cannot be told, which ends the search.
    """
    good, bad = 0, highest + 1
    while bad - good > 1:
        size = (good + bad) // 2
        if bad > highest:
            size = min(max(1, 2 * good), highest)
        reach = measure(
            size, f"probe between {good} and {min(bad, highest)}"
        )
        if reach is None:
            break
        if reach >= 1:
            good = size
        else:
            bad = size
    return Capacity(good, bad, highest)


def stored_reach(record: RunRecord, level: Level) -> float | None:
    """Return how far a level measured before --resume reached what is demanded."""
    return find_reach(record.rows(STORED, [record.id, *level]))
