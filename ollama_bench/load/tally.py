"""Adds up a level as its requests end, in memory that does not grow with its chunks.

    tally = Tally()
    tally.add(outcome)  # each as it ends
    tally.summarize_itl(), tally.summarize_intervals(workers), tally.summarize_client(...)

What the rows of the results file suffice for is a view of schema.sql; here is what needs every
chunk, and what is known of the client itself.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from operator import sub
from statistics import fmean
from typing import Literal, TypedDict

from ollama_bench.load.client_limits import (
    ClientFigures,
    ClientMeasurements,
    LoadKind,
    describe_client_limits,
)
from ollama_bench.load.duration_pool import NS_PER_S, DurationPool
from ollama_bench.load.people_tally import PeopleTally
from ollama_bench.load.request import Outcome
from ollama_bench.statistics.in_flight import (
    InFlight,
    Span,
    find_steady_window,
)
from ollama_bench.statistics.intervals import (
    LEAST_VALUES,
    batch_means,
    mean_interval,
)
from ollama_bench.statistics.percentiles import (
    MIN_VALUES_FOR_P95,
    MIN_VALUES_FOR_P99,
)
from ollama_bench.statistics.percentiles import (
    nearest_rank as nearest_rank,
)

# after a pause of this process, what arrived meanwhile is read within
SETTLE_NS = 100_000_000


class ItlFigures(TypedDict):
    """Inter-token latency of a level."""

    itl_chunks: int
    itl_mean_s: float | None
    itl_p50_s: float | None
    itl_p95_s: float | None
    itl_p99_s: float | None
    itl_max_s: float | None


class IntervalFigures(TypedDict):
    """95 % intervals of a level's means."""

    interval_basis: str | None
    interval_n: int | None
    ttft_mean_low_s: float | None
    ttft_mean_high_s: float | None
    tokens_per_s_mean_low: float | None
    tokens_per_s_mean_high: float | None


def summarize_means(
    waits_s: Sequence[float],
    speeds: Sequence[float],
    workers: int | None = None,
) -> IntervalFigures:
    """Return intervals of the means of requests in the order in which they ended.

    Of a load that goes on with so many ``workers``, they are made of batches of as many requests
    or more, and of shorter ones where it has too few. Below LEAST_VALUES requests they are unknown.
    """
    wait_means = batch_means(waits_s, workers) if workers else []
    speed_means = batch_means(speeds, workers) if workers else []
    has_batches = bool(wait_means and speed_means)
    found: list[Sequence[float]] = [waits_s, speeds]
    if has_batches:
        found = [wait_means, speed_means]
    wait, speed = (
        mean_interval(values) if len(values) >= LEAST_VALUES else None
        for values in found
    )
    is_known = wait is not None or speed is not None
    basis = "batches" if has_batches else "requests"
    return {
        "interval_basis": basis if is_known else None,
        "interval_n": len(found[0]) if is_known else None,
        "ttft_mean_low_s": wait.low if wait else None,
        "ttft_mean_high_s": wait.high if wait else None,
        "tokens_per_s_mean_low": speed.low if speed else None,
        "tokens_per_s_mean_high": speed.high if speed else None,
    }


