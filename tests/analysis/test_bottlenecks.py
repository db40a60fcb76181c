"""What limits the highest level."""

from __future__ import annotations

import pytest

from ollama_bench.analysis.bottlenecks import (
    describe_gpu,
    is_short_of_slots,
)
from ollama_bench.analysis.caveats import find_caveats
from tests.support import made_up_results
from tests.support.studies import made_of, read


@pytest.mark.parametrize(
    "busy, said",
    [
        (
            {1: 0.5, 4: 0.8, 8: 0.97, 16: 0.99},
            "The GPU is the limit: 97 % busy with 8 at once, where throughput stops rising.",
        ),
        (
            {1: 0.96, 4: 0.97, 8: 0.97, 16: 0.99},
            "That the GPU is the limit is not shown: it was 97 % busy with 8 at once, where "
            "throughput stops rising, but 96 % busy already with 1, where throughput still rose.",
        ),
        ({1: 0.5, 4: 0.8, 8: 0.9, 16: 0.99}, ""),
        ({}, ""),
    ],
)
def test_the_gpu_limits_only_where_it_is_busy_when_throughput_stops(
    busy, said
):
    assert (
        describe_gpu(
            made_of(
                {1: 40.0, 4: 80.0, 8: 98.0, 16: 100.0},
                mean_gpu_busy_ratio=busy,
            )
        )
        == said
    )


def test_no_limit_is_seen_while_throughput_rises():
    assert (
        describe_gpu(
            made_of(
                {1: 40.0, 4: 80.0, 8: 98.0},
                mean_gpu_busy_ratio={1: 0.5, 4: 0.8, 8: 0.99},
            )
        )
        == ""
    )


def test_the_processor_limits_only_if_the_server_keeps_it_busy(results):
    made_up_results.write(results, levels=(1, 4))
    assert (
        "processor"
        not in read(results, "UPDATE system_sample SET cpu_ratio = 0.97")[
            1
        ]
    )  # the server: half a core of 12
    study, said = read(
        results, "UPDATE process_sample SET cpu_ratio = 9.6"
    )
    assert (
        "The processor is the limit: 97 % busy with 4 at once, 80 % by the server."
        in said
    )
    assert not [
        caveat
        for caveat in find_caveats(study)
        if "processor" in caveat.seen
    ]
    study, _ = read(
        results,
        "UPDATE process_sample SET cpu_ratio = 1",
        "UPDATE level SET client_cpu_ratio = 9",
    )  # bench.py itself is no other program
    assert not [
        caveat
        for caveat in find_caveats(study)
        if "processor" in caveat.seen
    ]


def test_slots_limit_where_requests_wait_with_no_prompt_under_evaluation(
    results,
):
    made_up_results.write(results, levels=(8,))
    assert (
        "it answered 4 at a time; it reports no more slots."
        in (read(results)[1])
    )
    _, said = read(results, "UPDATE target SET slots = NULL")
    assert (
        "it answered 4 at a time; the others waited though no prompt was being evaluated."
        in said
    )


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE target SET slots = 16",
        "UPDATE target SET slots = NULL; UPDATE request SET server_prefill_ns = NULL",
        # one prompt after another: the wait is somebody's prefill
        "UPDATE target SET slots = NULL; "
        "UPDATE request SET server_prefill_ns = (first_text_ns - sent_ns) * 9 / 10",
        # all wait for the model, which is loaded
        "UPDATE target SET slots = NULL; "
        "UPDATE request SET server_load_ns = (first_text_ns - sent_ns) * 9 / 10",
    ],
)
def test_slots_are_not_blamed_for_what_prefill_may_have_done(
    results, change
):
    made_up_results.write(results, levels=(8,))
    study, said = read(results, *change.split(";"))
    assert study.levels[0]["peak_streaming"] == 4 and "slots" not in said


def test_replies_in_one_piece_show_no_slots_and_no_full_load(results):
    made_up_results.write(results, levels=(4, 8), slots=4)
    study, said = read(
        results,
        "UPDATE target SET slots = NULL",
        "UPDATE request SET first_text_ns = last_text_ns",
    )
    assert {level["peak_streaming"] for level in study.levels} == {None}
    assert "slots" not in said and "at full load" not in said


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE level SET load = 'open'",
        "UPDATE request SET status = 'reset', first_text_ns = NULL WHERE number > 4",
    ],
)
def test_slots_are_not_blamed_for_what_never_came(results, change):
    made_up_results.write(results, levels=(8,))
    assert not is_short_of_slots(read(results, change)[0].levels[0])


@pytest.mark.parametrize(
    "hosts, slots, is_short",
    [(1, None, True), (2, None, False), (2, 4, True)],
)
def test_of_several_servers_only_known_slots_are_short(
    hosts, slots, is_short
):
    """One may have had some free while requests waited at another."""
    level = {
        "load": "closed",
        "concurrency": 6,
        "completed": 36,
        "peak_streaming": 5,
        "hosts": hosts,
        "slots": slots,
        "waiting_s": 3.0,
        "waiting_for_slot_s": 3.0,
    }
    assert is_short_of_slots(level) == is_short
