"""Which model is measured where nobody names one."""

import pytest

from ollama_bench.protocols.offers import Offer
from ollama_bench.run.model_choice import choose_model

STUDY = Offer("deepseek-r1:7b", size_bytes=4)
SMALL, LARGE = Offer("s", size_bytes=1), Offer("l", size_bytes=9)
LOADED = Offer("loaded", is_loaded=True, size_bytes=99)
UNKNOWN = Offer("u")
EMBEDS = Offer("e", is_loaded=True, embeds=True)
CLOUD = Offer("c", is_loaded=True, is_local=False)


@pytest.mark.parametrize(
    ("offers", "prefers_study", "name", "reason"),
    [
        ([STUDY, LOADED], False, "loaded", "loaded"),
        ([LOADED, STUDY], True, "deepseek-r1:7b", "the study's"),
        ([LARGE], False, "l", "the only one"),
        ([LARGE], True, "l", "the only one"),
        ([SMALL, STUDY], False, "deepseek-r1:7b", "the study's"),
        ([LARGE, UNKNOWN, SMALL], False, "s", "the smallest of 3"),
        ([Offer("a"), Offer("b")], False, "a", "the first of 2"),
        ([EMBEDS, CLOUD, LARGE], False, "l", "the only one"),
    ],
)
def test_loaded_else_only_else_study_else_smallest(
    offers, prefers_study, name, reason
):
    found = choose_model(offers, prefers_study)
    assert (found.offer.name, found.reason) == (name, reason)


def test_what_only_embeds_or_runs_elsewhere_is_never_taken():
    assert choose_model([EMBEDS, CLOUD], False) is None
    assert choose_model([], True) is None


def test_a_model_that_the_server_says_generates_no_text_is_passed_over():
    asked = []

    def generates(name):
        asked.append(name)
        return name != "s"

    found = choose_model([LARGE, SMALL], False, generates)
    # not asked of all: a folder may hold a hundred
    assert (found.offer.name, asked) == ("l", ["s", "l"])
    assert choose_model([SMALL], False, generates) is None
