"""A level that the workers of a fleet send together.

    level = FleetLevel(fleet, load, make_load)  # load: the whole, which is never run itself
    level.run(observer)  # as Load.run(): the load's result is filled
    level.reports  # what each worker sent, and how well its clock is known

All workers make ready what leaves at first, then begin at one instant. What they tell comes in
batches; the thread that calls run() puts it onto one clock, adds it up and tells the observer.
"""

from __future__ import annotations

import contextlib
import pickle
import queue
import time
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from functools import partial

from ollama_bench.fleet.clock_track import ClockReport, ClockTrack
from ollama_bench.fleet.fleet import Fleet, FleetError, WorkerLostError
from ollama_bench.fleet.member import (
    STALLED_S,
    Member,
    WorkerGoneError,
)
from ollama_bench.fleet.messages import Batch, MakeLoad, Order, PartEnd
from ollama_bench.fleet.one_clock import shift_outcome
from ollama_bench.fleet.sights import Sights
from ollama_bench.load.load import Load
from ollama_bench.load.observer import Observer
from ollama_bench.load.part import Part
from ollama_bench.load.request import Outcome, Task

TICK_S = 0.25
# from when all are ready until all begin: each must have been told before
LEAD_S = 0.2
LEAD_EACH_S = 0.01


@dataclass(frozen=True)
class WorkerReport:
    """What one worker did in a level."""

    name: str
    machine: int | None
    requests: int
    cpu_s: float | None  # None: it was lost
    clock: ClockReport


