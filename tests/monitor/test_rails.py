"""Energy counters that are dead, and those that step slowly."""

from __future__ import annotations

import pytest

from ollama_bench.monitor import (
    rails,
)
from tests.monitor.support import (
    Told,
    told,
)


def test_cpu_energy_that_stays_zero_is_unknown(watch, fake, monkeypatch):
    monkeypatch.setattr(rails, "DEAD_RAIL_S", 0.3)
    watched = watch([fake("zero_cpu")])
    rows = watched.samples(6)
    assert {
        (row["cpu_energy_j"], row["energy_j"], row["gpu_energy_j"])
        for row in rows
    } == {(None, None, 6.0)}
    assert len(watched.rows("event", kind="cpu_power_zero")) == 1


@pytest.mark.parametrize(
    "values, stored, is_dead",
    [
        ([(0.0, 0.97)] * 5, [(None, None)] * 5, True),
        (
            [(0.0, 0.01)] * 3 + [(0.0, 0.97)] * 3,
            [(0.0, 2.0)] * 3 + [(None, None)] * 3,
            True,  # an idle GPU may take next to nothing
        ),
        ([(0.0, 0.01)] * 5, [(0.0, 2.0)] * 5, False),
        (
            [(6.0, 0.97), (0.0, 0.97), (0.0, 0.97), (9.0, 0.97)],
            [(6.0, 8.0), (0.0, 2.0), (0.0, 2.0), (9.0, 11.0)],
            False,  # steps
        ),
        (
            [(6.0, 0.97)] + [(0.0, 0.97)] * 4,
            [(6.0, 8.0)] + [(None, None)] * 4,
            True,
        ),
        (
            [(0.0, 0.97)] * 4 + [(6.0, 0.97)],
            [(None, None)] * 4 + [(6.0, 8.0)],
            True,
        ),
        # how busy it is is not known
        ([(0.0, None)] * 5, [(0.0, 2.0)] * 5, False),
    ],
)
def test_gpu_energy_that_stays_zero_while_it_works_is_unknown(
    watch, values, stored, is_dead
):
    rows, watched = told(watch, *values)
    assert rows == stored
    assert [line for line in watched.said if "busy GPU" in line] == [
        "power: powermetrics soc reports 0 J for a busy GPU: it and the sum are NULL"
    ] * is_dead
    assert len(watched.rows("event", kind="gpu_power_zero")) == is_dead


def test_a_dead_cpu_counter_beside_a_slow_gpu_counter(watch):
    watched = watch([Told()])
    (track,) = watched.monitor.tracks
    track.interval_s = 1.0
    for number, gpu_j in enumerate((0.0, 0.0, 6.0, 6.0, 0.0, 6.0)):
        track.keep(
            {
                "start_ns": number * 10**9,
                "end_ns": (number + 1) * 10**9,
                "energy_j": gpu_j,
                "gpu_energy_j": gpu_j,
                "cpu_energy_j": 0.0,
                "gpu_busy_ratio": 1.0,
            }
        )
    track.release()
    rows = watched.rows("power_sample")
    assert [(row["cpu_energy_j"], row["energy_j"]) for row in rows] == [
        (None, None)
    ] * 6
    assert [row["gpu_energy_j"] for row in rows] == [
        0.0,
        0.0,
        6.0,
        6.0,
        0.0,
        6.0,
    ]


def test_cpu_energy_that_comes_in_steps_is_kept(watch, fake, monkeypatch):
    monkeypatch.setattr(rails, "DEAD_RAIL_S", 0.3)
    watched = watch([fake("slow_cpu")])
    rows = watched.samples(6)
    assert [row["cpu_energy_j"] for row in rows[:4]] == [
        2.0,
        0.0,
        2.0,
        0.0,
    ]
    assert [row["energy_j"] for row in rows[:2]] == pytest.approx(
        [8.01, 6.01]
    )
