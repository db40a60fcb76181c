"""The doctor's page: what a maintainer asks, without names and whatever fails."""

import ast
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from ollama_bench.doctor import details, program
from ollama_bench.monitor import machine, monitor, server_search
from ollama_bench.power.macmon import create_macmon_source
from ollama_bench.run import discovery
from ollama_bench.terminal.masking import mask

ROOT = Path(__file__).resolve().parents[2]
MACMON = {
    "all_power": 21.5,
    "gpu_power": 20.0,
    "cpu_power": 1.5,
    "sys_power": 30.0,
}


AS_A_PROGRAM = """
import runpy
from ollama_bench.doctor import details
details.WATCH_S = 0.1
runpy.run_module("ollama_bench.doctor", run_name="__main__")
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(details, "WATCH_S", 0.1)
    monkeypatch.setattr(details, "FIRST_S", 2.0)
    monkeypatch.setattr(program, "split_off", lambda: None)
    monkeypatch.setattr(discovery, "USUAL_PORTS", {9: "nobody"})
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")


def page(capsys):
    assert program.main([]) in (0, 1)
    said = capsys.readouterr()
    assert said.err == "" and "Traceback" not in said.out
    lines = said.out.splitlines()
    assert 10 < len(lines) < 80 and max(map(len, lines)) <= program.COLUMNS
    return said.out


def test_one_page_says_what_is_asked_of_a_stranger(
    capsys, monkeypatch, sim
):
    running = sim("--profile", "exact")
    monkeypatch.setenv("OLLAMA_HOST", running.url)
    line = json.dumps(json.dumps(MACMON))
    code = f"import time\nwhile True: print({line}, flush=True); time.sleep(0.1)"
    monkeypatch.setattr(
        details,
        "find_sources",
        lambda helper: [
            create_macmon_source([sys.executable, "-c", code])
        ],
    )
    said = page(capsys)
    for word in (
        "tool: 1.",
        "Python: CPython",
        f"psutil {details.read_version('psutil')}",
        "machine: chip=",
        "clocks: perf_counter: ",
        "psutil: ok: virtual_memory, ",
        "psutil: own ok: cmdline, ",
        "psutil: server's ok: cmdline, ",
        f"ok server: Ollama 0.24.0 at {running.url}",
        "ok power: macmon soc is read",
        "macmon soc: ",
        "system_power_w=30",
        "memory_used_bytes=",
        "watching: serve ",
    ):
        assert word in " ".join(said.split()), word


@pytest.mark.parametrize(
    "broken",
    [
        (psutil, "virtual_memory"),
        (psutil, "swap_memory"),
        (psutil, "net_connections"),
        (machine, "describe"),
        (server_search, "find_servers"),
        (details, "find_sources"),
        (monitor, "Monitor"),
        (time, "get_clock_info"),
        (platform, "python_build"),
    ],
    ids=lambda broken: broken[1],
)
def test_what_fails_is_a_line_and_the_rest_is_there(
    capsys, monkeypatch, broken
):
    def fail(*_, **__):
        raise RuntimeError(
            "host_statistics64(HOST_VM_INFO64) syscall failed"
        )

    monkeypatch.setattr(*broken, fail)
    said = page(capsys)
    assert (
        "RuntimeError: host_statistics64(HOST_VM_INFO64) syscall failed"
        in " ".join(said.split())
    )
    assert {
        line.partition(":")[0]
        for line in said.splitlines()
        if line[:1] != " "
    } >= {
        "tool",
        "Python",
        "packages",
        "machine",
        "clocks",
        "psutil",
        "watching",
    }


def test_no_name_of_a_user_a_computer_or_a_folder_is_shown(
    capsys, monkeypatch
):
    monkeypatch.setenv("USER", "jane.doe")
    monkeypatch.setenv("OLLAMA_HOST", "secret-studio:11434")
    monkeypatch.setattr(platform, "node", lambda: "janes-mac.local")
    monkeypatch.setattr(
        machine,
        "describe",
        lambda: {
            "chip": "of jane.doe",
            "model": "on JANES-MAC",
            "gpu": f"in {Path.home()}/x",
            "os": "Mac14,12",
        },
    )
    said = page(capsys)
    assert (
        "chip=of <user>, model=on <host>, gpu=in ~/x, os=Mac14,12" in said
    )
    assert "jane" not in said.lower() and "secret" not in said


@pytest.mark.parametrize(
    "text, masked",
    [
        ("/Users/jane/tool/x.py", "~/tool/x.py"),
        ("/home/jane", "~"),
        ("'C:\\\\Users\\\\Jane D\\\\x'", "'~ D\\\\x'"),
        ("c:\\Users\\Jane\\x", "~\\x"),
        ("janet", "janet"),
        ("root:xnu-1", "root:xnu-1"),
    ],
)
def test_homes_and_names_are_masked(text, masked):
    assert mask(text, {"jane": "<user>"}) == masked


def test_a_page_is_a_page(capsys):
    program.show((f"line {number}" for number in range(200)), {}, 59)
    lines = capsys.readouterr().out.splitlines()
    assert (
        len(lines) == 59
        and lines[-1] == "and 142 more lines"
        and lines[57] == "line 57"
    )


def test_every_call_of_psutil_that_the_tool_makes_is_tried():
    used, of_a_process = set(), set()
    for path in ROOT.glob("ollama_bench/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Attribute):
                continue
            owner = getattr(
                node.value, "id", getattr(node.value, "attr", None)
            )
            if owner == "psutil" and node.attr.islower():
                used.add(node.attr)
            elif owner in ("process", "child", "root"):
                of_a_process.add(node.attr)
    known = {
        name for name in of_a_process if hasattr(psutil.Process, name)
    }
    assert used and used <= set(details.CALLS)
    assert known - {
        "pid",
        "oneshot",
        "connections",
        "kill",
        "wait",
        "terminate",
        "poll",
    } <= set(details.METHODS)


def test_ctrl_c_and_a_closed_pipe_are_no_traceback(monkeypatch, capsys):
    def typed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(machine, "describe", typed)
    assert program.main([]) == 130 and capsys.readouterr().err == ""


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
def test_as_a_program(tmp_path):
    clean = {
        name: value
        for name, value in os.environ.items()
        if name != "SUDO_UID"
    }
    done = subprocess.run(
        [sys.executable, "-c", AS_A_PROGRAM],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        env={**clean, "PYTHONPATH": str(ROOT), "OLLAMA_HOST": "[::1]:9"},
    )
    assert (
        done.returncode == 1
        and "Traceback" not in done.stdout + done.stderr
    )
    assert (
        len(done.stdout.splitlines()) < 80
        and list(tmp_path.iterdir()) == []
    )


@pytest.mark.parametrize(
    ("root", "helper", "words"),
    [
        (True, object(), "as root"),
        (False, object(), "started with sudo"),
        (False, None, "without root"),
    ],
)
def test_the_page_says_with_which_rights_it_looked(
    monkeypatch, root, helper, words
):
    monkeypatch.setattr(details, "is_root", lambda: root)
    assert next(details.describe_tool(helper)).endswith(f", {words}")
