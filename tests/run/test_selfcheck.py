"""The check of the client against a simulator that knows the truth."""

import sys

import psutil
import pytest

from ollama_bench.load.request import Limits
from ollama_bench.protocols.registry import PROTOCOLS
from ollama_bench.run import selfcheck

MS = 1_000_000


def record(prefix, read_ns, writes_ns, due_ns=None):
    return {
        "prompt_prefix": f"{prefix} check",
        "read_ns": read_ns,
        "writes_ns": writes_ns,
        "due_ns": due_ns or writes_ns,
    }


def test_an_exact_client_has_no_error():
    truth = [record("[1]", 0, [10 * MS, 20 * MS, 30 * MS])]
    found = selfcheck.errors(
        {"[1]": (0, [10 * MS, 20 * MS, 30 * MS])}, truth
    )
    assert {
        value for name, value in found.items() if name.endswith("_s")
    } == {0}
    assert (found["streams"], found["tokens"]) == (1, 3)


def test_errors_by_hand():
    """Sent 1 ms before it was read; the tokens noted 2, 5 and 2 ms after they were written."""
    truth = [
        record(
            "[1]",
            1 * MS,
            [10 * MS, 20 * MS, 30 * MS],
            [9 * MS, 19 * MS, 29 * MS],
        )
    ]
    found = selfcheck.errors(
        {"[1]": (0, [12 * MS, 25 * MS, 32 * MS])}, truth
    )
    # 12 reported, 9 true
    assert found["ttft_error_mean_s"] == found["ttft_error_p99_s"] == 0.003
    # gaps of 13 and 7 where both were 10: +3 and -3
    assert found["itl_error_mean_s"] == 0
    assert found["itl_error_p99_s"] == found["itl_error_max_s"] == 0.003
    assert found["itl_p99_shift_s"] == 0.003
    assert found["lag_mean_s"] == 0.003 and found["lag_max_s"] == 0.005
    assert found["schedule_error_p99_s"] == 0.001


def test_an_error_below_zero_counts_by_its_size():
    truth = [record("[1]", 0, [10 * MS, 20 * MS])]
    found = selfcheck.errors({"[1]": (2 * MS, [10 * MS, 20 * MS])}, truth)
    assert (
        found["ttft_error_mean_s"] == -0.002
        and found["ttft_error_p99_s"] == 0.002
    )


def test_skew_is_first_to_last_request():
    truth = [
        record(f"[{number}]", 0, [10 * MS, 20 * MS])
        for number in (1, 2, 3)
    ]
    streams = {
        f"[{number}]": (number * MS, [10 * MS, 20 * MS])
        for number in (1, 2, 3)
    }
    assert selfcheck.errors(streams, truth)["send_skew_s"] == 0.002


def test_streams_of_others_and_half_streams_are_left_out():
    truth = [
        record("[1]", 0, [10 * MS, 20 * MS]),
        record("[other]", 0, [10 * MS, 90 * MS]),
        record("[2]", 0, [10 * MS, 20 * MS]),
    ]
    found = selfcheck.errors(
        {"[1]": (0, [10 * MS, 20 * MS]), "[2]": (0, [15 * MS])}, truth
    )
    assert (found["streams"], found["tokens"]) == (1, 2)


def test_nothing_in_common_is_said():
    with pytest.raises(selfcheck.SelfCheckError, match="no stream"):
        selfcheck.errors(
            {"[1]": (0, [10 * MS, 20 * MS])},
            [record("[2]", 0, [10 * MS, 20 * MS])],
        )


@pytest.mark.parametrize("protocol", ["ollama", "openai"])
def test_a_check_counts_every_token(protocol):
    row = selfcheck.measure(
        5, tokens_per_s=100, seconds=0.3, protocol=protocol
    )
    assert (row["concurrency"], row["streams"], row["tokens"]) == (
        5,
        5,
        150,
    )
    # nobody notes a token before it was written
    assert row["lag_p99_s"] > 0
    assert row["ttft_error_mean_s"] > 0 and row["send_skew_s"] > 0
    assert row["schedule_error_p99_s"] >= 0 and row["cpu_ratio"] > 0


def test_user_stamps_are_asked_for():
    row = selfcheck.measure(
        2, tokens_per_s=100, seconds=0.1, kernel_stamps=False
    )
    assert row["stamps"] == "user" and row["lag_p99_s"] > 0


def test_a_slow_clock_is_found():
    """The check must be able to fail: stamps made 5 ms late are seen as 5 ms."""
    with selfcheck.Witness(10) as witness:
        level = selfcheck.send_burst(
            witness.url, 2, 10, PROTOCOLS["ollama"], Limits()
        )
        truth = witness.truth(2)
    late = {
        o.task.prefix: (o.sent_ns, [at + 5 * MS for at in o.chunk_ns])
        for o in level.outcomes
    }
    assert selfcheck.errors(late, truth)["ttft_error_mean_s"] > 0.005


def test_a_simulator_that_does_not_start_is_said(monkeypatch):
    monkeypatch.setattr(
        selfcheck.child,
        "command",
        lambda *_: [sys.executable, "-c", "print('no port')"],
    )
    with pytest.raises(
        selfcheck.SelfCheckError, match="did not start: no port"
    ):
        selfcheck.measure(1)


def test_the_witness_is_gone_afterwards():
    with selfcheck.Witness(10) as witness:
        assert psutil.pid_exists(witness.pid)
    assert not psutil.pid_exists(witness.pid)


def test_the_table_is_narrow_and_in_milliseconds():
    row = {
        "concurrency": 1024,
        "ttft_error_mean_s": 0.00012,
        "ttft_error_p99_s": 1.5,
        "itl_error_p99_s": 0.00003,
        "send_skew_s": 0.0151,
        "read_lag_p99_s": None,
        "cpu_ratio": 0.61,
        "schedule_error_p99_s": 0.12,
        "tokens": 1_536_000,
    }
    lines = selfcheck.table([row])
    assert max(map(len, lines)) <= 80
    assert lines[-1].split() == [
        "1024",
        "0.12",
        "1500.00",
        "0.03",
        "15.10",
        "-",
        "61%",
        "120.00",
        "1536000",
    ]
