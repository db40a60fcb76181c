"""load.py and wire.py: a place is free when its reply has ended; what the end of a reply is; stops of the client itself."""
import contextlib
import itertools
import json
import os
import queue
import select
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import pytest

from ollama_bench.protocols import api
from ollama_bench.load import attempt
from ollama_bench.load import load
from ollama_bench.transport import capabilities
from ollama_bench.transport import reader
from ollama_bench.transport import syscalls
from ollama_bench.load import tally
from ollama_bench.transport import wire

ROOT = Path(__file__).resolve().parents[2]
NEVER = load.Limits(stall_s=None)
LINE = b'{"response": "a", "done": false}\n'
LAST = b'{"response": "", "done": true, "eval_count": 2}\n'
EVENT = b'data: {"choices": [{"delta": {"content": "a"}}]}\n\n'
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CLOSE = object()
PAUSE_S = 0.05


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


ANSWER = [CHUNKED + chunk(LINE), chunk(LAST) + b"0\r\n\r\n"]


class Played:
    """A server that plays an answer to each request: bytes, pauses in seconds, CLOSE. It counts connections and requests."""

    def __init__(self, answer):
        self.answer, self.connections, self.requests, self.read_at = answer, 0, 0, []

    def __enter__(self):
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/x"
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._listener.close()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection, contextlib.suppress(OSError):
            while request(connection):
                self.requests += 1
                self.read_at.append(time.perf_counter_ns())
                for step in self.answer:
                    if step is CLOSE:
                        return
                    time.sleep(step) if isinstance(step, float) else connection.sendall(step)


def request(connection):
    data = b""
    while b"\r\n\r\n" not in data:
        if not (got := connection.recv(65_536)):
            return False
        data += got
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += connection.recv(65_536)
    return True


class Seen(load.Observer):
    def __init__(self):
        self.outcomes = []

    def ended(self, outcome):
        self.outcomes.append(outcome)


def fire(url, workers, api_name="ollama", limits=NEVER, source=None, interrupt=None, **way):
    protocol, seen = api.SERVERS[api_name], Seen()
    level = load.Load(source or (lambda n: load.Task(n, protocol, url, {"number": n})), limits, workers, interrupt=interrupt, **way)
    level.run(seen)
    level.seen = sorted(seen.outcomes, key=lambda outcome: outcome.task.number)
    return level


def slow_digest(monkeypatch, seconds):
    """Reading what a reply says takes so long."""
    real = attempt.read_stream

    def read_stream(*arguments):
        time.sleep(seconds)
        real(*arguments)

    monkeypatch.setattr(attempt, "read_stream", read_stream)


def test_the_next_request_leaves_before_the_reply_is_digested(monkeypatch):
    slow_digest(monkeypatch, 0.2)
    with Played([CHUNKED + chunk(LINE), PAUSE_S, chunk(LAST) + b"0\r\n\r\n"]) as server:
        level = fire(server.url, 4, planned=16)
    assert [o.status for o in level.seen] == ["completed"] * 16
    replaced = [o.send_lag_ns for o in level.seen if o.send_lag_ns is not None]
    assert len(replaced) == 12 and sorted(replaced)[6] < 0.05e9  # four digests of 0.2 s, one after the other, would be 0.8 s
    assert (max(o.sent_ns for o in level.seen) - level.started_ns) / 1e9 < 1.0


def test_an_open_loop_waits_for_no_digest(monkeypatch):
    """One place, and each reply takes long to read: the next is sent when it is due, and the pool is not called full."""
    slow_digest(monkeypatch, 0.2)
    with Played(ANSWER) as server:
        level = fire(server.url, 1, arrivals=iter([0.1 * n for n in range(1, 7)]), planned=6)
    assert [o.status for o in level.seen] == ["completed"] * 6 and level.pool_waits == level.never_sent == 0
    assert max(o.sent_ns - o.due_ns for o in level.seen) < 0.09e9


def test_requests_that_the_client_never_sent_are_its_own_lateness(monkeypatch):
    """No thread is there to make them ready in time: nobody is told that the pool was too small."""
    monkeypatch.setattr(load, "MAKING_AT_ONCE", 0)
    with Played(ANSWER) as server:
        level = fire(server.url, 8, arrivals=iter([0.0, 0.4, 0.5, 0.6]), until_s=0.8)
    assert level.never_sent == 3 and level.pool_waits == 0
    assert "late" in level.client_figures()["client_limited_why"]


