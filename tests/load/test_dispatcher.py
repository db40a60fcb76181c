"""A place is free when its reply has ended, and a line where its server keeps it."""

import threading
import time

import pytest

from ollama_bench.load import dispatcher
from ollama_bench.load.load import Load
from ollama_bench.transport.lines import KEPT_AFTER_S, Lines
from tests.load.levels import NEVER, Seen, ask_model, fire, slow_digest
from tests.load.played_server import (
    ANSWER,
    CLOSE,
    SLOW_ANSWER,
    Played,
)


def test_the_next_request_leaves_before_the_reply_is_digested(monkeypatch):
    slow_digest(monkeypatch, 0.2)
    with Played(SLOW_ANSWER) as server:
        level = fire(server.url, 4, planned=12)
    assert [o.status for o in level.seen] == ["completed"] * 12
    replaced = [
        o.send_lag_ns for o in level.seen if o.send_lag_ns is not None
    ]
    assert len(replaced) == 8
    # four digests, one after the other, take 0.8 s
    assert sorted(replaced)[4] < 0.05e9
    assert (
        max(o.sent_ns for o in level.seen) - level.started_ns
    ) / 1e9 < 1.0


def test_an_open_loop_waits_for_no_digest(monkeypatch):
    """A place is free while its reply is read: the next request is sent when it is due.

    The pool is not called full.
    """
    slow_digest(monkeypatch, 0.2)
    with Played(ANSWER) as server:
        level = fire(
            server.url,
            1,
            arrivals=iter([0.1 * n for n in range(1, 7)]),
            planned=6,
        )
    assert [o.status for o in level.seen] == ["completed"] * 6
    assert level.pool_waits == level.never_sent == 0
    assert max(o.sent_ns - o.due_ns for o in level.seen) < 0.09e9


def test_an_open_loop_asks_each_question_when_it_is_due(monkeypatch):
    """Also where the thread of the first is slower than that of the second."""
    take, has_taken = (
        dispatcher.Dispatcher.take_question,
        threading.Event(),
    )

    def take_second_first(self, arrival):
        if arrival.order == 1:
            has_taken.wait(5)
        number = take(self, arrival)
        if arrival.order == 2:
            has_taken.set()
        return number

    monkeypatch.setattr(
        dispatcher.Dispatcher, "take_question", take_second_first
    )
    with Played(ANSWER) as server:
        level = fire(server.url, 4, arrivals=iter([0.0, 0.05]), planned=2)
    asked = sorted(level.seen, key=lambda outcome: outcome.due_ns)
    assert [o.task.body["number"] for o in asked] == [1, 2]


def test_a_full_pool_is_counted_and_not_called_the_clients_lateness(exact):
    level = Load(
        ask_model(exact.url),
        NEVER,
        1,
        arrivals=iter([0.0, 0.01, 0.02]),
        planned=3,
    )
    seen = Seen()
    level.run(seen)
    assert [o.status for o in seen.outcomes] == ["completed"] * 3
    assert level.pool_waits == 2
    assert seen.begun_numbers == [1, 2, 3]
    assert max(o.send_lag_ns for o in seen.outcomes) < 0.1e9
    # behind two replies of 0.3 s
    assert seen.outcomes[2].sent_ns - seen.outcomes[2].due_ns > 0.3e9
    assert level.client_figures()["client_send_lag_p99_s"] < 0.3


def test_what_was_due_and_never_sent_is_counted(exact):
    level = Load(
        ask_model(exact.url),
        NEVER,
        1,
        arrivals=iter([0.0, 0.1, 0.15, 0.2]),
        until_s=0.25,
    )
    seen = Seen()
    level.run(seen)
    assert level.tally.ended == len(seen.outcomes) == 1
    assert level.never_sent == level.pool_waits == 3
    assert list(level.result.unsent.due_s) == [0.1, 0.15, 0.2]


def test_what_came_due_after_the_interrupt_was_not_to_be_sent(exact):
    """Ctrl-C comes between two looks of the watchdog: only what was due at the first counts."""
    interrupt = threading.Event()

    class Impatient(Seen):
        looks = 0

        def tick(self, level):
            self.looks += 1
            if self.looks == 2:
                self.seen_s = (
                    time.perf_counter_ns() - level.started_ns
                ) / 1e9
                interrupt.set()

    level = Load(
        ask_model(exact.url),
        NEVER,
        1,
        arrivals=iter([0.0, 0.01, *(0.01 * n for n in range(2, 10_000))]),
        until_s=60,
        interrupt=interrupt,
    )
    seen = Impatient()
    level.run(seen)
    due_s = level.result.unsent.due_s
    assert len(due_s) == level.never_sent > 5
    assert max(due_s) <= seen.seen_s


def test_too_many_undigested_bytes_hold_the_load_and_are_told(monkeypatch):
    """Memory is bounded: nothing is sent meanwhile, and the level says so."""
    monkeypatch.setattr(dispatcher, "MOST_WAITING_BYTES", 100)
    slow_digest(monkeypatch, 0.1)
    with Played(ANSWER) as server:
        level = fire(server.url, 4, planned=12)
    assert [o.status for o in level.seen] == ["completed"] * 12
    assert level.result.held_s > 0.1
    assert (
        "replies waited to be digested"
        in level.client_figures()["client_limited_why"]
    )


def test_a_server_that_keeps_its_connections_is_asked_on_them():
    lines = Lines()
    with Played(SLOW_ANSWER) as server:
        fire(server.url, 1, planned=1, lines=lines)
        time.sleep(2 * KEPT_AFTER_S)  # now it is known
        level = fire(server.url, 4, planned=40, lines=lines)
        assert [o.status for o in level.seen] == ["completed"] * 40
        assert server.connections <= 5
        lines.close()


@pytest.mark.parametrize("workers", [1, 8])
def test_a_server_that_hangs_up_after_each_answer_without_a_word_is_no_reset(
    workers,
):
    """No request is written on a line that is not known to be kept."""
    with Played([*ANSWER, CLOSE]) as server:
        level = fire(server.url, workers, planned=6 * workers)
        assert [o.status for o in level.seen] == [
            "completed"
        ] * 6 * workers
        assert server.connections >= 6 * workers
