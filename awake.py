"""awake.py - keeps the machine awake while a run goes on, and tells how long it slept all the same.

    with awake.kept(say=print): ...     # no idle sleep; a closed lid sleeps whatever is held
    before = awake.slept_ns()
    awake.slept_s(before, awake.slept_ns())     # seconds asleep in between; None: not known

A sleep is what one clock of the system counts and another does not; setting the wall clock moves
neither. Nothing here is ever an error of the run.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import glob
import os
import select
import subprocess
import sys
import time
from typing import Callable, Iterator

CAFFEINATE = "/usr/bin/caffeinate"  # macOS
INHIBIT = "systemd-inhibit"  # Linux
WHY = ("--what=idle:sleep", "--mode=block", "--who=ollama-bench", "--why=a load test is running")
NEVER_ASK = "--no-ask-password"  # systemd 257 and newer; older ones do not know it and never ask
ES_CONTINUOUS, ES_SYSTEM_REQUIRED = 0x80000000, 0x00000001  # Windows, winbase.h
HOLD_PATIENCE_S = 2.0  # for the system to say that it holds; D-Bus takes milliseconds
END_PATIENCE_S = 2.0  # for a child to end

# In a sleep the first clock goes on and the second stands still; else both run alike.
CLOCKS = {
    "linux": ("CLOCK_BOOTTIME", "CLOCK_MONOTONIC"),
    "darwin": ("CLOCK_MONOTONIC_RAW", "CLOCK_UPTIME_RAW"),
}
READINGS, CLOSE_NS = 5, 1_000_000  # of both clocks, until they are so close to each other
LEAST_S = 0.1  # less is no sleep: Windows' clocks step by 16 ms

Clock = Callable[[], int]  # nanoseconds


# -- staying awake ----------------------------------------------------------------------


@contextlib.contextmanager
def kept(say: Callable[[str], None]) -> Iterator[None]:
    """While it lasts, the machine does not fall asleep for being idle.

    Where that cannot be had and the machine may sleep by itself, ``say`` gets one line.
    """
    release = None
    try:
        release = hold()
    except Exception as error:  # whatever a system answers: the run goes on
        if may_sleep():
            words = " ".join(str(getattr(error, "strerror", None) or error).split())
            say(f"cannot keep this machine awake ({words}): it may fall asleep during the run")
    try:
        yield
    finally:
        if release is not None:
            with contextlib.suppress(Exception):
                release()


def hold() -> Callable[[], object] | None:
    """Hold off idle sleep. Returns what lets go, None where no way is known. Raises OSError."""
    if sys.platform == "darwin":
        return caffeinate()
    if sys.platform == "linux":
        return inhibit()
    if sys.platform == "win32":
        return require_system()
    return None


def caffeinate() -> Callable[[], object]:
    """macOS: its own tool holds an assertion until it is ended, or until this process has died."""
    command = [CAFFEINATE, "-i", "-m", "-w", str(os.getpid())]
    return functools.partial(
        end, start(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    )


def inhibit() -> Callable[[], object]:
    """Linux: a lock of systemd's while `cat` reads a pipe of ours, which our death closes too."""
    words = "no answer"
    for options in ([NEVER_ASK], []):
        child = start(
            [INHIBIT, *options, *WHY, "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        words = first_words(child)
        if words == "\n":
            return functools.partial(end, child)
        end(child)
        if "option" not in words:
            break
    raise OSError(f"{INHIBIT}: {words.strip() or 'no answer'}")


def first_words(child: subprocess.Popen) -> str:
    """What the child says first: a line feed when the lock is held and `cat` gives ours back."""
    with contextlib.suppress(OSError):  # it has ended already
        child.stdin.write(b"\n")
    ready, _, _ = select.select([child.stdout], [], [], HOLD_PATIENCE_S)
    return os.read(child.stdout.fileno(), 1000).decode("utf-8", "replace") if ready else ""


def require_system() -> Callable[[], object]:
    """Windows: a wish of this thread, which the system forgets when the thread ends."""
    call = ctypes.windll.kernel32.SetThreadExecutionState
    call.argtypes, call.restype = [ctypes.c_uint32], ctypes.c_uint32
    if not call(ES_CONTINUOUS | ES_SYSTEM_REQUIRED):
        raise OSError("SetThreadExecutionState was refused")
    return functools.partial(call, ES_CONTINUOUS)


def start(command: list[str], **streams: int) -> subprocess.Popen:
    """A child out of the terminal's reach: Ctrl-C is not for it, and no password is asked there."""
    return subprocess.Popen(
        command,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        bufsize=0,
        env={**os.environ, "LC_ALL": "C"},
        **streams,
    )


def end(child: subprocess.Popen) -> None:
    """End a child; that of systemd ends with its pipe."""
    if child.stdin is not None:
        child.stdin.close()
    else:
        child.terminate()
    try:
        child.wait(END_PATIENCE_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    if child.stdout is not None:
        child.stdout.close()


def may_sleep() -> bool:
    """Does this machine sleep by itself? A server without a battery and a screen does not."""
    if sys.platform != "linux":
        return True
    screen = os.environ.get("WAYLAND_DISPLAY") or os.environ.get("DISPLAY", "").startswith(":")
    return bool(screen) or any(is_battery(path) for path in glob.glob("/sys/class/power_supply/*"))


def is_battery(path: str) -> bool:
    """Is it the machine's own, not that of a mouse?"""

    def word(name: str) -> str:
        try:
            with open(f"{path}/{name}", encoding="ascii", errors="replace") as file:
                return file.read(100).strip()
        except OSError:
            return ""

    return word("type") == "Battery" and word("scope") != "Device"


# -- how long it slept ------------------------------------------------------------------


def slept_s(before_ns: int | None, after_ns: int | None) -> float | None:
    """Seconds asleep between two values of slept_ns(); 0.0 none, None unknown."""
    if before_ns is None or after_ns is None:
        return None
    seconds = (after_ns - before_ns) / 1e9
    return seconds if seconds >= LEAST_S else 0.0


def slept_ns() -> int | None:
    """How far one clock is ahead of the other: it grows by time asleep. None where unknown."""
    try:
        pair = clocks()
        return None if pair is None else ahead_ns(*pair)
    except (OSError, AttributeError, ValueError):
        return None


def ahead_ns(going: Clock, still: Clock) -> int:
    """The difference of two clocks, by their closest readings: a thread may stop in between."""
    readings = []
    for _ in range(READINGS):
        before, now, after = still(), going(), still()
        readings.append((after - before, now - after))
        if after - before <= CLOSE_NS:
            break
    return min(readings)[1]


def continuous_ns() -> int:
    """A monotonic clock that goes on while the machine sleeps, where the system has one."""
    try:
        pair = clocks()
        return pair[0]() if pair else time.monotonic_ns()
    except (OSError, AttributeError, ValueError):
        return time.monotonic_ns()


def clocks() -> tuple[Clock, Clock] | None:
    """The clock that goes on in a sleep, and the one that stands still; None without such two."""
    if sys.platform == "win32":
        return windows_clocks()
    numbers = [getattr(time, name, None) for name in CLOCKS.get(sys.platform, ("", ""))]
    if None in numbers:
        return None
    going, still = (functools.partial(time.clock_gettime_ns, number) for number in numbers)
    return going, still


def windows_clocks() -> tuple[Clock, Clock]:
    kernel = ctypes.windll.kernel32
    ticks, unbiased = kernel.GetTickCount64, kernel.QueryUnbiasedInterruptTime
    ticks.restype = ctypes.c_uint64

    def going() -> int:
        return ticks() * 1_000_000

    def still() -> int:
        value = ctypes.c_uint64()
        if not unbiased(ctypes.byref(value)):
            raise OSError("QueryUnbiasedInterruptTime was refused")
        return value.value * 100

    return going, still
