"""Draw PNGs in processes of their own: vl-convert draws one at a time and lets no thread run.

    with Renderers() as renderers:
        scripts = renderers.bundle_scripts()    # Future[bytes]
        picture = renderers.draw_png(spec)      # Future[bytes]

A renderer reads jobs, a line of JSON each, and ends where its input does: it outlives nobody.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import struct
import subprocess
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import vl_convert

from ollama_bench.charts import png

# a renderer needs 0.1 GiB, and more of them wait for who makes the specs
MOST_RENDERERS = 4
PACKAGE_PARENT = str(Path(__file__).resolve().parents[2])
# it imports from where this process does, and never from the working directory
START = (
    "import sys; sys.path[:] = sys.argv[1:]; "
    "from ollama_bench.charts import rendering; rendering.serve()"
)
HEAD = struct.Struct(">?Q")  # of a reply: whether it worked, its length
LONGEST_JOB_S = (
    300  # of a renderer, which also ends so if its parent was killed
)
BUNDLE = "null"  # the job that asks for the page's scripts

Job = str  # a spec as JSON, or BUNDLE


class RenderingError(OSError):
    """A chart cannot be drawn; str() is one line for the user."""

    @classmethod
    def from_message(
        cls, message: str, what: str = "a chart"
    ) -> RenderingError:
        """Return the error for what a library said in any number of lines."""
        first = next(iter(message.splitlines()), "")
        return cls(f"cannot draw {what}: {first}")


class Renderers:
    """As many renderers as there are processors, up to MOST_RENDERERS."""

    def __init__(self) -> None:
        count = min(MOST_RENDERERS, os.cpu_count() or 1)
        self._children = [Renderer() for _ in range(count)]
        self._free: queue.SimpleQueue[Renderer] = queue.SimpleQueue()
        for child in self._children:
            self._free.put(child)
        self._threads = ThreadPoolExecutor(count)
        self._is_closed = False
        # for jobs that no other process could do
        self._here = threading.Lock()

    def __enter__(self) -> Renderers:
        return self

    def __exit__(self, *_exception: object) -> None:
        """End all renderers at once, whatever they are drawing."""
        self._is_closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        for child in self._children:
            child.kill()
        self._threads.shutdown()
        for child in self._children:
            child.close()

    def draw_png(self, spec: dict[str, Any]) -> Future[bytes]:
        """Draw a Vega-Lite spec; the future may raise RenderingError."""
        return self._threads.submit(self._do, json.dumps(spec))

    def bundle_scripts(self) -> Future[bytes]:
        """Make the scripts that draw charts on a page."""
        return self._threads.submit(self._do, BUNDLE)

    def _do(self, job: Job) -> bytes:
        child = self._free.get()
        try:
            worked, data = child.ask(job)
        except (OSError, EOFError):
            if self._is_closed:
                raise
            if child.was_too_slow:
                raise RenderingError(
                    f"cannot draw a chart in {LONGEST_JOB_S} s"
                ) from None
            # such as an environment in the home of root, which was given up
            with self._here:
                worked, data = do(job)
        finally:
            self._free.put(child)
        if not worked:
            raise RenderingError.from_message(
                data.decode(errors="replace")
            )
        return data


class Renderer:
    """A renderer, started with its first job."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._is_killed = False
        self._starting = threading.Lock()

    def ask(self, job: Job) -> tuple[bool, bytes]:
        """Return whether the job was done, and its picture or what was wrong.

        Raises OSError where it cannot be started, EOFError where it has ended.
        """
        process = self._start()
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(job.encode() + b"\n")
        process.stdin.flush()
        worked, length = HEAD.unpack(read(process.stdout, HEAD.size))
        return worked, read(process.stdout, length)

    def _start(self) -> subprocess.Popen[bytes]:
        with self._starting:
            if self._is_killed:
                raise EOFError
            if self._process is None:
                self._process = start_renderer()
            return self._process

    @property
    def was_too_slow(self) -> bool:
        """Whether a job took so long that the system has ended the renderer."""
        alarm = getattr(signal, "SIGALRM", None)
        return (
            self._process is not None
            and alarm is not None
            and self._process.wait() == -alarm
        )

    def kill(self) -> None:
        with self._starting:
            self._is_killed = True
            if self._process is not None:
                self._process.kill()

    def close(self) -> None:
        """Wait for its end. Nobody may be asking it any more."""
        if self._process is not None:
            self._process.communicate()


def start_renderer() -> subprocess.Popen[bytes]:
    """Start a renderer. Raises OSError."""
    folders = [folder for folder in sys.path if folder]
    if PACKAGE_PARENT not in folders:
        folders.insert(0, PACKAGE_PARENT)
    return subprocess.Popen(
        [sys.executable or "", "-IB", "-c", START, *folders],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for us to handle
        # the same on Windows
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
    )


def read(stream: IO[bytes], length: int) -> bytes:
    """Read so many bytes. Raises EOFError where there are fewer."""
    data = stream.read(length)
    if len(data) < length:
        raise EOFError
    return data


def serve() -> None:
    """Do jobs until the input ends: the whole life of a renderer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    replies = os.fdopen(os.dup(1), "wb")
    # whatever a library prints is no reply
    os.dup2(2, 1)
    # a signal's default action comes through while a library holds the interpreter
    alarm = getattr(signal, "alarm", lambda _seconds: None)
    for job in sys.stdin.buffer:
        alarm(LONGEST_JOB_S)
        worked, data = do(job)
        alarm(0)
        replies.write(HEAD.pack(worked, len(data)) + data)
        replies.flush()


def do(job: str | bytes) -> tuple[bool, bytes]:
    """Return whether a job was done, and its picture or what was wrong."""
    try:
        spec = json.loads(job)
        if spec is None:
            # its stub is wrong
            return True, vl_convert.javascript_bundle().encode()  # type: ignore[call-arg]
        return True, png.make_png(spec)
    except ValueError as error:
        return False, str(error).encode()
