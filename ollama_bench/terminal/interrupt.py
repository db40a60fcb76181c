"""Ctrl-C, SIGTERM and a closed terminal: the first keeps what is finished, the second exits.

with on_interrupt() as interrupt:
    while not interrupt.wait(1.0): ...
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from types import FrameType

LOOK_S = 0.05  # how soon wait() notices it
# the signal of a closed terminal; Windows has none
HANG_UP = getattr(signal, "SIGHUP", None)
EXIT_CODE = 130


class Interrupt:
    """Whether an interrupt has come, and whether the program has asked.

    Not a threading.Event: its lock may be held by the very thread that the signal interrupts.
    """

    def __init__(self) -> None:
        self.heeded = False  # whether anybody has asked
        self._is_set = False

    def set(self) -> None:
        """Make is_set() return True from now on."""
        self._is_set = True

    def trigger(self) -> None:
        """Act as if Ctrl-C were typed for the first time; do nothing if it was."""
        if not self._is_set:
            signal.raise_signal(signal.SIGINT)

    def is_set(self) -> bool:
        """Return whether an interrupt has come."""
        self.heeded = True
        return self._is_set

    def wait(self, timeout: float) -> bool:
        """Sleep for `timeout` seconds, or until it is set; return whether it is."""
        until = time.monotonic() + timeout
        while not self.is_set() and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, LOOK_S))
        return self._is_set


@contextlib.contextmanager
def on_interrupt(message: str = "") -> Iterator[Interrupt]:
    """Yield an Interrupt that Ctrl-C sets, with a message on stderr. The second Ctrl-C exits.

    So does the first, as a KeyboardInterrupt, until the program has asked: nothing has begun
    yet. A closed terminal sends its signal twice, once by its shell; that does not count as a
    second one. nohup is obeyed.
    """
    interrupt = Interrupt()

    def handle(number: int, _frame: FrameType | None) -> None:
        heeded = interrupt.heeded
        if interrupt.is_set():
            if number == HANG_UP:
                return
            os._exit(EXIT_CODE)
        interrupt.set()
        if not heeded:
            raise KeyboardInterrupt
        with contextlib.suppress(OSError):  # nobody reads it
            os.write(2, message.encode())

    numbers = [signal.SIGINT, signal.SIGTERM]
    if HANG_UP is not None and signal.getsignal(HANG_UP) != signal.SIG_IGN:
        numbers.append(HANG_UP)
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
