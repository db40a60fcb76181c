"""Kernel times are brought to our clock."""

import time

from ollama_bench.transport import stamps
from ollama_bench.transport.syscalls import TIMESPEC


def test_a_timespec_becomes_an_instant_of_our_clock():
    offset_ns = stamps.read_clock_offset_ns()
    before = time.perf_counter_ns()
    seconds, nanoseconds = divmod(time.time_ns(), stamps.SECOND_NS)
    timespecs = TIMESPEC.pack(seconds, nanoseconds) + TIMESPEC.pack(
        seconds + 1, nanoseconds
    )
    first, second = stamps.to_instants(timespecs, offset_ns)
    assert (
        abs(first - before) < 10**7 and second - first == stamps.SECOND_NS
    )


def test_a_clock_that_was_set_is_noticed():
    offset_ns = stamps.read_clock_offset_ns()
    assert not stamps.is_clock_steady(offset_ns + stamps.SECOND_NS)
