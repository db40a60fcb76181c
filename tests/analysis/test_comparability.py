"""What keeps two runs from being two measurements of the same thing."""

from __future__ import annotations

import pytest

from ollama_bench.analysis.comparability import (
    describe_unlike_levels,
    undisturbed_part,
)
from ollama_bench.storage.connection import connect
from tests.support.comparisons import lines, row
from tests.support.studies import change, made_of, read

LEVELS = (1, 2, 4, 8)


@pytest.mark.parametrize(
    "before, after, said",
    [
        (
            "on_battery = 1",
            "on_battery = 0",
            "! the machine ran on battery before, on mains after: a change may come from that",
        ),
        (
            "low_power_mode = 0",
            "low_power_mode = 1",
            "! the machine ran without low power mode before, in low power mode after: a change",
        ),
        (
            "on_battery = concurrency = 2",
            "on_battery = 1",
            "! the machine ran partly on battery before, on battery after: a change "
            "may come from that",
        ),
        ("on_battery = 1", "on_battery = 1", ""),
        ("on_battery = 1", "on_battery = NULL", ""),
    ],
)
def test_what_ran_under_other_conditions_is_told(
    pair, capsys, before, after, said
):
    change(
        pair,
        *(
            f"UPDATE level SET {what} WHERE run_id = {number}"
            for number, what in ((1, before), (2, after))
        ),
    )
    told = " ".join(" ".join(lines(pair, capsys)).split())
    assert said in told and (" ran " in told) == bool(said)


@pytest.mark.parametrize(
    "simulated, said",
    [
        ((1, 1), "! before and after: simulated"),
        ((0, 1), "! after: simulated"),
        ((1, 0), "! before: simulated"),
        ((0, 0), None),
    ],
)
def test_a_simulated_side_is_told_in_one_line(
    write, capsys, simulated, said
):
    write("before", levels=LEVELS, simulated=simulated[0])
    doubts = [
        line
        for line in lines(
            write("after", levels=LEVELS, simulated=simulated[1]), capsys
        )
        if line.startswith("!")
    ]
    assert doubts == (
        [f"{said}, not a measurement of a real machine"] if said else []
    )


def test_words_against_tokens_are_told_in_one_line(write, capsys):
    write("before", levels=LEVELS, simulated=0)
    results = write("after", levels=LEVELS, simulated=0)
    database = connect(results)
    database.execute(
        "UPDATE request SET output_tokens_source = 'words' WHERE level_id IN (SELECT id FROM "
        "level WHERE run_id = 1)"
    )
    database.close()
    assert [
        line for line in lines(results, capsys) if line.startswith("!")
    ] == [
        "! words were counted before, tokens after: tokens/s and J/token do not compare"
    ]


@pytest.mark.parametrize(
    "sides, said",
    [
        (
            (
                "load = 'open', rate_per_s = 6",
                "load = 'open', rate_per_s = 20",
            ),
            "! the load was open loops of 6 requests/s before, "
            "open loops of 20 requests/s after: a "
            "change may come from that",
        ),
        (
            ("load = 'burst'", "load = 'closed'"),
            "! the load was bursts before, closed loops after: a change may come from that",
        ),
        (
            (
                "load = 'open', rate_per_s = 6",
                "load = 'open', rate_per_s = 6",
            ),
            "",
        ),
        (("load = NULL", "load = 'burst'"), ""),
    ],
)
def test_loads_that_differ_are_told(write, capsys, sides, said):
    write("before", levels=LEVELS, simulated=0)
    results = write("after", levels=LEVELS, simulated=0)
    database = connect(results)
    for run_id, columns in enumerate(sides, 1):
        database.execute(
            f"UPDATE level SET {columns} WHERE run_id = {run_id}"
        )
    database.close()
    told = [
        line
        for line in lines(results, capsys)
        if line[:1] == "!" or line[:5] == " " * 5 and line[5:6].strip()
    ]
    assert " ".join(" ".join(told).split()).startswith(said) and bool(
        told
    ) == bool(said)


@pytest.mark.parametrize("label", ["before", "after"])
def test_a_level_that_slept_is_not_compared(write, capsys, label):
    write("before", rate=90.0, levels=LEVELS)
    path = write("after", rate=60.0, levels=LEVELS)
    database = connect(path)
    with database.conn:
        database.execute(
            "UPDATE level SET slept_s = 30 WHERE concurrency = 4 AND run_id = (SELECT id FROM "
            "run WHERE label = ?)",
            [label],
        )
    database.conn.close()
    said = lines(path, capsys)
    assert any(
        line.startswith(
            f"! {label}: the machine slept for 30 s at 4 at once"
        )
        for line in said
    )
    assert row(said, 8, "tokens/s each") and not any(
        "%" in line for line in said if line.startswith(f"{4:>7}  ")
    )


