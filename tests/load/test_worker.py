"""The turns of a conversation follow in the place of the one before."""

import pytest

from ollama_bench.load.load import Load
from ollama_bench.load.request import Task
from ollama_bench.protocols.registry import PROTOCOLS
from tests.load.levels import NEVER, Seen, fire
from tests.load.played_server import ANSWER, Played


def test_the_next_turn_follows_at_once_and_its_gap_is_measured():
    def turn(number, place):
        follow = (
            (lambda next_number, _: turn(next_number, place + 1))
            if place < 3
            else None
        )
        return Task(
            number,
            PROTOCOLS["ollama"],
            server.url,
            {"turn": place},
            turn=place,
            follow=follow,
        )

    with Played(ANSWER) as server:
        level = fire(
            server.url, 2, source=lambda n: turn(n, 1), planned=12
        )
    assert [o.task.number for o in level.seen] == list(range(1, 13))
    assert {o.status for o in level.seen} == {"completed"}
    later = [o for o in level.seen if o.task.turn > 1]
    assert len(later) >= 7
    assert all(
        o.send_lag_ns is not None and o.send_lag_ns >= 0 for o in later
    )
    assert sorted(o.send_lag_ns for o in later)[4] < 0.1e9


def test_turns_that_are_not_sent_leave_no_hole_in_the_numbers():
    """The time is over while some turns are made ready: requests are numbered as they leave."""

    def turn(number, place):
        return Task(
            number,
            PROTOCOLS["ollama"],
            server.url,
            {},
            turn=place,
            follow=lambda next_number, _: turn(next_number, place + 1),
        )

    with Played(ANSWER) as server:
        for _ in range(5):
            level = fire(
                server.url, 8, source=lambda n: turn(n, 1), until_s=0.2
            )
            assert [o.task.number for o in level.seen] == list(
                range(1, len(level.seen) + 1)
            )


def test_turns_of_a_conversation_use_up_no_question(exact):
    """Each question once, in order, and as many requests as were planned.

    A conversation is cut where they end.
    """
    ollama, asked = PROTOCOLS["ollama"], []

    def turn(number, question, place):
        def follow(next_number, _):
            return turn(next_number, question, place + 1)

        body = ollama.build_body(
            "deepseek-r1:7b", f"[{question}.{place}]", 2
        )
        return Task(
            number,
            ollama,
            exact.url + ollama.path,
            body,
            turn=place,
            follow=follow if place < 3 else None,
        )

    def source(question):
        asked.append(question)
        return turn(question, question, 1)

    level, seen = Load(source, NEVER, 2, planned=8), Seen()
    level.run(seen)
    assert sorted(asked) == [1, 2, 3, 4]
    assert sorted(o.task.number for o in seen.outcomes) == list(
        range(1, 9)
    )
    # what is measured until the last stream's end was measured
    assert level.result.cpu_s > 0


@pytest.mark.parametrize(
    "way",
    [
        {},
        {"planned": 6},
        {"arrivals": [0.0, 0.1, 0.2], "planned": 3},
    ],
)
@pytest.mark.parametrize("broken", [1, 3])
def test_a_task_that_cannot_be_made_ends_the_level_aloud(way, broken):
    """It is a defect of ours: 0 of 0 finished would be a lie."""

    def make(number):
        if number == broken:
            raise KeyError("a defect")
        return Task(number, PROTOCOLS["ollama"], server.url, {})

    with Played(ANSWER) as server, pytest.raises(KeyError, match="defect"):
        if "arrivals" in way:
            way = way | {"arrivals": iter(way["arrivals"])}
        fire(server.url, 3, source=make, **way)