@dataclass
class Player:
    """A worker in this level."""

    member: Member
    part: Part
    is_ready: bool = False
    ending: PartEnd | None = None
    lost_why: str = ""
    requests: int = 0
    # those that have begun and not ended
    under_way: dict[int, Task] = field(default_factory=dict)

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come of it."""
        return self.ending is not None or bool(self.lost_why)


class FleetLevel:
    """Runs one level on the workers that are there."""

    def __init__(
        self, fleet: Fleet, load: Load, make_load: MakeLoad
    ) -> None:
        self._fleet, self._load = fleet, load
        self._make_load = make_load
        self._result = load.result
        self._sights = Sights(load.result)
        self._players: list[Player] = []
        self._box: queue.SimpleQueue[
            tuple[Player, bytes | WorkerGoneError]
        ] = queue.SimpleQueue()
        self._pumps: list[Future[None]] = []
        self._first: list[Task] = []  # until the observer is told
        self._has_stopped = False  # all were told to
        self.reports: list[WorkerReport] = []

    def run(self, observer: Observer) -> None:
        """Send the level and wait until every request has ended.

        Where a worker is lost meanwhile, the others are stopped: see refuse_lost(). Raises
        FleetError where the level cannot go on, and whatever the observer raises.
        """
        try:
            self._deal()
            self._prepare(observer)
            self._start()
            while not all(player.is_over for player in self._players):
                self._look(observer)
            self._finish()
        except FleetError as error:
            self._take_rest(observer)
            self._give_up(observer, str(error))
            raise
        finally:
            self._end_pumps()
            self._fleet.tell(self._find_there(), "stop")
        observer.tick(self._result)

    def refuse_lost(self) -> None:
        """Forget the workers that were lost. Raises WorkerLostError where one was."""
        lost = [player for player in self._players if player.lost_why]
        if not lost:
            return
        names = ", ".join(
            f"{player.member.name} ({player.lost_why})" for player in lost
        )
        self._fleet.drop([player.member for player in lost])
        raise WorkerLostError(
            f"worker {names} was lost in the middle of a level"
        )

    # -- before the start

    def _deal(self) -> None:
        """Give each worker its part; who is gone since the last level is dropped."""
        for member in self._fleet.members:
            member.track = ClockTrack()
        gone = self._fleet.compare_clocks(self._fleet.members)
        if gone:
            self._fleet.drop(list(gone))
        spec = self._load.spec
        most = min(spec.workers, spec.total or spec.workers)
        members = self._fleet.members[:most]
        self._players = [
            Player(member, Part(place, len(members), spec.workers))
            for place, member in enumerate(members)
        ]

    def _prepare(self, observer: Observer) -> None:
        """Have all make ready what leaves at first; return when they are, or are stopped."""
        orders = [
            pickle.dumps(
                Order(self._make_load, player.part, player.member.name)
            )
            for player in self._players
        ]
        self._tell("prepare", orders)
        for player in self._players:
            player.member.is_wanted, player.member.is_behind = True, False
            put = partial(self._put, player)
            pump = self._fleet.schedule(player.member.pump(put))
            self._pumps.append(pump)
        while not all(
            player.is_ready or player.is_over for player in self._players
        ):
            self._look(observer)
        if self._first:
            observer.ready(self._first)
            self._first = []

    def _put(self, player: Player, found: bytes | WorkerGoneError) -> None:
        self._box.put((player, found))

    def _start(self) -> None:
        """Name the instant at which all begin, by the clock of each."""
        lead_s = LEAD_S + LEAD_EACH_S * len(self._players)
        start_ns = time.perf_counter_ns() + int(lead_s * 1e9)
        self._result.started_ns = start_ns
        starts = []
        for player in self._players:
            line = player.member.track.read_line()
            there_ns = start_ns + round(line.offset_at(start_ns))
            starts.append(str(there_ns).encode())
        self._tell("start", starts)

    # -- while it runs

    def _look(self, observer: Observer) -> None:
        """Take what has come, and look around four times a second."""
        until_s = time.monotonic() + TICK_S
        while (left_s := until_s - time.monotonic()) > 0:
            try:
                player, found = self._box.get(timeout=left_s)
            except queue.Empty:
                break
            if isinstance(found, WorkerGoneError):
                self._lose(player, str(found), observer)
            else:
                self._take(player, pickle.loads(found), observer)
                player.member.is_behind = False
        if not self._fleet.is_connected:
            self._fleet.refuse_if_lost()
        if self._load.spec.interrupt.is_set():
            self._stop()
        if self._result.started_ns is not None:
            self._sights.show()
            observer.tick(self._result)

    def _take(
        self, player: Player, batch: Batch, observer: Observer
    ) -> None:
        """Add up what a batch tells."""
        track = player.member.track
        line = track.read_line()
        player.is_ready = player.is_ready or batch.is_ready
        for task in batch.begun:
            player.requests += 1
            player.under_way[task.number] = task
            self._sights.add(task)
            if self._result.started_ns is None:
                self._first.append(task)
            else:
                observer.begun(task)
        pauses = [
            (line.to_coordinator(start_ns), line.to_coordinator(end_ns))
            for start_ns, end_ns in batch.pauses
        ]
        for outcome in batch.ended:
            if outcome.ended_ns is not None:
                track.note_use(line, outcome.ended_ns)
            if outcome.sent_ns is not None:
                track.note_use(line, outcome.sent_ns)
            shift_outcome(outcome, line)
            self._end(player, outcome, pauses, observer)
        self._sights.move(batch.in_flight, line)
        if batch.failure is not None:
            raise FleetError(
                f"worker {player.member.name}: {batch.failure}"
            )
        player.ending = batch.ending
        player.member.is_wanted = batch.ending is None

    def _end(
        self,
        player: Player,
        outcome: Outcome,
        pauses: list[tuple[int, int]],
        observer: Observer,
    ) -> None:
        number = outcome.task.number
        if player.under_way.pop(number, None) is None:
            player.requests += 1  # it failed before it could be sent
        self._sights.end(outcome)
        if self._load.spec.is_burst:
            self._result.outcomes.append(outcome)
        self._result.tally.add(outcome, pauses)
        observer.ended(outcome)

    def _lose(self, player: Player, why: str, observer: Observer) -> None:
        """End the requests of a worker that is gone, and stop the others."""
        if player.is_over:
            return
        self._fleet.refuse_if_lost()
        player.lost_why = why
        self._result.lost_worker = player.member.name
        self._end_all(
            player,
            f"worker {player.member.name} was lost: {why}",
            observer,
        )
        self._stop()

    def _end_all(
        self, player: Player, why: str, observer: Observer
    ) -> None:
        for task in list(player.under_way.values()):
            outcome = Outcome(
                task, error=why, ended_ns=time.perf_counter_ns()
            )
            self._end(player, outcome, [], observer)
        self._first = [
            task
            for task in self._first
            if task.worker != player.member.name
        ]

    def _stop(self) -> None:
        """Have every worker cancel what it has under way."""
        if not self._has_stopped:
            self._has_stopped = True
            self._fleet.tell(self._find_there(), "interrupt")

    # -- at the end

    def _finish(self) -> None:
        """Fill the result from what each worker says of its part."""
        self._end_pumps()
        self._fleet.compare_clocks(self._find_there())
        endings = []
        for player in self._players:
            clock = self._settle(player)
            if player.ending is not None:
                endings.append((player, player.ending))
            self.reports.append(
                WorkerReport(
                    player.member.name,
                    player.member.machine,
                    player.requests,
                    player.ending.cpu_s if player.ending else None,
                    clock,
                )
            )
        if endings:
            add_endings(self._load, endings)

    def _end_pumps(self) -> None:
        """Let no question be under way any more: two at a time would confuse a link."""
        for player in self._players:
            player.member.is_wanted = False
        wait(self._pumps, STALLED_S)

    def _settle(self, player: Player) -> ClockReport:
        track, ending = player.member.track, player.ending
        if ending is None:
            return ClockReport(None, None, None, None)
        ended_ns = max(ending.started_ns, ending.ended_ns)
        return track.settle(ending.started_ns, ended_ns)

    def _take_rest(self, observer: Observer) -> None:
        """Take the batches that have come of a level that cannot go on."""
        self._end_pumps()
        while not self._box.empty():
            player, found = self._box.get()
            # the first failure is told, not what follows of it
            with contextlib.suppress(FleetError):
                if isinstance(found, bytes):
                    self._take(player, pickle.loads(found), observer)

    def _give_up(self, observer: Observer, why: str) -> None:
        """End what is still under way: nobody will tell of it any more."""
        for player in self._players:
            self._end_all(player, why, observer)

    def _tell(self, word: str, contents: list[bytes]) -> None:
        """Tell each player its own; who is gone is noticed like one who goes later."""
        members = [player.member for player in self._players]
        gone = self._fleet.tell(members, word, contents)
        for player in self._players:
            if player.member in gone and not player.lost_why:
                self._put(player, WorkerGoneError(gone[player.member]))

    def _find_there(self) -> list[Member]:
        return [
            player.member
            for player in self._players
            if not player.lost_why
        ]


def add_endings(load: Load, endings: list[tuple[Player, PartEnd]]) -> None:
    """Fill a result from its parts: their sums, and of what limits a client the worst."""
    result = load.result
    line = [player.member.track.read_line() for player, _ in endings]
    result.started_ns = min(
        clock.to_coordinator(ending.started_ns)
        for clock, (_, ending) in zip(line, endings, strict=True)
    )
    result.ended_ns = max(
        clock.to_coordinator(max(ending.started_ns, ending.ended_ns))
        for clock, (_, ending) in zip(line, endings, strict=True)
    )
    all_ = [ending for _, ending in endings]
    # the limit is a core of one process, not of all
    result.cpu_s = max(ending.cpu_s for ending in all_)
    slept = [ending.slept_s for ending in all_]
    known = [value for value in slept if value is not None]
    result.slept_s = max(known) if len(known) == len(slept) else None
    result.paused_s = max(ending.paused_s for ending in all_)
    result.held_s = max(ending.held_s for ending in all_)
    result.digest_lag_s = max(ending.digest_lag_s for ending in all_)
    result.pool_waits = sum(ending.pool_waits for ending in all_)
    for ending in all_:
        result.beats_late_ns.extend(ending.beats_late_ns)
    add_unsent(load, all_)


def add_unsent(load: Load, endings: list[PartEnd]) -> None:
    """Add the arrivals that no worker could send, in the order in which they were due."""
    result = load.result
    found = sorted(
        (due_s, bool(has_waited))
        for ending in endings
        for due_s, has_waited in zip(
            ending.unsent.due_s, ending.unsent.has_waited, strict=True
        )
    )
    for due_s, has_waited in found:
        result.unsent.add(due_s, has_waited)
    if found and result.started_ns is not None:
        passed_s = ((result.ended_ns or 0) - result.started_ns) / 1e9
        if load.spec.until_s is not None:
            passed_s = min(passed_s, load.spec.until_s)
        result.tally.add_unsent(
            lag for lag in result.unsent.lags_ns(passed_s) if lag > 0
        )