@pytest.mark.parametrize(
    "columns, said",
    [
        ({}, ""),
        (
            {"output_tokens_mean": {1: 100, 2: 110, 4: 300}},
            "mean replies have 100 to 300 tokens): their throughput is not compared",
        ),
        (
            {"output_tokens_mean": {1: 100, 2: 110, 4: 150}},
            "mean replies have 100 to 150 tokens): a change may come from that",
        ),
        (
            {"client_limited": {4: 1}},
            "this client was the bottleneck at 4 at once",
        ),
        (
            {"cache": {1: "cold", 2: "cold", 4: "warm"}},
            "cold cache and warm",
        ),
    ],
)
def test_levels_of_one_run_that_are_not_alike_are_told(columns, said):
    same = {
        "load": dict.fromkeys((1, 2, 4), "burst"),
        "cache": dict.fromkeys((1, 2, 4), "cold"),
        "completed": dict.fromkeys((1, 2, 4), 4),
    }
    study = made_of({1: 10.0, 2: 20.0, 4: 90.0}, **(same | columns))
    text = describe_unlike_levels(study)
    assert said in text and bool(text) == bool(said)
    kept = {
        level["concurrency"] for level in undisturbed_part(study).levels
    }
    assert kept == ({1, 2} if "client_limited" in columns else {1, 2, 4})


def test_no_level_is_best_that_this_client_limited(write):
    path = write("one", levels=LEVELS)
    limit = "UPDATE level SET client_limited = 1 WHERE concurrency = 1"
    assert "Throughput is best with 1" in read(path)[1]
    said = read(path, limit)[1]
    assert (
        "Throughput is best with 1" not in said
        and "The levels are not alike" in said
    )


def test_no_sentence_on_throughput_counts_a_disturbed_level(write):
    """Half of the throughput at 32 is lost to this client: the server's own may still rise."""
    path = write("one", levels=(1, 2, 4, 8, 16, 32))
    change(path, "UPDATE power_sample SET gpu_busy_ratio = 0.97")
    said = read(path)[1]
    assert "tokens/s with 1 at once" in said and "GPU is the limit" in said
    limit = "UPDATE level SET client_limited = 1 WHERE concurrency > 1"
    said = read(path, limit)[1]
    assert (
        "this client was the bottleneck at 2, 4, 8, 16 and 32 at once"
        in said
    )
    assert "all requests together" not in said
    assert "GPU is the limit" not in said and "Law" not in said


def test_a_rate_that_was_asked_for_is_no_limit_of_the_gpu(write):
    """Two levels of an open loop have one throughput: that of what came."""
    path = write("one", levels=(8, 32), slots=4)
    change(path, "UPDATE power_sample SET gpu_busy_ratio = 0.97")
    opened = "UPDATE level SET load = 'open', rate_per_s = 0.5"
    assert "GPU is the limit" in read(path)[1]
    assert "GPU is the limit" not in read(path, opened)[1]


def test_a_disturbed_control_tells_no_drift(write):
    study = made_of({1: 40.0, 2: 60.0, 4: 80.0})
    study.controls = [{**study.levels[0], "client_limited": 1}]
    assert undisturbed_part(study).controls == []


@pytest.mark.parametrize(
    "statement, said",
    [
        (
            "UPDATE target SET host = 'http://box:11434' WHERE run_id = 2",
            "! it asked http://127.0.0.1:11434 before, http://box:11434 after",
        ),
        (
            "UPDATE machine SET chip = 'Apple M1', gpu = 'Apple M1' WHERE id = 2",
            "! it ran on Apple M9 <Pro>, Apple M9, macOS 99 arm64 before, "
            "on Apple M1, macOS 99 arm64 after",
        ),
        ("UPDATE machine SET chip = NULL, gpu = NULL, os = NULL", ""),
    ],
)
def test_another_machine_or_server_is_told_and_judged(
    write, capsys, statement, said
):
    """It may be what is compared."""
    write("before", levels=LEVELS, rate=90.0, simulated=0)
    results = write("after", levels=LEVELS, rate=20.0, simulated=0)
    change(results, statement)
    told = lines(results, capsys)
    text = " ".join(" ".join(told).split())
    if said:
        assert said in text
    else:
        assert "ran on" not in text and "asked" not in text
    assert row(told, 8, "tokens/s all").endswith("changed")


def test_each_simulator_has_its_own_address_which_is_not_told(
    pair, capsys
):
    change(
        pair, "UPDATE target SET host = 'http://[::1]:1' WHERE run_id = 2"
    )
    assert not [line for line in lines(pair, capsys) if "asked" in line]
