"""Searches for the highest load that meets the objectives: sends each that the search chooses."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from ollama_bench.inputs.settings import LoadSettings, Settings
from ollama_bench.run.error import RunError
from ollama_bench.run.judging import RequestJudge
from ollama_bench.run.level_probe import LevelProbe
from ollama_bench.run.levels import LevelRunner
from ollama_bench.run.plan import AskedLengths, Level, caches
from ollama_bench.run.record import Row, RunRecord
from ollama_bench.statistics.capacity_search import (
    LONG_S,
    CapacitySearch,
    SearchStep,
    Trial,
    is_late,
    restore_trial,
)
from ollama_bench.statistics.load_scales import STEP, CountScale, RateScale
from ollama_bench.statistics.probe import ProbePlan
from ollama_bench.terminal.figures import format_about
from ollama_bench.terminal.interrupt import Interrupt
from ollama_bench.terminal.screen import Console

STORED = """
SELECT trial FROM level WHERE run_id = ? AND (model, asked_prompt_tokens) IS (?, ?)
  AND prompt_mix IS ? AND trial IS NOT NULL
ORDER BY id"""
FOUND = """
SELECT saturated, server_gone_s, slept_s, client_send_lag_max_s, ttft_p50_s
FROM level_summary WHERE level_id = ?"""
# tries in a row in which the machine slept, this client was late, or the server stopped
MOST_DISTURBED = 3
# of the shortest wait that is allowed: a client that late is to blame for what was missed
LATE_RATIO = 0.1
# of the first rate, in the whole budget: some of them in the time of a load
FIRST_REQUESTS = 100
CANNOT_JUDGE = (
    "cannot judge a level of {}: the machine slept, or every request was cut "
    "before it met or missed an objective (use a longer --deadline)"
)
DISTURBED = (
    f"the search ended early: {MOST_DISTURBED} loads in a row were disturbed; "
    "search again when this machine is idle and the server goes on answering"
)


@dataclass
class CapacityRun:
    """The search for the capacity of one model."""

    settings: Settings
    record: RunRecord
    runner: LevelRunner
    screen: Console
    interrupt: Interrupt
    # shows a level by its id
    show_level: Callable[[int], object]
    model: str
    lengths: AskedLengths
    budget_s: float
    # how long a request took alone; None: unknown
    alone_s: float | None = None

    def __post_init__(self) -> None:
        self._judge = RequestJudge(self.settings.judging.objectives)
        self._kind = self.settings.load.kind
        # as long as --duration lets a load go on
        self._longest_s = self.settings.load.duration_s or math.inf
        self._search = CapacitySearch(self._make_scale())
        key = [self.record.id, self.model, *self.lengths]
        for row in self.record.rows(STORED, key):
            self._search.add(restore_trial(json.loads(row["trial"])))

    def _make_scale(self) -> CountScale | RateScale:
        if self._kind == "open":
            # the first must fit into the budget many times
            least = FIRST_REQUESTS / self.budget_s
            alone = 1 / self.alone_s if self.alone_s else 1.0
            return RateScale(max(least, alone))
        highest = max(self.settings.load.levels)
        return CountScale(highest, STEP if self._kind == "people" else 0.0)

    def run(self) -> None:
        """Try one load after another until the end is known or the budget is spent.

        Raises RunError where the first has no time.
        """
        began_s = time.monotonic()
        before_s = sum(trial.seconds for trial in self._search.trials)
        disturbed = 0
        while not self.interrupt.is_set() and disturbed < MOST_DISTURBED:
            spent_s = before_s + time.monotonic() - began_s
            left_s = self.budget_s - spent_s
            plan = self._make_plan(left_s)
            step = self._search.choose_next(
                left_s, plan.is_late, plan.find_least_s
            )
            if step is None:
                return
            least_s = plan.find_least_s(step)
            if least_s > min(left_s, self._longest_s):
                self._tell_spent(step, least_s, left_s)
                return
            trial = self._try(step, plan, spent_s)
            if trial is None:
                disturbed += 1
                continue
            disturbed = 0
            self._search.add(trial)
            # one that is saturated may end before a request is judged
            if not trial.count and trial.verdict != "saturated":
                self.screen.warn(CANNOT_JUDGE.format(f"{step.size:g}"))
                return
        if disturbed == MOST_DISTURBED:
            self.screen.warn(DISTURBED)

    def _tell_spent(
        self, step: SearchStep, least_s: float, left_s: float
    ) -> None:
        """Say what leaves no time for another probe. Raises RunError before the first."""
        needs = f"{self._name(step.size)}, needs {format_about(least_s)} or more"
        if least_s > left_s:
            self.screen.say(
                f"the budget of {self.budget_s:g} s is spent; the next probe, of {needs}"
            )
            return
        text = f"--duration {self._longest_s:g} is too short: a probe, of {needs}"
        if not self._search.trials:
            raise RunError(text)
        self.screen.warn(text)

    def _make_plan(self, left_s: float) -> ProbePlan:
        think_time = self.settings.load.think_time
        cycle_s = 0.0
        if self._kind == "closed":
            cycle_s = self.alone_s or 1.0
        if think_time is not None:
            cycle_s = think_time.mean_s + (self.alone_s or 0.0)
        return ProbePlan(
            left_s,
            is_late(left_s, self.budget_s),
            self._kind == "burst",
            self._judge.wait_s,
            cycle_s,
        )

    def _try(
        self, step: SearchStep, plan: ProbePlan, spent_s: float
    ) -> Trial | None:
        """Try a load; None if it was interrupted or disturbed."""
        began_s = time.monotonic()
        probe = LevelProbe(
            self._judge, step, plan, self._make_load(step, plan)
        )
        level_id = self.runner.measure(
            self._make_level(step),
            f"{spent_s:.0f} of {self.budget_s:g} s",
            probe=probe,
        )
        if level_id is None:
            return None
        found = self.record.rows(FOUND, [level_id])[0]
        seconds = time.monotonic() - began_s
        trial = probe.make_trial(seconds, found["saturated"] == 1)
        if disturbed := self._find_disturbance(found, trial):
            text = f"{self._name(trial.size)}: disturbed by {disturbed}"
        else:
            text = self._describe(trial)
            columns = {"trial": write_trial(trial)}
            self.record.writer.update("level", level_id, columns)
        self.show_level(level_id)
        self.screen.say(f"        {text}")
        return None if disturbed else trial

    def _find_disturbance(self, found: Row, trial: Trial) -> str:
        """Return who is to blame for what was missed, or for a level that tells nothing."""
        if found["server_gone_s"] is not None:
            return "the server, which stopped"
        late_s = found["client_send_lag_max_s"] or 0.0
        most_s = self._judge.wait_s or math.inf
        # what a client holds back makes each wait longer by that at most
        is_to_blame = (
            late_s > LATE_RATIO * most_s
            and (found["ttft_p50_s"] or 0.0) <= most_s + late_s
            and trial.verdict in ("below", "saturated")
        )
        return "this machine" if found["slept_s"] or is_to_blame else ""

    def _make_level(self, step: SearchStep) -> Level:
        """Return a level that none in the file is: each try is a repeat."""
        cache = caches(self.settings.request.cache)[0]
        tried = self._search.trials
        if self._kind == "open":
            places = max(self.settings.load.levels)
            return Level(
                self.model, places, 1 + len(tried), cache, 0, *self.lengths
            )
        repeat = 1 + sum(trial.size == step.size for trial in tried)
        return Level(
            self.model, int(step.size), repeat, cache, 0, *self.lengths
        )

    def _make_load(
        self, step: SearchStep, plan: ProbePlan
    ) -> LoadSettings:
        settings, most_s = self.settings.load, plan.find_most_s(step)
        return replace(
            settings,
            duration_s=min(self._longest_s, most_s),
            requests=None,
            rate_per_s=step.size if self._kind == "open" else None,
        )

    def _name(self, size: float) -> str:
        if self._kind == "open":
            return f"{size:g} requests/s"
        if self._kind == "people":
            return "1 person" if size == 1 else f"{size:g} people"
        return f"{size:g} at once"

    def _describe(self, trial: Trial) -> str:
        """Say how a load fared that is about to be added to the search."""
        name = self._name(trial.size)
        if trial.verdict == "unresolved" and not trial.count:
            return f"{name}: not judged"
        if trial.verdict == "unresolved":
            looks = "served" if trial.reach >= 1 else "missed"
            return f"{name}: looks {looks} (not resolved{say_more(trial)})"
        is_shown = self._search.is_shown(trial.size, trial.evidence)
        words = {
            "above": "served" if is_shown else "looks served",
            "below": f"missed ({', '.join(trial.binding)})",
            "saturated": "saturated: more come than are answered",
        }
        return f"{name}: {words[trial.verdict]}"


def say_more(trial: Trial) -> str:
    """Say how much longer a load would have taken, if that is known."""
    if not trial.more_s:
        return ""
    if trial.more_s > LONG_S:
        return ", an hour more would not tell"
    return f", {format_about(trial.more_s)} more would tell"


def write_trial(trial: Trial) -> str:
    """Return a trial as it is stored."""
    return json.dumps(dataclasses.asdict(trial))
