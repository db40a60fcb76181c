"""Which model is measured where nobody names one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ollama_bench.inputs.options import STUDY_MODEL
from ollama_bench.protocols.offers import Offer
from ollama_bench.protocols.target import is_same_model


@dataclass(frozen=True)
class ChosenModel:
    """A model, and in a few words why it."""

    offer: Offer
    reason: str


def choose_model(
    offers: Sequence[Offer],
    prefers_study: bool,
    generates: Callable[[str], bool] = lambda name: True,
) -> ChosenModel | None:
    """Return the loaded model, else the only one, else the study's, else the smallest.

    prefers_study: the study's comes first. generates: asks the server whether a model that is
    about to be taken generates text. None if there is no such model.
    """
    left = [offer for offer in offers if offer.can_be_measured]
    while left:
        choice = choose_among(left, prefers_study)
        if generates(choice.offer.name):
            return choice
        left.remove(choice.offer)
    return None


def choose_among(
    offers: Sequence[Offer], prefers_study: bool
) -> ChosenModel:
    study = [one for one in offers if is_same_model(one.name, STUDY_MODEL)]
    if study and prefers_study:
        return ChosenModel(study[0], "the study's")
    for offer in offers:
        if offer.is_loaded:
            return ChosenModel(offer, "loaded")
    if len(offers) == 1:
        return ChosenModel(offers[0], "the only one")
    if study:
        return ChosenModel(study[0], "the study's")
    smallest = min(offers, key=lambda one: one.size_bytes or float("inf"))
    reason = "the smallest" if smallest.size_bytes else "the first"
    return ChosenModel(smallest, f"{reason} of {len(offers)}")
