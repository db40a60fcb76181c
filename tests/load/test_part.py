"""What several processes send is together what one would send."""

import itertools

import pytest

from ollama_bench.load.part import WHOLE, Part
from ollama_bench.load.people import People
from ollama_bench.statistics.think_time import ThinkTime


@pytest.mark.parametrize("of", [1, 2, 3, 7])
@pytest.mark.parametrize("total", [0, 1, 6, 7, 20])
def test_the_parts_are_the_whole_and_none_is_larger_by_two(total, of):
    parts = [Part(place, of, of) for place in range(of)]
    counts = [part.count(total) for part in parts]
    numbers = [
        part.number(own)
        for part, count in zip(parts, counts)
        for own in range(1, count + 1)
    ]
    assert sorted(numbers) == list(range(1, total + 1))
    assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("places, of", [(3, 2), (5, 4), (8, 3)])
def test_who_has_twice_the_places_gets_twice_as_many(places, of):
    parts = [Part(place, of, places) for place in range(of)]
    shares = [part.count(places) for part in parts]
    assert sum(shares) == places and max(shares) - min(shares) == 1
    for total in (0, 2, 7, 40, 120):
        counts = [part.count(total) for part in parts]
        numbers = [
            [part.number(own) for own in range(1, count + 1)]
            for part, count in zip(parts, counts, strict=True)
        ]
        assert sorted(sum(numbers, [])) == list(range(1, total + 1))
        picked = [list(part.pick(range(1, total + 1))) for part in parts]
        assert picked == numbers
    assert [part.count(100 * places) for part in parts] == [
        100 * share for share in shares
    ]


def test_what_is_picked_has_the_numbers_of_the_part():
    part = Part(1, 3, 3)
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

    assert draw(Part(0, 2, 5)) | draw(Part(1, 2, 5)) == draw(WHOLE)
