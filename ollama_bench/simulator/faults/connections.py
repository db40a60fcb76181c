"""Faults of the connection: silence, resets, stalls, and bytes that come too slowly."""

from __future__ import annotations

import asyncio
import collections
import os
import time
from collections.abc import Callable

from ollama_bench.simulator.agenda import Agenda
from ollama_bench.simulator.faults.fault import (
    Fault,
    FaultTable,
    FaultWithArgument,
    act_at_token,
)
from ollama_bench.simulator.reply import Reply

CRASH_CODE = 70  # exit code of a server that dies
PUMP_PAUSE_NS = 1_000_000  # between two bursts of empty chunks
PUMP_CHUNKS = 1000  # of a burst, so that other streams get their turn
FULL_BUFFER_BYTES = 1 << 20


def accept_silence(reply: Reply) -> None:
    reply.held = True


def reset_before_headers(reply: Reply) -> None:
    act_at_token(reply, "0", reply.connection.reset)


def reset_after_headers(reply: Reply) -> None:
    act_at_token(reply, "0", lambda: send_and_reset(reply, reply.start()))


def reset_mid_line(reply: Reply, argument: str) -> None:
    def find_middle(piece: bytes) -> int:
        return len(piece) // 2

    act_at_token(
        reply, argument, lambda: send_part_and_reset(reply, find_middle)
    )


def reset_mid_utf8(reply: Reply, argument: str) -> None:
    def find_second_byte(piece: bytes) -> int:
        # nothing where the reply is not streamed
        return piece.find("ã".encode()) + 1

    reply.text = lambda n: " não"
    act_at_token(
        reply,
        argument,
        lambda: send_part_and_reset(reply, find_second_byte),
    )


def send_part_and_reset(
    reply: Reply, find_end: Callable[[bytes], int]
) -> None:
    """Send the next token up to where the function says, then reset."""
    piece = reply.framing.piece(reply.payload(reply.written))
    send_and_reset(reply, reply.start() + piece[: find_end(piece)])


def send_and_reset(reply: Reply, data: bytes) -> None:
    reply.send(data)
    reply.connection.reset()


def half_close(reply: Reply, argument: str) -> None:
    transport = reply.connection.transport

    def close() -> None:
        if transport.can_write_eof():
            transport.write_eof()

    act_at_token(reply, argument, close)


def stall(reply: Reply, argument: str) -> None:
    act_at_token(reply, argument, lambda: None)


def crash(reply: Reply, argument: str) -> None:
    def die() -> None:
        reply.simulation.log.flush()
        os._exit(CRASH_CODE)

    act_at_token(reply, argument, die)


def slow_drip(reply: Reply, argument: str) -> None:
    gap_ns = int(float(argument) * 1e9)
    reply.send = Drip(
        reply.simulation.agenda, reply.connection.transport, gap_ns
    ).send


class Drip:
    """Send bytes one by one, with a gap between them."""

    def __init__(
        self, agenda: Agenda, transport: asyncio.Transport, gap_ns: int
    ) -> None:
        self._agenda = agenda
        self._transport = transport
        self._gap_ns = gap_ns
        self._bytes: collections.deque[int] = collections.deque()

    def send(self, data: bytes) -> None:
        if not self._bytes:
            self._agenda.at(time.perf_counter_ns(), self._send_one)
        self._bytes.extend(data)

    def _send_one(self, due_ns: int) -> None:
        self._transport.write(bytes([self._bytes.popleft()]))
        if self._bytes and not self._transport.is_closing():
            self._agenda.at(due_ns + self._gap_ns, self._send_one)


def empty_chunks(reply: Reply, argument: str) -> None:
    reply.interceptors.insert(
        0, EmptyChunks(reply, int(argument)).intercept
    )


class EmptyChunks:
    """Send many chunks without text from when the first token is due; the tokens wait for them."""

    def __init__(self, reply: Reply, count: int) -> None:
        self._reply = reply
        self._left = count
        self._begun = False

    def intercept(self, due_ns: int) -> bool:
        if self._begun:
            return self._left > 0
        self._begun = True
        self._pump(due_ns)
        return True

    def _pump(self, due_ns: int) -> None:
        reply = self._reply
        if reply.over:
            return
        if (
            reply.connection.transport.get_write_buffer_size()
            < FULL_BUFFER_BYTES
        ):
            burst = min(self._left, PUMP_CHUNKS)
            self._left -= burst
            reply.write(reply.dialect.token("", False))
            piece = reply.framing.piece(reply.dialect.token("", False))
            reply.send(piece * (burst - 1))
        if self._left > 0:
            reply.simulation.agenda.at(due_ns + PUMP_PAUSE_NS, self._pump)


def pings(reply: Reply, argument: str) -> None:
    ping, each = reply.dialect.ping, int(argument)
    reply.send(reply.start() + reply.framing.piece(ping))
    reply.rewriters.append(lambda n, payload: ping * each + payload)


FAULTS: FaultTable = {
    "accept_silence": Fault(
        "accept the request and never answer", accept_silence
    ),
    "reset_before_headers": Fault(
        "TCP reset where the first byte was due", reset_before_headers
    ),
    "reset_after_headers": Fault(
        "the headers, then a TCP reset", reset_after_headers
    ),
    "reset_mid_line": FaultWithArgument(
        "half of the line of token N (3), then a TCP reset",
        reset_mid_line,
        "3",
    ),
    "reset_mid_utf8": FaultWithArgument(
        "first byte of a two-byte character in token N (3), then a TCP reset",
        reset_mid_utf8,
        "3",
    ),
    "half_close": FaultWithArgument(
        "close the sending side after N (3) tokens and keep the connection",
        half_close,
        "3",
    ),
    "stall": FaultWithArgument(
        "send nothing after N (3) tokens", stall, "3"
    ),
    "crash": FaultWithArgument(
        "the whole server dies after N (3) tokens of this stream",
        crash,
        "3",
    ),
    "slow_drip": FaultWithArgument(
        "all bytes one by one, one every S (1) seconds", slow_drip, "1"
    ),
    "empty_chunks": FaultWithArgument(
        "N (1000000) chunks without text before the first token",
        empty_chunks,
        "1000000",
    ),
    "pings": FaultWithArgument(
        "headers at once, then N (3) comments before each token (blank lines in NDJSON)",
        pings,
        "3",
    ),
}
