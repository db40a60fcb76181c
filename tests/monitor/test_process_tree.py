"""The server's processes through restarts of the server and its runners."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import types

import psutil
import pytest

from ollama_bench.monitor import (
    monitor,
    process_tree,
    server_search,
)
from ollama_bench.monitor.process_tree import (
    FoundProcess,
    ProcessTree,
    TreeChanges,
)
from tests.monitor.support import (
    forking,
    free_port,
    listener,
    ollama,
    posix,
)


@posix
def test_tree_with_roles_through_the_life_of_a_runner(watch, tmp_path):
    with ollama(tmp_path) as (server, tell):
        watched = watch(pid=server.pid)
        for word in ("runner", "helper"):
            tell(word)
        watched.until(
            lambda: (
                watched.monitor.mark() or len(watched.rows("process")) == 3
            )
        )
        assert sorted(row["role"] for row in watched.rows("process")) == [
            "helper",
            "runner",
            "serve",
        ]
        runner = watched.rows("process", role="runner")[0]
        looks = watched.until(
            lambda: (
                len(
                    rows := watched.rows(
                        "process_sample", process_id=runner["id"]
                    )
                )
                > 2
                and rows
            )
        )
        # it has nothing to compare with
        assert looks[0]["cpu_ratio"] is None
        assert looks[1]["cpu_ratio"] >= 0
        assert all(
            row["rss_bytes"] > 0 and row["threads"] == 1 and row["fds"] > 0
            for row in looks
        )
        assert (
            watched.monitor.latest()["rss_bytes"] > looks[0]["rss_bytes"]
        )
        tell("stop")
        watched.until(
            lambda: watched.rows("event", kind="process_vanished")
        )
        tell("runner")
        watched.until(
            lambda: (
                watched.monitor.mark()
                or len(watched.rows("process", role="runner")) == 2
            )
        )
    watched.until(
        lambda: len(watched.rows("event", kind="process_vanished")) == 4
    )
    assert os.getpid() not in {
        row["pid"] for row in watched.rows("process")
    }


def test_slots_of_a_server_that_names_them_itself():
    """As vLLM does; Ollama's are those of its runner."""
    words = ["serve", "m", "--max-num-seqs", "8"]
    waiting = [sys.executable, "-c", "input()", *words]
    with subprocess.Popen(waiting, stdin=subprocess.PIPE) as server:
        tree = ProcessTree((), server.pid)
        tree.rescan(0.0)
        slots = tree.find_slots()
        server.communicate(b"\n")
    assert slots == (8, "command line of the server")


@posix
def test_a_child_that_was_just_forked_is_not_judged_yet(monkeypatch):
    with forking() as (process, child):
        monkeypatch.setattr(process_tree, "FORK_S", 10**9)
        appeared = ProcessTree((), process.pid).rescan(0.0).appeared
        assert [member.process.pid for member in appeared] == [process.pid]
        monkeypatch.setattr(process_tree, "FORK_S", 0.0)
        appeared = ProcessTree((), process.pid).rescan(0.0).appeared
        assert [member.process.pid for member in appeared] == [
            process.pid,
            child,
        ]


@posix
@pytest.mark.parametrize("words", ([], None))
def test_a_child_between_two_programs_has_no_role_yet(monkeypatch, words):
    """Without words: while the new program replaces the old; None: the words of its parent."""
    with forking() as (process, child):
        own_words = process_tree.read_command_line(
            psutil.Process(process.pid)
        )
        read = {
            process.pid: own_words,
            child: own_words if words is None else words,
        }
        monkeypatch.setattr(
            process_tree,
            "read_command_line",
            lambda asked: read[asked.pid],
        )
        # Linux rounds the machine's start: a start reads up to a second too early
        start_s = process_tree.read_start_time
        monkeypatch.setattr(
            process_tree,
            "read_start_time",
            lambda asked: start_s(asked) - 0.99,
        )
        tree = ProcessTree((), process.pid)
        tree.rescan(0.0)
        assert list(tree.members) == [process.pid]
        read[child] = ["ollama", "runner", "--model", "m"]
        (appeared,) = tree.rescan(0.0).appeared
        assert appeared.role == "runner"


@posix
def test_server_that_restarts_is_found_again(watch, tmp_path, monkeypatch):
    monkeypatch.setattr(monitor, "RESCAN_S", 0.1)
    monkeypatch.setattr(process_tree, "SEARCH_S", 0.1)
    port = free_port()
    monkeypatch.setattr(
        server_search,
        "listens",
        lambda process, wanted: process.pid in current,
    )
    current = []
    with ollama(tmp_path) as (first, _):
        current[:] = [first.pid]
        watched = watch(ports=[port])
        watched.until(lambda: watched.rows("process", pid=first.pid))
    with ollama(tmp_path) as (second, _):
        current[:] = [second.pid]
        watched.until(
            lambda: watched.rows("process", pid=second.pid, role="serve")
        )


