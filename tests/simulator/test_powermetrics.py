"""powermetrics: its documents, and the energy in them."""

import contextlib
import io
import plistlib
import re
import subprocess
import types

import pytest

from ollama_bench.simulator import child
from ollama_bench.simulator.powermetrics import program
from ollama_bench.simulator.powermetrics.samples import StateSource
from tests.simulator.reader import MODEL, connect, generate, request_bytes


def powermetrics(*arguments):
    """What it writes and its exit code, without a process of its own."""
    out, err = io.BytesIO(), io.StringIO()
    with contextlib.redirect_stderr(err):
        try:
            options = program.parse_args(list(arguments))
            code = program.refuse(options)
        except SystemExit as end:
            code = end.code
    if code == 0:
        with contextlib.closing(StateSource(options.port)) as source:
            program.Powermetrics(options, source, out).run()
    return types.SimpleNamespace(
        code=code, out=out.getvalue(), err=err.getvalue()
    )


def documents(out):
    return [plistlib.loads(document) for document in out.split(b"\0")]


def test_powermetrics_conserves_the_servers_energy(sim):
    server = sim("--profile", "exact", "--itl", "20", "--tokens", "20")
    before = server.state()
    command = child.powermetrics_command(server.port, 80, "-n", "9")
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        out = b""
        # it has begun, and the machine has been idle
        while b"</plist>" not in out:
            out += process.stdout.readline()
        generate(server)
        out += process.stdout.read()
    after = server.state()
    samples = documents(out)
    elapsed_ns = sum(sample["elapsed_ns"] for sample in samples)
    idle_ns = sum(sample["gpu"]["idle_ns"] for sample in samples)
    gpu_mj = sum(sample["processor"]["gpu_energy"] for sample in samples)
    cpu_mj = sum(sample["processor"]["cpu_energy"] for sample in samples)
    assert gpu_mj == pytest.approx(
        (20 * (elapsed_ns - idle_ns) + 0.05 * idle_ns) / 1e6, abs=1
    )
    whole_mj, outside_ns = (
        (after["energy_j"] - before["energy_j"]) * 1e3,
        after["t_ns"] - before["t_ns"] - elapsed_ns,
    )
    assert outside_ns >= 0
    assert (
        whole_mj - 21.5 * outside_ns / 1e6 - 2
        <= gpu_mj + cpu_mj
        <= whole_mj + 2
    )
    assert 0 < idle_ns < elapsed_ns and gpu_mj > 1000


def test_powermetrics_plist_is_shaped_like_apples():
    out = powermetrics(
        "--port",
        "9",
        "-f",
        "plist",
        "-b",
        "0",
        "-i",
        "20",
        "-n",
        "3",
        "--samplers",
        "cpu_power,gpu_power,thermal",
    ).out
    assert (
        out.startswith(b"<?xml")
        and out.count(b"\0<?xml") == 2
        and out.endswith(b"</plist>\n")
    )
    sample = documents(out)[0]
    assert [*sample][:3] == [
        "is_delta",
        "elapsed_ns",
        "hw_model",
    ] and sample["elapsed_ns"] >= 20_000_000
    processor = sample["processor"]
    assert processor["combined_power"] == pytest.approx(
        processor["cpu_power"] + processor["gpu_power"]
    )
    assert processor["gpu_power"] == pytest.approx(
        processor["gpu_energy"] * 1e9 / sample["elapsed_ns"]
    )
    assert {
        "freq_hz",
        "idle_ns",
        "idle_ratio",
        "dvfm_states",
        "gpu_energy",
    } == set(sample["gpu"])
    assert (
        sample["gpu"]["idle_ratio"] == 1.0
        and sample["thermal_pressure"] == "Nominal"
    )
    gpu_alone = powermetrics(
        "--port",
        "9",
        "-f",
        "plist",
        "-i",
        "20",
        "-n",
        "1",
        "--samplers",
        "gpu_power",
    ).out
    assert "processor" not in documents(gpu_alone)[0]


