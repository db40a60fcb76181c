"""tally.py - adds up a level as its requests end, in memory that does not grow with its chunks.

    tally = Tally()
    tally.add(outcome)                 # each as it ends
    tally.itl_figures(), tally.interval_figures(seed), tally.client_figures(...)

What only needs the rows of the results file is a view of schema.sql; here is what needs every
chunk, and what is known of the client itself.
"""
from __future__ import annotations

import collections
import math
import random
from array import array
from operator import sub
from typing import Iterable, Sequence

from ollama_bench.load.attempt import Outcome

EXACT_VALUES = 1 << 18  # so many are kept as they are: 2 MB
BIN_BITS = 12  # beyond that a value keeps its first 12 bits: it is right within 1/4096
P95_FLOOR, P99_FLOOR = 20, 100  # values a percentile needs, as in schema.sql
RESAMPLES, MANY = 1000, 500  # of a bootstrap, a tenth of it from so many values on

CPU_LIMIT_RATIO = 0.9  # of one core: the interpreter runs one thread at a time
SEND_LAG_LIMIT_S = {"burst": 0.05,  # one that takes longer to leave is no burst
                    "closed": 0.005,  # from a reply's last byte to the next request
                    "open": 0.002}  # from when a request was due
FULL_RATIO = 0.98  # of a closed loop's requests are in flight, or this client did not keep up
STOPPED_S = 0.5  # beside a sleep; less is what waking up takes
SETTLE_NS = 100_000_000  # after this process stood still, what came meanwhile is read within so long
READ_LAG_LIMIT_S = 0.01  # stamps of our own that are this late at p99 spoil inter-token times
KEEP_UP_LIMIT_S = 0.25  # with the kernel's stamps lateness is harmless until the buffers fill


