"""What is cut: at the deadline, when interrupted, and when a stream stalls."""

import contextlib
import socket
import sys
import threading
import time

import pytest

from ollama_bench.load import conductor, watchdog
from ollama_bench.load.arrivals import poisson
from ollama_bench.load.load import Load
from ollama_bench.load.observer import Observer
from ollama_bench.load.request import Limits, Task
from ollama_bench.protocols.registry import PROTOCOLS
from tests.load.levels import NEVER, Seen, fire, fire_burst
from tests.load.played_server import (
    ANSWER,
    CHUNKED,
    LAST,
    LINE,
    Played,
    chunk,
)

# on a busy machine; a connection is given up after 10 s
PROMPTLY_S = 8.0


@pytest.fixture
def unreachable():
    """An address that does not answer: its queue of connections is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(
            socket.create_server(("127.0.0.1", 0), backlog=0)
        )
        for _ in range(8):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/x"


def test_a_deadline_cuts_and_keeps_what_came(module_sim):
    slow = module_sim(profile="exact", ttft=10, itl=50, tokens=1000)
    level = fire_burst(slow.url, 3, limits=Limits(deadline_s=1.0))
    for outcome in level.outcomes:
        assert outcome.status == "cancelled"
        assert "deadline" in outcome.error
        assert 3 <= len(outcome.chunk_ns) < 100


def test_the_deadline_ends_a_level_whose_request_is_not_read():
    """A body that the server never takes is cut while it is written."""
    protocol = PROTOCOLS["ollama"]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/x"
        began = time.perf_counter()
        level = fire(
            url,
            2,
            source=lambda n: Task(
                n, protocol, url, {"prompt": "x" * 20_000_000}
            ),
            limits=Limits(stall_s=None, deadline_s=0.5),
        )
        assert time.perf_counter() - began < PROMPTLY_S
    assert [o.status for o in level.seen] == ["cancelled"] * 2


@pytest.mark.faults
def test_a_stalled_stream_is_told_from_a_waiting_one(module_sim):
    stalling = module_sim(
        profile="exact", ttft=10, itl=5, tokens=10, fault="stall:4"
    )
    outcome = fire_burst(
        stalling.url, limits=Limits(stall_s=0.4)
    ).outcomes[0]
    assert (outcome.status, outcome.error) == (
        "stalled",
        "nothing for 0.4 s",
    )
    assert len(outcome.chunk_ns) >= 3
    waiting = module_sim(
        profile="exact", ttft=10, itl=50, tokens=15, slots=1
    )
    # The second waits 0.75 s while the first streams.
    level = fire_burst(waiting.url, 2, limits=Limits(stall_s=0.4))
    assert [o.status for o in level.outcomes] == ["completed", "completed"]


@pytest.mark.parametrize(
    "way", [{}, {"arrivals": poisson(20, 1)}], ids=["closed", "open"]
)
def test_a_stream_that_stalls_is_cut_after_the_load_has_ended_too(way):
    with Played([CHUNKED + chunk(LINE), 30.0]) as server:
        began = time.perf_counter()
        level = fire(
            server.url, 2, limits=Limits(stall_s=1.0), until_s=0.5, **way
        )
        assert time.perf_counter() - began < 4.0
    assert {o.status for o in level.seen} == {"stalled"}


def test_after_a_stop_of_the_client_no_stream_is_called_stalled(
    monkeypatch,
):
    """Nothing was heard for as long as nobody listened."""
    with Played(
        [CHUNKED + chunk(LINE), 1.0, chunk(LAST) + b"0\r\n\r\n"]
    ) as server:
        protocol, seen = PROTOCOLS["ollama"], Seen()
        level = Load(
            lambda n: Task(n, protocol, server.url, {}),
            Limits(stall_s=0.5),
            1,
        )
        real = watchdog.Watchdog.look

        def look(self, now_ns):
            # as if the process had just gone on
            self._heartbeat.last_pause_end_ns = now_ns
            real(self, now_ns)

        monkeypatch.setattr(watchdog.Watchdog, "look", look)
        level.run(seen)
    assert [o.status for o in seen.outcomes] == ["completed"]


def test_an_interrupt_cancels_all(module_sim):
    slow = module_sim(profile="exact", ttft=10, itl=50, tokens=1000)
    interrupt = threading.Event()

    class Typing(Observer):
        def tick(self, level):
            if all(exchange.first_ns for exchange in level.exchanges):
                interrupt.set()

    level = fire_burst(slow.url, 5, interrupt=interrupt, observer=Typing())
    assert [o.status for o in level.outcomes] == ["cancelled"] * 5
    assert not [
        thread.name
        for thread in threading.enumerate()
        if thread.name.startswith("stream")
    ]


@pytest.mark.parametrize(
    "way", [{}, {"planned": 50}], ids=["burst", "closed"]
)
def test_an_interrupt_ends_a_level_in_a_handshake(way):
    """A server that accepts and says nothing, asked with TLS."""
    interrupt = threading.Event()
    threading.Timer(0.3, interrupt.set).start()
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        began = time.perf_counter()
        level = fire(
            f"https://127.0.0.1:{listener.getsockname()[1]}/x",
            4,
            interrupt=interrupt,
            **way,
        )
    assert time.perf_counter() - began < PROMPTLY_S
    assert {o.status for o in level.seen} <= {"cancelled", "refused"}


@pytest.mark.skipif(
    sys.platform != "linux",
    reason="Linux drops what a full queue can't hold",
)
@pytest.mark.parametrize(
    "way",
    [{}, {"planned": 50}, {"arrivals": poisson(20, 1), "until_s": 30}],
    ids=["burst", "closed", "open"],
)
def test_an_interrupt_ends_a_level_that_connects(unreachable, way):
    interrupt = threading.Event()
    threading.Timer(0.3, interrupt.set).start()
    began = time.perf_counter()
    level = fire(unreachable, 4, interrupt=interrupt, **way)
    assert time.perf_counter() - began < PROMPTLY_S
    assert {o.status for o in level.seen} <= {"cancelled", "refused"}


def test_the_deadline_does_not_wait_for_the_next_look(monkeypatch):
    monkeypatch.setattr(conductor, "TICK_S", 20.0)
    with Played([60.0]) as server:
        level = fire(
            server.url, 2, limits=Limits(stall_s=None, deadline_s=0.3)
        )
    assert [o.error for o in level.seen] == ["deadline of 0.3 s"] * 2
    began_ns = level.started_ns
    ended_s = [(o.ended_ns - began_ns) / 1e9 for o in level.seen]
    assert min(ended_s) >= 0.3 and max(ended_s) < 5


def test_requests_told_of_and_never_sent_have_an_end():
    """Ctrl-C comes after they are ready and before the first byte leaves."""
    interrupt = threading.Event()

    class Interrupting(Seen):
        def ready(self, tasks):
            super().ready(tasks)
            interrupt.set()

    seen = Interrupting()
    with Played(ANSWER) as server:
        protocol = PROTOCOLS["ollama"]
        level = Load(
            lambda n: Task(n, protocol, server.url, {}),
            NEVER,
            3,
            interrupt=interrupt,
        )
        level.run(seen)
        assert server.requests == 0
    assert sorted(o.task.number for o in seen.outcomes) == [1, 2, 3]
    assert sorted(seen.ready_numbers) == [1, 2, 3]
    for outcome in seen.outcomes:
        assert (outcome.status, outcome.sent_ns) == ("cancelled", None)
        assert outcome.error == "interrupted"
