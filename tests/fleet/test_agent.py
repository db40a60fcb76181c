"""What a worker tells of its part of a level, and what it leaves to the coordinator."""

import asyncio
import pickle
import threading
import types

from ollama_bench.fleet import agent
from ollama_bench.fleet.agent import PartRun
from ollama_bench.fleet.messages import Order
from ollama_bench.load.load import Load
from ollama_bench.load.part import Part
from ollama_bench.load.request import Limits, Outcome, Task
from ollama_bench.protocols.ollama import Ollama

TASK = Task(1, Ollama(), "", {})


class HeldLoad(Load):
    """One request that has ended and one in flight, until it is let go."""

    def __init__(self):
        super().__init__(lambda _: TASK, Limits(), 2)
        self.has_told, self.may_end = threading.Event(), threading.Event()
        self.may_tell = threading.Event()

    def run(self, observer=None):
        outcome = Outcome(TASK, "completed", ended_ns=7)
        outcome.chunk_ns.extend([5, 6])
        self.result.tally.add(outcome)
        self.may_tell.wait()
        observer.ended(outcome)
        flight = types.SimpleNamespace(
            task=TASK,
            ended_ns=None,
            sent_ns=3,
            first_ns=None,
            last_read_ns=None,
            reads=0,
        )
        self.result.exchanges.append(flight)
        self.has_told.set()
        self.may_end.wait()
        return self.result


def begin(held):
    run = PartRun(Order(lambda **_: held, Part(1, 2, 2), "far"))
    held.may_tell.set()
    held.has_told.wait()
    return run


def test_flights_are_told_of_when_they_may_be_shown_not_with_each_batch(
    monkeypatch,
):
    held = HeldLoad()
    run = begin(held)
    told = [list(run.take().in_flight.numbers) for _ in range(3)]
    monkeypatch.setattr(agent, "SHOW_EVERY_S", 0)
    again = run.take().in_flight
    held.may_end.set()
    run.stop()
    # the first of the second of two workers
    assert told == [[2], [], []]
    assert list(again.numbers) == [2] and list(again.sent_ns) == [3]


def test_what_has_ended_is_added_up_once_by_who_is_told():
    held = HeldLoad()
    run = begin(held)
    batch = pickle.loads(pickle.dumps(run.take()))
    held.may_end.set()
    run.stop()
    assert [one.chunk_ns.tolist() for one in batch.ended] == [[5, 6]]
    assert held.result.tally.ended == 0


def test_a_worker_is_not_asked_in_vain_while_nothing_happens(monkeypatch):
    monkeypatch.setattr(agent, "NEWS_S", 60)
    held = HeldLoad()
    run = PartRun(Order(lambda **_: held, Part(1, 2, 2), "far"))

    async def ask():
        # until all may begin, every answer is waited for
        await run.wait_for_news()
        run.start(0)
        waiting = asyncio.ensure_future(run.wait_for_news())
        await asyncio.sleep(3 * agent.LOOK_S)
        assert not waiting.done()
        held.may_tell.set()
        await waiting
        assert run.take().ended
        held.may_end.set()
        await run.wait_for_news()

    asyncio.run(asyncio.wait_for(ask(), 20))
