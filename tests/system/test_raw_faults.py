"""What only a raw socket can do wrong: bytes, endless answers, TLS, silence."""

import gzip
import os
import socket
import subprocess
import sys
import threading
import time

import psutil
import pytest

from ollama_bench.load import load
from tests.system.faults import (
    CHUNKED,
    DEADLINE_S,
    DONE,
    FIXTURES,
    HEAD,
    MIB,
    ROOT,
    STALL_S,
    UNTIL_EOF,
    WORD,
    check,
    endless,
    fire,
    hang_up,
    nothing_left,
    raw_server,
    saying,
)

pytestmark = pytest.mark.faults

RAW = [  # name, answer, statuses
    ("hangs up", hang_up, {"reset"}),
    (
        "no HTTP at all",
        saying(b"SSH-2.0-OpenSSH_9.6\r\n"),
        {"reset", "stream_error"},
    ),
    (
        "a NUL and garbage",
        saying(bytes(range(256)) * 40),
        {"reset", "stream_error"},
    ),
    (
        "half a status line",
        saying(b"HTTP/1.1 2"),
        {"reset", "stream_error"},
    ),
    (
        "a head without an end",
        saying(b"HTTP/1.1 200 OK\r\nX: y\r\n"),
        {"reset", "stream_error", "truncated"},
    ),
    (
        "100 and nothing",
        saying(b"HTTP/1.1 100 Continue\r\n\r\n"),
        {"reset", "stream_error"},
    ),
    (
        "100 a thousand times",
        saying(b"HTTP/1.1 100\r\n\r\n" * 1020 + UNTIL_EOF + WORD + DONE),
        {"completed"},
    ),
    (
        "200 and no body",
        saying(HEAD + b"Content-Length: 0\r\n\r\n"),
        {"truncated", "stream_error"},
    ),
    ("204", saying(b"HTTP/1.1 204 No Content\r\n\r\n"), {"http_error"}),
    (
        "a chunk size that is none",
        saying(CHUNKED + b"zz\r\nhello\r\n"),
        {"stream_error", "reset"},
    ),
    (
        "a negative chunk size",
        saying(CHUNKED + b"-5\r\nhello\r\n"),
        {"stream_error", "reset"},
    ),
    (
        "a chunk size that leads back to itself",
        saying(CHUNKED + b"-6\r\n\r\n"),
        {"stream_error", "reset"},
    ),
    (
        "a chunk of 2 EB",
        saying(CHUNKED + b"1fffffffffffffff\r\n" + WORD),
        {"reset"},
    ),
    (
        "a Content-Length of 1e400",
        saying(
            HEAD + b"Content-Length: 1" + b"0" * 400 + b"\r\n\r\n" + WORD
        ),
        {"reset", "stream_error", "truncated"},
    ),
    (
        "a Content-Length of 5,000 digits",
        saying(
            HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n" + WORD
        ),
        {"reset", "stream_error", "truncated"},
    ),
    (
        "a negative Content-Length",
        saying(HEAD + b"Content-Length: -1\r\n\r\n" + WORD),
        {"truncated", "reset", "stream_error"},
    ),
    (
        "two Content-Lengths",
        saying(
            HEAD
            + b"Content-Length: 1\r\nContent-Length: 99\r\n\r\n"
            + WORD
        ),
        {"reset", "stream_error", "truncated"},
    ),
    (
        "gzip that is none",
        saying(
            HEAD
            + b"Content-Encoding: gzip\r\nConnection: close\r\n\r\nnot gzip at all"
        ),
        {"stream_error"},
    ),
    (
        "gzip cut in half",
        saying(
            HEAD
            + b"Content-Encoding: gzip\r\nConnection: close\r\n\r\n"
            + gzip.compress(WORD * 99)[:30]
        ),
        {"truncated", "stream_error"},
    ),
    (
        "a redirect to itself",
        saying(
            b"HTTP/1.1 307 x\r\nLocation: /api/generate\r\nContent-Length: 0\r\n\r\n"
        ),
        {"http_error"},
    ),
    (
        "a redirect to a file",
        saying(
            b"HTTP/1.1 301 x\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n"
        ),
        {"http_error"},
    ),
    (
        "a redirect to no address",
        saying(
            b"HTTP/1.1 301 x\r\nLocation: http://[::1\x85\xff\r\nContent-Length: 0\r\n\r\n"
        ),
        {"http_error"},
    ),
    (
        "an error nested too deeply",
        saying(
            b"HTTP/1.1 500 x\r\nConnection: close\r\n\r\n" + b"[" * 60_000
        ),
        {"http_error"},
    ),
    (
        "an error of gzip that is none",
        saying(
            b"HTTP/1.1 500 x\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\nplain"
        ),
        {"http_error"},
    ),
    (
        "a status of 999",
        saying(b"HTTP/1.1 999 x\r\nContent-Length: 0\r\n\r\n"),
        {"http_error"},
    ),
    (
        "words byte by byte",
        saying(
            UNTIL_EOF,
            *(bytes([byte]) for byte in WORD + DONE),
            pause_s=0.002,
        ),
        {"completed"},
    ),
    (
        "half a pair of surrogates",
        saying(UNTIL_EOF + b'{"response":"\\ud83d"}\n' + DONE),
        {"completed"},
    ),
]


