"""Lines of tables: columns that fit, figures that are unknown."""

import pytest

from ollama_bench.terminal.rows import (
    LEVEL_COLUMNS,
    WIDTH,
    format_cache_effect,
    format_heading,
    format_level,
    name_level,
    name_load,
)
from tests.terminal.made_up import ROW


def test_a_levels_line_is_the_tables():
    assert (
        format_level(ROW)
        == "         19     19/19   328 ms   330 ms      9.5    155.7     19    0.136"
    )


@pytest.mark.parametrize("requests", [10_533, 1_234_567])
def test_a_long_load_has_a_blank_between_its_columns(requests):
    row = {
        **ROW,
        "concurrency": 4096,
        "cache": "warm",
        "completed": requests,
        "requests": requests,
    }
    assert format_level(row).split()[:3] == [
        *("4096", "warm", f"{requests}/{requests}")
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            name: None
            for name in ROW
            if name
            not in (
                "concurrency",
                "repeat",
                "cache",
                "completed",
                "requests",
                "errors",
                "client_limited",
            )
        },
        {
            "concurrency": 4096,
            "completed": 4096,
            "requests": 4096,
            "tokens_per_s_mean": 1234.5,
            "output_tokens_per_s": 98765.4,
            "duration_s": 86399,
            "ttft_mean_s": 3211.8,
            "ttft_max_s": 3211.8,
            "mean_w": 1234.5,
            "mean_gpu_mhz": 2850.0,
            "joules_per_output_token": 12.3,
        },
        {
            "mean_w": None,
            "joules_per_output_token": None,
            "gpu_power_w": 1234.5,
            "gpu_joules_per_output_token": 9.9996,
            "duration_s": 86399,
            "mean_gpu_mhz": 2850.0,
        },
    ],
)
def test_a_levels_line_has_80_columns_at_most(changes):
    line = format_level(ROW | changes)
    assert (
        len(line)
        <= WIDTH
        >= max(map(len, format_heading(LEVEL_COLUMNS, WIDTH).splitlines()))
        and len(line.split()) >= 8
    )


def test_the_table_has_eight_columns_and_all_of_them_at_80():
    assert len(LEVEL_COLUMNS) == 8
    assert sum(column.cells for column in LEVEL_COLUMNS) <= WIDTH


@pytest.mark.parametrize(
    "changes, name",
    [
        ({}, "4"),
        ({"repeat": 2}, "4 #2"),
        ({"repeat": 2, "cache": "warm"}, "4 #2 warm"),
        ({"is_control": 1}, "4 control"),
        # a probe that was disturbed, or runs still, has no trial
        (
            {"probe_rate_per_s": 8.03, "repeat": 3, "load": "open"},
            "8.03/s",
        ),
    ],
)
def test_what_sets_a_level_apart_is_a_word(changes, name):
    row = {"concurrency": 4, "repeat": 1, "cache": "cold"}
    assert name_level(row | changes) == name


@pytest.mark.parametrize(
    "changes, name",
    [
        ({}, "4 at once"),
        ({"repeat": 2, "cache": "warm"}, "4 at once #2 warm"),
        ({"think_time_s": 30.0, "repeat": 2}, "4 people #2"),
        ({"think_time_s": 0.0, "concurrency": 1}, "1 person"),
        ({"probe_rate_per_s": 8.03, "repeat": 3}, "8.03 requests/s"),
    ],
)
def test_where_no_heading_says_what_is_counted_the_name_does(
    changes, name
):
    row = {"concurrency": 4, "repeat": 1, "cache": "cold"}
    assert name_load(row | changes) == name


@pytest.mark.parametrize(
    ("ratio", "saved"),
    [(-0.004, "0%"), (-0.2, "-20%"), (0.356, "36%"), (None, "-")],
)
def test_what_a_cache_saves_is_a_share_without_a_negative_zero(
    ratio, saved
):
    row = {
        "model": "m",
        "concurrency": 2,
        "cold_ttft_mean_s": 0.05,
        "warm_ttft_mean_s": 0.05,
        "ttft_saved_ratio": ratio,
    }
    assert format_cache_effect(row).endswith(
        f"the prompt cache saves {saved}"
    )
