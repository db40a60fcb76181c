"""Requests that could be sent, in the order in which they should be."""

from __future__ import annotations

import heapq
from collections.abc import Callable

from ollama_bench.load.balancer import Rank
from ollama_bench.load.events import Ready
from ollama_bench.load.flight import Arrival

Entry = tuple[float, int, Ready]  # when it is due, its order


class ReadyQueue:
    """The dispatcher's gate guards it.

    First whatever is due first. Of those due at the same time, as all are that replace a reply,
    those that the observer was told of; then the one whose server has the lowest rank; then as they
    were admitted.
    """

    def __init__(self, rank: Callable[[int], Rank]) -> None:
        self._rank = rank
        self._heaps: dict[int, list[Entry]] = {}  # by server, none empty

    def __len__(self) -> int:
        return sum(map(len, self._heaps.values()))

    def put(self, event: Ready) -> None:
        """Accept a request."""
        arrival = event.arrival
        heap = self._heaps.setdefault(event.flight.task.host, [])
        heapq.heappush(heap, (arrival.due_s, arrival.order, event))

    @property
    def first(self) -> Ready | None:
        """The request to send next; None where none is ready."""
        host = self._choose()
        return None if host is None else self._heaps[host][0][2]

    def pop(self) -> Ready:
        """Take out the request to send next. Raises IndexError when none is ready."""
        host = self._choose()
        if host is None:
            raise IndexError("no request is ready")
        _, _, event = heapq.heappop(self._heaps[host])
        if not self._heaps[host]:
            del self._heaps[host]
        return event

    def _choose(self) -> int | None:
        heaps = self._heaps
        if len(heaps) < 2:
            return next(iter(heaps), None)

        def order(host: int) -> tuple[float, bool, Rank, int]:
            due_s, place, event = heaps[host][0]
            is_late = not event.flight.is_told
            return due_s, is_late, self._rank(host), place

        return min(heaps, key=order)

    def list_up_to(self, last_order: int) -> list[Ready]:
        """Return the requests up to an order, as they were admitted."""
        return [
            event
            for _, order, event in sorted(
                entry for heap in self._heaps.values() for entry in heap
            )
            if order <= last_order
        ]

    def remove(self, arrival: Arrival) -> None:
        """Take out an arrival's request, if it is here."""
        for host, heap in list(self._heaps.items()):
            kept = [entry for entry in heap if entry[1] != arrival.order]
            if len(kept) == len(heap):
                continue
            heapq.heapify(kept)
            del self._heaps[host]
            if kept:
                self._heaps[host] = kept

    def clear(self) -> None:
        """Forget all."""
        self._heaps.clear()
