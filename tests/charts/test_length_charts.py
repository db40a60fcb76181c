"""One model with prompts of several lengths: what each length costs, drawn over the length."""

from __future__ import annotations

import pytest

from ollama_bench.analysis import selection
from ollama_bench.analysis.prompt_lengths import (
    find_shared_level,
    group_by_model,
    list_lengths,
)
from ollama_bench.analysis.verdict import judge
from ollama_bench.charts.length_charts import draw_lengths
from ollama_bench.storage.connection import connect
from tests.support import made_up_results, prompt_lengths
from tests.support.studies import change

RATES = {500: 60.0, 4000: 30.0, 16000: 6.0}
WAITS_S = {500: 0.2, 4000: 4.0, 16000: 20.0}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "results.db"
    prompt_lengths.write(path, RATES, WAITS_S, (1, 2, 4), chunks=False)
    return path


def lengths_of(path):
    database = connect(path, readonly=True)
    studies = selection.choose(database, [], [])
    verdicts = [judge(database, study) for study in studies]
    database.close()
    return [list_lengths(group) for group in group_by_model(verdicts)]


def rows_of(spec, part):
    """The rows of a part of a chart, wherever they stand."""
    data = part["data"]
    return data.get("values") or spec["datasets"][data["name"]]


def test_each_length_has_its_capacity_and_its_figures(file):
    (lengths,) = lengths_of(file)
    assert [(one.tokens, one.capacity) for one in lengths] == [
        (500, "4 or more"),
        (4000, "2"),
        (16000, "0"),
    ]
    assert find_shared_level(lengths) == 1
    alone = [one.levels[1] for one in lengths]
    waits_s = [figures["ttft_mean_s"] for figures in alone]
    assert waits_s == pytest.approx([0.4, 4.2, 20.2])
    # 500 tokens in 0.2 s, 4,000 in 4 s
    prefill = [figures["prefill_tokens_per_s"] for figures in alone]
    assert prefill == pytest.approx([2500, 1000, 800])


def test_the_speed_of_prefill_is_unknown_where_a_cache_may_have_helped(
    file,
):
    def speeds():
        (lengths,) = lengths_of(file)
        return {one.levels[1]["prefill_tokens_per_s"] for one in lengths}

    change(file, "UPDATE request SET cached_tokens = NULL")
    assert speeds() == {None}
    change(file, "UPDATE request SET prefix = '[x]'")
    assert None not in speeds()
    change(file, "UPDATE request SET server_prefill_ns = NULL")
    assert speeds() == {None}


def test_wait_speeds_and_capacity_are_drawn_over_the_length(file):
    (lengths,) = lengths_of(file)
    specs = draw_lengths(lengths)
    assert [*specs] == ["prompt_lengths", "capacity_by_length"]
    panels = specs["prompt_lengths"]["vconcat"]
    titles = [panel["encoding"]["y"]["title"] for panel in panels]
    assert titles[0] == "mean wait (logarithmic)"
    assert titles[-2:] == ["tokens/s of one", "tokens/s of all"]
    for panel in panels:
        x = panel["encoding"]["x"]
        rows = rows_of(specs["prompt_lengths"], panel)
        assert x["axis"]["values"] == [500, 4000, 16000]
        assert x["scale"]["type"] == "log" and "tokens" in x["title"]
        # a line for each level
        assert panel["encoding"]["color"]["field"] == "concurrency"
        assert {row["concurrency"] for row in rows} == {1, 2, 4}
    spec = specs["capacity_by_length"]
    texts = spec["layer"][-1]["layer"][-1]
    shown = [row["text"] for row in rows_of(spec, texts)]
    assert shown == ["4 or more", "2", "0"]


def test_a_mixture_has_no_place_on_the_axis(file):
    change(
        file,
        "UPDATE level SET prompt_mix = '5*1,8*1', asked_prompt_tokens = NULL "
        "WHERE asked_prompt_tokens > 500",
    )
    (lengths,) = lengths_of(file)
    assert [one.name for one in lengths] == [
        "prompts of 500 tokens",
        "mix 5*1,8*1",
    ]
    assert draw_lengths(lengths) == {}


def test_one_length_is_not_compared(tmp_path):
    made_up_results.write(tmp_path / "results.db", levels=(1, 2))
    assert lengths_of(tmp_path / "results.db") == []
