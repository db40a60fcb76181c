"""A sampler that fails in every known way."""

from __future__ import annotations

import os
import sys
import threading
import time
import types

import pytest

from ollama_bench.monitor import (
    feed,
    track,
)
from ollama_bench.power.macmon import create_macmon_source
from ollama_bench.power.powermetrics_plist import parse_plist
from ollama_bench.power.sources import find_sources
from ollama_bench.power.stream import Stream
from tests.monitor.support import (
    PATIENCE_S,
)

MACMON = """
import sys, time
while True:
    sys.stdout.write('{"all_power": 10.0, "cpu_power": 4.0, "gpu_power": 6.0}\\n')
    sys.stdout.flush()
    time.sleep(0.1)
"""


class Stuck(Stream):
    """A sampler that says nothing and takes its time to end."""

    def __init__(self):
        super().__init__(
            "stuck",
            types.SimpleNamespace(cpu_s=0.0),
            parse_plist,
            b"</plist>",
            0.1,
        )
        self.reading, self.writing = os.pipe()
        self.killed, self.may_end = threading.Event(), threading.Event()

    def start(self):
        return os.fdopen(self.reading, "rb", buffering=0)

    def kill(self):
        self.killed.set()
        self.may_end.wait(PATIENCE_S)
        os.close(self.writing)

    def stop(self):
        self.may_end.set()


def test_no_root(watch, fake):
    watched = watch([fake("no_root")])
    # a failed source is not waited for
    assert watched.monitor.wait_first_sample(PATIENCE_S)
    assert (
        watched.monitor.tracks[0].status
        == "powermetrics must be invoked as the superuser exit code 1"
    )
    assert len([line for line in watched.said if "superuser" in line]) == 1
    watched.until(
        lambda: watched.rows("system_sample")
    )  # the rest goes on
    assert watched.rows("event", kind="sampler_failed")


def test_tool_missing(watch):
    watched = watch(
        find_sources(powermetrics_command=["/nonexistent/powermetrics"])
    )
    assert watched.monitor.wait_first_sample(PATIENCE_S)
    assert "nonexistent" in watched.monitor.tracks[0].status


def test_unrecognized_sampler_is_left_out(watch, fake, tmp_path):
    watched = watch([fake("unrecognized")])
    watched.samples(1)
    assert (tmp_path / "starts").read_text().split() == [
        "cpu_power,gpu_power,thermal",
        "cpu_power,gpu_power",
    ]
    assert watched.monitor.tracks[0].live


def test_no_first_document(watch, fake):
    watched = watch([fake("silent")], first_document_s=0.5)
    assert watched.monitor.wait_first_sample(PATIENCE_S)
    assert watched.monitor.tracks[0].status == "no sample in 0.5 s"


@pytest.mark.parametrize(
    "mode, why",
    [("stall", "no sample in 0.5 s"), ("die_once", "died exit code 1")],
)
def test_stalled_or_dead_sampler_is_started_again(
    watch, fake, monkeypatch, tmp_path, mode, why
):
    monkeypatch.setattr(track, "STALL_S", 0.5)
    watched = watch([fake(mode)])
    watched.samples(5)
    assert len((tmp_path / "starts").read_text().split()) == 2
    (event,) = watched.rows("event", kind="sampler_restarted")
    assert event["detail"].endswith(why)
    assert watched.monitor.tracks[0].live


def test_sampler_that_keeps_dying_is_given_up(
    watch, fake, monkeypatch, tmp_path
):
    monkeypatch.setattr(feed, "RESTART_EVERY_S", 0.0)
    watched = watch([fake("die")])
    watched.until(lambda: not watched.monitor.tracks[0].live)
    assert (
        len((tmp_path / "starts").read_text().split()) == 1 + feed.RESTARTS
    )
    assert watched.monitor.tracks[0].status.endswith("after 3 restarts")
    assert [line for line in watched.said if "powermetrics" in line] == [
        "power: restarting powermetrics soc: Second underflow occured. died exit code 1",
        "power: stopped receiving data from powermetrics soc:"
        " Second underflow occured. died exit code 1, after 3 restarts",
    ]


def test_a_sampler_that_cannot_be_started_again_is_not_said_to_be(
    watch, fake
):
    source = fake("die")
    starts = [source.start]
    # a helper whose pipes are spent
    source.start = lambda: starts.pop()() if starts else None
    watched = watch([source])
    watched.until(lambda: not watched.monitor.tracks[0].live)
    why = "Second underflow occured. died exit code 1, and it cannot be restarted"
    assert watched.monitor.tracks[0].status == why
    watched.until(lambda: any(line.endswith(why) for line in watched.said))
    assert not watched.rows("event", kind="sampler_restarted")


def test_another_source_goes_on_for_one_that_failed_for_good(watch, fake):
    source = fake("no_root")
    source.successor = lambda: create_macmon_source(
        [sys.executable, "-c", MACMON]
    )
    watched = watch([source])
    assert watched.monitor.wait_first_sample(PATIENCE_S)
    assert watched.samples(3)[0]["gpu_energy_j"] > 0
    assert watched.monitor.latest()["power_w"] == pytest.approx(10.0)
    watched.monitor.stop()
    assert [
        (row["name"], row["status"] == "ok", row["samples"] > 0)
        for row in watched.rows("power_source")
    ] == [("powermetrics", False, False), ("macmon", True, True)]
    assert [line for line in watched.said if line.startswith("power")] == [
        "power: stopped receiving data from powermetrics soc, continuing with macmon:"
        " powermetrics must be invoked as the superuser exit code 1"
    ]


def test_a_sampler_that_is_slow_to_end_does_not_hold_up_the_rest(watch):
    source = Stuck()
    watched = watch([source], first_document_s=0.3)
    watched.until(source.killed.is_set)
    seen = len(watched.rows("system_sample"))
    watched.until(lambda: len(watched.rows("system_sample")) > seen + 2)
    assert not source.may_end.is_set()
    source.may_end.set()
    watched.until(
        lambda: watched.monitor.tracks[0].status == "no sample in 0.3 s"
    )


def test_second_death_within_a_minute_rests_and_stop_does_not_wait(
    watch, fake, tmp_path
):
    watched = watch([fake("die")])
    watched.samples(4)
    watched.until(
        lambda: watched.monitor.tracks[0].heard_s == float("inf")
    )
    assert (
        len((tmp_path / "starts").read_text().split()) == 2
        and watched.monitor.tracks[0].live
    )
    begun_s = time.monotonic()
    watched.monitor.stop()
    assert time.monotonic() - begun_s < feed.RESTART_EVERY_S / 2
    assert len((tmp_path / "starts").read_text().split()) == 2
