"""What computer this is, out of what the systems say, and the advice that follows."""

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

from ollama_bench.platforms import conditions
from ollama_bench.platforms import darwin
from ollama_bench.storage import db
from ollama_bench.monitor import machine
from ollama_bench.power import power

DISPLAYS = """{
  "SPDisplaysDataType" : [
    {
      "_name" : "kHW_AppleM2ProItem",
      "spdisplays_mtlgpufamilysupport" : "spdisplays_metal3",
      "spdisplays_vendor" : "sppci_vendor_Apple",
      "sppci_bus" : "spdisplays_builtin",
      "sppci_cores" : "19",
      "sppci_device_type" : "spdisplays_gpu",
      "sppci_model" : "Apple M2 Pro"
    }
  ]
}
"""
INTEL_DISPLAYS = """{"SPDisplaysDataType": [
  {"_name": "kHW_IntelUHDGraphics630Item", "sppci_model": "Intel UHD Graphics 630"},
  {"_name": "kHW_AMDRadeonPro5300MItem", "sppci_model": "AMD Radeon Pro 5300M"}]}"""
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


def test_apple_gpu_by_name_and_cores():
    assert machine.parse_displays(DISPLAYS) == {"gpu": "Apple M2 Pro", "gpu_cores": 19}


def test_gpus_that_count_no_cores():
    assert machine.parse_displays(INTEL_DISPLAYS) == {
        "gpu": "Intel UHD Graphics 630 + AMD Radeon Pro 5300M",
        "gpu_cores": None,
    }


@pytest.mark.parametrize("text", ["", "no json", "[]", "{}", "null"])
def test_a_profiler_that_fails_says_nothing(text):
    assert machine.parse_displays(text) == {}


@pytest.mark.parametrize(
    "text, chip",
    [
        (CPUINFO, "AMD Ryzen 9 7950X 16-Core Processor"),
        (CPUINFO_PI, "Raspberry Pi 5 Model B Rev 1.0"),
        ("", None),
    ],
)
def test_cpuinfo(text, chip):
    assert machine.parse_cpuinfo(text) == chip


def test_a_mac(monkeypatch):
    system = {"kern.osproductversion": "26.1\n", "kern.hv_vmm_present": "0\n"}
    monkeypatch.setattr(conditions, "output_of", lambda *command: system[command[-1]])
    monkeypatch.setattr(machine.platform, "system", lambda: "Darwin")
    monkeypatch.setattr(machine.platform, "mac_ver", lambda: ("16.0", ("", "", ""), "arm64"))
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
    ] == ["Apple M2 Pro", "Mac14,10", "Apple M2 Pro", 19, None, 22906503168]
    assert all(
        command[0].startswith("/usr/sbin/") or command[0] == sys.executable for command in asked
    )
    assert (
        described["os"].startswith("macOS 26.1 ") and described["virtual"] == 0
    )  # not 16.0, as an older Python is told
    system["kern.osproductversion"] = ""
    assert machine.system_name().startswith("macOS 16.0 ")


def test_a_machine_of_an_older_file_stays_the_same_row(tmp_path, monkeypatch):
    described = machine.describe()
    with db.Writer(tmp_path / "results.db") as writer:
        old = writer.insert(
            "machine", {key: value for key, value in described.items() if key != "virtual"}
        )
        assert machine.remember(writer, {**described, "virtual": 1}) == old
        assert machine.remember(writer, {**described, "virtual": None}) == old
        writer.flush()
        database = db.connect(tmp_path / "results.db", readonly=True)
        with contextlib.closing(database.conn):
            assert [row["virtual"] for row in database["machine"].rows] == [1]


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
    (tmp_path / "class/dmi/id/product_name").write_text("ThinkStation P3\n")
    nvml = types.SimpleNamespace(
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetName=lambda handle: "NVIDIA L4",
        nvmlDeviceGetMemoryInfo=lambda handle: types.SimpleNamespace(total=100),
    )
    monkeypatch.setattr(power, "load_nvml", lambda: nvml)
    found = machine.describe_other(str(tmp_path))
    assert found["gpu"] == "NVIDIA L4 + NVIDIA L4 + Radeon RX 7900 XTX"
    assert (found["gpu_memory_bytes"], found["model"]) == (25753026760, "ThinkStation P3")


def test_a_broken_driver_is_no_gpu(monkeypatch):
    def explode():
        raise RuntimeError("version mismatch")

    monkeypatch.setattr(power, "load_nvml", explode)
    assert machine.nvidia_gpus() == []


def test_a_lost_gpu_does_not_hide_the_others(monkeypatch):
    def handle(index):
        if index == 0:
            raise RuntimeError("GPU is lost")
        return index

    monkeypatch.setattr(
        power,
        "load_nvml",
        lambda: types.SimpleNamespace(
            nvmlDeviceGetCount=lambda: 2,
            nvmlDeviceGetHandleByIndex=handle,
            nvmlDeviceGetName=lambda handle: f"GPU {handle}",
            nvmlDeviceGetMemoryInfo=lambda handle: types.SimpleNamespace(total=100),
        ),
    )
    assert machine.nvidia_gpus() == [("GPU 1", 100)]


def test_this_machine_without_the_names_of_host_and_user():
    described = machine.describe()
    assert described["cpu_cores"] >= 1 and described["memory_bytes"] > 10**8
    assert platform.machine() in described["os"]
    assert json.loads(described["fingerprint"]) == {
        key: value
        for key, value in described.items()
        if key not in ("fingerprint", "gpu_working_set_bytes", "virtual")
    }
    assert socket.gethostname() not in [str(value) for value in described.values()]
    assert getpass.getuser() not in [str(value) for value in described.values()]


