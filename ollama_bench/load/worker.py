"""Makes requests ready and digests replies, one after another."""

from __future__ import annotations

import collections
import contextlib
import threading
import time
from urllib.parse import urlsplit

from ollama_bench.load.attempt import do_nothing, make_request
from ollama_bench.load.dispatcher import Dispatcher
from ollama_bench.load.events import Ended, EventQueue, Ready, Returned
from ollama_bench.load.failures import describe_failure
from ollama_bench.load.flight import Arrival, Flight, Transport
from ollama_bench.load.request import Outcome, Task
from ollama_bench.load.spec import LevelSpec
from ollama_bench.transport.lines import ServerKey
from ollama_bench.transport.session import Session

# a request that could not even connect keeps its worker this long
REFUSED_PAUSE_S = 0.25
# while others stream, a digesting worker releases the interpreter this long ...
GENTLE_PAUSE_S = 0.002
# ... and less the more replies wait, by half for this many
MANY_WAITING = 64


class Worker:
    """Carries arrivals: each in a thread of its own, from its question to the end of its reply.

    The thread serializes the request and connects, sleeps until the dispatcher has sent it and
    the reply was received for it, and then reads what the reply says. Later turns of a
    conversation follow in the same thread, but of people, who think before.
    """

    def __init__(
        self,
        spec: LevelSpec,
        transport: Transport,
        dispatcher: Dispatcher,
        events: EventQueue,
    ) -> None:
        self._spec = spec
        self._transport = transport
        self._dispatcher = dispatcher
        self._events = events
        # Of threads that have returned; a deque needs no lock for its ends.
        self._sessions: collections.deque[Session] = collections.deque()
        self._lock = threading.Lock()
        self._threads = 0  # that carry an arrival; guarded by the lock

    @property
    def is_busy(self) -> bool:
        """A thread carries an arrival."""
        with self._lock:
            return self._threads > 0

    def carry(self, arrival: Arrival) -> None:
        """Carry an arrival, and the turns of its conversation, to the end."""
        with self._lock:
            self._threads += 1
        session = self._take_session()
        error: BaseException | None = None
        try:
            self._carry_turns(arrival, session)
        # nobody asks the pool for it: who conducts the level raises it
        except BaseException as caught:
            error = caught
        finally:
            self._dispatcher.detach(arrival)
            self._sessions.append(session)
            with self._lock:
                self._threads -= 1
            self._events.put(Returned(arrival, error))

    def _carry_turns(self, arrival: Arrival, session: Session) -> None:
        task = self._ask(arrival)
        flight: Flight | None = None
        try:
            while task is not None:
                previous = flight
                flight = self._create_flight(
                    task, arrival if previous is None else None, previous
                )
                outcome = self._make(flight, session)
                self._let_go(previous)
                if self._dispatcher.let_think(arrival, outcome):
                    break
                task = self._follow(outcome)
                if task is None:
                    self._rest_if_refused(outcome)
        finally:
            self._let_go(flight)

    def _let_go(self, flight: Flight | None) -> None:
        """Free what a flight that is over still holds."""
        if flight is not None:
            self._dispatcher.free_unless_done(flight)
            flight.let_go()

    def _take_session(self) -> Session:
        with contextlib.suppress(IndexError):
            return self._sessions.pop()
        return Session()

    def _ask(self, arrival: Arrival) -> Task | None:
        """Return the task of the next question, numbered as the question until it is sent.

        A person's conversation goes on with its next turn.
        """
        if (said := arrival.said) is not None:
            return self._go_on(said)
        question = self._dispatcher.take_question(arrival)
        return None if question is None else self._spec.source(question)

    def _follow(self, outcome: Outcome) -> Task | None:
        """Return the next turn of a conversation, if there is one and it may be sent."""
        if (
            outcome.task.follow is None
            or outcome.status != "completed"
            or not self._dispatcher.claim_turn()
        ):
            return None
        return self._go_on(outcome)

    def _go_on(self, said: Outcome) -> Task | None:
        """Return the next turn, on the server that has the conversation in its cache."""
        if said.task.follow is None:
            return None
        self._spec.balancer.stay(said.task.host)
        # it gets a number of its own when it is sent
        return said.task.follow(said.task.number, said)

    def _create_flight(
        self, task: Task, arrival: Arrival | None, previous: Flight | None
    ) -> Flight:
        def report_ready(flight: Flight) -> None:
            if arrival is not None:
                self._events.put(Ready(arrival, flight))
            else:
                self._dispatcher.send_turn(flight)

        return Flight(
            task,
            arrival,
            previous,
            self._transport,
            on_ready=report_ready,
            on_over=self._dispatcher.replace,
            needs_line=self._needs_line(task, arrival),
        )

    def _needs_line(self, task: Task, arrival: Arrival | None) -> bool:
        """Tell whether to connect before the request is sent: nobody leaves it a line."""
        spec = self._spec
        if arrival is not None and (
            spec.is_burst or spec.is_timed or arrival.order <= spec.workers
        ):
            return True
        return not self._transport.lines.keeps(get_server_key(task.url))

    def _make(self, flight: Flight, session: Session) -> Outcome:
        """Make one request and report how it ended.

        An arrival is sent when it is due, a later turn in the place of the previous one.
        """
        arrival, outcome = flight.arrival, Outcome(flight.task)
        if arrival is not None:
            self._dispatcher.attach(arrival, flight)
        try:
            pause = do_nothing if flight.is_urgent else self._pause
            make_request(outcome, session, flight, pause)
        except Exception as error:
            # whatever it is, it ends this request and no other
            outcome.status = "client_error"
            words = describe_failure(error, flight.task.secret)
            outcome.error = f"{type(error).__name__}: {words}"
        if outcome.status == "refused":
            self._spec.balancer.leave_out(flight.task.host)
        # a reply that was read live has just ended
        if flight.recorder is None and flight.ended_ns is None:
            flight.ended_ns = time.perf_counter_ns()
            self._dispatcher.replace(flight)
        self._dispatcher.note_digested(flight)
        self._complete(outcome, flight, arrival)
        self._events.put(Ended(outcome, flight))
        return outcome

    def _complete(
        self, outcome: Outcome, flight: Flight, arrival: Arrival | None
    ) -> None:
        """Fill what an outcome lacks: its number, its end and how late it was sent."""
        spec, sent_ns, intended_ns = (
            self._spec,
            flight.sent_ns,
            flight.intended_ns,
        )
        if flight.ended_ns is None:
            failed_when_due_ns = intended_ns if sent_ns is None else None
            flight.ended_ns = failed_when_due_ns or time.perf_counter_ns()
        # Some servers go on after the line that ends a reply.
        last_chunk_ns = outcome.chunk_ns[-1] if outcome.chunk_ns else 0
        outcome.task = flight.task
        outcome.ended_ns = max(
            flight.ended_ns, intended_ns or 0, sent_ns or 0, last_chunk_ns
        )
        was_timed = spec.is_burst or spec.is_timed or flight.is_replacement
        if sent_ns is not None and intended_ns is not None and was_timed:
            outcome.send_lag_ns = max(0, sent_ns - intended_ns)
        if spec.is_timed and arrival is not None:
            outcome.due_ns = flight.due_ns
            outcome.person = arrival.person
            outcome.think_s = arrival.think_s

    def _rest_if_refused(self, outcome: Outcome) -> None:
        """Wait a moment after a request that could not even connect.

        A server that is gone is not asked without end.
        """
        if self._spec.is_burst or self._dispatcher.is_closing:
            return
        if outcome.status in ("refused", "client_error"):
            self._spec.interrupt.wait(REFUSED_PAUSE_S)

    def _pause(self) -> None:
        """Let those that receive and send run while others still stream."""
        if self._dispatcher.has_streams:
            waiting = len(self._transport.digests)
            time.sleep(GENTLE_PAUSE_S / (1 + waiting / MANY_WAITING))


def get_server_key(url: str) -> ServerKey:
    """Return what the transport calls the server of a URL."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or 0