def test_the_next_turn_follows_at_once_and_its_gap_is_measured():
    def turn(number, place):
        follow = (lambda next_number, _: turn(next_number, place + 1)) if place < 3 else None
        return load.Task(number, api.SERVERS["ollama"], server.url, {"turn": place}, turn=place, follow=follow)

    with Played(ANSWER) as server:
        level = fire(server.url, 2, source=lambda n: turn(n, 1), planned=12)
    assert [o.task.number for o in level.seen] == list(range(1, 13)) and {o.status for o in level.seen} == {"completed"}
    later = [o for o in level.seen if o.task.turn > 1]
    assert len(later) >= 7 and all(o.send_lag_ns is not None and o.send_lag_ns >= 0 for o in later) and sorted(o.send_lag_ns for o in later)[4] < 0.1e9


def test_turns_that_are_not_sent_leave_no_hole_in_the_numbers():
    """The time is over while some turns are made ready: requests are numbered as they leave."""
    def turn(number, place):
        return load.Task(number, api.SERVERS["ollama"], server.url, {}, turn=place, follow=lambda next_number, _: turn(next_number, place + 1))

    with Played(ANSWER) as server:
        for _ in range(5):
            level = fire(server.url, 8, source=lambda n: turn(n, 1), until_s=0.2)
            assert [o.task.number for o in level.seen] == list(range(1, len(level.seen) + 1))


def test_a_server_that_keeps_its_connections_is_asked_on_them():
    lines = wire.Lines()
    with Played([CHUNKED + chunk(LINE), PAUSE_S, chunk(LAST) + b"0\r\n\r\n"]) as server:
        fire(server.url, 1, planned=1, lines=lines)
        time.sleep(2 * wire.KEPT_AFTER_S)  # now it is known
        level = fire(server.url, 4, planned=40, lines=lines)
        assert [o.status for o in level.seen] == ["completed"] * 40 and server.connections <= 5
        lines.close()


@pytest.mark.parametrize("workers", [1, 8])
def test_a_server_that_hangs_up_after_each_answer_without_a_word_is_no_reset(workers):
    """No request is written on a line that is not known to be kept."""
    with Played([*ANSWER, CLOSE]) as server:
        level = fire(server.url, workers, planned=6 * workers)
        assert [o.status for o in level.seen] == ["completed"] * 6 * workers and server.connections >= 6 * workers


def test_a_held_request_whose_line_was_closed_goes_on_another(monkeypatch):
    """It is held for 1 s; the server closes who is silent for 0.2 s."""
    monkeypatch.setattr(load, "CONNECT_AHEAD_S", 2.0)

    class Impatient(Played):
        def _talk(self, connection):
            connection.settimeout(0.2)
            super()._talk(connection)

    with Impatient(ANSWER) as server:
        level = fire(server.url, 2, arrivals=iter([0.0, 1.0]), planned=2)
    assert [o.status for o in level.seen] == ["completed"] * 2


OPEN_ENDS = {  # the reply is said to have ended, the answer goes on or hangs
    "chunks go on": [CHUNKED + chunk(LINE), PAUSE_S, chunk(LAST), 30.0],
    "more lines": [CHUNKED + chunk(LINE), PAUSE_S, chunk(LAST) + chunk(b"\n"), 30.0],
    "length not reached": [b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + LINE, PAUSE_S, LAST, 30.0],
    "no end of file": [b"HTTP/1.1 200 OK\r\n\r\n" + LINE, PAUSE_S, LAST, 30.0],
    "cut in the last line": [CHUNKED + chunk(LINE), PAUSE_S, chunk(LAST)[:30], PAUSE_S, chunk(LAST)[30:], 30.0],
}


