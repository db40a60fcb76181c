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
AT_ONCE = b"\ninterrupted\n"  # nothing is kept, for nothing has begun


class Interrupt:
    """Whether an interrupt has come, and whether the program has asked.

    Not a threading.Event: its lock may be held by the very thread that the signal interrupts.
    """

    def __init__(self) -> None:
        self.heeded = False  # whether anybody has asked
        self.is_held = False  # whether the first one waits
        self.has_come = False  # asking for this is no heeding

    def set(self) -> None:
        """Make is_set() return True from now on."""
        self.has_come = True

    def trigger(self) -> None:
        """Act as if Ctrl-C were typed for the first time; do nothing if it was."""
        if not self.has_come:
            signal.raise_signal(signal.SIGINT)

    def is_set(self) -> bool:
        """Return whether an interrupt has come."""
        self.heeded = True
        return self.has_come

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Let what must not stop halfway end first; raise KeyboardInterrupt then, if one came."""
        self.is_held = True
        try:
            yield
        finally:
            self.is_held = False
            if self.has_come and not self.heeded:
                raise KeyboardInterrupt from None

    def wait(self, timeout: float) -> bool:
        """Sleep for `timeout` seconds, or until it is set; return whether it is."""
        until = time.monotonic() + timeout
        while not self.is_set() and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, LOOK_S))
        return self.has_come


def tell(message: bytes) -> None:
    """Write to stderr, past Python's own buffers, which the interrupted thread may hold."""
    with contextlib.suppress(OSError):  # nobody reads it
        os.write(2, message)


def leave_at_once(*_: object) -> None:
    """Handle Ctrl-C before there is anything to put in order."""
    tell(AT_ONCE)
    os._exit(EXIT_CODE)


def leave_in_order(*_: object) -> None:
    """Handle Ctrl-C where a finally has something to end, as a KeyboardInterrupt."""
    tell(AT_ONCE)
    raise KeyboardInterrupt


@contextlib.contextmanager
def on_interrupt(message: str = "") -> Iterator[Interrupt]:
    """Yield an Interrupt that Ctrl-C sets, with a message on stderr. The second Ctrl-C exits.

    So does the first, as a KeyboardInterrupt, until the program has asked: nothing has begun
    yet, which one word says. A closed terminal sends its signal twice, once by its shell; that
    does not count as a second one. nohup is obeyed.
    """
    interrupt = Interrupt()

    def handle(number: int, _frame: FrameType | None) -> None:
        heeded = interrupt.heeded
        if interrupt.has_come:
            if number == HANG_UP:
                return
            os._exit(EXIT_CODE)
        interrupt.set()
        tell(message.encode() if heeded else AT_ONCE)
        if not heeded and not interrupt.is_held:
            raise KeyboardInterrupt

    numbers = [signal.SIGINT, signal.SIGTERM]
    if HANG_UP is not None and signal.getsignal(HANG_UP) != signal.SIG_IGN:
        numbers.append(HANG_UP)
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
