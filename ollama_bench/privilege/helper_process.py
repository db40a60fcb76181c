"""The root process that runs the sampler. It understands one-letter commands and nothing else."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from types import FrameType

from ollama_bench.power.sampler import end_process

CLEAN_ENVIRONMENT = {  # of the sampler: nothing of the caller's
    "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
    "LC_ALL": "C",
}
# the commands: end the sampler, or start the one with this number
KILL = b"k"
START = (b"0", b"1", b"2")
ENDED = "exit code "  # what the helper appends to the sampler's words
SPENT = "CPU seconds "
# descriptors are closed up to this; the limit itself can be a billion
HIGHEST_DESCRIPTOR = 65536


def obey(
    commands: list[list[str]],
    control: int,
    outputs: list[int],
    errors: int,
) -> None:
    """Obey commands from the pipe `control` until it closes: the whole life of the process."""
    sampler = RootSampler(commands, outputs, errors)
    try:
        detach(keep=[control, errors, *outputs])
        while True:
            command = os.read(control, 1)
            if command == KILL:
                sampler.end()
            elif command in START:
                sampler.end()
                sampler.begin(START.index(command))
            else:  # empty: the pipe is closed
                break
    except BaseException as error:
        append_words(errors, f"{type(error).__name__}: {error}")
    finally:
        sampler.end()
        append_words(errors, f" {SPENT}{measure_children_cpu()}")


def detach(keep: list[int]) -> None:
    """Leave the terminal (Ctrl-C is not for this process) and close all descriptors but these.

    Only the control pipe ends the process. Signals are caught, not ignored: the sampler would
    inherit ignored signals, and then not obey SIGTERM either.
    """
    os.setsid()
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, disregard)
    os.chdir("/")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(nowhere, standard)
    low = 3
    for descriptor in sorted(keep):
        os.closerange(low, descriptor)
        low = descriptor + 1
    os.closerange(low, HIGHEST_DESCRIPTOR)


def disregard(_number: int, _frame: FrameType | None) -> None:
    """Handle a signal by doing nothing."""


def append_words(errors: int, words: str) -> None:
    """Append to what the sampler said; a full disk loses the words and nothing else."""
    with contextlib.suppress(OSError):
        os.write(errors, words.encode())


def measure_children_cpu() -> float:
    """Return the CPU seconds of all samplers."""
    import resource  # not on Windows

    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


class RootSampler:
    """The sampler, run as root with a clean environment."""

    def __init__(
        self, commands: list[list[str]], outputs: list[int], errors: int
    ) -> None:
        self._commands = commands
        # writing ends of the pipes, one for each start
        self._outputs = outputs
        self._errors = errors
        self._process: subprocess.Popen[bytes] | None = None

    def begin(self, step: int) -> None:
        """Start commands[step] on the next pipe, of which it is then the only writer."""
        if not self._outputs:
            return
        output = self._outputs.pop(0)
        try:
            os.ftruncate(self._errors, 0)
            os.lseek(self._errors, 0, os.SEEK_SET)
            self._process = subprocess.Popen(
                self._commands[min(step, len(self._commands) - 1)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=self._errors,
                cwd="/",
                env=CLEAN_ENVIRONMENT,
            )
        except OSError as error:
            append_words(self._errors, f"{error} {ENDED}127")
        finally:
            os.close(output)

    def end(self) -> None:
        """End the sampler, if one runs, and append its exit code to its words."""
        process, self._process = self._process, None
        if process is None:
            return
        end_process(process)
        append_words(self._errors, f" {ENDED}{process.returncode}")
