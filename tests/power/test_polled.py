"""Counters and gauges."""

import pytest

from ollama_bench.power.polled import Polled
from tests.power.documents import S


def polled(kind, readings, **options):
    source = Polled(
        "test",
        "gpu0",
        kind,
        None,
        lambda: dict(readings.pop(0)),
        part="gpu",
        **options,
    )
    return lambda at_s: source.read(int(at_s * S)), source


def test_counter_differences():
    read, _ = polled(
        "counter", [{"joules": 5.0}, {"joules": 25.0, "gpu_mhz": 900.0}]
    )
    assert read(1) is None
    assert read(3) == {
        "start_ns": S,
        "end_ns": 3 * S,
        "energy_j": 20.0,
        "gpu_energy_j": 20.0,
        "gpu_mhz": 900.0,
    }


def test_counter_that_wraps_and_one_that_is_reset():
    read, _ = polled(
        "counter", [{"joules": 995.0}, {"joules": 5.0}], wrap_j=1000.0
    )
    read(1)
    assert read(2)["energy_j"] == 10.0
    read, _ = polled(
        "counter", [{"joules": 995.0}, {"joules": 5.0}, {"joules": 8.0}]
    )
    read(1)
    assert read(2)["energy_j"] is None
    assert read(3)["energy_j"] == 3.0


def test_counter_that_leaps_is_not_believed():
    read, _ = polled("counter", [{"joules": 0.0}, {"joules": 1e9}])
    read(1)
    assert read(2)["energy_j"] is None


def test_counter_forgets_nothing_over_a_failed_reading():
    read, source = polled(
        "counter",
        [
            {"joules": 1.0},
            {"joules": None, "gpu_mhz": 1.0},
            {},
            {"joules": 7.0},
        ],
    )
    assert [read(1), read(2), read(3)] == [None, None, None]
    assert source.dropped == 2
    sample = read(4)
    assert (sample["start_ns"], sample["energy_j"]) == (S, 6.0)


def test_gauge_is_a_trapezoid():
    read, _ = polled("gauge", [{"watts": 10.0}, {"watts": 30.0}])
    read(1)
    # mean 20 W, half a second
    assert read(1.5)["energy_j"] == pytest.approx(10.0)


def test_a_card_without_watts_still_has_its_load():
    read, _ = polled(
        "gauge", [{"gpu_busy_ratio": 0.1}, {"gpu_busy_ratio": 0.2}]
    )
    read(1)
    sample = read(2)
    assert sample["energy_j"] is None and sample["gpu_busy_ratio"] == 0.2


@pytest.mark.parametrize("second_s", [1, 1.1])
def test_two_readings_at_about_one_instant_are_one(second_s):
    read, source = polled(
        "counter", [{"joules": 1.0}, {"joules": 2.0}, {"joules": 3.0}]
    )
    assert [read(1), read(second_s)] == [None, None]
    assert read(2)["energy_j"] == 2.0 and source.dropped == 0
