"""People ask, read to the end, think, and ask again."""

import itertools

import pytest

from ollama_bench.load.load import Load
from ollama_bench.load.people import People, PeopleQueue
from ollama_bench.load.request import Task
from ollama_bench.protocols.registry import PROTOCOLS
from ollama_bench.statistics.think_time import ThinkTime
from tests.load.levels import NEVER, Seen, ask_model, fire
from tests.load.played_server import ANSWER, Played

FIXED = ThinkTime(0.2, "fixed")


class Script:
    """People whose think times are given."""

    def __init__(self, first, think_s):
        self.first, self.think_s = first, think_s

    def draw_first(self):
        return self.first

    def draw_next(self, _):
        return self.think_s


def test_the_same_seed_gives_each_person_the_same_think_times():
    def draw(seed, order):
        people = People(3, ThinkTime(30.0), seed)
        first = people.draw_first()
        return first, sorted((n, people.draw_next(n)) for n in order)

    assert draw("1", (1, 2, 3)) == draw("1", (3, 1, 2))
    assert draw("1", (1, 2, 3)) != draw("2", (1, 2, 3))
    first, _ = draw("1", (1,))
    assert len(set(first)) == 3


def test_who_thinks_shortest_asks_first_whenever_it_began():
    queue = PeopleQueue(Script([(5.0, 6.0), (1.0, 6.0)], 0.5))
    second, first = queue.admit(), queue.admit()
    assert (second.person, first.person) == (2, 1)
    assert queue.next_due_s is None
    assert not queue.is_exhausted
    queue.think(second, 1.2, None)
    assert queue.next_due_s == pytest.approx(1.7)
    again = queue.admit()
    assert (again.person, again.think_s) == (2, 0.5)
    assert again.due_s == pytest.approx(1.7)
    # the thread of its first question returns only now
    queue.discard(second)
    queue.discard(first)
    assert not queue.is_exhausted
    queue.discard(again)
    assert queue.is_exhausted


def test_after_the_end_nobody_asks_again():
    queue = PeopleQueue(Script([(0.0, 1.0), (9.0, 9.0)], 0.1))
    asking = queue.admit()
    assert list(queue.take_unsent(10.0, None, False)) == [
        (0.0, False),
        (9.0, False),
    ]
    queue.clear()
    queue.think(asking, 1.0, None)
    assert queue.next_due_s is None
    assert queue.is_exhausted


def test_who_would_ask_too_late_is_dropped_and_who_reads_comes_again():
    queue = PeopleQueue(Script([(0.0, 1.0), (9.0, 9.0)], 0.1))
    asking = queue.admit()
    queue.end()
    assert queue.next_due_s is None
    queue.think(asking, 1.0, None)
    assert queue.next_due_s == pytest.approx(1.1)


def test_each_person_asks_a_think_time_after_its_reply_has_ended(exact):
    people = People(3, FIXED, "1")
    seen = Seen()
    level = Load(
        ask_model(exact.url), NEVER, 3, people=people, until_s=1.45
    )
    level.run(seen)
    assert {o.status for o in seen.outcomes} == {"completed"}
    by_person = {}
    for outcome in sorted(seen.outcomes, key=lambda o: o.due_ns):
        by_person.setdefault(outcome.person, []).append(outcome)
    assert set(by_person) == {1, 2, 3}
    for mine in by_person.values():
        assert len(mine) >= 2
        assert mine[0].due_ns - level.started_ns < 0.2e9
        for before, after in itertools.pairwise(mine):
            assert after.due_ns - before.ended_ns == pytest.approx(
                0.2e9, abs=2e3
            )
    assert level.result.kind == "people"
    # nobody is due just before the end, which a late wake would miss
    assert level.never_sent == level.pool_waits == 0
    # one reply took 0.3 s
    assert max(o.sent_ns - o.due_ns for o in seen.outcomes) < 0.1e9


def test_a_conversation_goes_on_after_the_thinking():
    ollama = PROTOCOLS["ollama"]

    def talk(number):
        def follow(next_number, outcome):
            body = {"number": next_number, "after": outcome.task.number}
            return Task(next_number, ollama, server.url, body, turn=2)

        return Task(number, ollama, server.url, {}, turn=1, follow=follow)

    with Played(ANSWER) as server:
        level = fire(
            server.url,
            1,
            source=talk,
            people=People(1, FIXED, "1"),
            until_s=1.5,
        )
    turns = [outcome.task.turn for outcome in level.seen]
    assert turns[:4] == [1, 2, 1, 2]
    assert [o.task.number for o in level.seen] == list(
        range(1, len(turns) + 1)
    )
    for before, after in itertools.pairwise(level.seen):
        assert after.due_ns - before.ended_ns == pytest.approx(
            0.2e9, abs=2e3
        )


def test_a_person_who_was_refused_thinks_and_asks_again():
    class Deaf(Played):
        def _talk(self, connection):
            connection.close()

    with Deaf(ANSWER) as server:
        level = fire(
            server.url, 2, people=People(2, FIXED, "1"), until_s=0.9
        )
    assert len(level.seen) >= 4
    assert not {o.status for o in level.seen} & {"completed"}