@pytest.mark.parametrize("name", OPEN_ENDS)
@pytest.mark.parametrize("api_name", ["ollama", "openai"])
@pytest.mark.parametrize("way", [{}, {"planned": 6}], ids=["burst", "closed"])
def test_a_reply_has_ended_with_its_last_line(name, api_name, way):
    """Whether or not the server ends its framing; the line is dropped and nobody waits for it."""
    answer = OPEN_ENDS[name]
    if api_name == "openai":
        answer = [step if isinstance(step, float) else in_events(step) for step in answer]
    with Played(answer) as server:
        began = time.perf_counter()
        level = fire(server.url, 2, api_name, load.Limits(stall_s=20), **way)
        assert time.perf_counter() - began < 5
    assert {o.status for o in level.seen} == {"completed"}, [o.error for o in level.seen]
    assert all(0.9 * PAUSE_S < (o.ended_ns - o.sent_ns) / 1e9 < 1.5 for o in level.seen)
    assert server.connections >= len(level.seen)  # none carried a second request


def in_events(data):
    """The same bytes in OpenAI's protocol, chunks of the same cut."""
    if data == chunk(LAST)[:30]:
        return chunk(b"data: [DONE]\n\n")[:9]
    if data == chunk(LAST)[30:]:
        return chunk(b"data: [DONE]\n\n")[9:]
    for old, new in ((LINE, EVENT), (LAST, b"data: [DONE]\n\n")):
        data = data.replace(chunk(old), chunk(new)).replace(old, new)
    return data


@pytest.mark.parametrize("api_name, text", [("ollama", b'{"response": "true, [DONE]", "done": false}\n'), ("ollama", b'{"response": "\\"done\\": true", "done": false}\n'),
                                            ("openai", b'data: {"choices": [{"delta": {"content": "data: [DONE]"}}]}\n\n')])
def test_words_that_look_like_the_end_are_none(api_name, text):
    end = LAST if api_name == "ollama" else b"data: [DONE]\n\n"
    with Played([CHUNKED + chunk(text), 0.1, chunk(text) + chunk(end) + b"0\r\n\r\n"]) as server:
        level = fire(server.url, 2, api_name)
    assert [o.status for o in level.seen] == ["completed"] * 2 and [len(o.chunk_ns) for o in level.seen] == [2, 2]
    assert all(o.chunk_ns[1] - o.chunk_ns[0] > 0.08e9 for o in level.seen)


def test_a_last_line_of_many_reads_ends_the_reply_when_it_has_come_whole():
    """Ollama's may hold the whole context: 'done' comes long before its end."""
    last = b'{"done": true, "context": [' + b"1," * 200_000 + b'1], "eval_count": 7}\n'
    head, rest = chunk(last)[:1000], chunk(last)[1000:]
    with Played([CHUNKED + chunk(LINE) + head, 0.1, rest, 30.0]) as server:
        level = fire(server.url, 2, limits=load.Limits(stall_s=20))
    assert [(o.status, o.summary.output_tokens) for o in level.seen] == [("completed", 7)] * 2
    assert all(o.ended_ns - o.sent_ns > 0.09e9 for o in level.seen)


@pytest.mark.parametrize("before", [b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n" * 2,
                                    b"HTTP/1.1 102 Processing\n\nHTTP/1.1 199 x\r\nContent-Length: 900\r\n\r\n"])
def test_informational_answers_are_skipped(before):
    with Played([before, PAUSE_S, *ANSWER]) as server:
        level = fire(server.url, 2, planned=6)
    assert [(o.status, o.http_status) for o in level.seen] == [("completed", 200)] * 6
    assert all((o.first_byte_ns - o.sent_ns) / 1e9 > 0.9 * PAUSE_S for o in level.seen)  # of the answer itself