def test_the_same_machine_is_one_row(tmp_path):
    with db.Writer(tmp_path / "results.db") as writer:
        first = machine.remember(writer, machine.describe())
        assert machine.remember(writer, machine.describe()) == first
        other = {**machine.describe(), "chip": "another", "fingerprint": "another"}
        assert machine.remember(writer, other) != first
    database = db.connect(tmp_path / "results.db", readonly=True)
    with contextlib.closing(database.conn):
        assert database["machine"].count == 2


def test_what_the_gpu_may_use_is_as_when_last_seen_and_makes_no_other_machine(tmp_path):
    with db.Writer(tmp_path / "results.db") as writer:
        ids = {
            machine.remember(writer, {**machine.describe(), "gpu_working_set_bytes": size})
            for size in (None, 5 << 30, 6 << 30, None)
        }
    database = db.connect(tmp_path / "results.db", readonly=True)
    with contextlib.closing(database.conn):
        assert [(row["id"], row["gpu_working_set_bytes"]) for row in database["machine"].rows] == [
            (*ids, 6 << 30)
        ]


def test_two_runs_that_begin_together_find_one_machine(tmp_path):
    """Each run has its own writer: only the file can tell who was first."""
    described, together = machine.describe(), threading.Barrier(4)

    def begin(_):
        with db.Writer(tmp_path / "results.db") as writer:
            together.wait(timeout=3)
            return machine.remember(writer, described)

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(begin, range(4)))) == 1


def test_a_command_that_fails_hangs_or_is_absent_says_nothing(monkeypatch):
    import sys

    assert machine.output_of("/nonexistent/sysctl") == ""
    assert machine.output_of(sys.executable, "-c", "print('half'); raise SystemExit(1)") == ""
    monkeypatch.setattr(conditions, "COMMAND_PATIENCE_S", 0.2)
    assert machine.output_of(sys.executable, "-c", "import time; time.sleep(60)") == ""


# -- advice -----------------------------------------------------------------------------

M2_PRO = {"gpu_cores": 19, "memory_bytes": 32 << 30}
TARGET = {
    "api": "ollama",
    "slots": 1,
    "size_bytes": 6_000_000_000,
    "vram_bytes": 6_000_000_000,
    "context_tokens": 4096,
    "parameter_size": "7.6B",
}


def test_one_slot_for_each_gpu_core():
    # a slot: 4096 tokens x 7.6 x 16 KiB = 0.51 GB; 32 GiB x 2/3 - 6 GB has room for 33 more
    advice = machine.parallel_advice(M2_PRO, TARGET)
    assert (
        "runs 1 at a time" in advice and "OLLAMA_NUM_PARALLEL=19" in advice and "9.2 GB" in advice
    )
    assert "\n" not in advice


def test_as_far_as_the_memory_goes():
    # 16 GiB x 2/3 - 6 GB = 5.45 GB: 10 more slots of 0.51 GB
    assert "OLLAMA_NUM_PARALLEL=11," in machine.parallel_advice(
        {**M2_PRO, "memory_bytes": 16 << 30}, TARGET
    )
    # as macOS says: 8 GiB - 6 GB = 2.59 GB
    assert "OLLAMA_NUM_PARALLEL=6," in machine.parallel_advice(
        {**M2_PRO, "gpu_working_set_bytes": 8 << 30}, TARGET
    )


@pytest.mark.parametrize("gib, room_gib", [(16, 16 * 2 / 3), (32, 32 * 2 / 3), (36, 27), (128, 96)])
def test_what_the_gpu_may_use_where_macos_does_not_say(gib, room_gib):
    assert machine.gpu_room_bytes(
        {"memory_bytes": gib << 30, "gpu_working_set_bytes": None}
    ) == pytest.approx(room_gib * (1 << 30))
    assert machine.gpu_room_bytes({"memory_bytes": gib << 30, "gpu_working_set_bytes": 5}) == 5


def test_a_model_that_spills_needs_less_not_more():
    advice = machine.parallel_advice(M2_PRO, {**TARGET, "vram_bytes": 4_500_000_000})
    assert "1.5 of 6.0 GB" in advice and "lower" in advice


@pytest.mark.parametrize(
    "changes",
    [
        {"slots": 19},
        {"slots": 32},
        {"slots_source": "MLX engine: one request at a time"},
        {"slots_source": "MLX engine: one request at a time", "vram_bytes": 4_500_000_000},
        {"slots": None},
        {"api": "openai"},
        {"size_bytes": 30 << 30, "vram_bytes": None},
    ],
)
def test_nothing_to_say(changes):
    assert machine.parallel_advice(M2_PRO, {**TARGET, **changes}) is None


@pytest.mark.parametrize("changes", [{"gpu_cores": None}, {"memory_bytes": None}])
def test_no_advice_without_cores_or_memory(changes):
    assert machine.parallel_advice({**M2_PRO, **changes}, TARGET) is None


@pytest.mark.parametrize(
    "text, count",
    [("7.6B", 7.6e9), ("751.63M", 751.63e6), ("1T", 1e12), (None, 0), ("", 0), ("big", 0)],
)
def test_parameter_sizes(text, count):
    assert machine.parameters(text) == pytest.approx(count)
