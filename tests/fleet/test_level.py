"""A level of a fleet that cannot go on: what had come of it is kept."""

import asyncio
import pickle
from concurrent.futures import Future

import pytest

from ollama_bench.fleet.clock import RoundTrip
from ollama_bench.fleet.fleet import Fleet, FleetError
from ollama_bench.fleet.level import FleetLevel
from ollama_bench.fleet.member import Member, WorkerGoneError
from ollama_bench.fleet.messages import Batch
from ollama_bench.load.load import Load
from ollama_bench.load.observer import Observer
from ollama_bench.load.request import Limits, Outcome, Task
from ollama_bench.protocols.ollama import Ollama

LOST = "the scheduler is lost"


class ToldMember(Member):
    """A worker that has told all that it will."""

    async def pump(self, put):
        for found in self.told:
            put(found)


class DyingFleet(Fleet):
    """Two workers: one is gone with the scheduler, the other's last batch has come."""

    is_connected = True

    def __init__(self, *told):
        super().__init__(None, [])
        for place, found in enumerate(told):
            member = ToldMember(f"w{place}", "tcp://w:1", None)
            member.told = found
            self.members.append(member)

    def tell(self, members, word, contents=None):
        return {}

    def compare_clocks(self, members):
        for member in members:
            member.track.add(RoundTrip(0, 1, 1, 2))
        return {}

    def schedule(self, work):
        asyncio.run(work)
        done = Future()
        done.set_result(None)
        return done

    def refuse_if_lost(self):
        raise FleetError(LOST)


class Ends(Observer):
    """Keeps how each request ended."""

    def __init__(self):
        self.found = {}

    def ended(self, outcome):
        self.found[outcome.task.number] = outcome.error or outcome.status


def make_task(number, worker):
    return Task(number, Ollama(), "", {}, worker=worker)


def make_answer(task):
    answer = Outcome(task, "completed", sent_ns=2, ended_ns=7)
    answer.chunk_ns.extend([5, 6])
    return answer


def test_what_had_come_when_the_scheduler_was_lost_is_kept():
    first, answered, cut = (
        make_task(number, f"w{number > 1:d}") for number in (1, 2, 4)
    )
    fleet = DyingFleet(
        [
            pickle.dumps(Batch(is_ready=True, begun=[first])),
            WorkerGoneError("the link broke"),
        ],
        [
            pickle.dumps(Batch(is_ready=True, begun=[answered, cut])),
            pickle.dumps(Batch(ended=[make_answer(answered)])),
        ],
    )
    load = Load(lambda _: first, Limits(), 4)
    ends = Ends()
    with pytest.raises(FleetError, match=LOST):
        FleetLevel(fleet, load, Load).run(ends)
    assert ends.found == {1: LOST, 2: "completed", 4: LOST}


def test_a_second_failure_hides_neither_the_first_nor_what_came():
    task = make_task(1, "w2")
    fleet = DyingFleet(
        [pickle.dumps(Batch(failure="no memory"))],
        [pickle.dumps(Batch(failure="no disk"))],
        [
            pickle.dumps(
                Batch(
                    begun=[task],
                    ended=[make_answer(task)],
                )
            )
        ],
    )
    ends = Ends()
    load = Load(lambda _: task, Limits(), 3)
    with pytest.raises(FleetError, match="worker w0: no memory"):
        FleetLevel(fleet, load, Load).run(ends)
    assert ends.found == {1: "completed"}
