"""One process: what is read of it, and what is refused."""

from __future__ import annotations

import subprocess
import time

import psutil

from ollama_bench.monitor.process_sample import (
    ProcessSample,
    ServerProcess,
)
from ollama_bench.monitor.processes import is_alive
from tests.monitor.support import (
    PATIENCE_S,
    Denied,
    posix,
)


@posix
def test_a_zombie_has_ended():
    process = subprocess.Popen(["true"])
    member = ServerProcess(psutil.Process(process.pid), "runner", "true")
    end_s = time.monotonic() + PATIENCE_S
    while (
        psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE
        and time.monotonic() < end_s
    ):
        time.sleep(0.01)
    assert member.sample(1, 10**9) is None
    assert not is_alive(member.process)
    process.wait()
    assert member.sample(2, 10**9) is None  # and gone for good


def test_open_files_of_another_user_are_null():
    member = ServerProcess(Denied(False), "runner", "llama-server")
    sample = member.sample(10**9, 10**10)
    assert (sample.fds, sample.cpu_s, sample.threads) == (
        None,
        1.5,
        7,
    ) and member.fds_denied


def test_a_process_that_may_not_be_read_stays_and_is_null():
    member = ServerProcess(Denied(True), "runner", "llama-server")
    assert member.sample(5, 10**10) == ProcessSample(at_ns=5)


def test_a_pid_used_again_is_another_process():
    class Recycled(Denied):
        def create_time(self):
            return self.created

    old, new = Recycled(False), Recycled(False)
    old.created, new.created = 100.0, 200.0
    assert not ServerProcess(old, "runner", "ollama").is_same_process(new)


def test_a_start_within_two_seconds_is_the_same_process():
    # of a psutil whose processes are equal by the start that moved
    class Old(Denied):
        def __init__(self, start):
            super().__init__(False)
            self.start = start

        def create_time(self):
            return self.start

    member = ServerProcess(Old(100.0), "runner", "ollama")
    assert [
        member.is_same_process(Old(start))
        for start in (101.9, 98.1, 102.1, 97.9)
    ] == [
        True,
        True,
        False,
        False,
    ]
