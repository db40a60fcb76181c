"""Receive times noted by the kernel: asking for them, and bringing them to our clock."""

from __future__ import annotations

import socket
import time
from array import array
from collections.abc import Sequence

from ollama_bench.transport.syscalls import TIMESPEC

SO_TIMESTAMPNS = 35  # Linux, asm-generic/socket.h
# if the wall clock moved by more against ours, its stamps are not used
STEP_NS = 20_000
SECOND_NS = 1_000_000_000
ANCILLARY_BYTES = (
    socket.CMSG_SPACE(TIMESPEC.size)
    if hasattr(socket, "CMSG_SPACE")
    else 0
)


def request_stamps(sock: socket.socket) -> bool:
    """Have the kernel note receive times on a plain TCP socket; False where it cannot."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    except OSError:
        return False
    return True


def read_clock_offset_ns() -> int:
    """Return wall clock minus our clock, ns: of three readings the one that took least time."""
    readings: list[tuple[int, int]] = []
    for _ in range(3):
        before = time.perf_counter_ns()
        wall = time.time_ns()
        after = time.perf_counter_ns()
        readings.append((after - before, wall - (before + after) // 2))
    return min(readings)[1]


def is_clock_steady(offset_ns: int) -> bool:
    """Is the wall clock still at this offset from ours?"""
    return abs(read_clock_offset_ns() - offset_ns) <= STEP_NS


def to_instants(
    timespecs: bytes | bytearray, offset_ns: int
) -> Sequence[int]:
    """Convert the kernel's timespecs to instants of time.perf_counter_ns."""
    pairs = array("q")
    pairs.frombytes(timespecs)
    return [
        seconds * SECOND_NS + nanoseconds - offset_ns
        for seconds, nanoseconds in zip(
            pairs[::2], pairs[1::2], strict=True
        )
    ]
