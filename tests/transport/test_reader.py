"""One thread receives for many streams: each has its own bytes, times and errors."""

import contextlib
import queue
import threading

import pytest
import requests
import urllib3

from ollama_bench.transport.framing import Framing
from ollama_bench.transport.reader import Reader
from tests.transport.scripted_server import (
    CLOSE,
    END,
    GAP_S,
    HEAD,
    chunk,
    exchange_with,
    gaps_s,
    server,
    text,
)


def test_an_error_of_our_own_ends_one_stream_and_no_other(monkeypatch):
    """The thread that receives for all survives it."""
    real = Framing.ends

    def ends(framing, data):
        if b"poison" in data:
            raise ZeroDivisionError
        return real(framing, data)

    monkeypatch.setattr(Framing, "ends", ends)
    with (
        server([HEAD + chunk(b"poison\n"), 5.0]) as bad,
        server([GAP_S, HEAD + chunk(b"a\n"), GAP_S, END]) as good,
        Reader() as reader,
    ):
        with pytest.raises(ZeroDivisionError):
            exchange_with(bad, reader=reader)
        assert text(exchange_with(good, reader=reader)[0]) == b"a\n"


def test_one_reader_serves_many_streams_and_a_bad_one_harms_no_other():
    """Garbage, a hang-up and a negative size end only their own stream."""
    good = [
        HEAD + chunk(b"a\n"),
        GAP_S,
        chunk(b"b\n"),
        GAP_S,
        chunk(b"c\n") + END,
    ]
    bad = [
        [HEAD + b"-40\r\n\r\n" * 30, 1.0, CLOSE],
        [HEAD + chunk(b"a\n"), CLOSE],
        [b"\x00" * 500 + b"\r\n\r\n", 1.0, CLOSE],
    ]
    got = queue.SimpleQueue()

    def work(url, reader):
        try:
            got.put(exchange_with(url, reader=reader)[0])
        except (
            requests.RequestException,
            urllib3.exceptions.HTTPError,
            ValueError,
        ):
            got.put(None)

    with contextlib.ExitStack() as stack:
        reader = stack.enter_context(Reader())
        urls = [
            stack.enter_context(server(answer))
            for answer in [good] * 6 + bad
        ]
        threads = [
            threading.Thread(target=work, args=(url, reader))
            for url in urls
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()
    found = [got.get() for _ in urls]
    whole = [
        pieces
        for pieces in found
        if pieces
        and [data for _, data in pieces] == [b"a\n", b"b\n", b"c\n"]
    ]
    assert len(whole) == 6
    assert all(
        min(gaps_s(at for at, _ in pieces)) > GAP_S * 0.5
        for pieces in whole
    )
    assert not any(
        thread.name == "reader" for thread in threading.enumerate()
    )
