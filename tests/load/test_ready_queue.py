"""Which of the requests that could be sent leaves first."""

from types import SimpleNamespace

import pytest

from ollama_bench.load.events import Ready
from ollama_bench.load.flight import Arrival
from ollama_bench.load.ready_queue import ReadyQueue


def ready(order, host=0, due_s=0.0, is_told=False):
    task = SimpleNamespace(host=host)
    flight = SimpleNamespace(task=task, is_told=is_told)
    return Ready(Arrival(order, due_s), flight)


def fill(rank, *events):
    queue = ReadyQueue(rank)
    for event in events:
        queue.put(event)
    return queue


def drain(queue):
    return [queue.pop().arrival.order for _ in range(len(queue))]


def test_on_one_server_by_when_they_are_due_then_as_admitted():
    queue = fill(
        lambda host: (0,),
        *(ready(2), ready(1), ready(4, due_s=0.5), ready(3, due_s=0.7)),
    )
    assert queue.first.arrival.order == 1
    assert drain(queue) == [1, 2, 4, 3]
    assert queue.first is None
    with pytest.raises(IndexError):
        queue.pop()


def test_of_those_due_together_the_server_of_the_lowest_rank_is_first():
    in_flight = [2, 0]
    queue = fill(
        lambda host: (in_flight[host],),
        *(ready(1, 0), ready(2, 0), ready(3, 1), ready(4, 1)),
    )
    assert queue.pop().arrival.order == 3
    in_flight[:] = [0, 1]
    assert drain(queue) == [1, 2, 4]


def test_who_is_due_first_leaves_first_whatever_the_rank():
    queue = fill(
        lambda host: (-host,),
        *(ready(1, 0, due_s=0.1), ready(2, 1, due_s=0.2)),
    )
    assert drain(queue) == [1, 2]


def test_what_the_observer_was_told_of_leaves_before_the_rest():
    queue = fill(
        lambda host: (-host,),
        *(ready(1, 0, is_told=True), ready(2, 0), ready(3, 1)),
    )
    assert drain(queue) == [1, 3, 2]


def test_what_is_taken_out_does_not_leave():
    gone, kept = ready(1, 0), ready(2, 1)
    queue = fill(lambda host: (0,), gone, kept)
    queue.remove(gone.arrival)
    queue.remove(gone.arrival)
    assert queue.list_up_to(2) == [kept] and drain(queue) == [2]


def test_they_are_listed_as_they_were_admitted():
    events = [ready(1, 0), ready(2, 1), ready(3, 0), ready(4, 1)]
    queue = fill(lambda host: (0,), *reversed(events))
    assert queue.list_up_to(3) == events[:3]
    queue.clear()
    assert len(queue) == 0
