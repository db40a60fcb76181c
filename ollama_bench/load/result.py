"""What a level comes to: its instants, its outcomes and how exact this client was."""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterator, Sequence

from ollama_bench.load.client_limits import ClientFigures
from ollama_bench.load.flight import Flight
from ollama_bench.load.heartbeat import Heartbeat
from ollama_bench.load.people_tally import PeopleFigures
from ollama_bench.load.request import Outcome
from ollama_bench.load.spec import LevelSpec
from ollama_bench.load.tally import Tally
from ollama_bench.statistics.in_flight import Span
from ollama_bench.statistics.saturation import Slope


class UnsentArrivals:
    """Arrivals that were due and never sent: nine bytes for each."""

    def __init__(self) -> None:
        self.due_s = array("d")  # since the level's start, in order
        # 1: every place was taken, 0: this client was late
        self.has_waited = bytearray()

    def __len__(self) -> int:
        return len(self.due_s)

    def add(self, due_s: float, has_waited: bool) -> None:
        """Add an arrival."""
        self.due_s.append(due_s)
        self.has_waited.append(has_waited)

    @property
    def pool_waits(self) -> int:
        """Those that were due while every place was taken."""
        return self.has_waited.count(1)

    def lags_ns(self, now_s: float) -> Iterator[int]:
        """Yield how late those are that had a place, at a second since the level's start."""
        for due_s, has_waited in zip(
            self.due_s, self.has_waited, strict=True
        ):
            if not has_waited:
                yield int((now_s - due_s) * 1e9)


class LevelResult:
    """What a level has come to so far, and in the end.

    Any thread may read it while the level runs. The conductor's thread, which is the one that
    runs the level and calls the observer, alone writes those that no lock guards.
    Instants are of time.perf_counter_ns.
    """

    def __init__(self, spec: LevelSpec) -> None:
        self.workers = spec.workers
        # requests to send; None: as many as the time allows
        self.planned = spec.total
        self.until_s = spec.until_s
        self.is_burst = spec.is_burst
        self.kind = spec.kind
        self.started_ns: int | None = None
        self.ended_ns: int | None = None  # the end of the last reply
        # requests in flight or not digested yet; in a burst all
        self.exchanges: list[Flight] = []
        # outcomes of a burst, by their number; other loads keep none
        self.outcomes: list[Outcome] = []
        self.tally = Tally()
        self.cpu_s = 0.0  # of this process, until the last stream ended
        # how long the machine slept; None: unknown
        self.slept_s: float | None = None
        # how late the heartbeat was while streams came in
        self.beats_late_ns = array("q")
        self.paused_s = 0.0  # this process stood still
        # when it did so, from and to; it grows while the level runs
        self.pauses: Sequence[Span] = ()
        # by how much the queue of a watched load grew, and whether it did;
        # None: not watched, or too few requests came
        self.queue_slope: Slope | None = None
        self.is_saturated: bool | None = None
        # requests that were due and still not sent at the end
        self.unsent = UnsentArrivals()
        # of several processes that send it: who was lost; "": nobody
        self.lost_worker = ""
        # Guarded by the dispatcher's gate:
        # why no more was sent before all was; "": it was
        self.ended_early = ""
        # instant of the last sending: from here on the load only falls
        self.full_ns: int | None = None
        # requests that were due while every place was taken
        self.pool_waits = 0
        # how long nothing was sent, as too much waited to be digested
        self.held_s = 0.0
        # The longest from a reply's end until it was digested, while others streamed.
        self.digest_lag_s = 0.0

    def add_heartbeat(self, heartbeat: Heartbeat) -> None:
        """Note how late threads were and how long the process stood still."""
        start_ns, end_ns = (
            self.started_ns or 0,
            self.ended_ns or time.perf_counter_ns(),
        )
        self.beats_late_ns = heartbeat.find_late_ns(start_ns, end_ns)
        self.paused_s = heartbeat.measure_paused_s(start_ns, end_ns)

    def steady_figures(self) -> dict[str, int]:
        """Return the instants between which the load was steady; {} where it never was."""
        window = self.find_steady()
        return (
            {"steady_start_ns": window[0], "steady_end_ns": window[1]}
            if window
            else {}
        )

    def find_steady(self) -> Span | None:
        """Return the part of a load that goes on in which it was steady; None of a burst."""
        if self.kind == "burst" or self.started_ns is None:
            return None
        last_due_s = max(self.unsent.due_s, default=0.0)
        return self.tally.find_steady_window(
            self.started_ns, self.started_ns + int(last_due_s * 1e9)
        )

    def people_figures(self) -> PeopleFigures:
        """Return how people and their requests fit together; all None of other loads."""
        return self.tally.people.summarize(
            self.workers, self.find_steady()
        )

    def client_figures(self) -> ClientFigures:
        """Return how exact this client was, and whether it was the limit of the level."""
        figures = self.tally.summarize_client(
            self.kind,
            self.workers,
            self._measure_wall_s(),
            self.cpu_s,
            self.beats_late_ns,
            self.paused_s,
            self.held_s,
            None if self.is_burst else self.digest_lag_s,
            self.slept_s,
            self.find_steady(),
        )
        if not self.is_burst:  # several have no first and last sending
            figures["client_send_skew_s"] = None
        return figures

    def _measure_wall_s(self) -> float:
        """Return how long the level took so far; 0 where every request had failed before."""
        if self.started_ns is None:
            return 0.0
        return (
            (self.ended_ns or time.perf_counter_ns()) - self.started_ns
        ) / 1e9
