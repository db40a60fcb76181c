"""Starts the process that shows a run while it runs, and ends it.

The process is of the user who typed sudo, as all is that starts after root was given up, and it
cannot outlive this one: it reads a pipe that ends with us, whatever ends us.
"""

from __future__ import annotations

import contextlib
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

START_PATIENCE_S = 60.0
LOOK_S = 0.1  # how soon an interrupt is noticed
END_PATIENCE_S = 5.0
LAST_LOOK_S = 4.0
PACKAGE_PARENT = str(Path(__file__).resolve().parents[2])
# without the working directory, where a file may have the name of a module
START = (
    "import sys; sys.path[:] = sys.argv[1:-2]; "
    "from ollama_bench.browsing.live_server import main; main()"
)
KEPT = "the page stays until Ctrl-C: {}"


class LivePage:
    """The page of a run beside the run. Nothing that fails here stops the run."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._address = ""

    def __enter__(self) -> LivePage:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(
        self,
        path: str,
        run_id: int,
        say: Callable[[str], object],
        is_interrupted: Callable[[], bool],
    ) -> None:
        """Start it and say its address; where that fails, say why."""
        say("starting the page of the run ...")
        try:
            self._process = start_datasette(path, run_id)
        except OSError as error:
            say(f"no live page: cannot start it ({error.strerror})")
            return
        line = read_line(self._process, is_interrupted)
        if is_interrupted():
            return
        if not line.startswith("listening on "):
            why = line.strip() or "Datasette did not start"
            say(f"no live page: {why}")
            self.close()
            return
        self._address = line.split()[-1]
        say(f"live: {self._address}")

    def keep(self) -> None:
        """Keep the page until Ctrl-C, if somebody at a terminal can type that.

        Else as long as it takes a browser to fetch the finished page.
        """
        if self._process is None:
            return
        if not is_attended():
            with contextlib.suppress(
                subprocess.TimeoutExpired, KeyboardInterrupt
            ):
                self._process.wait(LAST_LOOK_S)
            return
        print(KEPT.format(self._address), flush=True)
        try:
            self._process.wait()
        except KeyboardInterrupt:
            print()

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None and process.stdout is not None
        process.stdin.close()
        try:
            process.wait(END_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def start_datasette(path: str, run_id: int) -> subprocess.Popen[str]:
    """Start it. Raises OSError."""
    folders = [folder for folder in sys.path if folder]
    if PACKAGE_PARENT not in folders:
        folders.insert(0, PACKAGE_PARENT)
    return subprocess.Popen(
        [
            *(sys.executable or "", "-IB", "-c", START),
            *(*folders, path, str(run_id)),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # its words would stand in the middle of the screen
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,  # Ctrl-C is for us to handle
        # the same on Windows
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
    )


def read_line(
    process: subprocess.Popen[str], is_interrupted: Callable[[], bool]
) -> str:
    """Return the first line that it prints; "" if it ends, takes too long or nobody waits."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    output = process.stdout
    assert output is not None
    threading.Thread(
        target=lambda: lines.put(output.readline()), daemon=True
    ).start()
    until_s = time.monotonic() + START_PATIENCE_S
    while time.monotonic() < until_s and not is_interrupted():
        with contextlib.suppress(queue.Empty):
            return lines.get(timeout=LOOK_S)
    return ""


def is_attended() -> bool:
    """Tell whether somebody sees what is printed and can type Ctrl-C."""
    return all(
        stream is not None and stream.isatty()
        for stream in (sys.stdin, sys.stdout)
    )
