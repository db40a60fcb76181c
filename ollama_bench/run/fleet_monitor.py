"""The monitor of a run whose servers run on several machines: one on each, by the fleet's workers.

    monitor = FleetMonitor(writer, run_id, origin_ns, sources=sources, ports=[])
    monitor.far = [FarMonitor(fleet, machine, record, say)]  # one for each machine
    monitor.start()  # and so on, as of one machine

A worker on a server's machine runs a monitor there (machine_watch.py). What that sees comes twice
a second, is put onto this process's clock by the round trips which that takes, and is stored with
the machine and with who watched it first. Where that worker is lost what has come is kept, another
one on the machine goes on, and what is missing between them shows in the coverage.
"""

from __future__ import annotations

import contextlib
import pickle
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from ollama_bench.fleet.clock import ClockLine
from ollama_bench.fleet.fleet import Fleet
from ollama_bench.fleet.member import Member, WorkerGoneError
from ollama_bench.fleet.watching import SEEN, UNWATCH, WATCH
from ollama_bench.monitor.latest_figures import (
    LatestFigures,
    add_figures,
    sum_up,
)
from ollama_bench.monitor.monitor import Coverage, Monitor
from ollama_bench.run.machine_watch import (
    MARK,
    RELEASE,
    BoxedRow,
    MachineWatch,
    Seen,
)
from ollama_bench.run.places import MachineFacts, ServerPlace
from ollama_bench.run.record import RunRecord
from ollama_bench.storage.results_file import ResultsError
from ollama_bench.terminal.screen import Console

END = "end"  # nothing more is wished
FETCH_S = 0.5
FIRST_TRIPS = 20  # to compare clocks, before anything is seen
INSTANTS = ("at_ns", "start_ns", "end_ns")
# columns that name a row which the worker inserted
REFERENCES = ("source_id", "process_id")
WATCHED = ("power_source", "process")  # tables that name the machine
# not kept of other machines: their key is the run's
LEFT_OUT = "system_sample"


class Wish(NamedTuple):
    """What a worker is to do before it is asked what it has seen, and whether that was done."""

    word: str
    is_done: threading.Event


@dataclass(frozen=True)
class WatchedMachine:
    """A machine that a worker watches, and the ports of the servers there."""

    member: Member
    ports: tuple[int, ...]
    # other workers there: one goes on where the first is lost
    others: tuple[Member, ...] = ()


class FarMonitor:
    """The watch of one machine as the coordinator sees it, fetched in a thread of its own."""

    def __init__(
        self,
        fleet: Fleet,
        machine: WatchedMachine,
        record: RunRecord,
        say: Callable[[str], object],
    ) -> None:
        self.name = machine.member.name  # of who watches
        self.is_lost = False  # nobody watches any more
        # each of its sources has given a sample, and it has done what is wished
        self.is_ready = False
        self.coverage: list[Coverage] = []  # by this process's clock
        self.latest = sum_up([], [])
        self._fleet = fleet
        self._machine = machine
        self._record = record
        self._say = say
        self._line = fleet.open_line(machine.member)
        self._others = list(machine.others)
        self._is_ending = False
        # rows of this file, by the number that the worker gave them
        self._ids: dict[int, int] = {}
        self._sources: dict[int, int] = {}  # id: samples that have come
        self._wishes: queue.SimpleQueue[Wish] = queue.SimpleQueue()
        self._thread = threading.Thread(
            target=self._run, name=f"watch {self.name}", daemon=True
        )

    def start(self) -> None:
        """Have the worker begin."""
        self._thread.start()

    def wish(self, word: str) -> threading.Event:
        """Have the worker do something; the event tells that what it saw until then is here."""
        wish = Wish(word, threading.Event())
        self.is_ready = False
        self._wishes.put(wish)
        return wish.is_done

    def stop(self) -> None:
        """End the watch and store the last of it."""
        self._is_ending = True
        self.wish(END)
        self._thread.join()

    def _run(self) -> None:
        """Fetch until stop(); what goes wrong ends the watch with one line, never the run."""
        try:
            while not self._watch():
                pass
        except Exception as error:
            self._lose(f"{type(error).__name__}: {error}")

    def _watch(self) -> bool:
        """Fetch from one worker; return whether no other one goes on."""
        try:
            self._begin()
            while self._fetch():
                pass
        except WorkerGoneError as error:
            heir = self._find_heir()
            self._lose(str(error), heir)
            if heir is not None:
                self._turn_to(heir)
                return False
        return True

    def _find_heir(self) -> Member | None:
        """Return another worker of the machine; none at the end, and without a scheduler."""
        fleet = self._fleet
        there = [one for one in self._others if one in fleet.members]
        if self._is_ending or not there or not fleet.is_connected:
            return None
        self._others = there[1:]
        return there[0]

    def _turn_to(self, heir: Member) -> None:
        """Let another worker watch from now on."""
        self.name = heir.name
        self._line = self._fleet.open_line(heir)
        # it counts its rows anew
        self._ids, self._sources = {}, {}

    def _begin(self) -> None:
        for _ in range(FIRST_TRIPS):
            self._ask("clock")
        watch = partial(MachineWatch, self._machine.ports)
        self._take(self._ask(WATCH, pickle.dumps(watch)))

    def _fetch(self) -> bool:
        """Fetch what was seen; return whether there is more to come."""
        try:
            wish = self._wishes.get(timeout=FETCH_S)
        except queue.Empty:
            wish = Wish("", threading.Event())
        if wish.word == END:
            self._take(self._ask(UNWATCH))
            return False
        seen = self._take(self._ask(SEEN, wish.word.encode()))
        wish.is_done.set()
        if seen.has_ended:
            raise WorkerGoneError("nobody had asked it for too long")
        return True

    def _ask(self, word: str, content: bytes = b"") -> bytes:
        asked = self._line.ask(word, content)
        return self._fleet.schedule(asked).result()

    def _take(self, content: bytes) -> Seen:
        """Store what a worker has seen, by this process's clock, and return it."""
        if not content:
            raise WorkerGoneError("another run had it stop")
        seen: Seen = pickle.loads(content)
        line = self._line.track.read_line()
        self._line.track.forget_between()
        for text in seen.said:
            self._say(f"worker {self.name}: {text}")
        for row in seen.rows:
            if row.table != LEFT_OUT:
                self._store(row, line)
        self.latest, self.is_ready = seen.latest, seen.is_ready
        self.coverage = [
            Coverage(line.to_coordinator(one.end_ns), one.patience_s)
            for one in seen.coverage
        ]
        return seen

    def _store(self, row: BoxedRow, line: ClockLine) -> None:
        writer = self._record.writer
        columns = self._translate(row, line)
        if not row.number:
            writer.add(row.table, columns)
            if row.table == "power_sample":
                self._sources[columns["source_id"]] += 1
        elif row.number in self._ids:
            writer.update(row.table, self._ids[row.number], columns)
        else:
            number = writer.insert(row.table, columns)
            self._ids[row.number] = number
            if row.table == "power_source":
                self._sources[number] = 0

    def _translate(self, row: BoxedRow, line: ClockLine) -> dict[str, Any]:
        """Return a row of the worker as it is stored here."""
        columns = dict(row.columns)
        for name in INSTANTS:
            if columns.get(name) is not None:
                instant_ns = line.to_coordinator(columns[name])
                columns[name] = instant_ns - self._record.origin_ns
        for name in REFERENCES:
            if name in columns:
                columns[name] = self._ids[columns[name]]
        if "run_id" in columns:
            columns["run_id"] = self._record.id
            if row.table in WATCHED:
                columns["machine_id"] = self._machine.member.machine
                # by this name the machine is known in the run
                columns["watcher"] = self._machine.member.name
        if row.table == "event":
            columns["detail"] = f"worker {self.name}: {columns['detail']}"
        return columns

    def _lose(self, why: str, heir: Member | None = None) -> None:
        """Tell that a worker's watch has ended, and who goes on; what has come is kept."""
        self.is_lost, self.is_ready = heir is None, False
        self.coverage, self.latest = [], sum_up([], [])
        said = f"worker {self.name} does not watch its machine any more: {why}"
        if heir is not None:
            said += f"; worker {heir.name} goes on"
        self._say(f"power: {said}")
        # the file may be what is at fault
        with contextlib.suppress(ResultsError):
            self._store_loss(why, said)

    def _store_loss(self, why: str, said: str) -> None:
        event = {
            "run_id": self._record.id,
            "at_ns": self._record.now_ns(),
            "kind": "watcher_lost",
            "detail": said,
        }
        self._record.writer.add("event", event)
        for number, samples in self._sources.items():
            columns = {"status": f"lost: {why}", "samples": samples}
            self._record.writer.update("power_source", number, columns)


