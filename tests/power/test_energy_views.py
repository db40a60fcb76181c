"""The energy views, with figures worked out by hand."""

import pytest

from ollama_bench.storage.connection import connect
from tests.power.documents import S


@pytest.fixture
def results(tmp_path):
    """A run of 100 s: idle from 0 to 10 s, one level from 20 to 30 s, one from 40 to 50 s."""
    database = connect(tmp_path / "results.db")
    database["run"].insert(
        {
            "id": 1,
            "source": "bench",
            "status": "finished",
            "started_unix": 1_700_000_000,
            "arguments": "{}",
            "tool_version": "test",
            "idle_start_ns": 0,
            "idle_end_ns": 10 * S,
            "ended_ns": 100 * S,
        }
    )
    for level, start_s in ((1, 20), (2, 40)):
        database["level"].insert(
            {
                "id": level,
                "run_id": 1,
                "model": "m",
                "concurrency": level,
                "status": "finished",
                "started_ns": start_s * S,
                "ended_ns": (start_s + 10) * S,
            }
        )
    add_source(database, 1)
    yield database
    database.conn.close()


def add_source(database, number, name="powermetrics"):
    database["power_source"].insert(
        {
            "id": number,
            "run_id": 1,
            "name": name,
            "device": f"d{number}",
            "kind": "interval",
            "status": "ok",
        }
    )


def add_sample(database, start_s, end_s, energy_j, source=1, **columns):
    database["power_sample"].insert(
        {
            "source_id": source,
            "start_ns": int(start_s * S),
            "end_ns": int(end_s * S),
            "energy_j": energy_j,
            **columns,
        }
    )


def rows(database, view, where="1"):
    return list(database.query(f"SELECT * FROM {view} WHERE {where}"))


def test_energy_counts_each_sample_by_its_overlap(results):
    add_sample(results, 15, 25, 100.0)  # 10 W, half of it inside
    add_sample(results, 25, 35, 300.0)  # 30 W, half of it inside
    (level,) = rows(results, "energy_by_source")
    # 5 s of 10 W, 5 s of 30 W
    assert level["energy_j"] == pytest.approx(200.0)
    assert (
        level["coverage_ratio"],
        level["mean_w"],
        level["max_w"],
        level["samples"],
    ) == (
        1.0,
        20.0,
        30.0,
        2,
    )


def test_energy_never_leaks_from_level_to_level(results):
    for second in range(20, 50):
        add_sample(
            results,
            second,
            second + 1,
            10.0 if second < 30 else 1000.0 if second < 40 else 20.0,
        )
    first, second = rows(results, "energy_by_source")
    assert (first["energy_j"], second["energy_j"]) == (
        pytest.approx(100.0),
        pytest.approx(200.0),
    )
    assert (first["samples"], second["samples"]) == (10, 10)


@pytest.mark.parametrize(
    "covered_s, energy_j",
    [(10, 100.0), (9.5, 100.0), (9.4, None), (1, None)],
)
def test_energy_is_unknown_below_95_percent_coverage(
    results, covered_s, energy_j
):
    add_sample(results, 20, 20 + covered_s, 10.0 * covered_s)
    (level,) = rows(results, "energy_by_source")
    assert (
        level["energy_j"] == pytest.approx(energy_j)
        if energy_j
        else level["energy_j"] is None
    )
    assert level["mean_w"] == (pytest.approx(10.0) if energy_j else None)
    assert level["uncovered_most_j"] == pytest.approx(
        10.0 * (10 - covered_s)
    )


def test_a_sample_without_energy_covers_nothing(results):
    add_sample(results, 20, 25, 50.0, gpu_energy_j=40.0)
    add_sample(results, 25, 30, None, gpu_energy_j=40.0)
    (level,) = rows(results, "energy_by_source")
    assert level["energy_j"] is None and level["coverage_ratio"] == 0.5
    assert level["gpu_energy_j"] == pytest.approx(80.0)


def test_idle_power_is_taken_off(results):
    add_sample(results, -5, 5, 30.0)  # 3 W
    add_sample(results, 5, 15, 50.0)  # 5 W, half of it idle time
    add_sample(results, 20, 30, 200.0)
    (idle,) = rows(results, "idle_power")
    # (5 s * 3 W + 5 s * 5 W) / 10 s
    assert idle["idle_w"] == pytest.approx(4.0)
    (level,) = rows(results, "energy_by_source")
    assert level["net_energy_j"] == pytest.approx(160.0)


