"""interrupt.py - Ctrl-C, SIGTERM and a terminal that is closed: what is finished is kept, and a second one leaves at once.

with on_interrupt() as interrupt:
    while not interrupt.wait(1.0): ...
"""

from __future__ import annotations

import contextlib
import os
import signal
import time

LOOK_S = 0.05  # how soon a pause notices it
HANG_UP = getattr(signal, "SIGHUP", None)  # a terminal was closed; not on Windows


class Interrupt:
    """Was it typed, and has anybody asked? A threading.Event could be set while its own thread holds its lock."""

    def __init__(self) -> None:
        self.heeded = self._is_set = False

    def set(self) -> None:
        self._is_set = True

    def type(self) -> None:
        """As if Ctrl-C had been typed for the first time; nothing when it was."""
        if not self._is_set:
            signal.raise_signal(signal.SIGINT)

    def is_set(self) -> bool:
        self.heeded = True
        return self._is_set

    def wait(self, timeout: float) -> bool:
        """Sleep for so many seconds, or until it is set; is it?"""
        until = time.monotonic() + timeout
        while not self.is_set() and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, LOOK_S))
        return self._is_set


@contextlib.contextmanager
def on_interrupt(said: str = ""):
    """An Interrupt that Ctrl-C sets, with a word on stderr. A second Ctrl-C leaves at once.

    So does the first, as a KeyboardInterrupt, as long as nobody has asked: nothing is under way yet. A terminal that
    is closed says so twice, once by its shell: that is no second one. nohup is obeyed.
    """
    interrupt = Interrupt()

    def handle(signum, _frame) -> None:
        heeded = interrupt.heeded
        if interrupt.is_set():
            return None if signum == HANG_UP else os._exit(130)
        interrupt.set()
        if not heeded:
            raise KeyboardInterrupt
        with contextlib.suppress(OSError):  # nobody reads it
            os.write(2, said.encode())

    heard = [signal.SIGINT, signal.SIGTERM]
    if HANG_UP is not None and signal.getsignal(HANG_UP) != signal.SIG_IGN:
        heard.append(HANG_UP)
    before = {number: signal.signal(number, handle) for number in heard}
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
