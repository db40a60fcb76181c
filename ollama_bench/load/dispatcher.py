"""Decides when a request is sent: once it is due and a place is free.

A place is free when the reply in it has ended, not when it was digested. Whichever thread
notices the end sends the next request, so that a closed loop is an open one in which all
requests are due at once. People need no place: there is one for each of them.
"""

from __future__ import annotations

import collections
import math
import threading
import time

from ollama_bench.load.arrivals import QueueCounts
from ollama_bench.load.bursts import Bursts
from ollama_bench.load.events import Begun, EventQueue, Ready
from ollama_bench.load.flight import NOT_NEEDED, Arrival, Flight, Transport
from ollama_bench.load.interpreter import Interpreter
from ollama_bench.load.people import PeopleQueue
from ollama_bench.load.request import Outcome
from ollama_bench.load.result import LevelResult
from ollama_bench.load.spec import LevelSpec
from ollama_bench.transport.lines import ServerLine

# size of the replies that wait to be digested; beyond, nothing is sent
MOST_WAITING_BYTES = 512 << 20


class Dispatcher:
    """The places of a level, and the requests that wait for one.

    Its methods may be called from any thread. The gate, a lock that its holder may take again,
    guards all fields but those noted; a thread that only wants a hint reads without it.
    """

    def __init__(
        self,
        spec: LevelSpec,
        result: LevelResult,
        transport: Transport,
        events: EventQueue,
        interpreter: Interpreter,
    ) -> None:
        self._is_burst, self._is_timed = spec.is_burst, spec.is_timed
        self._workers, self._ready_ahead = spec.workers, spec.ready_ahead
        self._total, self._until_s = spec.total, spec.until_s
        self._digest_delay_s = spec.digest_delay_s
        self._balancer = spec.balancer
        self._result = result
        self._lines = transport.lines
        self._digests = transport.digests
        self._events = events
        self._interpreter = interpreter
        self._gate = threading.RLock()
        self._arrivals = spec.make_queue()
        self._bursts = Bursts(spec, self._arrivals)
        self._started_ns = 0  # 0: not yet
        self._until_ns = math.inf  # nothing is sent from this instant on
        self._last_end_ns = 0  # of a reply
        self._questions = 0  # that were asked
        self._numbers = 0  # that were given
        self._promised = 0  # requests that have left or are admitted
        self._in_flight = 0  # places taken
        # when places became free
        self._freed_ns: collections.deque[int] = collections.deque()
        # since when nothing is sent, as too much waits to be digested
        self._held_since_ns: int | None = None
        self._is_closing = False  # nothing more is sent
        self._is_live = True  # streams still come in, or will

    # -- hints, without the gate

    @property
    def next_due_s(self) -> float | None:
        """When the request to admit next is due, seconds since the start; the conductor asks."""
        return self._arrivals.next_due_s

    @property
    def is_closing(self) -> bool:
        """Nothing more is sent."""
        return self._is_closing

    @property
    def has_streams(self) -> bool:
        """Streams come in that other work here may delay."""
        return self._is_live and self._in_flight > 0

    @property
    def last_end_ns(self) -> int:
        """When the last reply ended; 0 before any has."""
        return self._last_end_ns

    def is_time_over(self, now_ns: int) -> bool:
        """Tell whether the time in which requests are sent is over."""
        return now_ns >= self._until_ns

    # -- called by the conductor

    def start(self, started_ns: int) -> None:
        """Let requests leave, those due at 0 s at this instant."""
        with self._gate:
            self._started_ns = started_ns
            if self._until_s is not None:
                self._until_ns = started_ns + self._until_s * 1e9

    def admit_next(self, may_admit: bool) -> Arrival | None:
        """Admit the next request; None where none is left or no further one may be made ready."""
        with self._gate:
            if self._has_admitted_all():
                self._arrivals.end()
                return None
            if not may_admit or not self._has_room():
                return None
            arrival = self._arrivals.admit()
            self._promised += 1
            if self._is_timed:
                self._note_admitted(arrival)
            return arrival

    def _has_admitted_all(self) -> bool:
        next_due_s = self._arrivals.next_due_s
        if self._is_closing or next_due_s is None:
            return True
        if self._until_s is not None and next_due_s >= self._until_s:
            return True
        return self._total is not None and self._promised >= self._total

    def _has_room(self) -> bool:
        """Tell whether one more request may be made ready."""
        free = max(0, self._workers - self._in_flight)
        return len(self._arrivals) < self._ready_ahead + free

    def _note_admitted(self, arrival: Arrival) -> None:
        if (
            self._started_ns
            and self._to_instant(arrival.due_s) <= time.perf_counter_ns()
        ):
            arrival.has_waited = self._in_flight >= self._workers
        else:
            self._arrivals.put_undecided(arrival)

    def accept(self, event: Ready) -> None:
        """Take a request that is ready, or cancel it where it is not needed any more."""
        with self._gate:
            if self._is_closing or event.arrival not in self._arrivals:
                event.flight.cancel(NOT_NEEDED)
            else:
                self._arrivals.put_ready(event)

    def measure_ready_ratio(self) -> float:
        """Return how many of the requests that may be ready ahead of a free place are ready."""
        with self._gate:
            return self._arrivals.ready_count / (self._ready_ahead or 1)

    def number_first(self) -> list[Flight]:
        """Number the requests that leave at first, before anything is sent, and return them."""
        with self._gate:
            flights = self._arrivals.first_ready(self._workers)
            for flight in flights:
                self._number(flight)
                flight.is_told = True
            return flights

    def number(self, flight: Flight) -> None:
        """Number a request that ended before it could be sent."""
        with self._gate:
            self._number(flight)

    def discard(self, arrival: Arrival) -> None:
        """Forget an arrival whose worker has returned."""
        with self._gate:
            self._arrivals.discard(arrival)

    def send_due(self) -> None:
        """Send what is due while places are free."""
        with self._gate:
            self._send_due(None)

    def find_next_admission_s(self) -> float | None:
        """Return when the next request that there is room for is due."""
        with self._gate:
            return self._arrivals.next_due_s if self._has_room() else None

    def find_next_send_s(self) -> float | None:
        """Return when something may be sent, or a request of an open loop turns out to wait."""
        due_s = []
        with self._gate:
            ready, undecided = (
                self._arrivals.next_ready,
                self._arrivals.next_undecided,
            )
            can_send = (
                self._in_flight < self._workers
                and self._held_since_ns is None
                and self._bursts.may_send(self._in_flight)
            )
            if ready is not None and can_send:
                due_s.append(ready.due_s)
            if undecided is not None:
                due_s.append(undecided.due_s)
        return min(due_s, default=None)

    def close(
        self, due_by_ns: int | None = None, why: str = NOT_NEEDED
    ) -> None:
        """Send nothing more: nothing is admitted, and what was ready is cancelled.

        What an open loop had due by then, without ``due_by_ns`` by now, was never sent.
        ``why`` is said of requests that the observer was told of.
        """
        with self._gate:
            if self._is_closing:
                return
            self._is_closing = True
            if self._is_timed:
                self._keep_unsent(due_by_ns or time.perf_counter_ns())
            self._promised -= self._arrivals.clear(why)

    def count_queue(self) -> QueueCounts | None:
        """Return how many requests of an open loop have come by now; None once all have."""
        with self._gate:
            now_ns = time.perf_counter_ns()
            if self._is_closing or self.is_time_over(now_ns):
                return None
            waiting = self._arrivals.count_waiting(
                (now_ns - self._started_ns) / 1e9
            )
            arrived = self._numbers + waiting
            if self._total is not None and arrived >= self._total:
                return None
            return QueueCounts(arrived, self._numbers - self._in_flight)

    def end_early(self, why: str) -> None:
        """Send nothing more, before the level is over; any thread may ask."""
        with self._gate:
            if self._is_closing or self.is_time_over(
                time.perf_counter_ns()
            ):
                return
            self._result.ended_early = why
            self.close()

    def _keep_unsent(self, due_by_ns: int) -> None:
        """Keep the requests that were due and not sent.

        Either the pool was too small or this client is late, by as much as it is now.
        """
        if not self._started_ns:
            return
        passed_s = max(0.0, (due_by_ns - self._started_ns) / 1e9)
        if self._until_s is not None:
            passed_s = min(passed_s, self._until_s)
        most_unadmitted = (
            None if self._total is None else self._total - self._promised
        )
        is_full = self._in_flight >= self._workers
        unsent = self._result.unsent
        for due_s, has_waited in self._arrivals.take_unsent(
            passed_s, most_unadmitted, is_full
        ):
            unsent.add(due_s, has_waited)
        self._result.pool_waits += unsent.pool_waits
        self._result.tally.add_unsent(unsent.lags_ns(passed_s))

    def end_if_idle(self) -> bool:
        """Tell whether, just now, the last stream has ended: nothing is in flight or will be."""
        with self._gate:
            if (
                not self._is_live
                or self._in_flight
                or not self._arrivals.is_exhausted
            ):
                return False
            self._is_live = False
            return True

    # -- called by workers

    def take_question(self, arrival: Arrival) -> int | None:
        """Return the number of the next question; None where nothing more is sent.

        In an open loop it is that of the arrival: what a trace asks is due when the trace says.
        """
        with self._gate:
            if self._is_closing:
                return None
            self._questions += 1
            if self._is_timed and arrival.person is None:
                return arrival.order
            return self._questions

    def attach(self, arrival: Arrival, flight: Flight) -> None:
        """Give an arrival its request, and cancel it where it is not needed any more."""
        with self._gate:
            arrival.flight = flight
            if arrival not in self._arrivals:
                flight.cancel(NOT_NEEDED)

    def detach(self, arrival: Arrival) -> None:
        """Take its request from an arrival, when it is over."""
        with self._gate:
            arrival.flight = None

    def claim_turn(self) -> bool:
        """Tell whether a conversation may go on, and if so count its next turn as promised.

        It goes on instead of the question that would come last.
        """
        with self._gate:
            if self._is_closing or self.is_time_over(
                time.perf_counter_ns()
            ):
                return False
            is_full = (
                self._total is not None and self._promised >= self._total
            )
            if is_full and not self._is_burst:
                last = self._arrivals.find_last_untold()
                if last is None:
                    return False
                self._promised -= self._arrivals.drop(last)
            self._promised += 1
            return True

    def let_think(self, arrival: Arrival, outcome: Outcome) -> bool:
        """Have the person think whose reply has ended; False where nobody thinks.

        A conversation goes on with the person's next question.
        """
        if not isinstance(self._arrivals, PeopleQueue):
            return False
        has_more = (
            outcome.task.follow is not None
            and outcome.status == "completed"
        )
        with self._gate:
            if outcome.ended_ns is not None and self._started_ns:
                ended_s = (outcome.ended_ns - self._started_ns) / 1e9
                self._arrivals.think(
                    arrival, ended_s, outcome if has_more else None
                )
        return True

    def send_turn(self, flight: Flight) -> None:
        """Send the next turn of a conversation, in the place of the previous one."""
        previous = flight.previous
        with self._gate:
            if self._is_closing or previous is None:
                flight.cancel(NOT_NEEDED)
                return
            flight.intended_ns, flight.is_replacement = (
                previous.ended_ns,
                True,
            )
            self._number(flight)
            if previous.holds_place:
                previous.holds_place = False
                self._in_flight -= 1
                self._balancer.note_ended(previous.task.host)
            self._launch(flight, None)

    def free_unless_done(self, flight: Flight) -> None:
        """Free the place that a request still holds.

        It was never on the wire, or its conversation does not go on.
        """
        with self._gate:
            if flight.is_awaited:  # never sent
                flight.is_awaited = False
                self._balancer.note_dropped(flight.task.host)
            if flight.holds_place:
                was_sent = (
                    flight.sent_ns is not None
                    and flight.ended_ns is not None
                )
                freed_ns = flight.ended_ns if was_sent else None
                self._free_place(
                    flight, freed_ns or time.perf_counter_ns()
                )
                self._send_due(None)

    def note_digested(self, flight: Flight) -> None:
        """Note how long the digesting of a reply lagged behind its end."""
        if (
            self._is_burst
            or flight.sent_ns is None
            or flight.ended_ns is None
        ):
            return
        with self._gate:
            if self._is_live:
                lag_s = (time.perf_counter_ns() - flight.ended_ns) / 1e9
                self._result.digest_lag_s = max(
                    self._result.digest_lag_s, lag_s
                )

    # -- called by whichever thread notices; the hot path

    def replace(self, flight: Flight) -> None:
        """A reply has ended: give its place and its line to what is due."""
        line = flight.free_line()
        ended_ns = flight.ended_ns or time.perf_counter_ns()
        with self._gate:
            if ended_ns > self._last_end_ns:
                self._last_end_ns = ended_ns
            goes_on = flight.task.follow is not None and not isinstance(
                self._arrivals, PeopleQueue
            )
            if goes_on and not self._is_closing:
                # the place is kept for the next turn, if there is one
                if line is not None:
                    self._lines.put(line)
                return
            self._free_place(flight, ended_ns)
            self._send_due(line)

    # -- with the gate held

    def _free_place(self, flight: Flight, freed_ns: int) -> None:
        flight.holds_place = False
        self._in_flight -= 1
        self._balancer.note_ended(flight.task.host)
        self._freed_ns.append(freed_ns)
        if not self._in_flight and self._arrivals.is_exhausted:
            self._digests.hurry()

    def _send_due(self, line: ServerLine | None) -> None:
        """Send what is due while places are free; the first gets the line that has become free."""
        now_ns = time.perf_counter_ns()
        if self._started_ns and now_ns < self._until_ns:
            if self._is_timed:
                passed_s = (now_ns - self._started_ns) / 1e9
                self._arrivals.decide(
                    passed_s, self._in_flight >= self._workers
                )
            while self._may_send(now_ns):
                self._fire(self._arrivals.pop_ready(), line)
                line = None
        if line is not None:
            self._lines.put(line)

    def _may_send(self, now_ns: int) -> bool:
        if self._is_closing or self._in_flight >= self._workers:
            return False
        arrival = self._arrivals.next_ready
        if arrival is None or self._to_instant(arrival.due_s) > now_ns:
            return False
        may_send = self._bursts.may_send(self._in_flight)
        return may_send and not self._must_hold()

    def _must_hold(self) -> bool:
        """Tell whether so much waits to be digested that nothing may be sent: memory is bounded."""
        is_held = self._digests.waiting_bytes > MOST_WAITING_BYTES
        if self._is_burst or not (is_held or self._held_since_ns):
            return False
        now_ns = time.perf_counter_ns()
        if self._held_since_ns is not None:
            self._result.held_s += (now_ns - self._held_since_ns) / 1e9
        self._held_since_ns = now_ns if is_held else None
        return is_held

    def _fire(self, event: Ready, line: ServerLine | None) -> None:
        arrival, flight = event.arrival, event.flight
        due_ns = self._to_instant(arrival.due_s)
        if self._bursts.count_sent():
            self._freed_ns.clear()  # nobody waited for these places
        freed_ns = self._freed_ns.popleft() if self._freed_ns else 0
        flight.due_ns = due_ns
        flight.intended_ns = max(due_ns, freed_ns)
        flight.is_replacement = freed_ns > 0
        self._result.pool_waits += arrival.has_waited
        self._number(flight)
        self._launch(flight, line)

    def _launch(self, flight: Flight, line: ServerLine | None) -> None:
        flight.holds_place, flight.is_awaited = True, False
        self._in_flight += 1
        self._balancer.note_sent(flight.task.host)
        if not self._is_live:  # the next turn of a conversation of a burst
            self._is_live = True
            self._interpreter.favor_streams()
            self._digests.delay(self._digest_delay_s)
        if not flight.is_told:
            self._events.put(Begun(flight))
        flight.fire(flight.choose_line(self._lines, line))
        self._result.full_ns = flight.sent_ns or time.perf_counter_ns()

    def _number(self, flight: Flight) -> None:
        """Number a request: they are numbered as they leave."""
        if not flight.is_numbered:
            self._numbers += 1
            flight.give_number(self._numbers)

    def _to_instant(self, due_s: float) -> int:
        return self._started_ns + int(due_s * 1e9)
