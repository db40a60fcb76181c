"""A worker of Dask that is truly apart, on this machine: other network, other clock, slow link.

    with MachineApart("far", scheduler_port, ahead_s=1_000, seed=1):
        ...  # a worker "far" joins the scheduler; Linux, as root

The worker runs in namespaces of its own: of the network, where only loopback is, and of the time,
whose monotonic clock is so many seconds ahead. Two relays, joined by sockets in a folder, carry its
links across. The outer one holds each piece up, THERE_MS on its way to the worker and BACK_MS from
it.
"""

from __future__ import annotations

import argparse
import fcntl
import pathlib
import random
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

from local_cluster import ENVIRONMENT, command_worker, find_free_port

THERE_MS, BACK_MS = (3.0, 7.0), (5.0, 9.0)
UNEQUAL_MS = BACK_MS[0] - THERE_MS[0]  # of the fastest of each direction
AT_ONCE_MS = (0.0, 0.0)
PIECE_BYTES = 1 << 20
# Linux, sockios.h and if.h
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
NAMESPACES = ("--net", "--time", "--pid", "--mount-proc", "--kill-child")

Address = int | str  # a port of this network, or a socket's path
HeldMs = tuple[float, float]


class MachineApart:
    """A worker in namespaces of its own and its relays, while it is entered."""

    def __init__(
        self, name: str, scheduler_port: int, ahead_s: int, seed: int
    ) -> None:
        self._folder = tempfile.TemporaryDirectory()
        port = find_free_port()
        words = [sys.executable, __file__, "--seed", str(seed)]
        words += ["--folder", self._folder.name, "--name", name]
        words += ["--ports", str(port), str(scheduler_port)]
        unshare = ["unshare", *NAMESPACES, "--monotonic", str(ahead_s)]
        self._commands = [words, [*unshare, *words, "--inside"]]
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> MachineApart:
        for command in self._commands:
            self._processes.append(
                subprocess.Popen(command, env=ENVIRONMENT)
            )
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._processes):
            process.kill()
            process.wait()
        self._folder.cleanup()


class Relay:
    """Joins each link that comes to one address to another address."""

    def __init__(
        self, there_ms: HeldMs, back_ms: HeldMs, chance: random.Random
    ) -> None:
        """there_ms, back_ms: of what the one who calls says, and of what it is answered."""
        self._there_ms, self._back_ms = there_ms, back_ms
        self._chance = chance

    def start(self, listening: Address, target: Address) -> None:
        """Accept links in a thread from now on."""
        door = listen(listening)
        threading.Thread(
            target=self._accept, args=(door, target), daemon=True
        ).start()

    def _accept(self, door: socket.socket, target: Address) -> None:
        while True:
            caller, _ = door.accept()
            try:
                called = connect(target)
            except OSError:
                caller.close()
                continue
            for pipe in (
                (caller, called, self._there_ms),
                (called, caller, self._back_ms),
            ):
                threading.Thread(
                    target=self._pass_on, args=pipe, daemon=True
                ).start()

    def _pass_on(
        self, source: socket.socket, target: socket.socket, held_ms: HeldMs
    ) -> None:
        try:
            while piece := source.recv(PIECE_BYTES):
                time.sleep(self._chance.uniform(*held_ms) / 1e3)
                target.sendall(piece)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            source.close()
            target.close()


def listen(address: Address) -> socket.socket:
    if isinstance(address, int):
        return socket.create_server(("127.0.0.1", address))
    door = socket.socket(socket.AF_UNIX)
    door.bind(address)
    door.listen()
    return door


def connect(address: Address) -> socket.socket:
    if isinstance(address, int):
        link = socket.create_connection(("127.0.0.1", address))
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return link
    link = socket.socket(socket.AF_UNIX)
    link.connect(address)
    return link


def raise_loopback() -> None:
    """Let a new network reach itself."""
    with socket.socket() as any_:
        flags = struct.pack("16sh", b"lo", IFF_UP)
        fcntl.ioctl(any_, SIOCSIFFLAGS, flags)


def main() -> int:
    """Be one of the relays; inside, have a worker run as well."""
    wanted = parse_args()
    port, scheduler_port = wanted.ports
    to_worker = str(pathlib.Path(wanted.folder, "worker"))
    to_scheduler = str(pathlib.Path(wanted.folder, "scheduler"))
    chance = random.Random(wanted.seed)
    if not wanted.inside:
        Relay(THERE_MS, BACK_MS, chance).start(port, to_worker)
        relay = Relay(BACK_MS, THERE_MS, chance)
        relay.start(to_scheduler, scheduler_port)
        threading.Event().wait()
    raise_loopback()
    inner = Relay(AT_ONCE_MS, AT_ONCE_MS, chance)
    inner.start(to_worker, port)
    inner.start(scheduler_port, to_scheduler)
    command = command_worker(
        f"tcp://127.0.0.1:{scheduler_port}", wanted.name
    )
    command += ["--no-nanny", "--worker-port", str(port)]
    return subprocess.call(
        command,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="machine_apart.py")
    parser.add_argument("--folder", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--ports", type=int, nargs=2, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--inside", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