def test_powermetrics_shows_the_busy_clock(sim):
    server = sim("--profile", "exact", "--itl", "20", "--tokens", "100000")
    with connect(server) as sock:
        sock.sendall(
            request_bytes("/api/generate", {"model": MODEL, "prompt": "x"})
        )
        sock.recv(100)
        (sample,) = documents(
            powermetrics(
                "--port",
                str(server.port),
                "-f",
                "plist",
                "-i",
                "100",
                "-n",
                "1",
            ).out
        )
        text = powermetrics(
            "--port",
            str(server.port),
            "-f",
            "text",
            "-i",
            "100",
            "-n",
            "1",
        ).out.decode()
    gpu = sample["gpu"]
    assert gpu["freq_hz"] == 1396 and gpu["idle_ratio"] == 0
    assert sample["processor"]["gpu_power"] == pytest.approx(
        20e3, rel=0.01
    )
    assert sum(
        s["freq"] * s["used_ratio"] for s in gpu["dvfm_states"]
    ) == pytest.approx(1396)
    assert (
        text.startswith("Machine model: Mac14,10\n")
        and "GPU HW active frequency: 1396 MHz" in text
    )
    assert re.search(
        r"\*\*\* Sampled system activity \(.+\) \(\d+\.\d\dms elapsed\) \*\*\*",
        text,
    )
    assert (
        abs(int(re.search(r"GPU Power: (\d+) mW", text)[1]) - 20000) < 200
    )


def test_powermetrics_of_an_ultra_is_large():
    out = powermetrics(
        "--port",
        "9",
        "--chip",
        "ultra",
        "-f",
        "plist",
        "-i",
        "20",
        "-n",
        "1",
    ).out
    assert 50_000 < len(out) < 80_000
    assert [c["name"] for c in documents(out)[0]["processor"]["clusters"]][
        ::3
    ] == [
        "E0-Cluster",
        "E1-Cluster",
    ]


POWERMETRICS_FAULTS = {
    "no_root": lambda p: (
        (p.code, p.out, p.err)
        == (1, b"", "powermetrics must be invoked as the superuser\n")
    ),
    "unrecognized": lambda p: (
        (p.code, p.out) == (64, b"")
        and p.err.startswith("powermetrics: unrecognized sampler: ")
    ),
    "silent": lambda p: (p.code, p.out) == (0, b""),
    "stall:2": lambda p: len(documents(p.out)) == 2,
    "die:1": lambda p: len(documents(p.out)) == 1,
    "truncated:2": lambda p: (
        p.out.count(b"<plist") == 2 and p.out.count(b"</plist>") == 1
    ),
    "zero_cpu": lambda p: (
        [d["processor"]["cpu_energy"] for d in documents(p.out)] == [0] * 4
    ),
    "split": lambda p: len(documents(p.out)) == 4,
    "duplicate_idle": lambda p: (
        len(documents(p.out)) == 4
        and all(
            document.partition(b"<key>gpu</key>")[2].count(
                b"<key>idle_ratio</key>"
            )
            == 2
            for document in p.out.split(b"\0")
        )
    ),
}


@pytest.mark.parametrize("fault", POWERMETRICS_FAULTS)
def test_powermetrics_fault(fault):
    played = powermetrics(
        "--port",
        "9",
        "-f",
        "plist",
        "-i",
        "20",
        "-n",
        "4",
        "--fault",
        fault,
    )
    assert POWERMETRICS_FAULTS[fault](played), played


def test_powermetrics_refuses_what_the_real_one_refuses():
    unknown = powermetrics("--samplers", "smc", "-n", "1")
    assert (
        unknown.code == 64
        and unknown.err == "powermetrics: unrecognized sampler: smc\n"
    )
    assert powermetrics("--json-print").code == 64