def test_a_level_without_threads_ends_in_one_line(monkeypatch):
    real, started = threading.Thread.start, itertools.count(1)

    def start(thread):
        if thread._target is not None and "worker" in getattr(thread._target, "__name__", "") and next(started) > 5:
            raise RuntimeError("can't start new thread")
        real(thread)

    with Played([30.0]) as server:
        monkeypatch.setattr(threading.Thread, "start", start)
        began = time.perf_counter()
        with pytest.raises(load.LoadError, match="level 12 needs 12 threads"):
            fire(server.url, 12)
        assert time.perf_counter() - began < 1.0
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith(("stream", "reader", "heart"))]


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="becomes another user to have a limit of threads")
def test_the_limit_of_threads_is_named_and_rows_are_kept(module_sim, tmp_path):
    sim = module_sim("--profile", "exact", "--ttft", "5", "--itl", "1", "--tokens", "5")
    tmp_path.chmod(0o777)
    for parent in tmp_path.parents[:2]:
        parent.chmod(0o755)
    script = (f"import os, resource, sys; sys.path.insert(0, {str(ROOT)!r}); import bench, encodings.idna, sqlite_utils.db, psutil; "
              "resource.setrlimit(resource.RLIMIT_NPROC, (40, 40)); os.setgid(65534); os.setuid(65534); sys.exit(bench.main(sys.argv[1:]))")
    done = subprocess.run([sys.executable, "-c", script, "2,64", "--host", sim.url, "--no-monitor", "--cooldown", "0", "--db", str(tmp_path / "results.db")],
                          capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.returncode == 1 and "level 64 needs 64 threads" in done.stderr and "ulimit -u is 40" in done.stderr, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    with contextlib.closing(sqlite3.connect(tmp_path / "results.db")) as database:
        assert database.execute("SELECT concurrency, status FROM level").fetchall() == [(2, "finished"), (64, "interrupted")]
        assert database.execute("SELECT status FROM run").fetchone() == ("interrupted",)


@pytest.fixture
def unreachable():
    """An address that does not answer: its queue of connections is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(8):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/x"


@pytest.mark.parametrize("way", [{}, {"planned": 50}], ids=["burst", "closed"])
def test_an_interrupt_ends_a_level_in_a_handshake(way):
    """A server that accepts and says nothing, asked with TLS."""
    interrupt = threading.Event()
    threading.Timer(0.3, interrupt.set).start()
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        began = time.perf_counter()
        level = fire(f"https://127.0.0.1:{listener.getsockname()[1]}/x", 4, interrupt=interrupt, **way)
    assert time.perf_counter() - began < 2.0
    assert {o.status for o in level.seen} <= {"cancelled", "refused"}


@pytest.mark.skipif(sys.platform != "linux", reason="Linux drops what a full queue can't hold")
@pytest.mark.parametrize("way", [{}, {"planned": 50}, {"arrivals": load.poisson(20, 1), "until_s": 30}], ids=["burst", "closed", "open"])
def test_an_interrupt_ends_a_level_that_connects(unreachable, way):
    interrupt = threading.Event()
    threading.Timer(0.3, interrupt.set).start()
    began = time.perf_counter()
    level = fire(unreachable, 4, interrupt=interrupt, **way)
    assert time.perf_counter() - began < 2.0
    assert {o.status for o in level.seen} <= {"cancelled", "refused"}


def test_the_deadline_ends_a_level_whose_request_is_not_read():
    """A body that the server never takes is cut while it is written."""
    protocol = api.SERVERS["ollama"]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/x"
        began = time.perf_counter()
        level = fire(url, 2, source=lambda n: load.Task(n, protocol, url, {"prompt": "x" * 20_000_000}), limits=load.Limits(stall_s=None, deadline_s=0.5))
        assert time.perf_counter() - began < 3.0
    assert [o.status for o in level.seen] == ["cancelled"] * 2


@pytest.mark.parametrize("way", [{}, {"arrivals": load.poisson(20, 1)}], ids=["closed", "open"])
def test_a_stream_that_stalls_is_cut_after_the_load_has_ended_too(way):
    with Played([CHUNKED + chunk(LINE), 30.0]) as server:
        began = time.perf_counter()
        level = fire(server.url, 2, limits=load.Limits(stall_s=1.0), until_s=0.5, **way)
        assert time.perf_counter() - began < 4.0
    assert {o.status for o in level.seen} == {"stalled"}


def test_too_many_undigested_bytes_hold_the_load_and_are_told(monkeypatch):
    """Memory is bounded: nothing is sent meanwhile, and the level says so."""
    monkeypatch.setattr(load, "MOST_WAITING_BYTES", 100)
    slow_digest(monkeypatch, 0.1)
    with Played(ANSWER) as server:
        level = fire(server.url, 4, planned=24)
    assert [o.status for o in level.seen] == ["completed"] * 24 and level.held_s > 0.1
    assert "replies waited to be digested" in level.client_figures()["client_limited_why"]


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no such signal")
def test_a_client_that_was_stopped_says_so_and_its_gaps_count_to_no_server(module_sim, tmp_path):
    sim = module_sim("--profile", "exact", "--ttft", "20", "--itl", "20", "--tokens", "150")
    path = tmp_path / "results.db"
    process = subprocess.Popen([sys.executable, str(ROOT / "bench.py"), "4", "--host", sim.url, "--no-monitor", "--warmup", "0", "--user-stamps", "--db", str(path)],
                               stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    try:
        until = time.monotonic() + 20
        while sim.state()["active"] < 4 and time.monotonic() < until:
            time.sleep(0.05)
        time.sleep(0.5)
        process.send_signal(signal.SIGSTOP)
        time.sleep(1.5)
        process.send_signal(signal.SIGCONT)
        said, _ = process.communicate(timeout=30)
    finally:
        process.kill()
    with contextlib.closing(sqlite3.connect(path)) as database:
        paused_s, itl_max_s, limited, why = database.execute("SELECT client_paused_s, itl_max_s, client_limited, client_limited_why FROM level").fetchone()
    assert 1.2 < paused_s < 2.5 and itl_max_s < 1.0 and limited and "this client itself stood still" in why and "(stopped)" in why and "stood still" in " ".join(said.split())


def test_after_a_stop_of_the_client_no_stream_is_called_stalled(monkeypatch):
    """Nothing was heard for as long as nobody listened."""
    with Played([CHUNKED + chunk(LINE), 1.0, chunk(LAST) + b"0\r\n\r\n"]) as server:
        protocol, seen = api.SERVERS["ollama"], Seen()
        level = load.Load(lambda n: load.Task(n, protocol, server.url, {}), load.Limits(stall_s=0.5), 1)
        real = load.Load._look

        def look(self, now_ns):
            self._heart.last_pause_end_ns = now_ns  # as if the process had just gone on
            real(self, now_ns)

        monkeypatch.setattr(load.Load, "_look", look)
        level.run(seen)
    assert [o.status for o in seen.outcomes] == ["completed"]


def test_the_heart_knows_of_a_sleep_that_the_clock_of_instants_does_not_see(monkeypatch):
    """On a Mac perf_counter stands still while it sleeps; another clock goes on."""
    jumps = queue.SimpleQueue()
    real = load.awake.continuous_ns
    slept = [0]

    def clock():
        with contextlib.suppress(queue.Empty):
            slept[0] += jumps.get_nowait()
        return real() + slept[0]

    monkeypatch.setattr(load.awake, "continuous_ns", clock)
    heart = load.Heart()
    try:
        began = time.perf_counter_ns()
        jumps.put(30_000_000_000)
        until = time.monotonic() + 5
        while not heart.pauses and time.monotonic() < until:
            time.sleep(0.01)
    finally:
        heart.stop()
    assert heart.paused_s(began, time.perf_counter_ns()) == pytest.approx(30, abs=1) and len(heart.pauses) == 1


@pytest.mark.parametrize("knows, slept_s", [(True, 30.0), (False, None)])
def test_a_level_that_slept_says_so(monkeypatch, knows, slept_s):
    """By the clocks alone, whether or not a monitor runs; None where the system has no such clocks."""
    asleep_ns = [5_000_000_000]
    monkeypatch.setattr(load.awake, "slept_ns", lambda: asleep_ns[0] if knows else None)

    class Sleeps(Seen):
        def tick(self, level):
            asleep_ns[0] = 35_000_000_000

    with Played([CHUNKED + chunk(LINE), 0.5, chunk(LAST) + b"0\r\n\r\n"]) as server:
        protocol = api.SERVERS["ollama"]
        level = load.Load(lambda n: load.Task(n, protocol, server.url, {}), load.Limits(), 1)
        level.run(Sleeps())
    figures = level.client_figures()
    assert figures["slept_s"] == slept_s and figures["client_limited"] == int(knows)
    assert (figures["client_limited_why"] or "").startswith("the machine slept for 30.0 s" if knows else "")


def test_a_level_that_did_not_sleep_has_zero():
    with Played([CHUNKED + chunk(LINE), chunk(LAST) + b"0\r\n\r\n"]) as server:
        level = fire(server.url, 1)
    assert level.client_figures()["slept_s"] == (0.0 if load.awake.slept_ns() is not None else None)


def test_the_client_checks_what_it_believes_to_be_in_flight():
    """The level's own rows say how many were in flight; where they are too few the level is marked."""
    with Played([CHUNKED + chunk(LINE), PAUSE_S, chunk(LAST) + b"0\r\n\r\n"]) as server:
        level = fire(server.url, 4, planned=40)
    figures = level.client_figures()
    assert 3.5 < figures["in_flight_mean"] <= 4.0
    assert json.dumps(figures)  # columns of the table level
    assert set(figures) >= {"client_send_lag_p50_s", "client_send_lag_p99_s", "client_send_lag_max_s"} and tally.FULL_RATIO == 0.98


class FakeKqueue:
    """macOS' select.kqueue in the manner of its man page, over epoll."""

    def __init__(self):
        self._epoll, self._known = select.epoll(), set()

    def control(self, changes, most, timeout=None):
        for change in changes or ():
            if change.flags == 1:
                self._epoll.register(change.ident, select.EPOLLIN)
                self._known.add(change.ident)
            elif change.ident not in self._known:
                raise FileNotFoundError
            else:
                self._epoll.unregister(change.ident)
                self._known.remove(change.ident)
        if not most:
            return []
        found = self._epoll.poll(timeout)
        return [types.SimpleNamespace(ident=number) for number, _ in found][:most]

    def close(self):
        self._epoll.close()


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="the stand-in is made of it")
@pytest.mark.parametrize("name", ["more lines", "whole"])
def test_a_mac_reads_with_kqueue_and_its_own_clock(monkeypatch, name):
    monkeypatch.setattr(reader, "select", types.SimpleNamespace(
        kqueue=FakeKqueue, KQ_FILTER_READ=-1, KQ_EV_ADD=1, KQ_EV_DELETE=2,
        kevent=lambda ident, filter, flags: types.SimpleNamespace(ident=ident, filter=filter, flags=flags)))
    answer = OPEN_ENDS.get(name) or [CHUNKED + chunk(LINE), PAUSE_S, chunk(LAST) + b"0\r\n\r\n"]
    with Played(answer) as server:
        level = fire(server.url, 4, limits=load.Limits(stall_s=20, kernel_stamps=False), planned=16)
    assert [o.status for o in level.seen] == ["completed"] * 16 and level.client_figures()["client_stamps"] == "user"