def test_an_idle_baseline_above_the_level_is_no_negative_energy(results):
    add_source(results, 2, "rapl")
    add_sample(results, 0, 10, 300.0)  # 30 W: something ran
    add_sample(results, 20, 30, 200.0)
    add_sample(results, 0, 10, 10.0, 2)
    add_sample(results, 20, 30, 400.0, 2)
    first, second = rows(results, "energy_by_source")
    assert first["net_energy_j"] is None
    assert second["net_energy_j"] == pytest.approx(390.0)
    add_requests(results, 10)
    (level,) = rows(results, "energy_summary")
    # 600 J less 310: known together, and idling took less
    assert level["net_energy_j"] == pytest.approx(290.0)
    results.execute(
        "UPDATE power_sample SET energy_j = 100 WHERE end_ns > 20e9"
    )
    (level,) = rows(results, "energy_summary")
    assert (
        level["net_energy_j"]
        is level["net_joules_per_output_token"]
        is None
    )
    assert level["idle_w"] == pytest.approx(31.0)


def test_overlapping_samples_of_a_source_cover_a_moment_once(results):
    for start_s in (20, 21, 22, 23, 24):
        # each second twice and more, half of the level never
        add_sample(
            results, start_s, 25 + start_s / 1e3, 10.0 * (25 - start_s)
        )
    (level,) = rows(results, "energy_by_source")
    assert level["coverage_ratio"] == pytest.approx(0.5, abs=0.01)
    assert level["energy_j"] is level["mean_w"] is None
    add_sample(results, 20, 30, 100.0)  # the rest, at 10 W
    (level,) = rows(results, "energy_by_source")
    assert level["coverage_ratio"] == pytest.approx(1.0)
    assert level["energy_j"] == pytest.approx(100.0, rel=0.01)


def test_the_whole_machine_has_its_own_joules(results):
    for second in range(20, 30):
        add_sample(results, second, second + 1, 10.0, system_power_w=25.0)
    for second in range(
        40, 50
    ):  # the sensor repeats the sum of the others
        add_sample(results, second, second + 1, 10.0, system_power_w=10.0)
    add_requests(results, 40, 10)
    first, second = rows(results, "energy_summary")
    assert (
        first["system_energy_j"],
        first["system_power_w"],
        first["system_joules_per_output_token"],
        first["joules_per_output_token"],
    ) == (250.0, 25.0, 5.0, 2.0)
    assert second["system_energy_j"] is second["system_power_w"] is None


def test_the_whole_machine_is_unknown_below_95_percent_coverage(results):
    add_sample(results, 20, 29, 90.0, system_power_w=25.0)
    add_sample(results, 29, 30, 10.0)
    (level,) = rows(results, "energy_summary")
    assert level["system_energy_j"] is level["system_power_w"] is None
    # where nothing else is known the machine still is
    results.execute(
        "UPDATE power_sample SET energy_j = NULL, system_power_w = 25"
    )
    (level,) = rows(results, "energy_summary")
    assert (level["energy_j"], level["system_energy_j"]) == (None, 250.0)


def test_tokens_that_no_server_counted_are_marked(results):
    add_sample(results, 20, 30, 100.0)
    add_requests(results, 30, 20)
    results.execute("UPDATE request SET output_tokens_source = 'server'")
    (level,) = rows(results, "energy_summary")
    assert (level["output_tokens"], level["uncounted_tokens"]) == (50, 0)
    results.execute(
        "UPDATE request SET output_tokens_source = 'chunks', status = 'cancelled' WHERE number = 2"
    )
    (level,) = rows(results, "energy_summary")
    assert (level["output_tokens"], level["uncounted_tokens"]) == (50, 20)
    assert level["joules_per_output_token"] == 2.0


def test_without_a_baseline_the_net_is_unknown(results):
    add_sample(results, 20, 30, 200.0)
    (level,) = rows(results, "energy_by_source")
    assert (level["idle_w"], level["net_energy_j"], level["energy_j"]) == (
        None,
        None,
        pytest.approx(200.0),
    )


def add_requests(database, *tokens):
    for number, output_tokens in enumerate(tokens, 1):
        database["request"].insert(
            {
                "level_id": 1,
                "number": number,
                "output_tokens": output_tokens,
                "prompt_tokens": 10,
                "status": "completed" if output_tokens else "stalled",
            }
        )


