"""The table of levels on the page."""

from __future__ import annotations

from ollama_bench.report.level_table import COLUMNS, write_table


def test_rows_of_the_same_level_are_told_apart():
    levels = [
        {
            **{name: 1 for _, name, _ in COLUMNS},
            "run_id": run,
            "repeat": repeat,
            "probe_rate_per_s": None,
            "level_id": 1,
        }
        for run, repeat in ((1, 1), (2, 1), (2, 2))
    ]
    assert "<th>run</th>" in write_table(
        levels
    ) and "<th>repeat</th>" in write_table(levels)
    assert "<th>run</th>" not in write_table(
        levels[:1]
    ) and "<th>repeat</th>" not in write_table(levels[:2])


def test_probes_of_a_rate_stand_by_their_rates():
    level = {name: 256 for _, name, _ in COLUMNS} | {"level_id": 1}
    shown = write_table([level | {"probe_rate_per_s": 8.03, "repeat": 3}])
    assert "<th>requests/s asked</th>" in shown and ">8.03</td>" in shown
    assert "<th>at once</th>" not in shown
    assert "<th>repeat</th>" not in shown


def test_watts_of_the_gpu_alone_have_columns_of_their_own():
    level = {name: 1 for _, name, _ in COLUMNS} | {
        "mean_w": 20.5,
        "gpu_power_w": 18.25,
        "level_id": 1,
    }
    whole = write_table([level])
    assert (
        "20.5" in whole
        and "GPU alone" not in whole
        and "18.2" not in whole
    )
    alone = write_table(
        [
            level
            | {
                "mean_w": None,
                "joules_per_output_token": None,
                "net_joules_per_output_token": None,
            }
        ]
    )
    assert (
        "<th>GPU alone, W</th><th>GPU alone, J/token</th>" in alone
        and "<th>W</th>" not in alone
        and "18.2" in alone
    )