class Tally:
    """What the requests of a level add up to."""

    def __init__(self) -> None:
        self.ended = self.completed = 0
        self.last_ns: int | None = None  # last chunk of the level, or last end of a request without any
        self.first_end_ns: int | None = None  # of a completed request
        self._gaps, self._read_lags = Pool(), Pool()  # ns
        self._sent_ns, self._send_lags_ns = array("q"), array("q")
        self._ended_ns = array("q")  # of those that were sent
        self._could_not_connect = 0
        self._ttft_s, self._speeds = array("d"), array("d")

    def add(self, outcome: Outcome, pauses: Sequence[tuple[int, int]] = ()) -> None:
        """A request has ended; gaps between its chunks in which this process stood still count to no server."""
        self.ended += 1
        at = outcome.chunk_ns
        last_ns = at[-1] if len(at) else outcome.ended_ns
        if last_ns is not None:
            self.last_ns = max(self.last_ns or last_ns, last_ns)
        self._read_lags.extend(outcome.read_lags_ns)
        if outcome.sent_ns is not None:
            self._sent_ns.append(outcome.sent_ns)
            self._ended_ns.append(max(outcome.sent_ns, outcome.ended_ns or 0))
            if outcome.send_lag_ns is not None:
                self._send_lags_ns.append(outcome.send_lag_ns)
        else:
            self._could_not_connect += 1
        if outcome.status == "completed":
            self._add_completed(outcome, pauses)

    def add_unsent(self, lags_ns: Iterable[int]) -> None:
        """Requests that this client never sent though they were due and a place was free, and for how long."""
        self._send_lags_ns.extend(lags_ns)

    def _add_completed(self, outcome: Outcome, pauses: Sequence[tuple[int, int]]) -> None:
        at, tokens = outcome.chunk_ns, outcome.output_tokens
        self.completed += 1
        self.first_end_ns = min(self.first_end_ns or outcome.ended_ns, outcome.ended_ns)
        if not any(start < at[-1] and at[0] < end + SETTLE_NS for start, end in pauses):
            self._gaps.extend(map(sub, at[1:], at))
        else:
            self._gaps.extend(later - earlier for earlier, later in zip(at, at[1:])
                              if not any(start < later and earlier < end + SETTLE_NS for start, end in pauses))
        if (sent_ns := outcome.due_ns or outcome.sent_ns) is not None:
            self._ttft_s.append((at[0] - sent_ns) / 1e9)
        if tokens > 1 and (span := at[-1] - at[0]) > 0:
            self._speeds.append((tokens - 1) * 1e9 / span)

    def itl_figures(self) -> dict:
        """Inter-token latency of a level: every gap between chunks of the completed streams, pooled."""
        gaps = self._gaps
        return {
            "itl_chunks": gaps.count,
            "itl_mean_s": gaps.total / gaps.count / 1e9 if gaps.count else None,
            "itl_p50_s": gaps.percentile_s(50), "itl_p95_s": gaps.percentile_s(95, P95_FLOOR), "itl_p99_s": gaps.percentile_s(99, P99_FLOOR),
            "itl_max_s": gaps.largest / 1e9 if gaps.count else None,
        }

    def interval_figures(self, seed: int = 0) -> dict:
        """95 % intervals of the mean TTFT and the mean speed of the completed requests."""
        figures = {}
        for name, values in (("ttft_mean_{}_s", self._ttft_s), ("tokens_per_s_mean_{}", self._speeds)):
            figures[name.format("low")], figures[name.format("high")] = bootstrap(values, seed)
        return figures

    def steady_window(self, workers: int, is_open: bool) -> tuple[int, int] | None:
        """The part of a load that goes on in which it is neither filling nor draining; None where there is none.

        A closed loop is steady from when every worker has sent once; an open loop, in which the pool is
        never meant to be full, from its first completed reply. Either is until the last sending.
        """
        sent = sorted(self._sent_ns)
        start_ns = self.first_end_ns if is_open else sent[workers - 1] if len(sent) > workers else None
        return (start_ns, sent[-1]) if start_ns is not None and start_ns < sent[-1] else None

    def in_flight_mean(self, workers: int) -> float | None:
        """Requests in flight in the steady part of a closed loop, mean, by when each was sent and ended."""
        window = self.steady_window(workers, False)
        if window is None:
            return None
        start, end = window
        inside = sum(max(0, min(ended, end) - max(sent, start)) for sent, ended in zip(self._sent_ns, self._ended_ns))
        return inside / (end - start)

    def client_figures(self, load: str, workers: int, wall_s: float, cpu_s: float, beats_late_ns: Iterable[int],
                       paused_s: float = 0.0, held_s: float = 0.0, digest_lag_s: float | None = None,
                       slept_s: float | None = None) -> dict:
        """The columns of the table level that say how exact this client was. ``load``: burst, closed or open."""
        beats, send_lags = Pool(beats_late_ns), Pool(self._send_lags_ns)
        stall_s, read_lag_s = beats.high_percentile_s(), self._read_lags.high_percentile_s()
        figures = {
            "client_send_skew_s": (max(self._sent_ns) - min(self._sent_ns)) / 1e9 if load == "burst" and self._sent_ns else None,
            "client_send_lag_p50_s": send_lags.percentile_s(50) if send_lags.count else None,
            "client_send_lag_p99_s": send_lags.high_percentile_s(),
            "client_send_lag_max_s": send_lags.largest / 1e9 if send_lags.count else None,
            "client_read_lag_p99_s": stall_s if read_lag_s is None else read_lag_s,
            "client_read_lag_source": "kernel" if read_lag_s is not None else None if stall_s is None else "heartbeat",
            "client_stamps": "user" if read_lag_s is None else "kernel",
            "client_cpu_s": cpu_s, "client_cpu_ratio": cpu_s / wall_s if wall_s > 0 else None,
            "client_stall_p99_s": stall_s,
            "client_paused_s": paused_s, "slept_s": slept_s, "client_held_s": held_s, "client_digest_lag_max_s": digest_lag_s,
            "in_flight_mean": self.in_flight_mean(workers) if load == "closed" else None,
        }
        keeps_failing = self._could_not_connect > 0 or 2 * self.completed < self.ended  # who fails at once is in flight for no time
        why = limited_why(figures, load, workers, keeps_failing)
        return figures | {"client_limited": int(bool(why)), "client_limited_why": why}


