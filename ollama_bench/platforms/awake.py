"""awake.py - keeps the machine awake while a run goes on.

    with awake.kept(say=print): ...     # no idle sleep; closing the lid still causes one

A failure is one line, never an error of the run.
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
from collections.abc import Callable, Iterator, Sequence

from ollama_bench.platforms import windows
from ollama_bench.platforms.conditions import text_of

CAFFEINATE = "/usr/bin/caffeinate"  # macOS
INHIBIT = "systemd-inhibit"  # Linux
LOCK_OPTIONS = (
    "--what=idle:sleep",
    "--mode=block",
    "--who=ollama-bench",
    "--why=a load test is running",
)
# systemd 257 and newer; older ones lack it, and never ask
NEVER_ASK = "--no-ask-password"
# flags of Windows, winbase.h
ES_CONTINUOUS, ES_SYSTEM_REQUIRED = 0x80000000, 0x00000001
# time for the system to confirm the lock; D-Bus takes milliseconds
HOLD_PATIENCE_S = 2.0
END_PATIENCE_S = 2.0  # for a child to end

Child = subprocess.Popen[bytes]


@contextlib.contextmanager
def kept(say: Callable[[str], object]) -> Iterator[None]:
    """Keep the machine from falling asleep when idle.

    Where that is impossible and the machine may sleep by itself, say() gets one line.
    """
    release = None
    try:
        release = hold()
    except Exception as error:
        # whatever the system raises, the run continues
        if may_sleep():
            reason = " ".join(
                str(getattr(error, "strerror", None) or error).split()
            )
            say(
                f"cannot keep this machine awake ({reason}): it may fall asleep during the run"
            )
    try:
        yield
    finally:
        if release is not None:
            with contextlib.suppress(Exception):
                release()


def hold() -> Callable[[], object] | None:
    """Prevent idle sleep, and return what allows it again.

    None where this system has no way to do it. Raises OSError when that fails.
    """
    if sys.platform == "darwin":
        return run_caffeinate()
    if sys.platform == "linux":
        return take_systemd_lock()
    if sys.platform == "win32":
        return require_system()
    return None


def run_caffeinate() -> Callable[[], object]:
    """macOS: hold an assertion by its own tool, which ends when this process does."""
    command = [CAFFEINATE, "-i", "-m", "-w", str(os.getpid())]
    child = start_child(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    return functools.partial(end_child, child)


def take_systemd_lock() -> Callable[[], object]:
    """Linux: hold a lock while `cat` reads a pipe of ours, which closes when this process dies."""
    answer = ""
    for options in ([NEVER_ASK], []):
        command = [INHIBIT, *options, *LOCK_OPTIONS, "cat"]
        child = start_child(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        answer = read_answer(child)
        if answer == "\n":
            return functools.partial(end_child, child)
        end_child(child)
        if "option" not in answer:
            break
    raise OSError(f"{INHIBIT}: {answer.strip() or 'no answer'}")


def read_answer(child: Child) -> str:
    """Return the child's first output: a line feed when the lock is held and `cat` returns ours."""
    if child.stdin is None or child.stdout is None:
        return ""
    with contextlib.suppress(OSError):  # the child may have ended
        child.stdin.write(b"\n")
    ready, _, _ = select.select([child.stdout], [], [], HOLD_PATIENCE_S)
    if not ready:
        return ""
    return os.read(child.stdout.fileno(), 1000).decode("utf-8", "replace")


def require_system() -> Callable[[], object]:
    """Windows: set a requirement of this thread, which ends with the thread."""
    call = windows.kernel32().SetThreadExecutionState
    call.argtypes, call.restype = [ctypes.c_uint32], ctypes.c_uint32
    if not call(ES_CONTINUOUS | ES_SYSTEM_REQUIRED):
        raise OSError("SetThreadExecutionState failed")
    return functools.partial(call, ES_CONTINUOUS)


def start_child(
    command: Sequence[str], *, stdin: int, stdout: int
) -> Child:
    """Start a child out of the terminal's reach: no Ctrl-C gets there, no password is asked."""
    return subprocess.Popen(
        command,
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        bufsize=0,
        env={**os.environ, "LC_ALL": "C"},
    )


def end_child(child: Child) -> None:
    """End a child; systemd's ends with its pipe."""
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
    """Return whether this machine sleeps by itself: a headless server does not."""
    if sys.platform != "linux":
        return True
    if os.environ.get("WAYLAND_DISPLAY") or os.environ.get(
        "DISPLAY", ""
    ).startswith(":"):
        return True
    return any(
        is_own_battery(path)
        for path in glob.glob("/sys/class/power_supply/*")
    )


def is_own_battery(path: str) -> bool:
    """Return whether this supply is the machine's battery, not that of a mouse."""
    kind, scope = (
        text_of(f"{path}/{name}").strip() for name in ("type", "scope")
    )
    return kind == "Battery" and scope != "Device"
