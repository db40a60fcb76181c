"""A cluster of Dask as a user starts it, its processes on this machine alone.

with LocalCluster(workers=2) as cluster:
    cluster.find("worker", chance).kill()  # of cluster.address
    cluster.heal()
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import random
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

import distributed
import psutil

ROOT = pathlib.Path(__file__).resolve().parent.parent
# the loads of the benchmarks, which a worker unpickles, are files here
PLACES = os.pathsep.join([str(ROOT), str(ROOT / "benchmarks")])
# as docs/fleet.md advises
ENVIRONMENT = os.environ | {
    "PYTHONPATH": PLACES,
    "DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL": "10s",
    "DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL": "1s",
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
}
PATIENCE_S = 240.0
LOOK_S = 0.1
# below those that a system gives to who calls
PORTS = range(20_000, 32_000)
NAMES = ("one", "two", "three", "four")


class LocalCluster:
    """A scheduler and some workers, each under a nanny, while it is entered."""

    def __init__(self, workers: int) -> None:
        self._names = NAMES[:workers]
        self._scheduler: subprocess.Popen[bytes] | None = None
        self._nannies: dict[str, subprocess.Popen[bytes]] = {}
        self._port = find_free_port()
        self.address = f"tcp://127.0.0.1:{self._port}"

    def __enter__(self) -> LocalCluster:
        try:
            self.heal()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end_nannies()
        if self._scheduler is not None:
            end_all([self._scheduler])

    def find(self, role: str, chance: random.Random) -> psutil.Process:
        """Return a process of a role, of several by chance. Raises IndexError where none is."""
        if role == "scheduler" and self._scheduler is not None:
            return psutil.Process(self._scheduler.pid)
        nanny = self._nannies[chance.choice(self._names)]
        if role == "nanny":
            return psutil.Process(nanny.pid)
        return list_workers(nanny)[0]

    def heal(self) -> None:
        """Start what is not there, and return once all workers are known."""
        if self._scheduler is None or self._scheduler.poll() is not None:
            self._end_nannies()
            self._scheduler = start(command_scheduler(self._port))
        there = [
            name
            for name, nanny in self._nannies.items()
            if nanny.poll() is None
        ]
        # a worker may outlive its nanny, and no other gets its name till then
        wait_for_workers(self.address, there)
        for name in self._names:
            if name not in there:
                command = command_worker(self.address, name)
                self._nannies[name] = start(command)
        wait_for_workers(self.address, self._names)

    def _end_nannies(self) -> None:
        workers = [
            worker
            for nanny in self._nannies.values()
            for worker in list_workers(nanny)
        ]
        end_all([*self._nannies.values(), *workers])
        self._nannies = {}


def wait_for_workers(address: str, names: Sequence[str]) -> None:
    """Return once a scheduler knows these workers and no other. Raises TimeoutError."""
    until_s = time.monotonic() + PATIENCE_S
    with distributed.Client(
        address, timeout=PATIENCE_S, set_as_default=False
    ) as client:
        while time.monotonic() < until_s:
            known = client.scheduler_info(n_workers=-1)["workers"]
            found = sorted(facts["name"] for facts in known.values())
            if found == sorted(names):
                return
            time.sleep(LOOK_S)
    raise TimeoutError(f"workers of the cluster: {found}")


def find_free_port() -> int:
    """Return a port that nothing gets by chance while a scheduler that is dead is called."""
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as free, contextlib.suppress(OSError):
            free.bind(("127.0.0.1", port))
            return port
    raise OSError("no free port")


def command_scheduler(port: int) -> list[str]:
    """Return the command line of a scheduler, which only this machine can reach."""
    return [*command_dask("scheduler"), "--port", str(port)]


def command_worker(scheduler: str, name: str) -> list[str]:
    """Return the command line of a worker, which only this machine can reach."""
    command = [*command_dask("worker"), scheduler, "--name", name]
    return [*command, "--nthreads", "1"]


def command_dask(kind: str) -> list[str]:
    command = [sys.executable, "-m", f"distributed.cli.dask_{kind}"]
    return [*command, "--host", "127.0.0.1", "--no-dashboard"]


def start(command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=ENVIRONMENT,
    )


def list_workers(nanny: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Return the process that a nanny watches; none where it is not there."""
    try:
        found = psutil.Process(nanny.pid).children(recursive=True)
        return [
            one for one in found if "spawn_main" in " ".join(one.cmdline())
        ]
    except psutil.NoSuchProcess:
        return []


def end_all(
    processes: list[subprocess.Popen[bytes] | psutil.Process],
) -> None:
    for one in processes:
        try:
            one.kill()
        except psutil.NoSuchProcess:
            continue
    for one in processes:
        try:
            one.wait(PATIENCE_S)
        except psutil.NoSuchProcess:
            continue