class Pool:
    """Non-negative integers of which percentiles are asked: all of them while they are few, then in bins."""

    def __init__(self, values: Iterable[int] = ()) -> None:
        self.count, self.total, self.largest = 0, 0, 0
        self._values = array("q")
        self._bins: collections.Counter[int] = collections.Counter()
        self.extend(values)

    def extend(self, values: Iterable[int]) -> None:
        new = array("q", values)
        if not new:
            return
        self.count += len(new)
        self.total += sum(new)
        self.largest = max(self.largest, max(new))
        self._values += new
        if len(self._values) > EXACT_VALUES or self._bins:
            self._bins.update(map(binned, self._values))
            self._values = array("q")

    def percentile(self, percent: int) -> int:
        """Nearest rank: the value at rank ceil(percent/100 * n). Raises IndexError without any value."""
        rank = math.ceil(percent * self.count / 100)
        if not self._bins:
            return nearest_rank(sorted(self._values), percent)
        for value in sorted(self._bins):
            rank -= self._bins[value]
            if rank <= 0:
                return min(value, self.largest)
        raise IndexError("no values")

    def percentile_s(self, percent: int, floor: int = 1) -> float | None:
        """The same of nanoseconds, in seconds; None below so many values."""
        return self.percentile(percent) / 1e9 if self.count >= floor else None

    def high_percentile_s(self) -> float | None:
        """p99 of nanoseconds in seconds; the worst below 100 values; None without any."""
        return self.percentile_s(99 if self.count >= P99_FLOOR else 100)


def binned(value: int) -> int:
    """The middle of the value's bin."""
    shift = max(0, value.bit_length() - BIN_BITS)
    return (value >> shift << shift) + (1 << shift >> 1)


def nearest_rank(values: list, percent: int):
    """The value at rank ceil(percent/100 * n) of sorted values."""
    return values[(percent * len(values) + 99) // 100 - 1]


def bootstrap(values, seed: int) -> tuple[float | None, float | None]:
    """Percentile bootstrap of the mean, 95 % (Efron 1979); unknown below two values."""
    n = len(values)
    if n < 2:
        return None, None
    choose = random.Random(seed).choices
    means = sorted(sum(choose(values, k=n)) / n for _ in range(RESAMPLES if n < MANY else RESAMPLES // 10))
    return means[len(means) * 25 // 1000], means[len(means) * 975 // 1000]


def limited_why(figures: dict, load: str, workers: int, keeps_failing: bool) -> str | None:
    """Which limits of the client a level has passed, with the figures; None when none was."""
    kernel = figures["client_stamps"] == "kernel"
    lag_limit_s = KEEP_UP_LIMIT_S if kernel else READ_LAG_LIMIT_S
    found = []
    slept_s = figures["slept_s"]
    if slept_s:
        found.append(f"the machine slept for {slept_s:.1f} s")
    stopped_s = figures["client_paused_s"] - (slept_s or 0.0)
    if stopped_s > (STOPPED_S if slept_s else 0.0):
        how = "stopped or asleep" if slept_s is None else "stopped"
        found.append(f"this client itself stood still for {stopped_s:.1f} s ({how})")
    if (figures["client_cpu_ratio"] or 0) > CPU_LIMIT_RATIO:
        found.append(f"the client used {figures['client_cpu_ratio']:.0%} of a core")
    if (figures["client_send_lag_p99_s"] or 0) > SEND_LAG_LIMIT_S[load]:
        found.append(f"requests left up to {figures['client_send_lag_p99_s'] * 1e3:.0f} ms late")
    in_flight = figures["in_flight_mean"]
    if in_flight is not None and in_flight < FULL_RATIO * workers and not keeps_failing:
        found.append(f"{in_flight:.1f} of {workers} requests were in flight on average")
    if (figures["client_read_lag_p99_s"] or 0) > lag_limit_s:
        found.append(f"answers were read up to {figures['client_read_lag_p99_s'] * 1e3:.0f} ms late")
    if figures["client_held_s"]:
        found.append(f"nothing was sent for {figures['client_held_s']:.1f} s while replies waited to be digested, "
                     f"the last for {figures['client_digest_lag_max_s'] or 0:.1f} s")
    return "; ".join(found) or None
