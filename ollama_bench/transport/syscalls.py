"""Socket calls that keep the interpreter's lock: recv, recvmsg and send on sockets that are ready.

Python's own socket methods release the lock around each call. A thread that receives for hundreds
of streams would lose it hundreds of times a millisecond, and each time wait for whoever took it:
up to the switch interval, 5 ms. A call that cannot block need not release it.

    receive = syscalls.Receiver(stamps=True)
    got = receive(fd)
    data, timespec = receive.view[:got], receive.stamp()

``Receiver``, ``send`` and ``peek`` need ``AVAILABLE``: it is False where ctypes or the C library
lacks these calls.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ctypes
else:
    try:
        import ctypes
    except ImportError:  # a Python built without it
        ctypes = None

# the kernel can time packets
STAMPS = sys.platform == "linux" and struct.calcsize("l") == 8
# as on 64-bit Linux: seconds, nanoseconds of CLOCK_REALTIME
TIMESPEC = struct.Struct("qq")
NO_STAMP = bytes(TIMESPEC.size)
READ_BYTES = 16_384  # one read; a token's line is a few hundred bytes
DONT_WAIT: int = getattr(socket, "MSG_DONTWAIT", 0)
WOULD_BLOCK = errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR
HEADER_BYTES = 16  # of a control message on 64-bit Linux
CONTROL_BYTES = HEADER_BYTES + TIMESPEC.size
TICK_MS = 1  # of Windows' timer while a level runs, instead of 15.6
CONTROL_LENGTH = 5  # index of that field in a msghdr

PR_SET_TIMERSLACK = 29  # Linux, prctl.h
SLACK_NS = 1_000  # instead of 50 us


def _load_libc() -> Any:
    """Return the C library with the argument types declared, or None where calls are missing."""
    if ctypes is None or os.name != "posix":
        return None
    number, size, pointer = ctypes.c_int, ctypes.c_size_t, ctypes.c_void_p
    signatures: dict[str, tuple[Any, ...]] = {
        "recv": (number, pointer, size, number),
        "recvmsg": (number, pointer, number),
        "send": (number, ctypes.c_char_p, size, number),
    }
    try:
        # PyDLL: the interpreter's lock is kept
        libc = ctypes.PyDLL(None, use_errno=True)
        for name, types in signatures.items():
            call = getattr(libc, name)
            call.argtypes, call.restype = types, ctypes.c_ssize_t
        if STAMPS:
            libc.prctl.argtypes = (number, *[ctypes.c_ulong] * 4)
            libc.prctl.restype = number
    except (OSError, AttributeError):
        return None
    return libc


_libc = _load_libc()
AVAILABLE = _libc is not None


def wake_in_time() -> None:
    """Have the kernel wake this thread on time (Linux): by default it may be up to 50 us late."""
    if STAMPS and AVAILABLE:
        _libc.prctl(PR_SET_TIMERSLACK, SLACK_NS, 0, 0, 0)


class Receiver:
    """Reads into one buffer of its own, for one thread."""

    def __init__(self, stamps: bool) -> None:
        self._buffer = ctypes.create_string_buffer(READ_BYTES)
        self.view = memoryview(self._buffer).cast("B")
        self._address = ctypes.addressof(self._buffer)
        self._recv, self._recvmsg = _libc.recv, _libc.recvmsg
        self._stamps = stamps
        if stamps:
            self._make_message()

    def _make_message(self) -> None:
        """Lay out the iovec and the msghdr of 64-bit Linux: words of 8 bytes."""
        self._control = ctypes.create_string_buffer(CONTROL_BYTES)
        control = memoryview(self._control).cast("B")
        self._stamp_view = control[
            HEADER_BYTES : HEADER_BYTES + TIMESPEC.size
        ]
        self._vector = (ctypes.c_size_t * 2)(self._address, READ_BYTES)
        self._message = (ctypes.c_size_t * 7)(
            0,  # name
            0,  # its length
            ctypes.addressof(self._vector),
            1,  # number of vectors
            ctypes.addressof(self._control),
            CONTROL_BYTES,
            0,  # flags
        )
        self._message_address = ctypes.addressof(self._message)

    def __call__(self, number: int) -> int:
        """Read from a descriptor.

        Returns the number of bytes; 0 at the end of file, -1 when nothing is there. Raises OSError.
        """
        if self._stamps:
            got: int = self._recvmsg(
                number, self._message_address, DONT_WAIT
            )
        else:
            got = self._recv(number, self._address, READ_BYTES, DONT_WAIT)
        return got if got >= 0 else _check_would_block()

    def stamp(self) -> memoryview | bytes:
        """Return the kernel's instant of the last read as a timespec; zeros where it gave none."""
        if self._message[CONTROL_LENGTH] == CONTROL_BYTES:
            return self._stamp_view
        # the kernel wrote there how much it used
        self._message[CONTROL_LENGTH] = CONTROL_BYTES
        return NO_STAMP


def send(number: int, data: bytes) -> int:
    """Send without waiting. Returns how many bytes the socket's buffer took. Raises OSError."""
    sent: int = _libc.send(number, data, len(data), DONT_WAIT)
    return sent if sent >= 0 else max(0, _check_would_block())


def peek(number: int) -> int:
    """Return 1 when the peer has sent something, 0 when it has hung up, -1 when neither."""
    byte = ctypes.create_string_buffer(1)
    got: int = _libc.recv(
        number, ctypes.addressof(byte), 1, DONT_WAIT | socket.MSG_PEEK
    )
    if got >= 0:
        return got
    return -1 if ctypes.get_errno() in WOULD_BLOCK else 0


def _check_would_block() -> int:
    """Return -1 if the failed call would have had to wait. Raises OSError otherwise."""
    code = ctypes.get_errno()
    if code in WOULD_BLOCK:
        return -1
    raise OSError(code, os.strerror(code))


@contextlib.contextmanager
def short_ticks() -> Iterator[None]:
    """Have sleeps end within a millisecond on Windows; otherwise they end at a tick of 15.6 ms.

    Python sleeps by a finer timer from 3.11 on; waits for locks and queues never do.
    """
    winmm: Any = None
    is_on = False
    if sys.platform == "win32":
        with contextlib.suppress(NameError, OSError, AttributeError):
            winmm = ctypes.WinDLL("winmm")
            is_on = winmm.timeBeginPeriod(TICK_MS) == 0  # TIMERR_NOERROR
    try:
        yield
    finally:
        if is_on:
            with contextlib.suppress(OSError, AttributeError):
                winmm.timeEndPeriod(TICK_MS)
