"""Samplers: long-running programs whose output is read. Here they run as the present user."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
from typing import IO

import psutil

# what psutil raises; on macOS not only its own
REFUSALS = (psutil.Error, OSError, RuntimeError)
COMPLAINT_BYTES = 2048  # how much of the end of a sampler's stderr is kept
STOP_S = 3.0  # from SIGTERM to SIGKILL


class Child:
    """Runs a sampler as the present user; `privilege.Helper` does the same as root."""

    def __init__(self, commands: list[list[str]]) -> None:
        # the first to start, then those to try if it is refused
        self.commands = commands
        self.cpu_s = 0.0  # CPU seconds of all samplers, known after stop()
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None
        # several threads call kill(); CPU time is added once
        self._ending = threading.Lock()

    def start(self, step: int = 0) -> IO[bytes] | None:
        """Start commands[step] and return its output, a binary file; None if that fails."""
        self.stop()
        if step >= len(self.commands):
            return None
        # A file, because an unread pipe would block the sampler; stop() closes it.
        self._errors = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
        try:
            self._process = subprocess.Popen(
                self.commands[step],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                # Ctrl-C is for this program alone
                start_new_session=os.name == "posix",
                # the same on Windows
                creationflags=getattr(
                    subprocess, "CREATE_NEW_PROCESS_GROUP", 0
                ),
            )
        except OSError as error:
            self._errors.write(str(error).encode())
            return None
        return self._process.stdout

    def kill(self) -> None:
        """End the sampler within STOP_S; then its output ends, too."""
        with self._ending:
            process = self._process
            if process is None or process.poll() is not None:
                return
            try:
                spent = psutil.Process(process.pid).cpu_times()
                self.cpu_s += spent.user + spent.system
            except REFUSALS:
                # it has just ended by itself, or the system does not tell
                pass
            end_process(process)

    def complaint(self) -> str:
        """Return its last words on stderr, in one line, and how it ended."""
        if self._process is not None and self._process.poll() is None:
            self.kill()
        words = (
            read_last_words(self._errors.fileno()) if self._errors else ""
        )
        code = (
            f" exit code {self._process.returncode}"
            if self._process
            else ""
        )
        return (words + code).strip()

    def stop(self) -> None:
        """End the sampler and forget it."""
        self.kill()
        self._process = None
        if self._errors:
            self._errors.close()
            self._errors = None


def end_process(process: subprocess.Popen[bytes]) -> None:
    """Terminate a child; kill it if it has not ended after STOP_S."""
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def read_last_words(descriptor: int) -> str:
    """Return the end of a file as one line."""
    begin = max(0, os.fstat(descriptor).st_size - COMPLAINT_BYTES)
    if hasattr(os, "pread"):
        # the writer shares the file offset
        words = os.pread(descriptor, COMPLAINT_BYTES, begin)
    else:
        os.lseek(descriptor, begin, os.SEEK_SET)
        words = os.read(descriptor, COMPLAINT_BYTES)
    return " ".join(words.decode("utf-8", "replace").split())
