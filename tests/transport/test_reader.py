"""One thread receives for many streams: each has its own bytes, times and errors."""

import contextlib
import os
import queue
import socket
import threading
from types import SimpleNamespace

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
    SEEN_GAP_S,
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
        min(gaps_s(at for at, _ in pieces)) > SEEN_GAP_S
        for pieces in whole
    )
    assert not any(
        thread.name == "reader" for thread in threading.enumerate()
    )


class End:
    """A request whose answer only ends."""

    leaves_line = says_last = False

    def __init__(self):
        self.ended = threading.Event()

    def note(self, *_):
        return True

    def fail(self, _):
        return True

    def finish(self):
        self.ended.set()


def line_of(sock):
    return SimpleNamespace(
        number=sock.fileno(), sock=sock, note_idle_event=lambda: None
    )


def test_a_request_on_a_line_that_just_hung_up_is_not_forgotten(
    monkeypatch,
):
    """It comes between the look at the line and the end of waiting for it."""
    ours, theirs = socket.socketpair()
    theirs.close()
    line, end = line_of(ours), End()

    class Lines(dict):
        def pop(self, number, default=None):
            if not reader._streams:
                reader.watch(line, end, end)
            return super().pop(number, default)

    with ours, Reader(stamps=False) as reader:
        monkeypatch.setattr(reader, "_lines", Lines())
        reader.register(line)
        assert end.ended.wait(5)


def test_a_connection_with_the_number_of_a_closed_one_is_waited_for():
    """It is made while the reader ends its waiting for the closed one."""
    ours, theirs = socket.socketpair()
    number, end = ours.fileno(), End()
    made = threading.Event()

    def connect_anew():
        ours.close()
        os.dup2(new.fileno(), number)
        reader.register(line)
        made.set()

    with Reader(stamps=False) as reader:
        unregister = reader._poll.unregister

        def unregister_late(number):
            """Another thread works while this one lets the interpreter go."""
            reader._poll.unregister = unregister
            threading.Thread(target=connect_anew).start()
            made.wait(0.05)
            unregister(number)

        new, peer = socket.socketpair()
        line = SimpleNamespace(
            number=number, sock=new, note_idle_event=lambda: None
        )
        reader._poll.unregister = unregister_late
        reader.register(line_of(ours))
        theirs.close()
        assert made.wait(5)
        with new:
            reader.watch(line, end, end)
            peer.close()
            assert end.ended.wait(5)
        os.close(number)
