"""What is stored of the samples of a power source."""

from __future__ import annotations

import itertools
import statistics
import sys

import pytest

from ollama_bench.monitor import system_sample
from ollama_bench.platforms import conditions
from ollama_bench.power.source import Absent
from tests.monitor.support import PATIENCE_S, document, told


def test_samples_lie_end_to_end_on_the_runs_clock(watch, fake):
    watched = watch([fake("fine")])
    assert watched.monitor.wait_first_sample(PATIENCE_S)
    rows = watched.samples(10)
    known = [row for row in rows if row["energy_j"] is not None]
    assert [row["energy_j"] for row in known] == pytest.approx(
        [8.01] * len(known)
    )
    # on a busy machine some come late, and are told
    late = len(watched.rows("event", kind="gap"))
    assert len(known) >= len(rows) - late > 5
    assert all(row["end_ns"] > row["start_ns"] for row in rows)
    gaps_ns = [
        after["start_ns"] - before["end_ns"]
        for before, after in itertools.pairwise(rows)
    ]
    assert min(gaps_ns) >= 0
    assert statistics.median(gaps_ns) < 50_000_000
    latest = watched.monitor.latest()
    assert (
        latest["power_w"] == pytest.approx(80.1, rel=0.5)
        and latest["gpu_mhz"] == 1360.85
    )
    assert (
        latest["gpu_busy_ratio"],
        latest["thermal"],
        latest["rss_bytes"],
    ) == (
        0.75,
        "Nominal",
        None,
    )


def test_a_sleep_has_no_energy(watch, fake):
    watched = watch([fake("sleep")])
    rows = watched.samples(4)
    gaps = watched.rows("event", kind="gap")
    # on a busy machine others come late, and are told as that
    (slept,) = [gap for gap in gaps if " over a sleep" in gap["detail"]]
    asleep = next(row for row in rows if row["end_ns"] == slept["at_ns"])
    assert asleep["energy_j"] is asleep["gpu_energy_j"] is None
    assert asleep["gpu_busy_ratio"] == 0.75
    known = [row["end_ns"] for row in rows if row["energy_j"] is not None]
    assert not {gap["at_ns"] for gap in gaps} & set(known)
    assert len(known) + len(gaps) >= len(rows) and known


@pytest.mark.parametrize(
    "virtual, why",
    [
        ("1", ": a virtual machine has no power sensors"),
        ("0", ""),
        ("", ""),
    ],
)
def test_samples_without_any_energy_are_told_once_with_the_reason(
    watch, fake, monkeypatch, tmp_path, virtual, why
):
    (tmp_path / "document").write_bytes(document(processor=None, gpu=None))
    asked = []
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(
        system_sample, "read_memory_pressure", lambda: None
    )
    monkeypatch.setattr(
        conditions,
        "output_of",
        lambda *command, **_: asked.append(command) or virtual,
    )
    watched = watch([fake("fine")])
    watched.samples(8)
    line = f"power: powermetrics soc gives samples without any energy{why}"
    assert [
        said for said in watched.said if "without any energy" in said
    ] == [line]
    assert [
        row["detail"] for row in watched.rows("event", kind="no_energy")
    ] == [line.removeprefix("power: ")]
    assert (
        asked.count(("/usr/sbin/sysctl", "-n", "kern.hv_vmm_present")) == 1
    )


def test_four_samples_without_energy_are_not_told(watch):
    _, watched = told(
        watch, *[(None, 0.5)] * 4, (0.1, 0.5), *[(None, 0.5)] * 4
    )
    assert watched.rows("event", kind="no_energy") == []


def test_what_is_not_there_is_said_once(watch):
    watched = watch(
        [
            Absent(
                "powermetrics",
                "soc",
                "interval",
                "not read: start with sudo",
            )
        ]
    )
    assert watched.monitor.wait_first_sample(PATIENCE_S)
    assert watched.said == [
        "power: powermetrics soc not read: start with sudo",
        "processes: not watched, the server runs on another machine",
    ]
    assert (
        watched.rows("power_source")[0]["status"]
        == "not read: start with sudo"
    )
    assert (
        watched.rows("process") == []
        and watched.monitor.latest()["power_w"] is None
    )


def test_damaged_and_truncated_documents_are_counted(watch, fake):
    watched = watch([fake("damaged")])
    watched.samples(3)
    watched.monitor.stop()
    assert watched.rows("power_source")[0]["dropped"] == 1
    watched = watch([fake("truncated")])
    watched.until(lambda: watched.monitor.tracks[0].source.dropped)
