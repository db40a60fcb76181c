"""A server that does everything wrong: each request ends in one row of the right status, and nothing is left behind.

make test-faults        or: pytest -m faults
"""

import contextlib
import gc
import gzip
import os
import socket
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from ollama_bench.load import load
from ollama_bench.protocols.registry import PROTOCOLS
from ollama_bench.simulator import child

pytestmark = pytest.mark.faults
ROOT = Path(__file__).resolve().parents[2]
FIXTURES = Path(__file__).parents[1] / "fixtures"
STALL_S = 1.5  # silence that these tests wait for
DEADLINE_S = 2.5  # of levels that would go on for ever
LEFT_OVER_S = 5.0  # for threads and descriptors of the last level to go
MIB = 1 << 20


def fire(
    url,
    count,
    api_name="ollama",
    *,
    fault=None,
    limits=load.Limits(stall_s=STALL_S),
    prompt="why?",
    **options,
):
    protocol = PROTOCOLS[api_name]
    headers = {"X-Sim-Fault": fault} if fault else {}
    level = load.Load(
        lambda n: load.Task(
            n,
            protocol,
            url + protocol.path,
            protocol.build_body("deepseek-r1:7b", f"[{n}] {prompt}"),
            headers,
        ),
        limits,
        count,
        **options,
    )
    kept = Kept()
    level.run(kept)
    level.outcomes = sorted(kept.outcomes, key=lambda outcome: outcome.task.number)
    return level


class Kept(load.Observer):
    """Every outcome, also of a load that goes on."""

    def __init__(self):
        self.outcomes = []

    def ended(self, outcome):
        self.outcomes.append(outcome)


@contextlib.contextmanager
def nothing_left():
    """No thread and no descriptor more than before."""
    gc.collect()
    process, threads = psutil.Process(), threading.active_count()
    count = process.num_fds if hasattr(process, "num_fds") else process.num_handles
    descriptors = count()
    yield
    until = time.monotonic() + LEFT_OVER_S
    while (
        threading.active_count() > threads or count() > descriptors
    ) and time.monotonic() < until:
        gc.collect()
        time.sleep(0.05)
    assert threading.active_count() <= threads and count() <= descriptors


def check(level, count, statuses, http_status=None):
    """Exactly one outcome a request, each of a status that is right, each a row that SQLite takes."""
    assert [outcome.task.number for outcome in level.outcomes] == list(range(1, count + 1))
    for outcome in level.outcomes:
        assert outcome.status in statuses, (outcome.status, outcome.error)
        assert http_status is None or outcome.http_status == http_status
        assert (outcome.error is None) == (outcome.status == "completed") and len(
            (outcome.error or "x").splitlines()
        ) == 1
        row = outcome.to_figures(0)
        assert all(value is None or isinstance(value, (int, str)) for value in row.values())
        assert row["ended_ns"] is not None and list(outcome.chunk_ns) == sorted(outcome.chunk_ns)
        if row["first_text_ns"] is not None:
            assert (
                row["sent_ns"]
                <= row["first_byte_ns"]
                <= row["first_text_ns"]
                <= row["last_text_ns"]
                <= row["ended_ns"]
            )
    assert {"client_limited", "client_cpu_s"} <= set(level.client_figures())


# -- what the simulator can do wrong

SIMULATED = [  # fault, statuses that are right, HTTP status
    ("accept_silence", {"stalled"}, None),
    ("reset_before_headers", {"reset"}, None),
    ("reset_after_headers", {"reset"}, 200),
    ("reset_mid_line", {"reset"}, 200),
    ("reset_mid_utf8", {"reset"}, 200),
    ("half_close", {"reset"}, 200),
    ("stall", {"stalled"}, 200),
    ("garbage", {"stream_error"}, 200),
    ("html_502", {"http_error"}, 502),
    ("error_first", {"stream_error"}, 200),
    ("error_last", {"stream_error"}, 200),
    ("no_done", {"reset"}, 200),
    ("no_done_stop", {"truncated"}, 200),
    ("done_twice", {"completed"}, 200),
    ("text_after_done", {"completed"}, 200),
    ("no_text", {"empty"}, 200),
    ("huge_line:500000", {"completed"}, 200),
    ("empty_chunks:16000", {"completed"}, 200),
    ("pings", {"completed"}, 200),
    ("wrong_content_length:long", {"reset", "completed"}, 200),
    ("wrong_content_length:short", {"truncated", "stream_error", "completed"}, 200),
    ("content_length", {"completed"}, 200),
    ("until_eof", {"completed"}, 200),
    ("gzip", {"completed"}, 200),
    ("redirect", {"http_error"}, 302),
    ("401", {"http_error"}, 401),
    ("403_empty", {"http_error"}, 403),
    ("404_style1", {"http_error"}, 404),
    ("404_style2", {"http_error"}, 404),
    ("404_text", {"http_error"}, 404),
    ("429", {"http_error"}, 429),
    ("500", {"http_error"}, 500),
    ("503", {"http_error"}, 503),
    ("created_at_backwards", {"completed"}, 200),
    ("counters_as_strings", {"completed"}, 200),
    ("counters_negative", {"completed"}, 200),
    ("counters_nan", {"completed"}, 200),
    ("counters_huge", {"completed"}, 200),
    ("missing_counters", {"completed"}, 200),
    ("merged_tokens", {"completed"}, 200),
    ("inline_think", {"completed"}, 200),
    ("escape_codes", {"completed"}, 200),
]