@posix
@pytest.mark.faults
def test_the_servers_on_all_ports_are_watched_each_through_its_restarts(
    watch, monkeypatch
):
    monkeypatch.setattr(monitor, "RESCAN_S", 0.1)
    monkeypatch.setattr(process_tree, "SEARCH_S", 0.1)
    with listener() as (first, first_port):
        with listener() as (second, second_port):
            watched = watch(ports=[first_port, second_port])
            watched.until(
                lambda: (
                    {
                        row["pid"]
                        for row in watched.rows("process", role="serve")
                    }
                    == {first.pid, second.pid}
                )
            )
        watched.until(
            lambda: watched.rows("event", kind="process_vanished")
        )
        with listener(second_port) as (again, _):
            watched.until(
                lambda: watched.rows(
                    "process", pid=again.pid, role="serve"
                )
            )
        assert len(watched.rows("process", pid=first.pid)) == 1


@posix
def test_slots_are_those_of_the_server_on_the_port():
    tree = ProcessTree([1, 2], None)
    with listener() as (first, _), listener() as (second, _):
        tree._roots = {
            1: [psutil.Process(first.pid)],
            2: [psutil.Process(second.pid)],
        }
        for port, process in ((1, first), (2, second)):
            found = [
                found.process.pid
                for found in tree._walk(tree._roots[port])
            ]
            assert found == [process.pid]
    assert tree.find_slots(1) == (None, None)


def test_no_server_on_any_port_is_said_once():
    assert ProcessTree([1, 2, 1], None).place == "on ports 1 or 2"
    assert ProcessTree([1], None).place == "on port 1"
    assert ProcessTree([1], 7).place == "with pid 7"


def test_we_are_never_our_own_server(watch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        tree = ProcessTree([server.getsockname()[1]], None)
        appeared = tree.rescan(0.0).appeared
    assert os.getpid() not in [member.process.pid for member in appeared]
    tree = ProcessTree((), os.getppid())
    appeared = tree.rescan(0.0).appeared
    assert appeared and os.getpid() not in [
        member.process.pid for member in appeared
    ]


@posix
def test_slots_of_a_server(watch, tmp_path, monkeypatch):
    monkeypatch.setenv("OLLAMA_NUM_PARALLEL", "3")
    with ollama(tmp_path) as (server, tell):
        watched = watch(pid=server.pid)
        watched.until(lambda: watched.rows("process"))
        assert watched.monitor.slots() == (
            3,
            "OLLAMA_NUM_PARALLEL of the server",
        )
        tell("runner")
        assert watched.until(
            lambda: (found := watched.monitor.slots())[0] == 7 and found
        ) == (
            7,
            "command line of the runner",
        )
    assert watch().monitor.slots() == (None, None)


def test_a_runner_of_the_mlx_engine_serves_one_at_a_time(monkeypatch):
    cmdlines = {
        1: ["ollama", "serve"],
        2: [
            "ollama",
            "runner",
            "--mlx-engine",
            "--model",
            "qwen3.5",
            "--port",
            "5",
        ],
        3: [
            "ollama",
            "runner",
            "--ollama-engine",
            "--model",
            "gemma",
            "--parallel",
            "4",
        ],
    }

    def process(pid, created, children=()):
        return types.SimpleNamespace(
            pid=pid,
            cmdline=lambda: cmdlines[pid],
            create_time=lambda: created,
            environ=lambda: {"OLLAMA_NUM_PARALLEL": "8"},
            status=lambda: psutil.STATUS_RUNNING,
            children=lambda recursive: list(children),
        )

    mlx, gguf = process(2, 300.0), process(3, 200.0)
    tree = ProcessTree([1], None)
    tree._roots = {1: [process(1, 100.0, [mlx, gguf])]}
    # the newest runner's
    assert tree.find_slots(1) == (1, "MLX engine: one request at a time")
    gguf.create_time = lambda: 400.0
    assert tree.find_slots(1) == (4, "command line of the runner")
    assert tree.find_cache_type(1) is None
    cmdlines[3] += ["--kv-cache-type", "q8_0"]
    assert tree.find_cache_type(1) == "q8_0"
    cmdlines[2] += ["--parallel", "3"]  # of an Ollama that passes it on
    mlx.create_time = lambda: 500.0
    assert tree.find_slots(1) == (3, "command line of the runner")


def test_a_start_that_moved_with_the_clock_makes_no_other_process(
    monkeypatch,
):
    """psutil moves the start of what it sees for the first time after a step of the clock."""
    moved_s, create_time = [0.0], psutil.Process.create_time

    def moved(process):
        start = create_time(process) + moved_s[0]
        if start < 0:
            raise RuntimeError("refused")
        return start

    monkeypatch.setattr(psutil.Process, "create_time", moved)
    with listener() as (process, _):
        tree = ProcessTree((), process.pid)
        (member,) = tree.rescan(0.0).appeared
        for moved_s[0] in (1.5, -1.5, 3600.0, -3600.0, -1e12):
            monkeypatch.setattr(
                tree,
                "_walk",
                lambda roots: [
                    FoundProcess(psutil.Process(process.pid), "serve")
                ],
            )
            assert tree.rescan(0.0) == TreeChanges(
                [], []
            ) and tree.members == {process.pid: member}


@posix
def test_a_child_started_in_the_future_is_no_fork_of_now(monkeypatch):
    """Its parent's own command line, and a clock that was set back since."""
    now = time.time
    with forking() as (process, child):
        monkeypatch.setattr(time, "time", lambda: now() - 3600)
        appeared = ProcessTree((), process.pid).rescan(0.0).appeared
        assert [member.process.pid for member in appeared] == [
            process.pid,
            child,
        ]
