"""Energy and cost in sentences."""

from __future__ import annotations

import pytest

import analyze
from ollama_bench.analysis.energy import describe_cost
from ollama_bench.analysis.energy_caveats import (
    gpu_alone,
    uncovered_energy,
)
from ollama_bench.analysis.wording import digits
from ollama_bench.terminal.rows import GPU_NOTE
from tests.support import made_up_results
from tests.support.studies import GPU_ALONE, read


def test_watts_are_told_with_the_idle_ones_and_what_they_include(results):
    made_up_results.write(results, levels=(1, 2), watts=(5.0, 20.0))
    study, said = read(results)
    assert (
        "at 20 W, of which 5 W when idle. Power source: powermetrics soc (CPU, GPU and ANE)."
        in said
    )
    assert describe_cost(study, 0.3, "EUR").endswith(
        " at once, counting CPU, GPU and ANE."
    )


def test_a_level_is_not_said_to_have_more_idle_watts_than_it_has(results):
    made_up_results.write(results, levels=(1, 2), watts=(25.0, 20.0))
    _, said = read(results)
    assert "at 20 W. Power source: powermetrics" in said
    assert "when idle" not in said


def test_watts_of_the_gpu_alone_are_told_as_such(results, capsys):
    made_up_results.write(results, levels=(1, 2))
    study, said = read(results, GPU_ALONE)
    best = min(
        study.levels,
        key=lambda level: level["gpu_joules_per_output_token"],
    )
    n = best["concurrency"]
    assert best["mean_w"] is None and best["gpu_power_w"] == pytest.approx(
        16.0
    )
    speed = digits(1 / best["gpu_joules_per_output_token"])
    assert (
        f"Energy efficiency of the GPU alone is best with {n} at once: {speed} tokens per joule "
        "at 16 W of the GPU; the CPU's share is not known. Power source: powermetrics soc."
        in said
    )
    # the source's scope is the whole chip
    assert "(CPU, GPU and ANE)" not in said
    euro = digits(best["gpu_joules_per_output_token"] / 3.6 * 0.36)
    assert describe_cost(study, 0.36, "EUR") == (
        f"At 0.36 EUR/kWh the GPU's energy alone for a million output tokens costs {euro} EUR "
        f"with {n} at once; "
        "the CPU's share is not known."
    )
    assert [warning.seen for warning in gpu_alone(study)] == [
        "watts and joules are of the GPU alone at 1 and 2 at once"
    ]
    assert not uncovered_energy(study)
    assert analyze.main(["--db", str(results), "--charts", "none"]) == 0
    out = capsys.readouterr().out
    assert "16 W, " in out and " J/token (GPU alone)" in out
    assert out.count(GPU_NOTE) == 1


def test_a_study_whose_sums_are_known_says_nothing_of_the_gpu_alone(
    results, capsys
):
    made_up_results.write(results, levels=(1, 2))
    study, said = read(results)
    assert "GPU alone" not in said and not gpu_alone(study)
    analyze.main(["--db", str(results), "--charts", "none"])
    assert GPU_NOTE not in capsys.readouterr().out


def test_cost_follows_from_the_energy(results):
    made_up_results.write(results, levels=(1,), tokens=61, rate=60.0)
    study, _ = read(
        results,
        "UPDATE power_sample SET energy_j = 36.0",
        "UPDATE level SET ended_ns = started_ns + 2000000000",
        "UPDATE request SET output_tokens = 72",
    )
    assert study.levels[0]["output_tokens_per_joule"] == pytest.approx(
        1.0
    )  # 72 tokens for 72 joules
    assert describe_cost(study, 0.36, "EUR").startswith(
        "At 0.36 EUR/kWh a million output tokens cost 0.1 EUR with 1 at once"
    )
    study, _ = read(results, "DELETE FROM power_sample")
    assert (
        describe_cost(study, 0.36, "EUR")
        == "The cost of a million output tokens is not known: no level has both its energy and "
        "its tokens."
    )


def test_replies_that_count_no_tokens_have_no_cost(results):
    made_up_results.write(results, levels=(1, 2))
    study, _ = read(results, "UPDATE request SET output_tokens = 0")
    assert study.levels[0][
        "output_tokens_per_joule"
    ] == 0 and "is not known" in describe_cost(study, 0.3, "EUR")