@pytest.fixture(scope="module")
def short(module_sim):
    return module_sim("--profile", "exact", "--ttft", "5", "--itl", "1", "--tokens", "10")


@pytest.mark.parametrize("count", [1, 64])
@pytest.mark.parametrize(
    "fault, statuses, http_status",
    SIMULATED,
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_each_fault_at_each_level(short, fault, statuses, http_status, count):
    with nothing_left():
        level = fire(short.url, count, fault=fault)
    check(level, count, statuses, http_status)
    if fault.startswith(("counters", "missing")):
        assert {outcome.to_figures(0)["output_tokens_source"] for outcome in level.outcomes} == {"chunks"}
        assert {outcome.to_figures(0)["server_total_ns"] for outcome in level.outcomes} == {None}


def test_a_stream_that_breaks_off_is_told_in_plain_words(short):
    assert (
        fire(short.url, 1, fault="no_done").outcomes[0].error == "connection closed in mid-stream"
    )
    with raw_server(saying(CHUNKED + b"zz\r\nhello\r\n")) as url:
        assert fire(url, 1).outcomes[0].error == "invalid chunk size 'zz'"


@pytest.mark.parametrize(
    "fault",
    [
        "reset_mid_line",
        "error_last",
        "no_done_stop",
        "done_twice",
        "counters_huge",
        "gzip",
        "404_text",
    ],
)
def test_the_other_protocol_fares_alike(short, fault):
    statuses = next(statuses for name, statuses, _ in SIMULATED if name == fault)
    with nothing_left():
        level = fire(short.url, 64, "openai", fault=fault)
    check(level, 64, statuses)


@pytest.mark.parametrize(
    "fault", ["reset_mid_line", "429", "html_502", "no_done", "error_first", "garbage"]
)
def test_a_closed_loop_goes_on_past_failures(short, fault):
    with nothing_left():
        level = fire(short.url, 8, fault=fault, planned=100)
    check(level, 100, next(statuses for name, statuses, _ in SIMULATED if name == fault))


def test_a_slow_drip_is_cut_at_the_deadline(short):
    for count in (1, 64):
        with nothing_left():
            level = fire(
                short.url,
                count,
                fault="slow_drip:1",
                limits=load.Limits(stall_s=STALL_S, deadline_s=DEADLINE_S),
            )
        check(level, count, {"cancelled"})


def test_a_line_of_5_mb_and_a_million_empty_chunks(short):
    before = psutil.Process().memory_info().rss
    with nothing_left():
        patient = load.Limits(stall_s=20)  # the simulator needs its time for 320 MB
        check(fire(short.url, 64, fault="huge_line", limits=patient), 64, {"completed"})
        level = fire(short.url, 1, fault="empty_chunks")
    check(level, 1, {"completed"})
    assert len(level.outcomes[0].chunk_ns) == 10
    assert psutil.Process().memory_info().rss - before < 500 * MIB


def test_a_server_that_dies_and_comes_back_within_a_level(sim):
    dying = sim("--profile", "exact", "--ttft", "5", "--itl", "1", "--tokens", "10")
    again = []

    def restart():
        dying.process.kill()
        dying.process.wait()
        time.sleep(0.3)
        again.append(
            subprocess.Popen(
                child.command(
                    "--port",
                    str(dying.port),
                    "--profile",
                    "exact",
                    "--ttft",
                    "5",
                    "--itl",
                    "1",
                    "--tokens",
                    "10",
                    "--parent-pid",
                    str(os.getpid()),
                ),
                stdout=subprocess.DEVNULL,
            )
        )

    timer = threading.Timer(1.0, restart)
    timer.start()
    with nothing_left():
        level = fire(dying.url, 64, until_s=6)
        timer.join()
    try:
        statuses = [outcome.status for outcome in level.outcomes]
        assert [outcome.task.number for outcome in level.outcomes] == list(
            range(1, len(statuses) + 1)
        )
        assert {"completed", "refused"} <= set(statuses) <= {
            "completed",
            "reset",
            "refused",
        } and statuses[-1] == "completed"
    finally:
        again[0].kill()
        again[0].wait()


# -- what only a raw socket can do wrong


@contextlib.contextmanager
def raw_server(answer, tls=False):
    """Calls answer(connection) for each connection, in a thread; its URL."""
    over, listener = threading.Event(), socket.create_server(("127.0.0.1", 0), backlog=256)
    listener.settimeout(0.1)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(FIXTURES / "localhost-cert.pem", FIXTURES / "localhost-key.pem")

    def serve(connection):
        with contextlib.suppress(OSError), connection:
            connection.settimeout(20)
            if tls:
                connection = context.wrap_socket(connection, server_side=True)
            answer(connection)
            if tls:
                connection.close()

    def accept():
        while not over.is_set():
            with contextlib.suppress(TimeoutError):
                thread = threading.Thread(target=serve, args=[listener.accept()[0]], daemon=True)
                thread.start()
                workers.append(thread)

    workers = []
    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield f"{'https' if tls else 'http'}://localhost:{listener.getsockname()[1]}"
    finally:
        over.set()
        accepting.join()
        for thread in workers:
            thread.join(20)
        listener.close()


def asked(connection):
    """Read a whole request; is it a POST?"""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        (
            int(line.split(b":")[1])
            for line in head.lower().split(b"\r\n")
            if line.startswith(b"content-length")
        ),
        0,
    )
    while len(body) < length:
        body += connection.recv(65536)
    return head.startswith(b"POST")


