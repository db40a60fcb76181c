import pytest

from ollama_bench.load.client_limits import describe_client_limits

EXACT = {
    "client_cpu_ratio": 0.2,
    "client_send_lag_p99_s": 0.001,
    "client_read_lag_p99_s": 0.001,
    "client_stamps": "user",
    "client_paused_s": 0.0,
    "slept_s": 0.0,
    "client_held_s": 0.0,
    "client_digest_lag_max_s": None,
    "in_flight_mean": None,
}


@pytest.mark.parametrize(
    "load, changes, expected",
    [
        ("burst", {}, None),
        ("burst", {"client_cpu_ratio": 0.95}, "95% of a core"),
        ("burst", {"client_send_lag_p99_s": 0.2}, "200 ms late"),
        ("burst", {"client_send_lag_p99_s": 0.02}, None),
        ("closed", {"client_send_lag_p99_s": 0.006}, "6 ms late"),
        ("closed", {"client_send_lag_p99_s": 0.004}, None),
        ("open", {"client_send_lag_p99_s": 0.003}, "3 ms late"),
        ("open", {"client_send_lag_p99_s": 0.001}, None),
        ("closed", {"in_flight_mean": 7.9}, None),
        ("closed", {"in_flight_mean": 7.8}, "7.8 of 8 requests"),
        (
            "closed",
            {"client_paused_s": 2.0},
            "stood still for 2.0 s (stopped)",
        ),
        (
            "closed",
            {"client_paused_s": 2.0, "slept_s": None},
            "stood still for 2.0 s (stopped or asleep)",
        ),
        (
            "closed",
            {"client_paused_s": 30.2, "slept_s": 30.0},
            "the machine slept for 30.0 s",
        ),
        (
            "closed",
            {"client_paused_s": 32.0, "slept_s": 30.0},
            "slept for 30.0 s; this client itself stood still for 2.0 s (stopped)",
        ),
        ("open", {"client_held_s": 3.0}, "nothing was sent for 3.0 s"),
        ("burst", {"client_read_lag_p99_s": 0.02}, "20 ms late"),
        (
            "burst",
            {"client_read_lag_p99_s": 0.02, "client_stamps": "kernel"},
            None,
        ),
        (
            "burst",
            {"client_read_lag_p99_s": 0.5, "client_stamps": "kernel"},
            "500 ms late",
        ),
    ],
)
def test_exceeded_limit_is_described(load, changes, expected):
    found = describe_client_limits(
        EXACT | changes, load, workers=8, keeps_failing=False
    )
    if expected is None:
        assert found is None
    else:
        assert expected in found


def test_waking_up_from_a_sleep_is_not_a_stop_of_the_client():
    measured = EXACT | {"client_paused_s": 30.4, "slept_s": 30.0}
    found = describe_client_limits(
        measured, "closed", workers=8, keeps_failing=False
    )
    assert found == "the machine slept for 30.0 s"


@pytest.mark.parametrize(
    "load, wait_s, is_limited",
    [
        ("open", 0.02, True),
        ("open", None, True),
        ("open", 0.4, False),
        ("people", 0.4, False),
        # the gap between two requests is no part of a wait
        ("closed", 0.4, True),
        ("open", 0.1, True),
    ],
)
def test_lateness_counts_beside_the_wait_that_it_is_a_part_of(
    load, wait_s, is_limited
):
    measured = EXACT | {"client_send_lag_p99_s": 0.007}
    found = describe_client_limits(
        measured, load, workers=8, keeps_failing=False, wait_s=wait_s
    )
    assert bool(found) == is_limited