class FleetMonitor(Monitor):
    """bench.py's own monitor, and those of the workers on the servers' other machines."""

    # set it before start()
    far: Sequence[FarMonitor] = ()

    def start(self) -> None:
        for one in self.far:
            one.start()
        super().start()

    def tell_unseen(self) -> None:
        if not self.far:
            super().tell_unseen()

    def has_first_sample(self) -> bool:
        return super().has_first_sample() and all(
            one.is_ready or one.is_lost for one in self.far
        )

    def mark(self) -> None:
        super().mark()
        self._wish(MARK)

    def list_coverage(self) -> list[Coverage]:
        found = super().list_coverage()
        for one in self.far:
            # what is stored there comes here a little later
            found += [
                Coverage(source.end_ns, source.patience_s + 2 * FETCH_S)
                for source in one.coverage
            ]
        return found

    def release(self, at_ns: int) -> None:
        super().release(at_ns)
        for is_done in self._wish(RELEASE):
            is_done.wait(FETCH_S)

    def latest(self) -> LatestFigures:
        if not self.far:
            return super().latest()
        own = [super().latest()] if self._server is not None else []
        return add_figures([*own, *(one.latest for one in self.far)])

    def stop(self) -> dict[str, float]:
        for one in self.far:
            one.stop()
        return super().stop()

    def _wish(self, word: str) -> list[threading.Event]:
        return [one.wish(word) for one in self.far if not one.is_lost]


def make_far_monitors(
    fleet: Fleet,
    places: Sequence[ServerPlace],
    facts: Mapping[Member, MachineFacts],
    record: RunRecord,
    screen: Console,
) -> list[FarMonitor]:
    """Return a monitor for each machine that a worker watches, and say which these are."""
    there: dict[Member, list[ServerPlace]] = {}
    for place in places:
        if place.watcher is not None:
            there.setdefault(place.watcher, []).append(place)
    found = []
    for member, own in there.items():
        hosts = " and ".join(place.url for place in own)
        screen.say(f"worker {member.name} watches the machine of {hosts}")
        ports = tuple(place.port for place in own if place.port)
        others = list_others(member, facts)
        machine = WatchedMachine(member, ports, others)
        found.append(FarMonitor(fleet, machine, record, screen.say))
    for place in places:
        if there and not place.is_known:
            screen.warn(
                f"{place.url}: no worker is known to run on its machine: "
                "its power is not known (--watch WORKER=HOST)"
            )
    return found


def list_others(
    member: Member, facts: Mapping[Member, MachineFacts]
) -> tuple[Member, ...]:
    """Return the other workers on the machine of one."""
    identity = facts[member].identity
    return tuple(
        one
        for one, told in facts.items()
        if told.identity == identity and one is not member
    )