def saying(*pieces, pause_s=0.0):
    """An answer of these bytes."""

    def answer(connection):
        asked(connection)
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(pause_s)

    return answer


def endless(head, piece):
    """The same piece again and again, until the client has enough."""

    def answer(connection):
        asked(connection)
        connection.settimeout(2)  # the kernel of a client that is gone need not say so
        connection.sendall(head)
        while True:
            connection.sendall(piece)

    return answer


def hang_up(connection):
    connection.recv(1)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n"
CHUNKED, UNTIL_EOF = (
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n",
    HEAD + b"Connection: close\r\n\r\n",
)
WORD, DONE = b'{"response":"x","done":false}\n', b'{"response":"","done":true}\n'
RAW = [  # name, answer, statuses
    ("hangs up", hang_up, {"reset"}),
    ("no HTTP at all", saying(b"SSH-2.0-OpenSSH_9.6\r\n"), {"reset", "stream_error"}),
    ("a NUL and garbage", saying(bytes(range(256)) * 40), {"reset", "stream_error"}),
    ("half a status line", saying(b"HTTP/1.1 2"), {"reset", "stream_error"}),
    (
        "a head without an end",
        saying(b"HTTP/1.1 200 OK\r\nX: y\r\n"),
        {"reset", "stream_error", "truncated"},
    ),
    ("100 and nothing", saying(b"HTTP/1.1 100 Continue\r\n\r\n"), {"reset", "stream_error"}),
    (
        "100 a thousand times",
        saying(b"HTTP/1.1 100\r\n\r\n" * 1020 + UNTIL_EOF + WORD + DONE),
        {"completed"},
    ),
    ("200 and no body", saying(HEAD + b"Content-Length: 0\r\n\r\n"), {"truncated", "stream_error"}),
    ("204", saying(b"HTTP/1.1 204 No Content\r\n\r\n"), {"http_error"}),
    ("a chunk size that is none", saying(CHUNKED + b"zz\r\nhello\r\n"), {"stream_error", "reset"}),
    ("a negative chunk size", saying(CHUNKED + b"-5\r\nhello\r\n"), {"stream_error", "reset"}),
    (
        "a chunk size that leads back to itself",
        saying(CHUNKED + b"-6\r\n\r\n"),
        {"stream_error", "reset"},
    ),
    ("a chunk of 2 EB", saying(CHUNKED + b"1fffffffffffffff\r\n" + WORD), {"reset"}),
    (
        "a Content-Length of 1e400",
        saying(HEAD + b"Content-Length: 1" + b"0" * 400 + b"\r\n\r\n" + WORD),
        {"reset", "stream_error", "truncated"},
    ),
    (
        "a Content-Length of 5,000 digits",
        saying(HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n" + WORD),
        {"reset", "stream_error", "truncated"},
    ),
    (
        "a negative Content-Length",
        saying(HEAD + b"Content-Length: -1\r\n\r\n" + WORD),
        {"truncated", "reset", "stream_error"},
    ),
    (
        "two Content-Lengths",
        saying(HEAD + b"Content-Length: 1\r\nContent-Length: 99\r\n\r\n" + WORD),
        {"reset", "stream_error", "truncated"},
    ),
    (
        "gzip that is none",
        saying(HEAD + b"Content-Encoding: gzip\r\nConnection: close\r\n\r\nnot gzip at all"),
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
        saying(b"HTTP/1.1 307 x\r\nLocation: /api/generate\r\nContent-Length: 0\r\n\r\n"),
        {"http_error"},
    ),
    (
        "a redirect to a file",
        saying(b"HTTP/1.1 301 x\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n"),
        {"http_error"},
    ),
    (
        "a redirect to no address",
        saying(b"HTTP/1.1 301 x\r\nLocation: http://[::1\x85\xff\r\nContent-Length: 0\r\n\r\n"),
        {"http_error"},
    ),
    (
        "an error nested too deeply",
        saying(b"HTTP/1.1 500 x\r\nConnection: close\r\n\r\n" + b"[" * 60_000),
        {"http_error"},
    ),
    (
        "an error of gzip that is none",
        saying(b"HTTP/1.1 500 x\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\nplain"),
        {"http_error"},
    ),
    ("a status of 999", saying(b"HTTP/1.1 999 x\r\nContent-Length: 0\r\n\r\n"), {"http_error"}),
    (
        "words byte by byte",
        saying(UNTIL_EOF, *(bytes([byte]) for byte in WORD + DONE), pause_s=0.002),
        {"completed"},
    ),
    (
        "half a pair of surrogates",
        saying(UNTIL_EOF + b'{"response":"\\ud83d"}\n' + DONE),
        {"completed"},
    ),
]


@pytest.mark.parametrize("count", [1, 64])
@pytest.mark.parametrize("answer, statuses", [row[1:] for row in RAW], ids=[row[0] for row in RAW])
def test_each_answer_that_is_none(answer, statuses, count):
    with nothing_left(), raw_server(answer) as url:
        level = fire(url, count)
    check(level, count, statuses)


ENDLESS = [  # name, answer: what memory and time must be bounded for
    ("a head", endless(b"HTTP/1.1 200 OK\r\n", b"X-Filler: " + b"x" * 50_000 + b"\r\n")),
    ("one line", endless(UNTIL_EOF, b"x" * 65_536)),
    ("words", endless(UNTIL_EOF, WORD * 2000)),
    ("an error", endless(b"HTTP/1.1 500 x\r\nConnection: close\r\n\r\n", b"x" * 65_536)),
]


@pytest.mark.parametrize("answer", [row[1] for row in ENDLESS], ids=[row[0] for row in ENDLESS])
def test_what_never_ends_is_cut(answer):
    before = psutil.Process().memory_info().rss
    with nothing_left(), raw_server(answer) as url:
        level = fire(url, 2, limits=load.Limits(stall_s=STALL_S, deadline_s=DEADLINE_S))
    check(level, 2, {"cancelled", "http_error", "stream_error", "reset", "truncated"})
    assert psutil.Process().memory_info().rss - before < 1000 * MIB


def test_a_redirects_endless_page_is_not_read():
    with (
        nothing_left(),
        raw_server(
            endless(b"HTTP/1.1 302 x\r\nLocation: /x\r\nConnection: close\r\n\r\n", b"x" * 65_536)
        ) as url,
    ):
        level = fire(url, 2, limits=load.Limits(stall_s=STALL_S, deadline_s=60))
        check(level, 2, {"http_error"}, 302)
    assert {outcome.error for outcome in level.outcomes} == {"redirects to /x"}


@pytest.mark.skipif(
    not os.path.exists("/proc/self/status"), reason="the peak of one process is not known here"
)
@pytest.mark.parametrize("chunked", [True, False])
def test_a_bomb_of_compressed_zeros_does_not_fill_the_memory(chunked):
    packed = gzip.compress(b" " * (1 << 30))  # a megabyte that means a gigabyte
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(packed), packed) if chunked else packed
    head = CHUNKED if chunked else UNTIL_EOF
    program = (
        f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'tests')!r}]\n"
        "import re, load, test_faults\n"
        "level = test_faults.fire(sys.argv[1], 1, limits=load.Limits(stall_s=20))\n"
        "print(level.outcomes[0].status, re.search(r'VmHWM:\\s*(\\d+) kB', open('/proc/self/status').read())[1])"
    )
    with raw_server(saying(head[:-2] + b"Content-Encoding: gzip\r\n\r\n" + body)) as url:
        said = subprocess.run(
            [sys.executable, "-c", program, url], capture_output=True, text=True, timeout=60
        )
    status, peak = said.stdout.split()
    assert status in ("stream_error", "truncated") and int(peak) < 600 * 1024, said


