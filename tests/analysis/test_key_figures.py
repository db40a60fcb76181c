"""The few figures that answer the question, of made-up runs."""

from __future__ import annotations

import pytest

from ollama_bench.analysis import selection
from ollama_bench.analysis.key_figures import find_key_figures
from ollama_bench.analysis.service import measure_service
from ollama_bench.storage.connection import connect
from tests.support import made_up_results
from tests.support.studies import GPU_ALONE, SLO

CUT = (
    "UPDATE request SET status = 'cancelled', output_tokens_source = 'chunks', "
    "ended_ns = first_text_ns + 1000000000, output_tokens = 20"
)


def find(path, *changes):
    """The key figures of the only study of a file after some changes, and the study."""
    database = connect(path)
    for sql in changes:
        database.execute(sql)
    (study,) = selection.choose(database, [], [])
    services = measure_service(database, study, SLO)
    database.close()
    return find_key_figures(study, SLO, services), study


def test_the_figures_are_of_the_highest_level_that_is_served(results):
    made_up_results.write(results, levels=(1, 2, 4, 8), slots=4, rate=41.0)
    key, study = find(results)
    assert (key.at_once, key.is_highest) == (2, False)
    level = study.levels[1]
    assert key.level is level
    assert key.tokens_per_s.value == level["tokens_per_s_mean"]
    assert key.wait_s.value == level["ttft_mean_s"]
    assert (key.watts, key.joules_per_token, key.watts_of) == (
        level["mean_w"],
        level["joules_per_output_token"],
        "",
    )
    assert key.watts is not None and key.joules_per_token is not None
    assert key.limit == "the server's slots (4 at a time) and the GPU"


def test_where_nobody_is_served_they_are_of_the_fewest(results):
    made_up_results.write(results, levels=(2, 4), rate=5.0)
    key, study = find(results)
    assert (key.at_once, key.level) == (0, study.levels[0])
    assert key.tokens_per_s.value == study.levels[0]["tokens_per_s_mean"]


def test_where_all_are_served_nothing_above_was_measured(results):
    made_up_results.write(results, levels=(1, 2), slots=4, rate=400.0)
    key, _ = find(results)
    assert (key.at_once, key.is_highest) == (2, True)


def test_what_limits_is_not_made_up(results):
    made_up_results.write(results, levels=(1,))
    assert find(results)[0].limit == ""


@pytest.mark.parametrize(
    "cut, at_once", [(CUT, None), (f"{CUT} WHERE level_id = 2", 1)]
)
def test_what_nobody_can_judge_is_not_none_served(results, cut, at_once):
    """The requests of the first level, or only those of the second, were cut by this client."""
    made_up_results.write(results, levels=(1, 8), slots=8, rate=8 * 40.0)
    key, _ = find(results, cut)
    assert (key.at_once, key.is_highest) == (at_once, False)


def test_the_watts_of_the_gpu_alone_are_marked(results):
    made_up_results.write(results, levels=(1,))
    key, study = find(results, GPU_ALONE)
    level = study.levels[0]
    assert level["mean_w"] is None and level["gpu_power_w"] is not None
    assert (key.watts, key.watts_of) == (level["gpu_power_w"], "GPU")
    assert key.joules_per_token == level["gpu_joules_per_output_token"]


def test_no_power_is_unknown_and_not_zero(results):
    made_up_results.write(results, levels=(1,))
    key, _ = find(results, "DELETE FROM power_sample")
    assert (key.watts, key.joules_per_token, key.watts_of) == (
        None,
        None,
        "",
    )


def test_repeats_are_averaged_and_carry_their_interval(results):
    for place, rate in enumerate((40.0, 44.0, 48.0)):
        made_up_results.write(
            results,
            levels=(1,),
            rate=rate,
            started_unix=1.8e9 + place * 5000,
        )
    key, study = find(results, "UPDATE run SET source = 'import'")
    means = [level["tokens_per_s_mean"] for level in study.levels]
    assert len(means) == 3
    assert key.tokens_per_s.value == pytest.approx(sum(means) / 3)
    assert key.tokens_per_s.low < min(means)
    assert key.tokens_per_s.high > max(means)


def test_one_request_has_no_interval(results):
    made_up_results.write(results, levels=(1,))
    key, _ = find(results)
    assert (key.tokens_per_s.low, key.tokens_per_s.high) == (None, None)


def test_an_open_loop_has_no_number_at_once(results):
    made_up_results.write(results, levels=(16,), slots=16, rate=16 * 12.0)
    key, study = find(
        results, "UPDATE level SET load = 'open', rate_per_s = 0.8"
    )
    assert (key.at_once, key.is_highest) == (None, False)
    assert key.level is study.levels[0]
    assert key.tokens_per_s is not None


def test_a_level_that_was_interrupted_is_not_judged(results):
    made_up_results.write(results, levels=(1, 2), slots=4, rate=400.0)
    key, _ = find(
        results,
        "UPDATE level SET status = 'interrupted' WHERE concurrency = 2",
    )
    assert (key.at_once, key.is_highest) == (1, True)


def test_a_study_without_a_judged_level_has_no_figures(results):
    made_up_results.write(results, levels=(1,))
    key, study = find(results, "UPDATE level SET slept_s = 30")
    assert study.levels
    assert (key.at_once, key.level, key.tokens_per_s) == (None, None, None)
