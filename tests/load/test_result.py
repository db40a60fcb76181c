"""What a level says of itself: its sleep, and how many requests were in flight."""

import json

import pytest

from ollama_bench.load.client_limits import MIN_IN_FLIGHT_RATIO
from ollama_bench.load.load import Load
from ollama_bench.load.request import Limits, Task
from ollama_bench.platforms import sleep_clock
from ollama_bench.protocols.registry import PROTOCOLS
from tests.load.levels import Seen, fire
from tests.load.played_server import (
    CHUNKED,
    LAST,
    LINE,
    SLOW_ANSWER,
    Played,
    chunk,
)


@pytest.mark.parametrize("knows, slept_s", [(True, 30.0), (False, None)])
def test_a_level_that_slept_says_so(monkeypatch, knows, slept_s):
    """By the clocks alone, without a monitor; None where the system has no such clocks."""
    asleep_ns = [5_000_000_000]
    monkeypatch.setattr(
        sleep_clock, "slept_ns", lambda: asleep_ns[0] if knows else None
    )

    class Sleeps(Seen):
        def tick(self, level):
            asleep_ns[0] = 35_000_000_000

    with Played(
        [CHUNKED + chunk(LINE), 0.5, chunk(LAST) + b"0\r\n\r\n"]
    ) as server:
        protocol = PROTOCOLS["ollama"]
        level = Load(
            lambda n: Task(n, protocol, server.url, {}), Limits(), 1
        )
        level.run(Sleeps())
    figures = level.client_figures()
    assert figures["slept_s"] == slept_s
    assert figures["client_limited"] == int(knows)
    assert (figures["client_limited_why"] or "").startswith(
        "the machine slept for 30.0 s" if knows else ""
    )


def test_a_level_that_did_not_sleep_has_zero():
    with Played(
        [CHUNKED + chunk(LINE), chunk(LAST) + b"0\r\n\r\n"]
    ) as server:
        level = fire(server.url, 1)
    assert level.client_figures()["slept_s"] == (
        0.0 if sleep_clock.slept_ns() is not None else None
    )


def test_the_client_checks_what_it_believes_to_be_in_flight():
    """The level's own rows tell how many were in flight; too few mark the level."""
    with Played(SLOW_ANSWER) as server:
        level = fire(server.url, 4, planned=40)
    figures = level.client_figures()
    # what of the time this client let pass between two requests is not in flight
    flown_ns = sum(o.ended_ns - o.sent_ns for o in level.seen)
    passed_ns = level.ended_ns - level.started_ns
    assert 1 < 0.9 * flown_ns / passed_ns <= figures["in_flight_mean"] <= 4
    assert json.dumps(figures)  # columns of the table level
    assert set(figures) >= {
        "client_send_lag_p50_s",
        "client_send_lag_p99_s",
        "client_send_lag_max_s",
    }
    assert MIN_IN_FLIGHT_RATIO == 0.98
