"""Recordings: instants, ends, bounded memory."""

import contextlib
from array import array

import pytest

from ollama_bench.transport import recorder as recorder_module
from ollama_bench.transport.reader import Reader
from ollama_bench.transport.recorder import Recorder
from tests.transport.scripted_server import (
    END,
    GAP_S,
    HEAD,
    SEEN_GAP_S,
    chunk,
    exchange_with,
    gaps_s,
    server,
    text,
)


def test_the_last_instant_is_right_in_the_middle_of_a_read():
    """The reader may be stopped between the two numbers that it notes of a read.

    An offset taken for an instant would look like a stalled stream.
    """
    recorder, seen = Recorder((), lambda _: False), []

    class Watched(array):
        """Looks at the recorder after each number that it notes."""

        def append(self, number):
            super().append(number)
            seen.append(recorder.last_ns)

    recorder._log = Watched("q")
    for number in range(1, 4):
        recorder.note(memoryview(b"x" * 100), number * 10**9)
    assert seen == [
        10**9,
        10**9,
        2 * 10**9,
        2 * 10**9,
        3 * 10**9,
        3 * 10**9,
    ]
    assert recorder.reads == 3 and recorder.first_ns == 10**9


@pytest.mark.parametrize("together", [True, False])
def test_a_chunk_that_looks_like_the_end_is_none(together):
    """Its payload ends in a line of 0: the stream goes on, and every chunk keeps its instant."""
    with (
        server(
            [
                HEAD + chunk(b"a\r\n0\r\n"),
                GAP_S,
                chunk(b"\r\n0\r\n"),
                GAP_S,
                chunk(b"b\n") + END,
            ]
        ) as url,
        Reader() if together else contextlib.nullcontext() as reader,
    ):
        pieces, exchange = exchange_with(url, reader=reader)
    assert [data for _, data in pieces] == [
        b"a\r\n0\r\n",
        b"\r\n0\r\n",
        b"b\n",
    ] and exchange.ended_ns == pieces[-1][0]
    assert min(gaps_s(at for at, _ in pieces)) > SEEN_GAP_S


def test_a_long_answer_is_digested_in_episodes(monkeypatch):
    monkeypatch.setattr(recorder_module, "EPISODE_BYTES", 10_000)
    piece = chunk(b"y" * 999 + b"\n")
    with server([HEAD + piece * 3, *[piece] * 97, END]) as url:
        pieces, exchange = exchange_with(url)
    assert len(text(pieces)) == 100_000 and exchange.reads > 1
    assert [at for at, _ in pieces] == sorted(at for at, _ in pieces)


@pytest.mark.parametrize(
    "piece",
    [
        chunk(b"data: " + b"y" * 500 + b"\r\n\r\n"),
        chunk(b"z" * 70_000 + b"\r\n\r\n"),
    ],
    ids=["small", "large"],
)
def test_an_episode_may_end_within_a_chunk(monkeypatch, piece):
    """Lines that end as HTTP's own do look like the end of the body each time."""
    monkeypatch.setattr(recorder_module, "EPISODE_BYTES", 10_000)
    count = 20_000_000 // len(piece) // 50
    with server([HEAD + piece, *[piece] * (count - 1), END]) as url:
        pieces, exchange = exchange_with(url)
    payload = piece.split(b"\r\n", 1)[1][:-2]
    assert (
        text(pieces) == payload * count and exchange.recorder.earlier_reads
    )


@pytest.mark.parametrize("size", [7, 25, 250])
def test_the_end_is_found_after_episodes_of_any_reads(monkeypatch, size):
    """A read may be longer than an episode and end within a chunk."""
    monkeypatch.setattr(recorder_module, "EPISODE_BYTES", 100)
    raw = HEAD + chunk(b"data: " + b"y" * 90 + b"\r\n\r\n") * 30 + END
    recorder, out = Recorder((), lambda _: False), b""
    for start in range(0, len(raw), size):
        assert not recorder.has_ended
        if recorder.note(memoryview(raw)[start : start + size], 1 + start):
            recorder.settle(0)
            while not recorder.is_read:
                buffer = bytearray(size)
                out += buffer[: recorder.read(buffer)[0]]
            if not recorder.has_ended:
                recorder.begin_episode()
    assert recorder.has_ended and recorder.leaves_line and out == raw
    assert recorder.earlier_reads
