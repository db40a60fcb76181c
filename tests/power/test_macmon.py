"""macmon: its lines, its versions, its crashes."""

import os
import shutil
import sys

import pytest

from ollama_bench.platforms import conditions
from ollama_bench.power.macmon import (
    create_macmon_source,
    find_working_macmon,
    parse_macmon,
)
from ollama_bench.power.sources import find_sources
from tests.power.documents import S, create_stream


def test_macmon_watts_become_energy_since_the_last_line():
    source = create_stream(parse_macmon, b"\n")
    line = (
        b'{"all_power": 10.0, "cpu_power": 4.0, "gpu_power": 6.0, "sys_power": 20.0,'
        b' "gpu_freq_mhz": 461, "gpu_active_ratio": 0.09, "temp": {"gpu_temp_avg": 36.5}}\n'
    )
    (first,), (second,) = (
        source.feed(line, 5 * S),
        source.feed(line, 7 * S),
    )
    assert (first["start_ns"], first["end_ns"], first["energy_j"]) == (
        4 * S,
        5 * S,
        10.0,
    )
    assert (second["start_ns"], second["end_ns"], second["energy_j"]) == (
        5 * S,
        7 * S,
        20.0,
    )
    assert (
        second["cpu_energy_j"],
        second["gpu_energy_j"],
        second["system_power_w"],
    ) == (
        8.0,
        12.0,
        20.0,
    )
    assert (
        second["gpu_mhz"],
        second["gpu_busy_ratio"],
        second["temperature_c"],
    ) == (
        461,
        0.09,
        36.5,
    )


def test_macmon_lines_read_late_and_together_share_the_time():
    source = create_stream(parse_macmon, b"\n")
    line = b'{"all_power": 10.0}\n'
    source.feed(line, 5 * S)
    samples = source.feed(line * 4, 9 * S)
    assert [
        (
            sample["start_ns"] // S,
            sample["end_ns"] // S,
            sample["energy_j"],
        )
        for sample in samples
    ] == [(5, 6, 10.0), (6, 7, 10.0), (7, 8, 10.0), (8, 9, 10.0)]


def test_macmon_before_0_8_and_damaged_lines():
    source = create_stream(parse_macmon, b"\n")
    (sample,) = source.feed(
        b'{"all_power": 1, "gpu_usage": [461, 0.02]}\nnot json\n[]\n', S
    )
    assert (
        sample["gpu_mhz"],
        sample["gpu_busy_ratio"],
        sample["gpu_energy_j"],
    ) == (
        461,
        0.02,
        None,
    )
    assert source.dropped == 2


@pytest.fixture
def mac(monkeypatch, tmp_path):
    """mac(version of macOS, what `macmon --version` prints or None) -> its source without root."""

    def of(version, macmon):
        tool = tmp_path / "macmon"
        answers = {
            (
                "/usr/sbin/sysctl",
                "-n",
                "kern.osproductversion",
            ): f"{version}\n",
            (str(tool), "--version"): macmon,
        }
        monkeypatch.setattr(sys, "platform", "darwin")
        monkeypatch.setattr(
            conditions, "output_of", lambda *command, **_: answers[command]
        )
        monkeypatch.setattr(os, "geteuid", lambda: 501, raising=False)
        monkeypatch.setattr(
            shutil,
            "which",
            lambda name: str(tool) if macmon is not None else None,
        )
        (source,) = find_sources()
        return source

    return of


@pytest.mark.parametrize(
    "version, macmon, name, said",
    [
        (
            "26.1",
            None,
            "powermetrics",
            "not read: macOS requires root to read power; run with sudo, or `brew install macmon`",
        ),
        (
            "27.0",
            None,
            "powermetrics",
            "not read: macOS requires root to read power; run with sudo,"
            " or `brew install macmon` 0.8 or newer (GPU only)",
        ),
        (
            "27.0",
            "macmon 0.7.1\n",
            "macmon",
            "not read: macmon 0.7 does not work on macOS 27; run with sudo,"
            " or `brew upgrade macmon` to 0.8 or newer (GPU only)",
        ),
        ("26.4", "macmon 0.7.1\n", "macmon", "ok"),
        ("27.0", "macmon 0.8.2\n", "macmon", "ok"),
        ("28.1", "macmon 1.0.0\n", "macmon", "ok"),
        ("27.0", "", "macmon", "ok"),
        ("", "macmon 0.7.1\n", "macmon", "ok"),
    ],
)
def test_what_a_mac_without_root_is_told_depends_on_its_system_and_on_macmon(
    mac, version, macmon, name, said
):
    source = mac(version, macmon)
    assert (source.name, source.status) == (name, said)


def test_a_macmon_that_fails_on_this_macos_does_not_stand_in(mac):
    mac("27.0", "macmon 0.7.1\n")
    assert find_working_macmon() is None
    mac("27.0", "macmon 0.8.0\n")
    assert find_working_macmon().name == "macmon"


@pytest.mark.parametrize(
    "code, advised", [(101, True), (134, True), (1, False)]
)
def test_a_macmon_that_panics_is_to_be_updated(code, advised):
    program = f"import sys; print('thread main panicked', file=sys.stderr); sys.exit({code})"
    source = create_macmon_source([sys.executable, "-c", program])
    with source.start() as output:
        assert output.read() == b""
    complaint = source.complaint()
    source.stop()
    assert (
        complaint.startswith(
            "macmon crashed; update it with `brew upgrade macmon`"
        )
        == advised
    )
    assert complaint.endswith(f"thread main panicked exit code {code}")