class Tally:
    """What the requests of a level add up to."""

    def __init__(self) -> None:
        self.ended = 0
        self.completed = 0
        self.tokens = 0  # of all replies
        # of the completed, and chunks of text of the others
        self._completed_tokens = self._completed_chunks = 0
        self._cut_chunks = 0
        # last chunk, or last end of a request without any
        self.last_ns: int | None = None
        # of a completed request, or one whose person left
        self.first_end_ns: int | None = None
        self._gaps = DurationPool()
        self._read_lags = DurationPool()
        self.in_flight = InFlight()
        # from the first to the last chunk of text
        self.streaming = InFlight()
        self.people = PeopleTally()
        self._send_lags_ns = array("q")
        self._could_not_connect = 0
        # when the last of those was asked
        self._last_refused_ns = 0
        # when each was asked, and its value
        self._ttft_s: list[tuple[int, float]] = []
        self._tokens_per_s: list[tuple[int, float]] = []

    def add(self, outcome: Outcome, pauses: Sequence[Span] = ()) -> None:
        """Add a request that has ended.

        ``pauses`` are the times in which this process stood still: gaps between chunks that
        overlap one say nothing about the server and are left out.
        """
        self.ended += 1
        self.tokens += outcome.output_tokens
        self._note_last_instant(outcome)
        self._read_lags.extend(outcome.read_lags_ns)
        if outcome.sent_ns is None:
            self._could_not_connect += 1
            self._note_refused(outcome)
        else:
            self.in_flight.add(outcome.sent_ns, outcome.ended_ns or 0)
            if outcome.send_lag_ns is not None:
                self._send_lags_ns.append(outcome.send_lag_ns)
        if outcome.chunk_ns:
            self.streaming.add(outcome.chunk_ns[0], outcome.chunk_ns[-1])
        self.people.add(outcome)
        if outcome.status in ("completed", "abandoned"):
            self._note_end(outcome.ended_ns)
        if outcome.status == "completed":
            self._add_completed(outcome, pauses)
        else:
            self._cut_chunks += len(outcome.chunk_ns)

    @property
    def received_tokens(self) -> int | None:
        """Return the tokens that came; no server counts those of a reply that was cut.

        Its chunks are taken to hold as many as those of the completed replies. None: none did.
        """
        if not self._cut_chunks:
            return self._completed_tokens
        if not self._completed_chunks:
            return None
        per_chunk = self._completed_tokens / self._completed_chunks
        return self._completed_tokens + round(
            self._cut_chunks * max(per_chunk, 1.0)
        )

    def add_unsent(self, lags_ns: Iterable[int]) -> None:
        """Add how late requests are that were due, had a place and were never sent."""
        self._send_lags_ns.extend(lags_ns)

    def _note_last_instant(self, outcome: Outcome) -> None:
        last_ns = (
            outcome.chunk_ns[-1] if outcome.chunk_ns else outcome.ended_ns
        )
        if last_ns is not None:
            self.last_ns = max(self.last_ns or last_ns, last_ns)

    def _note_refused(self, outcome: Outcome) -> None:
        if outcome.status != "cancelled":
            asked_ns = outcome.due_ns or outcome.ended_ns or 0
            self._last_refused_ns = max(self._last_refused_ns, asked_ns)

    def _note_end(self, ended_ns: int | None) -> None:
        if ended_ns is not None:
            self.first_end_ns = min(
                self.first_end_ns or ended_ns, ended_ns
            )

    def _add_completed(
        self, outcome: Outcome, pauses: Sequence[Span]
    ) -> None:
        chunk_ns, tokens = outcome.chunk_ns, outcome.output_tokens
        self.completed += 1
        self._completed_tokens += tokens
        self._completed_chunks += len(chunk_ns)
        if overlaps_any(chunk_ns[0], chunk_ns[-1], pauses):
            self._gaps.extend(gaps_outside(chunk_ns, pauses))
        else:
            self._gaps.extend(map(sub, chunk_ns[1:], chunk_ns))
        started_ns = outcome.due_ns or outcome.sent_ns
        if started_ns is not None:
            ttft_s = (chunk_ns[0] - started_ns) / NS_PER_S
            self._ttft_s.append((started_ns, ttft_s))
        streaming_ns = chunk_ns[-1] - chunk_ns[0]
        if tokens > 1 and streaming_ns > 0:
            # those of the first chunk were not made in that time
            after_first = tokens - outcome.tokens_per_chunk
            speed = after_first * NS_PER_S / streaming_ns
            self._tokens_per_s.append((started_ns or chunk_ns[0], speed))

    def summarize_itl(self) -> ItlFigures:
        """Return the inter-token latency: all gaps between chunks of completed streams, pooled."""
        gaps = self._gaps
        return {
            "itl_chunks": gaps.count,
            "itl_mean_s": gaps.mean_s(),
            "itl_p50_s": gaps.percentile_s(50),
            "itl_p95_s": gaps.percentile_s(95, MIN_VALUES_FOR_P95),
            "itl_p99_s": gaps.percentile_s(99, MIN_VALUES_FOR_P99),
            "itl_max_s": gaps.max_s(),
        }

    def summarize_intervals(
        self, workers: int | None = None, steady: Span | None = None
    ) -> IntervalFigures:
        """Return intervals of the mean TTFT and the mean speed of the completed requests.

        Of a load that goes on: of those that were asked in its ``steady`` part.
        """
        return summarize_means(
            choose_steady(self._ttft_s, steady),
            choose_steady(self._tokens_per_s, steady),
            workers,
        )

    def find_steady_window(
        self, started_ns: int, last_due_ns: int = 0
    ) -> Span | None:
        """Return the part of a load that goes on in which it neither fills nor drains.

        It ends when the last was asked: sent, or refused by a server that had died, or due and
        never sent. None before any reply has ended, or anybody has left.
        """
        end_ns = max(self.in_flight.sent_ns, default=started_ns)
        found = find_steady_window(
            self.in_flight,
            self.streaming,
            (started_ns, max(end_ns, last_due_ns)),
            self.first_end_ns,
        )
        if found is None:
            return None
        return found[0], max(found[1], self._last_refused_ns)

    def summarize_client(
        self,
        load: LoadKind,
        workers: int,
        wall_s: float,
        cpu_s: float,
        beats_late_ns: Iterable[int],
        paused_s: float = 0.0,
        held_s: float = 0.0,
        digest_lag_s: float | None = None,
        slept_s: float | None = None,
        steady: Span | None = None,
    ) -> ClientFigures:
        """Return how exact this client was, and whether it was the limit of the level."""
        send_lags = DurationPool(self._send_lags_ns)
        stall_s = DurationPool(beats_late_ns).p99_or_max_s()
        read_lag_s, source, stamps = self._find_read_lag(stall_s)
        measured: ClientMeasurements = {
            "client_send_skew_s": self._send_skew_s()
            if load == "burst"
            else None,
            "client_send_lag_p50_s": send_lags.percentile_s(50),
            "client_send_lag_p99_s": send_lags.p99_or_max_s(),
            "client_send_lag_max_s": send_lags.max_s(),
            "client_read_lag_p99_s": read_lag_s,
            "client_read_lag_source": source,
            "client_stamps": stamps,
            "client_cpu_s": cpu_s,
            "client_cpu_ratio": cpu_s / wall_s if wall_s > 0 else None,
            "client_stall_p99_s": stall_s,
            "client_paused_s": paused_s,
            "slept_s": slept_s,
            "client_held_s": held_s,
            "client_digest_lag_max_s": digest_lag_s,
            "in_flight_mean": self.in_flight.mean(steady)
            if steady and load != "open"
            else None,
            "in_flight_peak": self.in_flight.find_peak()
            if load == "people"
            else None,
        }
        keeps_failing = (
            self._could_not_connect > 0 or 2 * self.completed < self.ended
        )
        waits_s = [wait_s for _, wait_s in self._ttft_s]
        why = describe_client_limits(
            measured,
            load,
            workers,
            keeps_failing,
            fmean(waits_s) if waits_s else None,
        )
        return {
            **measured,
            "client_limited": int(bool(why)),
            "client_limited_why": why,
        }

    def _find_read_lag(
        self, stall_s: float | None
    ) -> tuple[
        float | None,
        Literal["kernel", "heartbeat"] | None,
        Literal["kernel", "user"],
    ]:
        """Return how late bytes were read, what tells so, and whose stamps they have."""
        read_lag_s = self._read_lags.p99_or_max_s()
        if read_lag_s is not None:
            return read_lag_s, "kernel", "kernel"
        # as late as a thread can be
        return stall_s, None if stall_s is None else "heartbeat", "user"

    def _send_skew_s(self) -> float | None:
        """Return the time between the first and the last sending."""
        sent_ns = self.in_flight.sent_ns
        if not sent_ns:
            return None
        return (max(sent_ns) - min(sent_ns)) / NS_PER_S


def choose_steady(
    values: Iterable[tuple[int, float]], steady: Span | None
) -> list[float]:
    """Return the values of the requests that were asked in the steady part; None: all."""
    if steady is None:
        return [value for _, value in values]
    start_ns, end_ns = steady
    return [value for at, value in values if start_ns <= at <= end_ns]


def overlaps_any(
    start_ns: int, end_ns: int, pauses: Sequence[Span]
) -> bool:
    """Tell whether a time overlaps a pause of this process or the reading up after it."""
    for pause_start_ns, pause_end_ns in pauses:
        if pause_start_ns < end_ns and start_ns < pause_end_ns + SETTLE_NS:
            return True
    return False


def gaps_outside(
    chunk_ns: Sequence[int], pauses: Sequence[Span]
) -> Iterator[int]:
    """Yield the gaps between chunks that overlap no pause."""
    for earlier_ns, later_ns in pairwise(chunk_ns):
        if not overlaps_any(earlier_ns, later_ns, pauses):
            yield later_ns - earlier_ns
