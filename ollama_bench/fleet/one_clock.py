"""Put what a worker tells onto the coordinator's clock."""

from __future__ import annotations

from array import array

from ollama_bench.fleet.clock import ClockLine
from ollama_bench.load.request import Outcome


def shift_outcome(outcome: Outcome, line: ClockLine) -> None:
    """Put every instant of a request onto the coordinator's clock.

    Near each other they keep their distances: a drift of 20 ppm changes none by more.
    """
    for name in ("due_ns", "sent_ns", "first_byte_ns", "ended_ns"):
        instant_ns = getattr(outcome, name)
        if instant_ns is not None:
            setattr(outcome, name, line.to_coordinator(instant_ns))
    if outcome.chunk_ns:
        outcome.chunk_ns = shift_all(outcome.chunk_ns, line)


def shift_all(instants_ns: array[int], line: ClockLine) -> array[int]:
    """Return instants of a worker by the coordinator's clock."""
    # slow to load; only a fleet needs it here
    import numpy

    instants = numpy.frombuffer(instants_ns, dtype=numpy.int64)
    # a double has too few digits for an instant, not for an offset
    grown_ns = numpy.rint(line.drift * (instants - line.zero_ns))
    offsets_ns = round(line.offset_ns) + grown_ns.astype(numpy.int64)
    return array("q", (instants - offsets_ns).tobytes())