def test_refused_by_everybody():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    for count in (1, 64):
        with nothing_left():
            level = fire(f"http://127.0.0.1:{port}", count)
        assert [outcome.status for outcome in level.outcomes] == ["refused"] * count
        assert all(outcome.sent_ns is None and outcome.error for outcome in level.outcomes)


@pytest.mark.parametrize("count", [1, 64])
def test_tls_that_cannot_be_trusted_or_is_none(short, count):
    with nothing_left(), raw_server(saying(UNTIL_EOF + WORD + DONE), tls=True) as url:
        level = fire(url, count)
    assert {outcome.status for outcome in level.outcomes} == {"refused"} and all(
        "certificate" in outcome.error.lower() for outcome in level.outcomes
    )
    with nothing_left():
        level = fire(short.url.replace("http:", "https:"), count)
    check(level, count, {"refused", "reset"})


def test_tls_with_a_certificate_of_ones_own(monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(FIXTURES / "localhost-cert.pem"))
    for answer, status in (
        (saying(UNTIL_EOF + WORD + DONE), "completed"),
        (hang_up, "reset"),
        (saying(UNTIL_EOF + WORD), "truncated"),
    ):
        with nothing_left(), raw_server(answer, tls=True) as url:
            level = fire(url, 8)
        check(level, 8, {status, "reset"} if status == "truncated" else {status})


