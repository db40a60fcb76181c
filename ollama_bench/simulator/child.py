"""How to start the simulator as a child process, from any working directory.

    with child.start("--profile", "exact") as server: server.url, server.pid
    subprocess.Popen(child.command("--port", "0"), stdout=subprocess.PIPE, text=True)
    child.powermetrics_command(port, interval_ms=200)

A running server prints one line, "listening on URL", once it accepts connections.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

END_PATIENCE_S = 10.0
PACKAGE_PARENT = Path(__file__).resolve().parents[2]

# `python -m` would search the working directory first, even before PYTHONPATH: a random.py or
# another ollama_bench there would be run. So the working directory is taken out of the path, and
# the directory of this very package is put first unless it is on the path already (site-packages).
START = (
    "import sys; folder = sys.argv.pop(1); sys.path[:1] = filter(None, sys.path[:1]); "
    "folder in sys.path or sys.path.insert(0, folder); "
    "from ollama_bench.simulator.cli import main; sys.exit(main())"
)


def command(*arguments: str) -> list[str]:
    """Return the command line that runs the simulator with these arguments."""
    return [sys.executable, "-c", START, str(PACKAGE_PARENT), *arguments]


class StartError(Exception):
    """The simulator did not start; str() is one line for the user."""


@dataclass(frozen=True)
class ChildSimulator:
    """A server that runs as a child process."""

    url: str
    pid: int


@contextlib.contextmanager
def start(*arguments: str) -> Iterator[ChildSimulator]:
    """Run a server on a free port, until the context or this process ends.

    Raises StartError.
    """
    process = start_process(
        "--port", "0", "--parent-pid", str(os.getpid()), *arguments
    )
    try:
        yield ChildSimulator(read_url(process), process.pid)
    finally:  # Ctrl-C while it starts, too: nobody else would end it
        end(process)


def start_process(*arguments: str) -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(
            command(*arguments),
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for us to handle
            # the same on Windows
            creationflags=getattr(
                subprocess, "CREATE_NEW_PROCESS_GROUP", 0
            ),
        )
    except OSError as error:
        hint = ""
        # root was given up: root's own Python may be out of reach
        if isinstance(error, PermissionError) and "SUDO_UID" in os.environ:
            hint = "; use an environment that your user can read, not one in root's home"
        raise StartError(
            f"cannot start the simulator by {sys.executable}: {error.strerror}{hint}"
        ) from None


def read_url(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line.startswith("listening on "):
        raise StartError(
            f"the simulator did not start: {line.strip() or 'see above'}"
        )
    return line.split()[-1]


def end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(END_PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def powermetrics_command(
    port: int, interval_ms: int, *more: str
) -> list[str]:
    """Return the command line of its powermetrics, for the server on this port, in plist format."""
    asked = [
        "--port",
        str(port),
        "-f",
        "plist",
        "-b",
        "0",
        "-i",
        str(interval_ms),
    ]
    return command("powermetrics", *asked, *more)
