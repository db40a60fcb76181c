"""Searches for the capacity of queues whose capacity is known, in virtual time.

Slots answer requests in the order in which they come (first come, first served); a request is
good if it begins within a bound. The product's own search and tests decide; only the server and
the clock are made up.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean
from typing import NamedTuple

from ollama_bench.load.queue_watch import FIRST, LOOK_RATIO
from ollama_bench.statistics.capacity_search import (
    LIKELY,
    Capacity,
    CapacitySearch,
    SearchStep,
    Trial,
    TrialVerdict,
    is_late,
)
from ollama_bench.statistics.load_scales import STEP, CountScale, RateScale
from ollama_bench.statistics.probe import ProbePlan, ShareProbe
from ollama_bench.statistics.saturation import is_growing

BOUND = 0.95
LONG = 300_000  # requests of a long run
PAUSE_S = 0.05  # between two bursts


class Served(NamedTuple):
    """A request: when it was asked, began and ended, seconds."""

    asked_s: float
    begun_s: float
    ended_s: float


@dataclass(frozen=True)
class Queue:
    """A server of known slots and service times."""

    slots: int
    service_s: float  # mean
    spread: float  # standard deviation / mean, of a lognormal law
    bound_s: float  # of a wait, for a good request
    think_s: float = 0.0  # of people, mean of an exponential law
    kind: str = "rate"  # or burst, people

    def faster(self, factor: float) -> Queue:
        """Return it with all its times multiplied."""
        return replace(
            self,
            service_s=self.service_s * factor,
            bound_s=self.bound_s * factor,
            think_s=self.think_s * factor,
        )

    def draw(self, rng: random.Random) -> float:
        if not self.spread:
            return self.service_s
        sigma = math.sqrt(math.log(1 + self.spread**2))
        mean = math.log(self.service_s) - sigma**2 / 2
        return rng.lognormvariate(mean, sigma)

    def run(self, size: float, seed: str) -> Iterator[Served]:
        """Yield requests in the order in which they are asked."""
        rng = random.Random(seed)
        free = [0.0] * self.slots
        run = {
            "rate": self._run_rate,
            "people": self._run_people,
            "burst": self._run_bursts,
        }[self.kind]
        return run(size, rng, free)

    def serve(
        self, asked_s: float, free: list[float], rng: random.Random
    ) -> Served:
        """Serve who asks now; free: when each slot is free again, a heap."""
        begun_s = max(asked_s, free[0])
        ended_s = begun_s + self.draw(rng)
        heapq.heapreplace(free, ended_s)
        return Served(asked_s, begun_s, ended_s)

    def _run_rate(
        self, size: float, rng: random.Random, free: list[float]
    ) -> Iterator[Served]:
        now_s = 0.0
        while True:
            now_s += rng.expovariate(size)
            yield self.serve(now_s, free, rng)

    def _run_people(
        self, size: float, rng: random.Random, free: list[float]
    ) -> Iterator[Served]:
        due = [rng.expovariate(1 / self.think_s) for _ in range(int(size))]
        heapq.heapify(due)
        while True:
            served = self.serve(due[0], free, rng)
            think_s = rng.expovariate(1 / self.think_s)
            heapq.heapreplace(due, served.ended_s + think_s)
            yield served

    def _run_bursts(
        self, size: float, rng: random.Random, free: list[float]
    ) -> Iterator[Served]:
        now_s = 0.0
        while True:
            free[:] = [now_s] * self.slots
            burst = [
                self.serve(now_s, free, rng) for _ in range(int(size))
            ]
            yield from burst
            now_s = max(one.ended_s for one in burst) + PAUSE_S

    def is_good(self, served: Served) -> bool:
        return served.begun_s - served.asked_s <= self.bound_s

    def share(self, size: float, count: int = 50_000) -> float:
        """Return the share of good requests in a long run."""
        run = self.run(size, "truth")
        good = 0
        for number, served in enumerate(run):
            if number < count // 10:
                continue
            if number == count:
                break
            good += self.is_good(served)
        return good / (count - count // 10)

    @cached_property
    def truth(self) -> float:
        """Return the highest load of which 95 % of the requests are good, in the long run."""
        low, high = 0.0, 1.0
        while self.share(high) >= BOUND:
            low, high = high, 2 * high
        step = 1.0 if self.kind != "rate" else 0.01 * high
        while high - low > step:
            middle = (low + high) / 2
            if self.kind != "rate":
                middle = float((low + high) // 2)
            if self.share(middle) >= BOUND:
                low = middle
            else:
                high = middle
        return self._refine(low, high)

    def _refine(self, low: float, high: float) -> float:
        """Return it from long runs on both sides."""
        if self.kind != "rate":
            sizes = [low - 1, low, low + 1]
            return max(
                size for size in sizes if self.share(size, LONG) >= BOUND
            )
        sizes = [0.98 * low, 1.02 * high]
        shares = [self.share(size, LONG) for size in sizes]
        part = (shares[0] - BOUND) / (shares[0] - shares[1])
        return sizes[0] + part * (sizes[1] - sizes[0])


class Line:
    """The requests that have come and have not ended, watched as load/queue_watch.py does."""

    def __init__(self) -> None:
        self._served: list[Served] = []
        self._unended: list[float] = []  # when each ends, a heap
        # samples
        self._seconds: list[float] = []
        self._arrived: list[int] = []
        self._ended: list[int] = []
        self._next_look_s = 0.0

    def add(self, served: Served) -> bool:
        """Add who asks next; tell whether the queue is seen to grow."""
        now_s = served.asked_s
        self._served.append(served)
        heapq.heappush(self._unended, served.ended_s)
        while self._unended[0] <= now_s:
            heapq.heappop(self._unended)
        first = sorted(one.ended_s for one in self._served[:FIRST])
        if len(first) < FIRST or first[-2] > now_s:
            return False
        arrived = len(self._served)
        self._seconds.append(now_s)
        self._arrived.append(arrived)
        self._ended.append(arrived - len(self._unended))
        is_long = now_s >= 2 * self._seconds[0]
        if not is_long or now_s < self._next_look_s:
            return False
        self._next_look_s = now_s * LOOK_RATIO
        return is_growing(self._seconds, self._arrived, self._ended)

    @property
    def is_short(self) -> bool:
        """Tell whether too few ended of those that came, as the view open_load does."""
        end_s = self._served[-1].asked_s
        start_s = self._find_start_s(end_s)
        due = sum(one.asked_s > start_s for one in self._served)
        answered = sum(
            start_s < one.ended_s <= end_s for one in self._served
        )
        lack = due - answered
        return due >= 5 and lack > 0.1 * due and lack**2 > 4 * due

    def _find_start_s(self, end_s: float) -> float:
        first_end_s = min(one.ended_s for one in self._served)
        if len(self._served) < 40:
            return first_end_s
        reply_s = fmean(one.ended_s - one.begun_s for one in self._served)
        middle_s = (first_end_s + end_s) / 2
        filled_s = self._served[0].asked_s + 3 * reply_s
        return max(first_end_s, min(filled_s, middle_s))


class Found(NamedTuple):
    """What a search found, and what it took."""

    capacity: Capacity
    seconds: float
    trials: list[Trial]


def make_scale(queue: Queue) -> CountScale | RateScale:
    """Return the loads to choose from, as run/capacity.py does."""
    if queue.kind == "rate":
        return RateScale(1 / queue.service_s)
    return CountScale(256, STEP if queue.kind == "people" else 0.0)


def search(queue: Queue, budget_s: float, seed: int) -> Found:
    """Search as the product does, with virtual seconds."""
    searching = CapacitySearch(make_scale(queue))
    spent_s = 0.0
    while step := choose_step(queue, searching, budget_s, spent_s):
        plan = make_plan(queue, budget_s, spent_s)
        trial = try_step(
            queue, step, plan, f"{seed} {len(searching.trials)}"
        )
        spent_s += trial.seconds
        searching.add(trial)
    return Found(searching.find_capacity(), spent_s, searching.trials)


def choose_step(
    queue: Queue,
    searching: CapacitySearch,
    budget_s: float,
    spent_s: float,
) -> SearchStep | None:
    """Choose the next load as run/capacity.py does; None: the end, or the budget is spent."""
    plan = make_plan(queue, budget_s, spent_s)
    step = searching.choose_next(
        plan.left_s, plan.is_late, plan.find_least_s
    )
    return (
        step if step and plan.find_least_s(step) <= plan.left_s else None
    )


def make_plan(queue: Queue, budget_s: float, spent_s: float) -> ProbePlan:
    left_s, is_people = budget_s - spent_s, queue.kind == "people"
    return ProbePlan(
        left_s,
        is_late(left_s, budget_s),
        queue.kind == "burst",
        queue.bound_s,
        queue.think_s + queue.service_s if is_people else 0.0,
    )


def try_step(
    queue: Queue, step: SearchStep, plan: ProbePlan, seed: str
) -> Trial:
    """Try one load."""
    probe, line = ShareProbe([BOUND], step, plan), Line()
    now_s = drained_s = 0.0
    verdict: TrialVerdict | None = None
    size = int(step.size)
    for number, served in enumerate(queue.run(step.size, seed), 1):
        good = queue.is_good(served)
        known_s = (
            served.ended_s if good else served.asked_s + queue.bound_s
        )
        now_s = max(now_s, known_s)
        drained_s = max(drained_s, served.ended_s)
        wait_s = served.begun_s - served.asked_s
        probe.add(served.asked_s, [good], [wait_s / queue.bound_s])
        probe.note_reply(served.ended_s - served.begun_s)
        if queue.kind == "burst":
            if number % size:
                continue
            probe.end_group()
        if queue.kind == "rate" and line.add(served):
            probe.saturate()
        if verdict := probe.look(now_s):
            break
    assert verdict is not None
    is_short = queue.kind == "rate" and line.is_short
    if is_short and verdict in ("above", "unresolved"):
        probe.saturate(LIKELY)
        verdict = "saturated"
    return Trial(
        step.size,
        verdict,
        probe.weigh(),
        seconds=max(now_s, drained_s),
        reach=probe.reach,
        count=probe.count,
        more_s=probe.expect_more_s(now_s),
    )


class FoundPlainly(NamedTuple):
    """What doubling and bisection found, and the seconds that it took."""

    size: float
    seconds: float


def search_plainly(queue: Queue, requests: int, seed: int) -> FoundPlainly:
    """Double and bisect with so many requests at each load; the tenth that comes first warms up."""
    scale = make_scale(queue)
    low, high, size, spent_s = 0.0, 0.0, scale.first, 0.0
    while size:
        run = queue.run(size, f"plain {seed} {size}")
        served = [next(run) for _ in range(requests)]
        spent_s += max(one.ended_s for one in served)
        judged = served[requests // 10 :]
        share = sum(map(queue.is_good, judged)) / len(judged)
        if share >= BOUND:
            low = size
        else:
            high = size
        size = choose_plainly(scale, low, high) or 0.0
    return FoundPlainly(low, spent_s)


def choose_plainly(
    scale: CountScale | RateScale, low: float, high: float
) -> float | None:
    if not high:
        return scale.double(low)
    return scale.split(low, high) if low else scale.halve(high)
