"""What computer this is, out of what the systems say."""

from __future__ import annotations

import contextlib
import getpass
import json
import platform
import socket
import sys
import threading
import types
from concurrent.futures import ThreadPoolExecutor

import pytest

from ollama_bench.monitor import gpus, machine
from ollama_bench.platforms import conditions, darwin
from ollama_bench.storage.connection import connect
from ollama_bench.storage.writer import Writer
from tests.monitor.test_gpus import DISPLAYS

CPUINFO = """processor\t: 0
vendor_id\t: AuthenticAMD
model name\t: AMD Ryzen 9 7950X 16-Core Processor

processor\t: 1
model name\t: another
"""
CPUINFO_PI = """processor\t: 0
BogoMIPS\t: 108.00

Hardware\t: BCM2835
Model\t\t: Raspberry Pi 5 Model B Rev 1.0
"""


@pytest.mark.parametrize(
    "text, chip",
    [
        (CPUINFO, "AMD Ryzen 9 7950X 16-Core Processor"),
        (CPUINFO_PI, "Raspberry Pi 5 Model B Rev 1.0"),
        (
            "cpu\t\t: POWER9 (raw), altivec supported\nmodel\t: x",
            "POWER9 (raw), altivec supported",
        ),
        ("isa\t: rv64imafdc\nuarch\t: sifive,u74-mc\n", "sifive,u74-mc"),
        (
            "CPU implementer\t: 0x41\nCPU part\t: 0xd4f\n",
            "ARM Neoverse-V2",
        ),
        ("CPU implementer\t: 0x41\nCPU part\t: 0xfff\n", None),
        ("", None),
    ],
)
def test_cpuinfo(text, chip):
    assert machine.parse_cpuinfo(text) == chip


def test_a_mac(monkeypatch):
    system = {
        "kern.osproductversion": "26.1\n",
        "kern.hv_vmm_present": "0\n",
    }
    monkeypatch.setattr(
        conditions, "output_of", lambda *command: system[command[-1]]
    )
    monkeypatch.setattr(machine.platform, "system", lambda: "Darwin")
    monkeypatch.setattr(
        machine.platform,
        "mac_ver",
        lambda: ("16.0", ("", "", ""), "arm64"),
    )
    answers = {
        "machdep.cpu.brand_string": "Apple M2 Pro\n",
        "hw.model": "Mac14,10\n",
        "-json": DISPLAYS,
        darwin.__file__: "22906503168\n",
    }
    asked = []

    def output_of(*command):
        asked.append(command)
        return answers[command[-1]]

    monkeypatch.setattr(machine, "output_of", output_of)
    monkeypatch.setattr(machine.sys, "platform", "darwin")
    described = machine.describe()
    assert [
        described[column]
        for column in (
            "chip",
            "model",
            "gpu",
            "gpu_cores",
            "gpu_memory_bytes",
            "gpu_working_set_bytes",
        )
    ] == [
        "Apple M2 Pro",
        "Mac14,10",
        "Apple M2 Pro",
        19,
        None,
        22906503168,
    ]
    assert all(
        command[0].startswith("/usr/sbin/") or command[0] == sys.executable
        for command in asked
    )
    # not 16.0, as an older Python is told
    assert described["os"].startswith("macOS 26.1 ")
    assert described["virtual"] == 0
    system["kern.osproductversion"] = ""
    assert machine.system_name().startswith("macOS 16.0 ")


def test_a_machine_of_an_older_file_stays_the_same_row(
    tmp_path, monkeypatch
):
    described = machine.describe()
    with Writer(tmp_path / "results.db") as writer:
        old = writer.insert(
            "machine",
            {
                key: value
                for key, value in described.items()
                if key != "virtual"
            },
        )
        assert machine.remember(writer, {**described, "virtual": 1}) == old
        assert (
            machine.remember(writer, {**described, "virtual": None}) == old
        )
        writer.flush()
        database = connect(tmp_path / "results.db", readonly=True)
        with contextlib.closing(database.conn):
            assert [
                row["virtual"] for row in database["machine"].rows
            ] == [1]


