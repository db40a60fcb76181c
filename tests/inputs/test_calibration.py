"""Prompts of a length, for tokenizers and templates of every kind."""

import random

import pytest

from ollama_bench.inputs.calibration import make_probes, solve

PREFIXES = [f"[{number:012x}]" for number in range(10**11, 10**11 + 4)]


def whole_words(text):
    """SmolLM2's: a token a word, and a chat template of 9."""
    return 9 + sum(len(w) if "[" in w else 1 for w in text.split())


def characters(text):
    return 30 + len(text)


def odd(text):
    """One that likes some words better than others."""
    return sum(1 + sum(word.encode()) % 4 for word in text.split())


def pieces(text):
    """Three characters a token, at least one a word."""
    return sum(-(-len(word) // 3) for word in text.split())


@pytest.mark.parametrize("count", [whole_words, characters, pieces, odd])
@pytest.mark.parametrize("tokens", [100, 200, 1000, 8000])
@pytest.mark.parametrize("prefix", [None, PREFIXES[0]])
def test_prompts_have_the_length_by_the_count_of_the_server(
    count, tokens, prefix
):
    probes = make_probes(random.Random(1), PREFIXES)
    calibration = solve([count(probe) for probe in probes], len(PREFIXES))
    text = calibration.make_text(tokens, random.Random(0), bool(prefix))
    calibration = calibration.correct(tokens, text, count(text))
    for seed in range(20):
        text = calibration.make_text(
            tokens, random.Random(seed), prefix is not None
        )
        if prefix:
            text = f"{prefix} {text}"
        assert count(text) == pytest.approx(tokens, rel=0.03)


def test_the_same_draw_makes_the_same_text_and_another_one_another():
    probes = make_probes(random.Random(1), PREFIXES)
    calibration = solve([whole_words(probe) for probe in probes], 4)
    first, again, other = (
        calibration.make_text(500, random.Random(seed), True)
        for seed in (1, 1, 2)
    )
    assert first == again != other
    # the template alone is longer
    assert (
        len(calibration.make_text(3, random.Random(1), True).split()) == 1
    )


@pytest.mark.parametrize(
    "counts",
    [
        (0, 0, 0, 0),  # not counted
        (60, 60, 130, 40),  # a template with less than no token
        (60, 60, 60, 60),  # cut: all are the same
    ],
)
def test_counts_that_contradict_each_other_tell_nothing(counts):
    assert solve(counts, 4) is None
