"""What makes watts and joules doubtful, and what is then not said."""

from __future__ import annotations

from ollama_bench.analysis.energy import describe_cost, find_moved_levels
from ollama_bench.analysis.energy_caveats import (
    energy_gaps,
    idle_above_level,
    moved_work,
    uncounted_tokens,
    uncovered_energy,
)
from tests.support import made_up_results
from tests.support.studies import GPU_ALONE, read

# from the third level on the CPU does what the GPU did: its watts fall, the server's cores rise
MOVED = (
    GPU_ALONE,
    "UPDATE process_sample SET cpu_ratio = 0.05",
    "UPDATE power_sample SET gpu_energy_j = 6.0 WHERE end_ns > "
    "(SELECT started_ns FROM level WHERE concurrency = 4)",
    "UPDATE process_sample SET cpu_ratio = 2.0 WHERE at_ns > "
    "(SELECT started_ns FROM level WHERE concurrency = 4)",
)


def test_joules_of_the_gpu_alone_are_not_compared_where_work_moved(
    results,
):
    made_up_results.write(results, levels=(1, 2, 4))
    study, said = read(results, *MOVED)
    joules = study.mean("gpu_joules_per_output_token")
    assert min(joules, key=joules.get) == 4  # it would be best
    assert [
        level["concurrency"] for level in find_moved_levels(study)
    ] == [4]
    crowned = min((1, 2), key=joules.get)
    assert f"GPU alone is best with {crowned} at once" in said
    assert f"with {crowned} at once" in describe_cost(study, 0.3, "EUR")
    (caveat,) = moved_work(study)
    assert caveat.seen == (
        "part of the work moved to the CPU at 4 at once: the server took "
        "2 cores there and 0.05 elsewhere, at fewer watts of the GPU"
    )


def test_work_that_only_grows_has_not_moved(results):
    made_up_results.write(results, levels=(1, 2, 4))
    more = MOVED[2].replace("6.0", "20.0")
    study, _ = read(results, MOVED[0], MOVED[1], more, MOVED[3])
    assert moved_work(study) == []
    # the joules of the whole chip have the CPU in them
    made_up_results.write(results, levels=(1, 2, 4), model="chip:1b")
    study, _ = read(results, *MOVED[1:])
    assert moved_work(study) == []


def test_the_whole_machine_is_told_beside_the_chip(results):
    made_up_results.write(results, levels=(1, 2), watts=(5.0, 20.0))
    study, said = read(
        results, "UPDATE power_sample SET system_power_w = 50"
    )
    best = min(
        study.levels,
        key=lambda level: level["system_joules_per_output_token"],
    )
    assert best["system_power_w"] == 50
    assert (
        f"J per token with {best['concurrency']} at once, at 50 W." in said
    )
    assert "at 20 W, of which 5 W when idle" in said
    _, said = read(
        results, "UPDATE power_sample SET system_power_w = power_w"
    )
    assert "whole machine" not in said


def test_an_idle_baseline_above_the_level_is_warned_of(results):
    made_up_results.write(results, levels=(1, 2), watts=(30.0, 20.0))
    study, _ = read(results)
    assert [level["net_energy_j"] for level in study.levels] == [
        None,
        None,
    ]
    (caveat,) = idle_above_level(study)
    assert caveat.seen == (
        "the idle baseline took 30 W, more than the levels at 1 and 2 at once (20 W)"
    )
    made_up_results.write(results, model="fine:1b")
    assert idle_above_level(read(results)[0]) == []


def test_a_gap_is_told_with_the_most_it_can_hide(results):
    made_up_results.write(results, levels=(8,), tokens=400)
    # one of many seconds, and the highest power of the run is 100 W
    gap = (
        "DELETE FROM power_sample WHERE end_ns = (SELECT end_ns FROM power_sample JOIN level "
        "WHERE start_ns > started_ns + 2000000000 LIMIT 1)"
    )
    study, _ = read(
        results,
        gap,
        "UPDATE power_sample SET energy_j = 100 WHERE start_ns = 0",
    )
    (level,) = study.levels
    assert 0.95 < level["coverage_ratio"] < 1
    (caveat,) = energy_gaps(study)
    assert "of the time, which can hide up to 100 J" in caveat.seen
    assert uncovered_energy(study) == []


def test_tokens_of_cut_replies_are_marked(results):
    made_up_results.write(results, levels=(4,))
    study, _ = read(results)
    assert uncounted_tokens(study) == []
    study, _ = read(
        results,
        "UPDATE request SET output_tokens_source = 'chunks', status = 'cancelled', "
        "output_tokens = 20 WHERE number = 1",
    )
    (caveat,) = uncounted_tokens(study)
    assert caveat.seen.startswith(
        "10 % of the tokens at 4 at once were counted by their chunks"
    )