def test_joules_per_token_are_the_levels_energy_over_its_tokens(results):
    add_source(results, 2, "rapl")
    for source, watts in ((1, 10.0), (2, 5.0)):
        add_sample(results, 0, 10, 10.0, source)  # 1 W idle each
        add_sample(results, 20, 30, 10 * watts, source, gpu_mhz=1000.0)
    add_requests(results, 30, 20, None)
    (level,) = rows(results, "energy_summary")
    assert (
        level["energy_j"],
        level["net_energy_j"],
        level["output_tokens"],
    ) == (150.0, 130.0, 50)
    assert (
        level["joules_per_output_token"],
        level["net_joules_per_output_token"],
    ) == (3.0, 2.6)
    assert level["output_tokens_per_joule"] == pytest.approx(
        1 / 3
    ) and level["energy_wh"] == pytest.approx(150 / 3600)
    assert (
        level["requests"],
        level["errors"],
        level["idle_w"],
        level["mean_w"],
    ) == (
        3,
        1,
        2.0,
        15.0,
    )


def test_the_sum_is_unknown_when_one_source_is(results):
    add_source(results, 2, "rapl")
    add_sample(results, 20, 30, 100.0, 1)
    add_sample(results, 20, 25, 100.0, 2)
    add_requests(results, 50)
    (level,) = rows(results, "energy_summary")
    assert (
        level["energy_j"],
        level["joules_per_output_token"],
        level["coverage_ratio"],
    ) == (
        None,
        None,
        0.5,
    )


def test_the_gpus_energy_is_known_where_the_sum_is_not(results):
    add_source(results, 2, "nvml")
    add_source(results, 3, "rapl")
    for source in (1, 2):
        add_sample(
            results, 20, 30, None, source, gpu_energy_j=100.0 * source
        )
        add_sample(
            results,
            40,
            50,
            None,
            source,
            gpu_energy_j=100.0 if source == 1 else None,
        )
    add_sample(results, 20, 50, 30.0, 3)  # has no GPU
    add_requests(results, 60)
    first, second = rows(results, "energy_summary")
    assert (
        first["energy_j"],
        first["joules_per_output_token"],
        first["mean_w"],
    ) == (
        None,
        None,
        None,
    )
    assert (
        first["gpu_energy_j"],
        first["gpu_power_w"],
        first["gpu_joules_per_output_token"],
    ) == (
        300.0,
        30.0,
        5.0,
    )
    assert (second["gpu_energy_j"], second["gpu_power_w"]) == (
        None,
        None,
    )  # one of two GPUs is not known


def test_a_successor_counts_the_same_device_and_no_second_one(results):
    results["power_source"].insert(
        {
            "id": 2,
            "run_id": 1,
            "name": "macmon",
            "device": "d1",
            "kind": "interval",
            "status": "ok",
        }
    )
    add_sample(results, 0, 10, 10.0, 1)
    add_sample(results, 20, 24, 40.0, 1)  # gives nothing more
    add_sample(results, 26, 30, 40.0, 2)
    add_sample(results, 40, 50, 120.0, 2)
    first, second = rows(results, "energy_summary")
    assert (first["energy_j"], first["mean_w"], first["source"]) == (
        None,
        None,
        "powermetrics d1 + macmon d1",
    )
    assert (second["energy_j"], second["mean_w"], second["source"]) == (
        120.0,
        12.0,
        "macmon d1",
    )
    # the other one measured the idle power
    assert second["net_energy_j"] is None


def test_gpu_metrics_has_the_studys_columns_and_only_samples_of_the_level(
    results,
):
    add_sample(
        results,
        10,
        15,
        500.0,
        gpu_energy_j=500.0,
        gpu_busy_ratio=1.0,
        gpu_mhz=1398.0,
    )  # before the level
    add_sample(
        results,
        19,
        21,
        20.0,
        gpu_energy_j=10.0,
        gpu_busy_ratio=0.97,
        gpu_mhz=1398.0,
        thermal="Nominal",
    )
    add_sample(results, 21, 23, 20.0)  # nothing of a GPU
    (row,) = rows(results, "gpu_metrics")
    assert (
        row["Usage%"],
        row["Power(W)"],
        row["Frequency(MHz)"],
        row["thermal"],
    ) == (
        97.0,
        5.0,
        1398.0,
        "Nominal",
    )
    assert (
        row["Timestamp"] == "2023-11-14T22:13:41.000Z"
        and row["concurrency"] == 1
    )