def test_a_request_that_nobody_reads_is_cut_like_any_other():
    over = threading.Event()
    with nothing_left(), raw_server(lambda connection: over.wait(20)) as url:
        began = time.monotonic()
        level = fire(
            url,
            2,
            limits=load.Limits(stall_s=None, deadline_s=DEADLINE_S),
            prompt="x" * (24 * MIB),
        )
        took_s = time.monotonic() - began
        over.set()
    assert [outcome.status for outcome in level.outcomes] == ["cancelled"] * 2 and took_s < 15


# -- through bench.py


def bench(cwd, url, *arguments, env=None):
    done = subprocess.run(
        [
            sys.executable,
            str(ROOT / "bench.py"),
            *arguments,
            "--host",
            url,
            "--cooldown",
            "0",
            "--idle",
            "0",
            "--plain",
            "--no-monitor",
        ],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=90,
        env={**os.environ, **(env or {})},
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.mark.parametrize(
    "fault, code, statuses",
    [
        ("created_at_backwards", 0, {"completed"}),
        ("garbage", 1, {"stream_error"}),
        ("reset_mid_line", 1, {"reset"}),
        ("503", 1, {"http_error"}),
        ("accept_silence", 1, {"stalled"}),
        ("error_first", 1, {"stream_error"}),
        ("no_text", 1, {"empty"}),
        ("escape_codes:error", 1, {"stream_error"}),
    ],
)
def test_the_exit_code_tells_whether_any_level_got_no_reply(sim, tmp_path, fault, code, statuses):
    server = sim(
        "--profile", "exact", "--ttft", "5", "--itl", "1", "--tokens", "10", "--fault", fault
    )
    done = bench(tmp_path, server.url, "1,8", "--warmup", "0", "--stall", "1")
    assert done.returncode == code, done.stdout + done.stderr
    connection = sqlite3.connect(tmp_path / "results.db")
    found = connection.execute(
        "SELECT level_id, count(*), group_concat(DISTINCT status) FROM request GROUP BY level_id"
    ).fetchall()
    assert [row[1] for row in found] == [1, 8] and {
        row[2] for row in found
    } <= statuses  # the run went on to the second level
    assert connection.execute("SELECT status FROM run").fetchone() == ("finished",)
    connection.close()


def test_words_that_the_console_cannot_write_are_no_end_of_the_run(sim, tmp_path):
    def answer(connection):
        models = b'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{"data": [{"id": "x"}]}'
        connection.sendall(
            "HTTP/1.1 500 x\r\nConnection: close\r\n\r\n時間 \U0001f600".encode()
            if asked(connection)
            else models
        )

    with raw_server(answer) as url:
        done = bench(
            tmp_path,
            url,
            "2",
            "--api",
            "openai",
            "--warmup",
            "0",
            env={"PYTHONIOENCODING": "ascii"},
        )
    assert done.returncode == 1 and "500" in done.stdout and len(done.stderr.splitlines()) <= 1
