"""Judges a load of a search while it runs, and ends it as soon as it is decided."""

from __future__ import annotations

import time
from collections import Counter

from ollama_bench.inputs.settings import LoadSettings
from ollama_bench.load import load
from ollama_bench.run.judging import Judged, RequestJudge
from ollama_bench.statistics.capacity_search import (
    LIKELY,
    SURE,
    SearchStep,
    Trial,
    restore_trial,
)
from ollama_bench.statistics.probe import ProbePlan, ShareProbe

DECIDED = "decided"
# of the objective that is missed most: one that is missed as often binds as well
OFTEN = 0.5


class LevelProbe(load.Observer):
    """Judges the requests of one load as they end, and ends it as soon as it is decided."""

    def __init__(
        self,
        judge: RequestJudge,
        step: SearchStep,
        plan: ProbePlan,
        settings: LoadSettings,
    ) -> None:
        self.step, self._judge = step, judge
        self.probe = ShareProbe(
            [demand.enough for demand in judge.demands], step, plan
        )
        # how the load is sent
        self.settings = settings
        self._is_grouped = plan.is_grouped
        self._load: load.Load | None = None
        self._recorder = load.Observer()
        # those that ended while one that was asked before goes on
        self._waiting: dict[int, tuple[float, Judged | None]] = {}
        # how often each objective was missed
        self._missed: Counter[str] = Counter()
        self._next = 1  # number of the request to judge next
        self.verdict = ""
        # without the time in which what was asked finishes
        self._decided_s: float | None = None

    def watch(self, under_way: load.Load, recorder: load.Observer) -> None:
        """Take the load that is about to run, and who else is told of it."""
        self._load, self._recorder = under_way, recorder

    def ready(self, tasks: list[load.Task]) -> None:
        self._recorder.ready(tasks)

    def begun(self, task: load.Task) -> None:
        self._recorder.begun(task)

    def ended(self, outcome: load.Outcome) -> None:
        judged = self._judge.judge(outcome)
        asked_ns = outcome.due_ns or outcome.sent_ns or outcome.ended_ns
        started_ns = self._load.started_ns if self._load else None
        asked_s = ((asked_ns or 0) - (started_ns or 0)) / 1e9
        number = outcome.task.number
        self._recorder.ended(outcome)
        self._waiting[number] = asked_s, judged
        if outcome.chunk_ns:
            # from its first text on: what it waited before fills no slot
            took_ns = (outcome.ended_ns or 0) - outcome.chunk_ns[0]
            self.probe.note_reply(took_ns / 1e9)
        while self._next in self._waiting:
            self._add(*self._waiting.pop(self._next))
        self._look()

    def _add(self, asked_s: float, judged: Judged | None) -> None:
        if judged is not None:
            self.probe.add(asked_s, judged.good, judged.strains)
            self._missed.update(judged.missed)
        # later turns of conversations count to the next burst
        if self._is_grouped and not self._next % int(self.step.size):
            self.probe.end_group()
        self._next += 1

    def tick(self, level: load.LevelResult) -> None:
        self._recorder.tick(level)
        self._look()

    def _look(self) -> None:
        under_way = self._load
        if (
            under_way is None
            or under_way.started_ns is None
            or self.verdict
        ):
            return
        now_s = (time.perf_counter_ns() - under_way.started_ns) / 1e9
        if verdict := self.probe.look(now_s):
            self.verdict, self._decided_s = verdict, now_s
            under_way.end_early(DECIDED)

    def make_trial(self, seconds: float, is_saturated: bool) -> Trial:
        """Return what the load came to, after so many seconds.

        is_saturated: too few were answered of those that came, as its level is judged.
        """
        result = self._load.result if self._load else None
        answered_per_s = None
        verdict = self.verdict
        is_growing = result is not None and bool(result.is_saturated)
        if is_growing or (is_saturated and verdict != "below"):
            # a queue that was not seen to grow may only have filled
            self.probe.saturate(SURE if is_growing else LIKELY)
            verdict = "saturated"
            answered_per_s = result and measure_answered(result)
        return restore_trial(
            {
                "size": self.step.size,
                "verdict": verdict or "unresolved",
                "evidence": self.probe.weigh(),
                "reach": self.probe.reach,
                "count": self.probe.count,
                "seconds": seconds,
                "binding": self._find_binding(),
                "answered_per_s": answered_per_s,
                "more_s": self.probe.expect_more_s(
                    self._decided_s or seconds
                ),
            }
        )

    def _find_binding(self) -> list[str]:
        """Return the objectives that were missed most, of the demand that is not met."""
        demands = [self._judge.demands[one] for one in self.probe.missed]
        names = [name for one in demands for name in one.names]
        most = max(self._missed[name] for name in names)
        often = max(1, OFTEN * most)
        return [name for name in names if self._missed[name] >= often]


def measure_answered(result: load.LevelResult) -> float | None:
    """Return the replies a second of a server that could not answer all."""
    first_ns, last_ns = result.tally.first_end_ns, result.tally.last_ns
    if first_ns is None or last_ns is None or last_ns <= first_ns:
        return None
    return (result.tally.completed - 1) * 1e9 / (last_ns - first_ns)
