"""The card: its size, what is inside it, and what stays text."""

from __future__ import annotations

import re
import struct
from dataclasses import replace

import altair as alt
import pytest
import vl_convert

from ollama_bench.charts import theme
from ollama_bench.charts.card import (
    HEIGHT_PX,
    WIDTH_PX,
    Card,
    CardFigure,
    draw_card,
)
from ollama_bench.charts.png import make_png, replace_unprintable

HOSTILE = "</text><script>alert(1)</script>\x00&" + "long/" * 30
CARD = Card(
    model="tiny:7b",
    build="7.6B · Q4_K_M · ollama 0.99",
    machine="Apple M9 · 32 GiB",
    figures=(
        CardFigure("8", "served at once"),
        CardFigure("13.8", "tokens/s each", "95 %: 13.1 to 14.5"),
        CardFigure("0.227", "J/token", "at 21.2 W"),
    ),
    curve=tuple(
        {"size": 2**n, "y": 40.0 + n, "is_served": n < 4} for n in range(6)
    ),
    objectives="served: within 10 s to the first token",
    origin="2026-11-27 · ollama-bench 1.1.0 · digest 0123456789ab",
    is_simulated=False,
)
HUGE = replace(
    CARD,
    model=HOSTILE,
    build=HOSTILE,
    machine=HOSTILE,
    figures=(CardFigure(HOSTILE, HOSTILE, HOSTILE),) * 3,
    objectives=HOSTILE,
    origin=HOSTILE,
    curve=tuple(
        {"size": 10**9 + n, "y": 1e15 * n, "is_served": None}
        for n in range(300)
    ),
)


def draw_svg(card):
    spec = replace_unprintable(draw_card(card))
    return vl_convert.vegalite_to_svg(spec, config=theme.config())


@pytest.fixture(scope="module")
def huge():
    return draw_svg(HUGE)


def test_a_card_has_the_size_of_a_preview():
    picture = make_png(draw_card(CARD), WIDTH_PX)
    size = struct.unpack(">II", picture[16:24])
    assert size == (WIDTH_PX, HEIGHT_PX) == (1200, 630)
    assert picture == make_png(draw_card(CARD), WIDTH_PX)


@pytest.mark.parametrize("card", [CARD, HUGE], ids=["usual", "huge"])
def test_its_spec_is_of_vega_lite(card):
    alt.Root.validate(draw_card(card))


def test_every_text_of_it_is_there():
    svg = draw_svg(CARD)
    texts = [CARD.model, CARD.build, CARD.machine, CARD.objectives]
    texts += [CARD.origin, "13.8", "J/token", "95 %: 13.1 to 14.5"]
    for text in texts:
        assert f">{text}</text>" in svg
    assert "SIMULATED" not in svg
    assert ">SIMULATED</text>" in draw_svg(
        replace(CARD, is_simulated=True)
    )


def test_a_hostile_name_is_text_and_ends_inside(huge):
    assert ' width="1200" height="630" ' in huge
    assert "<script" not in huge and "&lt;script&gt;" in huge
    texts = re.findall(r">([^<]*)</text>", huge)
    assert len(max(texts, key=len)) < 150
    assert sum(text.endswith("…") for text in texts) >= 6


def test_the_numbers_of_many_levels_do_not_touch(huge):
    shown = re.findall(r">(10000\d+)</text>", huge)
    assert len(shown) <= 18 and shown[0] == str(10**9 + 299)


def test_a_study_without_levels_has_no_curve():
    assert "by requests at once" not in draw_svg(replace(CARD, curve=()))
    failed = ({"size": 1, "y": None, "is_served": False},)
    assert "requests at once" not in draw_svg(replace(CARD, curve=failed))


@pytest.mark.parametrize("place", range(2))
def test_a_long_name_of_emojis_is_drawn(place):
    # Vega measures parts of it: a cut between the halves of one ended the program
    name = "x" * place + "\N{ROBOT FACE}" * 200
    assert make_png(draw_card(replace(CARD, model=name, build=name)))
