"""The law is checked with the requests that ended in the steady part, however they ended."""

import pytest

from ollama_bench.load.people_tally import PeopleTally
from ollama_bench.load.request import Outcome, Task
from ollama_bench.protocols.ollama import Ollama

S = 1_000_000_000
UNKNOWN = {
    "people_law": None,
    "people_law_low": None,
    "people_law_high": None,
}


def live(tally, people, seconds, status="completed"):
    """Each asks every 10 s: thinks 8, waits and reads 2."""
    for person in range(people):
        for due_s in range(person, seconds, 10):
            tally.add(
                Outcome(
                    Task(1, Ollama(), "", {}),
                    status,
                    due_ns=due_s * S,
                    ended_ns=(due_s + 2) * S,
                    person=person + 1,
                    think_s=8.0,
                )
            )


@pytest.mark.parametrize("status", ["completed", "http_error"])
def test_people_who_are_all_there_keep_the_law(status):
    tally = PeopleTally()
    live(tally, 5, 230, status)
    figures = tally.summarize(5, (20 * S, 220 * S))
    assert figures["people_law"] == pytest.approx(1.0, abs=0.01)
    assert figures["people_law_low"] < 1 < figures["people_law_high"]


def test_people_who_are_missing_break_it():
    tally = PeopleTally()
    live(tally, 5, 230)
    figures = tally.summarize(6, (20 * S, 220 * S))
    assert figures["people_law"] == pytest.approx(1.2, abs=0.01)
    assert figures["people_law_low"] > 1


def test_a_level_in_which_all_think_at_first_keeps_the_law():
    """Nobody was in the middle of a reply when it began."""
    tally = PeopleTally()
    live(tally, 5, 60)
    figures = tally.summarize(5, (0, 54 * S))
    assert figures["people_law"] == pytest.approx(1.0, abs=0.02)


def test_without_people_or_a_steady_part_nothing_is_known():
    tally = PeopleTally()
    tally.add(Outcome(Task(1, Ollama(), "", {}), due_ns=0, ended_ns=S))
    assert tally.summarize(1, (0, 9 * S)) == UNKNOWN
    live(tally, 5, 230)
    assert tally.summarize(5, None) == UNKNOWN
