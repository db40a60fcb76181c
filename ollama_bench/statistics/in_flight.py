"""Requests in flight over time: how many, the most, and where their number is steady."""

from __future__ import annotations

from array import array
from itertools import accumulate

from ollama_bench.statistics.warm_up import count_warm_up

Span = tuple[int, int]  # (start, end), instants of time.perf_counter_ns
# parts of equal length that the number in flight is looked at in
PARTS = 500
# requests in which a warm-up can be told from chance
LEAST_FOR_TREND = 20


class InFlight:
    """The requests of a level that were sent, by when each was sent and ended."""

    def __init__(self) -> None:
        self.sent_ns = array("q")
        self.ended_ns = array("q")

    def add(self, sent_ns: int, ended_ns: int) -> None:
        """Add a request."""
        self.sent_ns.append(sent_ns)
        self.ended_ns.append(max(sent_ns, ended_ns))

    def find_peak(self) -> int | None:
        """Return how many were in flight at most; None without any."""
        edges = [(sent_ns, 1) for sent_ns in self.sent_ns]
        edges += [(ended_ns, -1) for ended_ns in self.ended_ns]
        # at the same instant one ends before the next is sent
        steps = accumulate(step for _, step in sorted(edges))
        return max(steps, default=None)

    def mean(self, span: Span) -> float:
        """Return how many were in flight in a stretch of time, on average."""
        start_ns, end_ns = span
        busy_ns = 0
        for sent_ns, ended_ns in zip(
            self.sent_ns, self.ended_ns, strict=True
        ):
            busy_ns += max(
                0, min(ended_ns, end_ns) - max(sent_ns, start_ns)
            )
        return busy_ns / (end_ns - start_ns)

    def split(self, span: Span, count: int) -> list[float]:
        """Return the mean number in flight in each of so many equal parts of a stretch of time."""
        start_ns, end_ns = span
        length = (end_ns - start_ns) / count
        # of a request only the edges are in parts that it does not fill
        busy, steps = [0.0] * count, [0] * (count + 1)
        for sent_ns, ended_ns in zip(
            self.sent_ns, self.ended_ns, strict=True
        ):
            first = (max(sent_ns, start_ns) - start_ns) / length
            last = (min(ended_ns, end_ns) - start_ns) / length
            if last <= first:
                continue
            begin, end = int(first), min(int(last), count - 1)
            steps[begin] += 1
            steps[end + 1] -= 1
            busy[begin] -= first - begin
            busy[end] -= end + 1 - last
        return [
            full + part
            for full, part in zip(accumulate(steps), busy, strict=False)
        ]

    def find_steady(self, span: Span) -> Span | None:
        """Return a stretch of time without its warm-up, by MSER-5 of the number in flight.

        None (unknown) without a request.
        """
        start_ns, end_ns = span
        if end_ns <= start_ns or not self.sent_ns:
            return None
        cut = count_warm_up(self.split(span, PARTS)) or 0
        return start_ns + (end_ns - start_ns) * cut // PARTS, end_ns


def find_steady_window(
    sent: InFlight,
    streaming: InFlight,
    span: Span,
    first_end_ns: int | None,
) -> Span | None:
    """Return the part of a load that goes on in which it neither fills nor drains.

    It begins where both the requests in flight and those that are being answered have lost their
    trend (MSER-5; of a few requests nobody can tell a trend).

    span: from the load's start until the last was asked. None before one has ended in it.
    """
    start_ns, end_ns = span
    if first_end_ns is None or first_end_ns >= end_ns:
        return None
    if len(sent.sent_ns) < LEAST_FOR_TREND:
        return span
    for series in (sent, streaming):
        found = series.find_steady(span)
        start_ns = max(start_ns, found[0] if found else 0)
    return start_ns, end_ns
