"""What a run does now, as its page reads it."""

import json
import time

import pytest

from ollama_bench.run import live_state
from ollama_bench.run.live_state import LiveState
from ollama_bench.terminal.screen import Console
from tests.terminal.made_up import exchange, level

S = 1_000_000_000


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets, in nanoseconds."""
    now = [100 * S]
    monkeypatch.setattr(time, "perf_counter_ns", lambda: now[0])
    return now


def describe(state):
    return json.loads(state.describe())


def test_between_levels_it_has_the_line_of_the_screen(clock):
    screen = Console(plain=True)
    screen.show_progress("idle: 7 s left")
    found = describe(LiveState(screen, 90 * S))
    assert found == {
        "at_s": 10.0,
        "doing": "idle: 7 s left",
        "level": None,
    }
    screen.end_progress()
    assert describe(LiveState(screen, 90 * S))["doing"] == ""


def test_a_level_has_its_streams_with_their_instants_in_the_run(clock):
    screen = Console(plain=True)
    shown = level(
        [
            exchange(1, sent=95 * S),
            exchange(2, sent=95 * S, stamps=(96 * S, 97 * S)),
            exchange(3, 95 * S, (96 * S,), ended=98 * S),
            exchange(4, sent=None),
        ]
    )
    screen.level_started("level 1 of 2")
    screen.draw(shown, {})
    found = describe(LiveState(screen, 90 * S))
    assert found["doing"] == "level 1 of 2"
    assert found["level"]["streams"] == [
        [1, 5.0, None, None],
        [2, 5.0, 6.0, None],
        [3, 5.0, 6.0, 8.0],
    ]
    counts = ("waiting", "streaming", "ended", "planned")
    assert [found["level"][name] for name in counts] == [1, 1, 1, 4]


def test_throughput_is_that_of_the_last_seconds(clock):
    screen = Console(plain=True)
    stream = exchange(1, sent=95 * S, stamps=(96 * S,))
    screen.draw(level([stream]), {})
    state = LiveState(screen, 90 * S)
    assert describe(state)["level"]["tokens_per_s"] is None
    paces = []
    for _ in range(20):
        clock[0] += S // 2
        stream.reads += 10
        paces.append(describe(state)["level"]["tokens_per_s"])
    assert paces == [20.0] * 20
    # in which one streamed, not none as at their end
    stream.ended_ns = clock[0]
    assert describe(state)["level"]["tokens_per_s_each"] >= 18
    # the next level begins anew
    screen.draw(level([exchange(1, sent=95 * S)]), {})
    assert describe(state)["level"]["tokens_per_s"] is None


def test_of_many_streams_the_newest_are_told(clock, monkeypatch):
    monkeypatch.setattr(live_state, "MOST_STREAMS", 2)
    screen = Console(plain=True)
    screen.draw(level([exchange(n, sent=95 * S) for n in (1, 2, 3)]), {})
    streams = describe(LiveState(screen, 0))["level"]["streams"]
    assert [number for number, *_ in streams] == [2, 3]