@pytest.mark.parametrize("count", [1, 64])
@pytest.mark.parametrize(
    "answer, statuses",
    [row[1:] for row in RAW],
    ids=[row[0] for row in RAW],
)
def test_each_answer_that_is_none(answer, statuses, count):
    with nothing_left(), raw_server(answer) as url:
        level = fire(url, count)
    check(level, count, statuses)


ENDLESS = [  # name, answer: what memory and time must be bounded for
    (
        "a head",
        endless(
            b"HTTP/1.1 200 OK\r\n", b"X-Filler: " + b"x" * 50_000 + b"\r\n"
        ),
    ),
    ("one line", endless(UNTIL_EOF, b"x" * 65_536)),
    ("words", endless(UNTIL_EOF, WORD * 2000)),
    (
        "an error",
        endless(
            b"HTTP/1.1 500 x\r\nConnection: close\r\n\r\n", b"x" * 65_536
        ),
    ),
]


@pytest.mark.parametrize(
    "answer", [row[1] for row in ENDLESS], ids=[row[0] for row in ENDLESS]
)
def test_what_never_ends_is_cut(answer):
    before = psutil.Process().memory_info().rss
    with nothing_left(), raw_server(answer) as url:
        level = fire(
            url,
            2,
            limits=load.Limits(stall_s=STALL_S, deadline_s=DEADLINE_S),
        )
    check(
        level,
        2,
        {"cancelled", "http_error", "stream_error", "reset", "truncated"},
    )
    assert psutil.Process().memory_info().rss - before < 1000 * MIB


def test_a_redirects_endless_page_is_not_read():
    with (
        nothing_left(),
        raw_server(
            endless(
                b"HTTP/1.1 302 x\r\nLocation: /x\r\nConnection: close\r\n\r\n",
                b"x" * 65_536,
            )
        ) as url,
    ):
        level = fire(
            url, 2, limits=load.Limits(stall_s=STALL_S, deadline_s=60)
        )
        check(level, 2, {"http_error"}, 302)
    assert {outcome.error for outcome in level.outcomes} == {
        "redirects to /x"
    }


@pytest.mark.skipif(
    not os.path.exists("/proc/self/status"),
    reason="the peak of one process is not known here",
)
@pytest.mark.parametrize("chunked", [True, False])
def test_a_bomb_of_compressed_zeros_does_not_fill_the_memory(chunked):
    # a megabyte that means a gigabyte
    packed = gzip.compress(b" " * (1 << 30))
    body = (
        b"%x\r\n%s\r\n0\r\n\r\n" % (len(packed), packed)
        if chunked
        else packed
    )
    head = CHUNKED if chunked else UNTIL_EOF
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "import re\n"
        "from tests.system import faults\n"
        "level = faults.fire(sys.argv[1], 1)\n"
        "peak = re.search(r'VmHWM:\\s*(\\d+) kB', open('/proc/self/status').read())[1]\n"
        "print(level.outcomes[0].status, peak)"
    )
    with raw_server(
        saying(head[:-2] + b"Content-Encoding: gzip\r\n\r\n" + body)
    ) as url:
        said = subprocess.run(
            [sys.executable, "-c", program, url],
            capture_output=True,
            text=True,
            timeout=60,
        )
    status, peak = said.stdout.split()
    assert (
        status in ("stream_error", "truncated") and int(peak) < 600 * 1024
    ), said


def test_refused_by_everybody():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    for count in (1, 64):
        with nothing_left():
            level = fire(f"http://127.0.0.1:{port}", count)
        assert [outcome.status for outcome in level.outcomes] == [
            "refused"
        ] * count
        assert all(
            outcome.sent_ns is None and outcome.error
            for outcome in level.outcomes
        )


@pytest.mark.parametrize("count", [1, 64])
def test_tls_that_cannot_be_trusted_or_is_none(short, count):
    with (
        nothing_left(),
        raw_server(saying(UNTIL_EOF + WORD + DONE), tls=True) as url,
    ):
        level = fire(url, count)
    assert {outcome.status for outcome in level.outcomes} == {
        "refused"
    } and all(
        "certificate" in outcome.error.lower()
        for outcome in level.outcomes
    )
    with nothing_left():
        level = fire(short.url.replace("http:", "https:"), count)
    check(level, count, {"refused", "reset"})


def test_tls_with_a_certificate_of_ones_own(monkeypatch):
    monkeypatch.setenv(
        "REQUESTS_CA_BUNDLE", str(FIXTURES / "localhost-cert.pem")
    )
    for answer, status in (
        (saying(UNTIL_EOF + WORD + DONE), "completed"),
        (hang_up, "reset"),
        (saying(UNTIL_EOF + WORD), "truncated"),
    ):
        with nothing_left(), raw_server(answer, tls=True) as url:
            level = fire(url, 8)
        check(
            level,
            8,
            {status, "reset"} if status == "truncated" else {status},
        )


def test_a_request_that_nobody_reads_is_cut_like_any_other():
    over = threading.Event()
    with (
        nothing_left(),
        raw_server(lambda connection: over.wait(20)) as url,
    ):
        began = time.monotonic()
        level = fire(
            url,
            2,
            limits=load.Limits(stall_s=None, deadline_s=DEADLINE_S),
            prompt="x" * (24 * MIB),
        )
        took_s = time.monotonic() - began
        over.set()
    assert [outcome.status for outcome in level.outcomes] == [
        "cancelled"
    ] * 2 and took_s < 15
