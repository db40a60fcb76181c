"""What Windows does otherwise, by stand-ins: shutdown wakes nobody, long ticks, Ctrl-C."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
import types

import pytest
import requests
import urllib3

from ollama_bench.load import load
from ollama_bench.power.sampler import Child
from ollama_bench.protocols.registry import PROTOCOLS
from ollama_bench.run import demo, selfcheck
from ollama_bench.transport import capabilities, lines, recorder, syscalls
from ollama_bench.transport import exchange as exchange_module
from ollama_bench.transport import reader as reader_module
from ollama_bench.transport.exchange import Exchange
from ollama_bench.transport.session import Session
from tests.transport.scripted_server import (
    CLOSE,
    END,
    FIXTURES,
    GAP_S,
    HEAD,
    SEEN_GAP_S,
    chunk,
    exchange_with,
    text,
)
from tests.transport.scripted_server import server as wire_server

CUT = (requests.RequestException, urllib3.exceptions.HTTPError, OSError)


@pytest.fixture
def winsock(monkeypatch):
    """Whoever receives is not woken when this side ends the connection."""
    monkeypatch.setattr(capabilities, "SHUTDOWN_WAKES", False)
    monkeypatch.setattr(recorder, "CUT_LOOK_S", 0.05)
    monkeypatch.setattr(capabilities, "READS_TOGETHER", False)
    monkeypatch.setattr(lines, "shut_down", lambda sock: None)
    monkeypatch.setattr(exchange_module, "shut_down", lambda sock: None)
    monkeypatch.setattr(syscalls, "AVAILABLE", False)


def ends(work, within_s=5.0):
    """What the work gives, in a thread that might be left behind."""
    results = []
    thread = threading.Thread(
        target=lambda: results.append(work()), daemon=True
    )
    thread.start()
    thread.join(within_s)
    assert results, "it waits for a server that says nothing"
    return results[0]


@pytest.mark.parametrize("tls", [False, True])
def test_cancelling_ends_a_silent_stream(winsock, tls):
    with wire_server([HEAD + chunk(b"a\n"), 30.0], tls=tls) as url:
        exchange, session = Exchange(kernel_stamps=False), Session()
        prepared = session.prepare_request(requests.Request("POST", url))

        def work():
            with exchange, contextlib.suppress(*CUT):
                response = session.send(
                    prepared,
                    exchange=exchange,
                    stream=True,
                    verify=str(FIXTURES / "localhost-cert.pem"),
                )
                list(exchange.pieces(response))
            return exchange

        timer = threading.Timer(0.2, exchange.cancel, ["enough"])
        timer.start()
        assert (
            ends(work).cancelled == "enough"
            and exchange.ended_ns is not None
        )


@pytest.mark.parametrize("tls", [False, True])
def test_a_stream_slower_than_the_looks_is_whole(
    winsock, monkeypatch, tls
):
    monkeypatch.setattr(recorder, "CUT_LOOK_S", GAP_S / 5)
    with wire_server(
        [GAP_S, HEAD + chunk(b"a\n"), GAP_S, chunk(b"b\n"), GAP_S, END],
        tls=tls,
    ) as url:
        pieces, exchange = ends(
            lambda: exchange_with(url, kernel_stamps=False)
        )
    assert text(pieces) == b"a\nb\n" and exchange.cancelled is None
    assert pieces[0][0] - exchange.sent_ns > SEEN_GAP_S * 1e9
    assert pieces[1][0] - pieces[0][0] > SEEN_GAP_S * 1e9


def test_a_body_until_the_end_of_file(winsock):
    with wire_server(
        [b"HTTP/1.0 200 OK\r\n\r\n", GAP_S, b"abc\n", CLOSE]
    ) as url:
        assert text(ends(lambda: exchange_with(url))[0]) == b"abc\n"


def silent(number_of_bytes=1):
    """A level of one request at a server that never answers and, beyond some, takes no bytes."""
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/x"
    body = {"prompt": "x" * number_of_bytes}
    return listener, lambda number: load.Task(
        number, PROTOCOLS["ollama"], url, body
    )


@pytest.mark.parametrize(
    "limits",
    [{"deadline_s": 0.3}, {"stall_s": 0.3}, {}],
    ids=["deadline", "stall", "Ctrl-C"],
)
@pytest.mark.parametrize("size", [1, 16_000_000], ids=["small", "large"])
def test_a_level_ends_at_a_silent_server(winsock, limits, size):
    listener, source = silent(size)
    interrupt = threading.Event()
    level = load.Load(
        source,
        load.Limits(**{"stall_s": None, **limits}),
        2,
        interrupt=interrupt,
    )

    class Seen(load.Observer):
        def tick(self, level):
            if not limits and all(
                exchange.sent_ns for exchange in level.exchanges
            ):
                interrupt.set()

    def work():
        level.run(Seen())
        return level

    with listener:
        assert len(ends(work, 15.0).outcomes) == 2
    assert {outcome.status for outcome in level.outcomes} <= {
        "cancelled",
        "stalled",
    }


# -- ticks


class Winmm:
    def __init__(self, answer=0):
        self.answer, self.calls = answer, []

    def timeBeginPeriod(self, period):
        self.calls.append(("begin", period))
        return self.answer

    def timeEndPeriod(self, period):
        self.calls.append(("end", period))
        return 0


def use(monkeypatch, library):
    """Have this be winmm.dll of a Windows machine."""

    def load_library(name):
        assert name == "winmm"
        if library is None:
            raise OSError("no such module")
        return library

    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(
        syscalls.ctypes, "WinDLL", load_library, raising=False
    )


def test_the_timer_is_fine_while_a_level_runs_and_no_longer(monkeypatch):
    winmm, listener_and_source = Winmm(), silent()
    use(monkeypatch, winmm)
    seen = []

    class Seen(load.Observer):
        def tick(self, level):
            seen.append(list(winmm.calls))

    listener, source = listener_and_source
    with listener:
        load.Load(source, load.Limits(deadline_s=0.1), 1).run(Seen())
    assert (
        seen
        and seen[0] == [("begin", 1)]
        and winmm.calls == [("begin", 1), ("end", 1)]
    )


def test_it_is_given_back_after_an_error(monkeypatch):
    winmm = Winmm()
    use(monkeypatch, winmm)
    with pytest.raises(ZeroDivisionError), syscalls.short_ticks():
        raise ZeroDivisionError
    assert winmm.calls == [("begin", 1), ("end", 1)]


@pytest.mark.parametrize(
    "library",
    [None, Winmm(97), types.SimpleNamespace()],
    ids=["no library", "refused", "no call"],
)
def test_a_windows_without_such_a_timer_runs_all_the_same(
    monkeypatch, library
):
    use(monkeypatch, library)
    with syscalls.short_ticks():
        pass
    assert getattr(library, "calls", [("begin", 1)]) == [("begin", 1)]


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_no_other_system_is_asked(monkeypatch, platform):
    winmm = Winmm()
    use(monkeypatch, winmm)
    monkeypatch.setattr(sys, "platform", platform)
    with syscalls.short_ticks():
        pass
    assert winmm.calls == []


# -- Ctrl-C


class StartedError(Exception):
    pass


@pytest.mark.parametrize(
    "make, start",
    [
        (demo.start_server, "__enter__"),
        (lambda: selfcheck.Witness(20), "__enter__"),
        (lambda: Child([["powermetrics"]]), "start"),
    ],
    ids=["the demo's simulator", "the check's simulator", "a sampler"],
)
def test_a_child_is_not_reached_by_ctrl_c(monkeypatch, make, start):
    asked = {}

    def popen(command, **options):
        asked.update(options)
        raise StartedError

    monkeypatch.setattr(
        subprocess, "CREATE_NEW_PROCESS_GROUP", 0x200, raising=False
    )
    monkeypatch.setattr(subprocess, "Popen", popen)
    child = make()
    with contextlib.suppress(StartedError):
        getattr(child, start)()
    if errors := getattr(child, "_errors", None):
        errors.close()
    assert asked["creationflags"] == 0x200 and (
        asked["start_new_session"] or os.name == "nt"
    )


# -- the thread that receives dies (a free-threaded build, memory that is short)


def test_no_thread_waits_for_a_reader_that_has_died(monkeypatch):
    if not capabilities.READS_TOGETHER:
        pytest.skip("no such thread here")
    died = threading.Event()

    class Broken(
        reader_module.Epoll
        if hasattr(reader_module.select, "epoll")
        else reader_module.Kqueue
    ):
        def wait(self, timeout_s):
            super().wait(timeout_s)
            died.set()
            raise MemoryError

    monkeypatch.setattr(
        reader_module,
        "Epoll" if hasattr(reader_module.select, "epoll") else "Kqueue",
        Broken,
    )
    with wire_server(*[[HEAD + chunk(b"a\n"), 0.3, END]] * 8) as url:

        def source(number):
            return load.Task(number, PROTOCOLS["ollama"], url, {})

        level = load.Load(source, load.Limits(stall_s=None), 2, planned=8)

        def work():
            with pytest.raises(load.LoadError) as error:
                level.run()
            return str(error.value)

        assert ends(work) == "the receiving thread has died: MemoryError()"
        assert died.is_set()


def test_who_comes_after_a_readers_death_receives_alone(monkeypatch):
    if not capabilities.READS_TOGETHER:
        pytest.skip("no such thread here")
    monkeypatch.setattr(reader_module.Reader, "_work", lambda self: 1 / 0)
    with (
        wire_server(
            [HEAD + chunk(b"a\n"), GAP_S, chunk(b"b\n") + END]
        ) as url,
        reader_module.Reader() as reader,
    ):
        until = time.monotonic() + 5
        while reader.death is None and time.monotonic() < until:
            time.sleep(0.001)
        pieces, _ = ends(lambda: exchange_with(url, reader=reader))
    assert text(pieces) == b"a\nb\n"