@pytest.mark.parametrize("kernel_stamps", [True, False])
def test_a_system_without_such_calls_reads_with_a_thread_for_each_stream(monkeypatch, kernel_stamps):
    """Windows, and a Python without ctypes."""
    monkeypatch.setattr(syscalls, "AVAILABLE", False)
    monkeypatch.setattr(capabilities, "READS_TOGETHER", False)
    with Played([CHUNKED + chunk(LINE), PAUSE_S, chunk(LAST) + b"0\r\n\r\n"]) as server:
        level = fire(server.url, 4, limits=load.Limits(stall_s=20, kernel_stamps=kernel_stamps), planned=16)
    assert [o.status for o in level.seen] == ["completed"] * 16
    assert all((o.chunk_ns[0] - o.sent_ns) >= 0 and (o.ended_ns - o.chunk_ns[0]) / 1e9 > 0.5 * PAUSE_S for o in level.seen)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
@pytest.mark.parametrize("words, needed", [(["60"], 188), (["60", "--requests", "60"], 248), (["60", "--requests", "60", "--host", "127.0.0.1:2"], 368)])
def test_descriptors_are_counted_before_anything_is_fired(words, needed, tmp_path):
    """A connection for each host and each request in flight, and for each that is ready to replace one."""
    script = f"import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (150, 150)); sys.path.insert(0, {str(ROOT)!r}); import bench; sys.exit(bench.main(sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-c", script, "--host", "127.0.0.1:1", *words], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.returncode == 1 and f"need {needed} open files and the limit is 150: ulimit -n {needed}" in done.stderr
    assert not list(tmp_path.iterdir())
