"""What several processes send is together what one would send."""

import itertools

import pytest

from ollama_bench.load.part import WHOLE, Part
from ollama_bench.load.people import People
from ollama_bench.statistics.think_time import ThinkTime


@pytest.mark.parametrize("of", [1, 2, 3, 7])
@pytest.mark.parametrize("total", [0, 1, 6, 7, 20])
def test_the_parts_are_the_whole_and_none_is_larger_by_two(total, of):
    parts = [Part(place, of) for place in range(of)]
    counts = [part.count(total) for part in parts]
    numbers = [
        part.number(own)
        for part, count in zip(parts, counts)
        for own in range(1, count + 1)
    ]
    assert sorted(numbers) == list(range(1, total + 1))
    assert max(counts) - min(counts) <= 1


def test_what_is_picked_has_the_numbers_of_the_part():
    part = Part(1, 3)
    picked = list(itertools.islice(part.pick(itertools.count(1)), 4))
    assert picked == [part.number(own) for own in (1, 2, 3, 4)]
    assert list(WHOLE.pick("abc")) == ["a", "b", "c"]


def test_a_person_thinks_as_long_whoever_sends_for_them():
    def draw(part):
        people = People(5, ThinkTime(30.0), "1 5 1", part)
        return {
            part.number(own): (first, people.draw_next(own))
            for own, first in enumerate(people.draw_first(), 1)
        }

    assert draw(Part(0, 2)) | draw(Part(1, 2)) == draw(WHOLE)
