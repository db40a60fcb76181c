"""The same bytes and instants as Python's own socket methods; calls that never wait."""

import contextlib
import socket
import time

import pytest

from ollama_bench.transport import syscalls
from ollama_bench.transport.stamps import request_stamps

pytestmark = pytest.mark.skipif(
    not syscalls.AVAILABLE, reason="no such calls here"
)


@contextlib.contextmanager
def pair():
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as near,
    ):
        far, _ = listener.accept()
        with far:
            yield near, far


def come(sock):
    """Wait until something has come."""
    sock.settimeout(5)
    sock.recv(1, socket.MSG_PEEK)


@pytest.mark.parametrize(
    "stamps",
    [
        False,
        pytest.param(
            True,
            marks=pytest.mark.skipif(not syscalls.STAMPS, reason="Linux"),
        ),
    ],
)
def test_bytes_the_end_and_nothing_at_all(stamps):
    receive = syscalls.Receiver(stamps)
    for _ in range(2):  # the end of one stream spoils nothing of the next
        with pair() as (near, far):
            if stamps:
                assert request_stamps(near)
            assert (
                receive(near.fileno()) == -1
                and syscalls.peek(near.fileno()) == -1
            )
            for text in (b"first", b"second" * 2000):
                before = time.time_ns()
                far.sendall(text)
                come(near)
                got, data = 0, b""
                assert syscalls.peek(near.fileno()) == 1
                while len(data) < len(text):
                    if (got := receive(near.fileno())) > 0:
                        data += bytes(receive.view[:got])
                        if stamps and any(receive.stamp()):
                            seconds, nanoseconds = (
                                syscalls.TIMESPEC.unpack(receive.stamp())
                            )
                            assert (
                                before - 10**6
                                <= seconds * 10**9 + nanoseconds
                                <= time.time_ns() + 10**6
                            )
                assert data == text
            far.shutdown(socket.SHUT_WR)
            near.recv(1, socket.MSG_PEEK)
            assert (
                receive(near.fileno()) == 0 == syscalls.peek(near.fileno())
            )
            if stamps:
                assert receive.stamp() == syscalls.NO_STAMP


def test_what_the_socket_takes_is_sent_and_no_more():
    with pair() as (near, far):
        near.setblocking(True)
        assert syscalls.send(near.fileno(), b"x" * 100) == 100
        sent = 0
        while (more := syscalls.send(near.fileno(), b"y" * 1_000_000)) > 0:
            sent += more
        assert sent > 0 and more == 0  # it did not wait
        far.close()
        with pytest.raises(OSError):
            for _ in range(1000):
                syscalls.send(near.fileno(), b"z")
                time.sleep(0.001)


def test_a_descriptor_that_is_none():
    with pytest.raises(OSError):
        syscalls.Receiver(False)(10**6)
    with pytest.raises(OSError):
        syscalls.send(10**6, b"x")


def test_threads_are_woken_in_time():
    # where the system knows nothing of it, nothing happens
    syscalls.wake_in_time()
