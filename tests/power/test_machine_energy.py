"""The energy of servers on several machines, with figures worked out by hand."""

import pytest

from tests.power.test_energy_views import (
    add_sample,
    add_source,
    rows,
)
from tests.power.test_energy_views import results as results


def add_machines(database, watched):
    """Have the run's servers, a host each, run on machines: host -> who watches it, "-" nobody."""
    for machine in range(1, 4):
        database["machine"].insert(
            {"id": machine, "fingerprint": f"machine {machine}"}
        )
    database["run"].update(1, {"machine_id": 1})
    known = {"": 1, "far": 2, "twin": 2}
    for number, (host, watcher) in enumerate(watched.items(), 1):
        database["target"].insert(
            {
                "id": number,
                "run_id": 1,
                "host": host,
                "api": "ollama",
                "model": "m",
                "machine_id": known.get(watcher),
                "watcher": None if watcher in ("", "-") else watcher,
            }
        )
        # in the first level: 100 tokens, 200 tokens, ...
        database["request"].insert(
            {
                "id": number,
                "level_id": 1,
                "target_id": number,
                "number": number,
                "prompt_number": 1,
                "status": "completed",
                "output_tokens": 100 * number,
                "output_tokens_source": "server",
            }
        )


def add_far_source(database, number, watcher):
    add_source(database, number, "rapl")
    database["power_source"].update(
        number, {"watcher": watcher, "machine_id": 2, "device": "d1"}
    )


def test_the_energy_of_servers_is_that_of_their_machines(results):
    """bench.py's own machine serves nobody: it does not count."""
    add_machines(results, {"a": "far", "b": "twin"})
    for number, watcher in ((2, "far"), (3, "twin")):
        add_far_source(results, number, watcher)
    add_sample(results, 0, 10, 50.0, 2)
    add_sample(results, 0, 10, 20.0, 3)
    add_sample(results, 20, 30, 5000.0)  # its own
    add_sample(results, 20, 30, 400.0, 2)
    add_sample(results, 20, 30, 100.0, 3)
    far, twin = rows(results, "energy_by_machine", "level_id = 1")
    assert (far["watcher"], far["hosts"]) == ("far", "a")
    # alike in all that is stored, and yet two
    assert far["machine_id"] == twin["machine_id"] == 2
    assert (far["energy_j"], far["net_energy_j"]) == (400.0, 350.0)
    assert (far["output_tokens"], twin["output_tokens"]) == (100, 200)
    assert far["joules_per_output_token"] == 4.0
    assert twin["joules_per_output_token"] == 0.5
    (level,) = rows(results, "energy_summary", "level_id = 1")
    assert level["energy_j"] == 500.0 and level["mean_w"] == 50.0
    assert level["idle_w"] == 7.0
    assert level["net_energy_j"] == pytest.approx(430.0)
    assert level["joules_per_output_token"] == pytest.approx(500 / 300)
    assert level["source"] == "far: rapl d1 + twin: rapl d1"
    # no sample in the second
    assert not rows(results, "energy_summary", "level_id = 2")


def test_own_machine_counts_where_it_serves(results):
    add_machines(results, {"a": "", "b": "far"})
    add_far_source(results, 2, "far")
    add_sample(results, 20, 30, 300.0)
    add_sample(results, 20, 30, 400.0, 2)
    own, far = rows(results, "energy_by_machine", "level_id = 1")
    assert (own["watcher"], own["machine_id"]) == ("", 1)
    assert own["joules_per_output_token"] == 3.0
    assert far["joules_per_output_token"] == 2.0
    (level,) = rows(results, "energy_summary", "level_id = 1")
    assert level["energy_j"] == 700.0


@pytest.mark.parametrize("covered_s", [0, 9])
def test_a_sum_with_a_part_missing_is_no_sum(results, covered_s):
    add_machines(results, {"a": "far", "b": "twin"})
    for number, watcher in ((2, "far"), (3, "twin")):
        add_far_source(results, number, watcher)
    add_sample(results, 20, 30, 400.0, 2, gpu_energy_j=300.0)
    if covered_s:
        add_sample(results, 20, 20 + covered_s, 90.0, 3)
    far, twin = rows(results, "energy_by_machine", "level_id = 1")
    assert far["energy_j"] == 400.0 and twin["energy_j"] is None
    assert twin["coverage_ratio"] == pytest.approx(covered_s / 10)
    (level,) = rows(results, "energy_summary", "level_id = 1")
    for column in ("energy_j", "mean_w", "joules_per_output_token"):
        assert level[column] is None
    assert level["coverage_ratio"] == pytest.approx(covered_s / 10)
    # the other may have a GPU that nobody saw
    assert level["gpu_energy_j"] == (300.0 if covered_s else None)


def test_a_server_whose_machine_is_not_known_leaves_no_sum(results):
    add_machines(results, {"a": "far", "b": "-"})
    add_far_source(results, 2, "far")
    add_sample(results, 20, 30, 300.0)
    add_sample(results, 20, 30, 400.0, 2)
    unknown, far = sorted(
        rows(results, "energy_by_machine", "level_id = 1"),
        key=lambda row: row["watcher"] or "",
    )
    assert unknown["watcher"] is None and unknown["hosts"] == "b"
    assert unknown["energy_j"] is None and far["energy_j"] == 400.0
    (level,) = rows(results, "energy_summary", "level_id = 1")
    assert level["energy_j"] is None


def test_where_no_machine_is_known_it_is_that_of_bench(results):
    """As of a run without a fleet, and of a file of an older version."""
    add_machines(results, {"a": "-", "b": "-"})
    add_sample(results, 20, 30, 600.0)
    (own,) = rows(results, "energy_by_machine", "level_id = 1")
    assert own["hosts"] == "a,b" and own["output_tokens"] == 300
    (level,) = rows(results, "energy_summary", "level_id = 1")
    assert level["energy_j"] == own["energy_j"] == 600.0
    assert level["joules_per_output_token"] == 2.0
