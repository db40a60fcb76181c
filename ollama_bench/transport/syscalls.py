"""syscalls.py - recv, recvmsg and send of sockets that are ready, without giving the interpreter's lock away.

Python's own socket methods release the lock around each call, so that a thread which receives for
hundreds of streams loses it hundreds of times a millisecond, and each time waits for whoever took
it: up to the switch interval, 5 ms. A call that cannot block need not release it.

    receive = syscalls.Receiver(stamps=True)
    got = receive(fd)             # bytes are in receive.view[:got], the kernel's instant in receive.stamp()

Where ctypes or the C library has no such calls, ``Receiver``, ``send`` and ``peek`` are None.
"""
from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
import sys
from typing import Iterator

STAMPS = sys.platform == "linux" and struct.calcsize("l") == 8  # the kernel can note when a packet came in
SO_TIMESTAMPNS = 35  # Linux, asm-generic/socket.h
TIMESPEC = struct.Struct("qq")  # of 64-bit Linux: seconds, nanoseconds of CLOCK_REALTIME
NO_STAMP = bytes(TIMESPEC.size)
READ_BYTES = 16_384  # one read; a token's line is a few hundred bytes
DONT_WAIT = getattr(socket, "MSG_DONTWAIT", 0)
HEADER_BYTES = 16  # of a control message on 64-bit Linux
CONTROL_BYTES = HEADER_BYTES + TIMESPEC.size

PR_SET_TIMERSLACK = 29  # Linux, prctl.h
SLACK_NS = 1_000  # instead of 50 us
TICK_MS = 1  # of Windows' timer while a level runs, instead of 15.6

Receiver = send = peek = None


def wake_in_time() -> None:
    """Have the system wake this thread when it should, Linux: else up to 50 us later, to save energy."""

    if STAMPS and send is not None:
        _prctl(PR_SET_TIMERSLACK, SLACK_NS, 0, 0, 0)


@contextlib.contextmanager
def short_ticks() -> Iterator[None]:
    """Have sleeps end within a millisecond while this goes on, Windows: else at the next tick of 15.6 ms.

    Python sleeps by a finer timer from 3.11 on; waits for locks and queues never do.
    """
    winmm, is_on = None, False
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


try:
    import ctypes

    if os.name != "posix":
        raise ImportError
    _libc = ctypes.PyDLL(None, use_errno=True)  # PyDLL: the interpreter's lock is kept
    _recv, _recvmsg, _send = _libc.recv, _libc.recvmsg, _libc.send
    if STAMPS:
        _prctl = _libc.prctl
        _prctl.argtypes, _prctl.restype = (ctypes.c_int, *[ctypes.c_ulong] * 4), ctypes.c_int
except (ImportError, OSError, AttributeError):
    pass
else:
    for _call, _types in ((_recv, (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)),
                          (_recvmsg, (ctypes.c_int, ctypes.c_void_p, ctypes.c_int)),
                          (_send, (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int))):
        _call.argtypes, _call.restype = _types, ctypes.c_ssize_t

    class _Vector(ctypes.Structure):
        _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]

    class _Message(ctypes.Structure):  # struct msghdr of 64-bit Linux
        _fields_ = [("name", ctypes.c_void_p), ("name_length", ctypes.c_uint), ("vectors", ctypes.c_void_p), ("vector_count", ctypes.c_size_t),
                    ("control", ctypes.c_void_p), ("control_length", ctypes.c_size_t), ("flags", ctypes.c_int)]

    class Receiver:
        """Reads into one buffer of its own, for one thread."""

        def __init__(self, stamps: bool) -> None:
            self._buffer = ctypes.create_string_buffer(READ_BYTES)
            self._control = ctypes.create_string_buffer(CONTROL_BYTES)
            self.view = memoryview(self._buffer).cast("B")
            self._address = ctypes.addressof(self._buffer)
            self._stamps = stamps
            if stamps:
                control = memoryview(self._control).cast("B")
                self._stamp_view = control[HEADER_BYTES : HEADER_BYTES + TIMESPEC.size]
                self._vector = _Vector(self._address, READ_BYTES)
                self._message = _Message(None, 0, ctypes.addressof(self._vector), 1, ctypes.addressof(self._control), CONTROL_BYTES, 0)
                self._message_address = ctypes.addressof(self._message)

        def __call__(self, number: int) -> int:
            """Bytes read from a descriptor; 0 at the end of file, -1 when nothing is there. Raises OSError."""
            if self._stamps:
                got = _recvmsg(number, self._message_address, DONT_WAIT)
            else:
                got = _recv(number, self._address, READ_BYTES, DONT_WAIT)
            return got if got >= 0 else failed()

        def stamp(self):
            """The kernel's instant of what was read last, as a timespec; zeros where there is none."""
            if self._message.control_length == CONTROL_BYTES:
                return self._stamp_view
            self._message.control_length = CONTROL_BYTES  # the system has put there how much it used
            return NO_STAMP

    def send(number: int, data: bytes) -> int:
        """How many of the bytes the socket's buffer took. Raises OSError."""
        sent = _send(number, data, len(data), DONT_WAIT)
        return sent if sent >= 0 else max(0, failed())

    _byte = ctypes.create_string_buffer(1)

    def peek(number: int) -> int:
        """1 when the other side has sent something, 0 when it has hung up, -1 when neither."""
        got = _recv(number, ctypes.addressof(_byte), 1, DONT_WAIT | socket.MSG_PEEK)
        return got if got >= 0 else -1 if ctypes.get_errno() in (errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR) else 0

    def failed() -> int:
        """-1 where a call would have had to wait. Raises OSError else."""
        code = ctypes.get_errno()
        if code in (errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR):
            return -1
        raise OSError(code, os.strerror(code))
