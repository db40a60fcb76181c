"""A log of powermetrics that a user hands in."""

from __future__ import annotations

import contextlib
import itertools

import pytest

from ollama_bench.storage.connection import connect
from tests.monitor.support import (
    TEXT_11,
    document,
    only_row,
    run_monitor,
)


@pytest.mark.parametrize(
    "log, samples",
    [
        (TEXT_11.encode(), 1),
        ((document() + b"\n\0") * 3 + document()[:99], 3),
    ],
)
def test_a_log_that_a_user_hands_in(tmp_path, log, samples):
    (tmp_path / "log").write_bytes(log)
    done = run_monitor(
        tmp_path, "--powermetrics-log", "log", "--db", "other.db"
    )
    assert done.returncode == 0, done.stderr
    source = only_row(tmp_path / "other.db", "power_source")
    assert (source["samples"], source["dropped"]) == (
        samples,
        samples // 3,
    )
    database = connect(tmp_path / "other.db", readonly=True)
    with contextlib.closing(database.conn):
        rows = list(database["power_sample"].rows)
    assert len(rows) == samples and rows[0]["start_ns"] == 0
    assert all(
        before["end_ns"] == after["start_ns"]
        for before, after in itertools.pairwise(rows)
    )


def imported(folder, *blocks):
    """The rows that a text log of (elapsed ms, CPU mW) gives, and what was said."""
    header = "*** Sampled system activity (Sat Feb 14 00:42:06 2026 -0500) (%sms elapsed) ***\n"
    (folder / "log").write_text(
        "".join(
            header % ms + f"CPU Power: {mw} mW\nGPU Power: 500 mW\n"
            for ms, mw in blocks
        )
    )
    done = run_monitor(folder, "--powermetrics-log", "log")
    assert done.returncode == 0, done.stderr
    database = connect(folder / "results.db", readonly=True)
    with contextlib.closing(database.conn):
        return [
            (row["cpu_energy_j"], row["energy_j"], row["gpu_energy_j"])
            for row in database["power_sample"].rows
        ], done.stderr


def test_a_log_whose_cpu_energy_stays_zero_has_no_sum(tmp_path):
    rows, said = imported(tmp_path, *[("1000.00", 0)] * 12)
    assert rows == [(None, None, 0.5)] * 12
    line = "power: powermetrics soc reports 0 J for a running CPU: it and the sum are NULL"
    assert said.splitlines()[-1] == line
    assert only_row(tmp_path / "results.db", "event")["at_ns"] == 3 * 10**9


def test_a_log_over_a_sleep_and_one_with_a_slow_counter(tmp_path):
    rows, _ = imported(
        tmp_path,
        ("1000.00", 2000),
        ("1000.00", 0),
        ("90000.00", 2000),
        ("1000.00", 0),
    )
    assert rows == [
        (2.0, 2.5, 0.5),
        (0.0, 0.5, 0.5),
        (None, None, None),
        (0.0, 0.5, 0.5),
    ]
    assert only_row(tmp_path / "results.db", "event")["kind"] == "gap"


def test_damaged_headers_of_a_log_are_counted(tmp_path):
    rows, _ = imported(
        tmp_path,
        ("1000.00", "e"),
        ("1.2.3", 1000),
        ("9" * 17, 1000),
        ("1000.00", 1000),
    )
    assert rows == [(None, None, 0.5), (1.0, 1.5, 0.5)]
    assert (
        only_row(tmp_path / "results.db", "power_source")["dropped"] == 2
    )


def test_a_log_without_watts_says_so(tmp_path):
    header = (
        "*** Sampled system activity (Sat Feb 14 00:42:06 2026 -0500) "
    )
    header += "(1000.00ms elapsed) ***\n"
    clock = "GPU HW active frequency: 1398 MHz\nGPU HW active residency: 97.00%\n"
    (tmp_path / "log").write_text(2 * (header + clock))
    done = run_monitor(tmp_path, "--powermetrics-log", "log")
    assert "log contains no watts: no energy can come of it" in done.stderr
    assert "2 samples" in done.stdout
    (tmp_path / "log").write_text(header + clock + "GPU Power: 500 mW\n")
    done = run_monitor(tmp_path, "--powermetrics-log", "log")
    assert "no watts" not in done.stderr