def test_linux_cards(tmp_path, monkeypatch):
    device = tmp_path / "class/drm/card0/device"
    (device / "hwmon/hwmon3").mkdir(parents=True)
    for name, content in {
        "vendor": "0x1002",
        "device": "0x744c",
        "product_name": "Radeon RX 7900 XTX",
        "mem_info_vram_total": 25753026560,
        "hwmon/hwmon3/name": "amdgpu",
        "hwmon/hwmon3/power1_cap": 339000000,
    }.items():
        (device / name).write_text(f"{content}\n")
    (tmp_path / "class/dmi/id").mkdir(parents=True)
    (tmp_path / "class/dmi/id/product_name").write_text(
        "ThinkStation P3\n"
    )
    nvml = types.SimpleNamespace(
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetName=lambda handle: "NVIDIA L4",
        nvmlDeviceGetMemoryInfo=lambda handle: types.SimpleNamespace(
            total=100
        ),
    )
    monkeypatch.setattr(gpus, "load_nvml", lambda: nvml)
    found = machine.describe_other(str(tmp_path))
    assert found.gpu == "NVIDIA L4 + NVIDIA L4 + Radeon RX 7900 XTX"
    assert (found.gpu_memory_bytes, found.model) == (
        25753026760,
        "ThinkStation P3",
    )


def test_this_machine_without_the_names_of_host_and_user():
    described = machine.describe()
    assert (
        described["cpu_cores"] >= 1 and described["memory_bytes"] > 10**8
    )
    assert platform.machine() in described["os"]
    assert json.loads(described["fingerprint"]) == {
        key: value
        for key, value in described.items()
        if key not in ("fingerprint", "gpu_working_set_bytes", "virtual")
    }
    assert socket.gethostname() not in [
        str(value) for value in described.values()
    ]
    assert getpass.getuser() not in [
        str(value) for value in described.values()
    ]


def test_the_same_machine_is_one_row(tmp_path):
    with Writer(tmp_path / "results.db") as writer:
        first = machine.remember(writer, machine.describe())
        assert machine.remember(writer, machine.describe()) == first
        other = {
            **machine.describe(),
            "chip": "another",
            "fingerprint": "another",
        }
        assert machine.remember(writer, other) != first
    database = connect(tmp_path / "results.db", readonly=True)
    with contextlib.closing(database.conn):
        assert database["machine"].count == 2


def test_what_the_gpu_may_use_is_as_when_last_seen_and_makes_no_other_machine(
    tmp_path,
):
    with Writer(tmp_path / "results.db") as writer:
        ids = {
            machine.remember(
                writer,
                {**machine.describe(), "gpu_working_set_bytes": size},
            )
            for size in (None, 5 << 30, 6 << 30, None)
        }
    database = connect(tmp_path / "results.db", readonly=True)
    with contextlib.closing(database.conn):
        assert [
            (row["id"], row["gpu_working_set_bytes"])
            for row in database["machine"].rows
        ] == [(*ids, 6 << 30)]


def test_two_runs_that_begin_together_find_one_machine(tmp_path):
    """Each run has its own writer: only the file can tell who was first."""
    described, together = machine.describe(), threading.Barrier(4)

    def begin(_):
        with Writer(tmp_path / "results.db") as writer:
            together.wait(timeout=3)
            return machine.remember(writer, described)

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(begin, range(4)))) == 1


def test_a_command_that_fails_hangs_or_is_absent_says_nothing(monkeypatch):
    import sys

    assert machine.output_of("/nonexistent/sysctl") == ""
    assert (
        machine.output_of(
            sys.executable, "-c", "print('half'); raise SystemExit(1)"
        )
        == ""
    )
    monkeypatch.setattr(conditions, "COMMAND_PATIENCE_S", 0.2)
    assert (
        machine.output_of(
            sys.executable, "-c", "import time; time.sleep(60)"
        )
        == ""
    )
