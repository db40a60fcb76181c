"""wire.py: every framing replayed right, instants of the right read, bursts, cuts, TLS, bounded memory."""

import contextlib
import gzip
import queue
import socket
import ssl
import threading
import time
from pathlib import Path

import pytest
import requests
import urllib3

from ollama_bench.transport import wire

FIXTURES = Path(__file__).parents[1] / "fixtures"
GAP_S = 0.03
CLOSE = object()


@contextlib.contextmanager
def server(*answers, tls=False):
    """Plays one answer a request, in turn: a list of bytes, pauses in seconds and CLOSE. Yields its URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if tls:
        context.load_cert_chain(FIXTURES / "localhost-cert.pem", FIXTURES / "localhost-key.pem")
    waiting = queue.SimpleQueue()
    for answer in answers:
        waiting.put(answer)

    def serve():
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=talk, args=(connection,), daemon=True).start()

    def talk(connection):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError):
            if tls:
                connection = context.wrap_socket(connection, server_side=True)
            with connection:
                while read_request(connection) and not waiting.empty():
                    for step in waiting.get():
                        if step is CLOSE:
                            return
                        time.sleep(step) if isinstance(step, float) else connection.sendall(step)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http{'s' if tls else ''}://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        listener.close()


def read_request(connection):
    data = b""
    while b"\r\n\r\n" not in data:
        if not (got := connection.recv(65536)):
            return False
        data += got
    return True


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def exchange_with(url, kernel_stamps=True, session=None, **options):
    """One exchange: (list of (instant, bytes), exchange). The exchange fires itself, unless it has an on_ready."""
    session = session or wire.Session()
    exchange = wire.Exchange(kernel_stamps=kernel_stamps, **options)
    prepared = session.prepare_request(requests.Request("POST", url, json={"a": 1}))
    with exchange:
        response = session.send(
            prepared, stream=True, timeout=(5, None), verify=str(FIXTURES / "localhost-cert.pem")
        )
        pieces = list(exchange.pieces(response))
    return pieces, exchange


def text(pieces):
    return b"".join(data for _, data in pieces)


@pytest.mark.parametrize("kernel_stamps", [True, False])
def test_each_piece_has_the_instant_of_its_own_read(kernel_stamps):
    with server(
        [GAP_S, HEAD + chunk(b"a\n"), GAP_S, chunk(b"b\n"), GAP_S, chunk(b"c\n") + END]
    ) as url:
        pieces, exchange = exchange_with(url, kernel_stamps)
    assert [data for _, data in pieces] == [b"a\n", b"b\n", b"c\n"]
    instants = [exchange.sent_ns, *(at for at, _ in pieces)]
    assert all(later - earlier > GAP_S * 0.8e9 for earlier, later in zip(instants, instants[1:]))
    assert exchange.first_read_ns == pieces[0][0] and exchange.ended_ns == pieces[-1][0]
    assert exchange.recorder is not None and exchange.reads == 3
    if kernel_stamps and wire.KERNEL_STAMPS:
        assert len(exchange.read_lags_ns) == 3 and min(exchange.read_lags_ns) >= 0


BODY = b'{"x": "0\r\n\r\n", "y": 1}\n'
FRAMINGS = {
    "chunked": HEAD + chunk(BODY) + chunk(b"10\r\n\r\n") + chunk(BODY) + END,
    "trailers": HEAD + chunk(BODY) + b"0\r\nX-Sum: 1\r\n\r\n",
    "extension": HEAD + b"%x;name=1\r\n%s\r\n" % (len(BODY), BODY) + END,
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY,
    "empty": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "continue first": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc",
}
EXPECTED = {
    "chunked": BODY + b"10\r\n\r\n" + BODY,
    "trailers": BODY,
    "extension": BODY,
    "length": BODY,
    "empty": b"",
    "no content": b"",
    "continue first": b"abc",
}


@pytest.mark.parametrize("name", FRAMINGS)
def test_every_framing_ends_by_itself_and_the_connection_serves_again(name):
    session, lines = wire.Session(), wire.Lines()
    with server([FRAMINGS[name]], [FRAMINGS["length"]]) as url:
        assert text(exchange_with(url, session=session, lines=lines)[0]) == EXPECTED[name]
        time.sleep(2 * wire.KEPT_AFTER_S)  # now the server is known to keep its connections
        assert text(exchange_with(url, session=session, lines=lines)[0]) == BODY
    lines.close()


@pytest.mark.parametrize("together", [True, False])
def test_a_chunk_that_looks_like_the_end_is_none(together):
    """Its payload ends in a line of 0: the stream goes on, and every chunk keeps its instant."""
    with server(
        [HEAD + chunk(b"a\r\n0\r\n"), GAP_S, chunk(b"\r\n0\r\n"), GAP_S, chunk(b"b\n") + END]
    ) as url:
        with wire.Reader() if together else contextlib.nullcontext() as reader:
            pieces, exchange = exchange_with(url, reader=reader)
    assert [data for _, data in pieces] == [
        b"a\r\n0\r\n",
        b"\r\n0\r\n",
        b"b\n",
    ] and exchange.ended_ns == pieces[-1][0]
    assert all(
        later - earlier > GAP_S * 0.5e9 for (earlier, _), (later, _) in zip(pieces, pieces[1:])
    )


def test_who_has_ended_is_read_when_nobody_streams_any_more():
    """Two of one burst: the first to end is handed out when nobody streams, or a moment later at the latest."""
    for later_s, hurries in ((20.0, True), (0.05, False)):
        digests, order = wire.DigestQueue(later_s), queue.SimpleQueue()
        with server([HEAD + chunk(b"a\n") + END]) as url, wire.Reader() as reader:
            thread = threading.Thread(
                target=lambda: order.put(exchange_with(url, reader=reader, digests=digests))
            )
            thread.start()
            while not len(digests):
                time.sleep(0.01)
            digests.look()
            if hurries:
                assert order.empty() and digests.waiting_bytes > 0
                digests.hurry()
            else:
                time.sleep(0.1)
                digests.look()
            assert text(order.get(timeout=10)[0]) == b"a\n" and not len(digests)
            thread.join()


def test_a_look_in_the_middle_of_a_read_sees_its_instant():
    """A thread may be stopped between the two numbers that it notes of a read; an offset taken for an instant is a stalled stream."""
    recorder, seen = wire.Recorder((), lambda _: False), []
    for number in range(1, 4):
        recorder._log.append(number * 10**9)
        seen.append(recorder.last_ns)
        recorder._log.append(number * 100)
        seen.append(recorder.last_ns)
    assert (
        seen == [10**9, 10**9, 2 * 10**9, 2 * 10**9, 3 * 10**9, 3 * 10**9]
        and recorder.reads == 3
        and recorder.first_ns == 10**9
    )


def test_one_recording_at_a_time_is_read():
    digests, taken = wire.DigestQueue(), []

    class Recorded:
        is_urgent = pauses = False
        recorded_bytes = 10

        def begin_digest(self):
            taken.append(self)

    first, second, urgent = Recorded(), Recorded(), Recorded()
    urgent.is_urgent = True
    for recorded in (first, second, urgent):
        digests.offer(recorded)
    assert taken == [first] and digests.waiting_bytes == 20
    digests.done()
    assert taken == [first, urgent]
    digests.done()
    assert taken == [first, urgent, second] and digests.waiting_bytes == 0


def test_an_error_of_our_own_ends_one_stream_and_no_other(monkeypatch):
    """The thread that reads for all must not die of one."""
    real = wire.Framing.ends

    def ends(framing, data):
        if b"poison" in data:
            raise ZeroDivisionError
        return real(framing, data)

    monkeypatch.setattr(wire.Framing, "ends", ends)
    with (
        server([HEAD + chunk(b"poison\n"), 5.0]) as bad,
        server([GAP_S, HEAD + chunk(b"a\n"), GAP_S, END]) as good,
        wire.Reader() as reader,
    ):
        with pytest.raises(ZeroDivisionError):
            exchange_with(bad, reader=reader)
        assert text(exchange_with(good, reader=reader)[0]) == b"a\n"


@pytest.mark.parametrize("name", FRAMINGS)
def test_the_end_is_found_wherever_the_bytes_are_cut(name):
    raw = FRAMINGS[name]
    for cut in range(1, len(raw)):
        framing, data = wire.Framing(), bytearray(raw[:cut])
        assert not (data.endswith(framing.ending) and framing.ends(data)), (
            f"{name}: too early at {cut}"
        )
        data += raw[cut:]
        assert data.endswith(framing.ending) and framing.ends(data) and framing.complete, (
            f"{name}: missed after {cut}"
        )


def test_a_body_until_the_end_of_file():
    with server([b"HTTP/1.0 200 OK\r\n\r\n", GAP_S, b"abc\n", GAP_S, b"def\n", CLOSE]) as url:
        pieces, exchange = exchange_with(url)
    assert text(pieces) == b"abc\ndef\n" and pieces[-1][0] - pieces[0][0] > GAP_S * 0.8e9


def test_a_compressed_body_is_decompressed_by_urllib3():
    packed = gzip.compress(b"hello\n" * 1000)
    with server(
        [
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
            + packed
        ]
    ) as url:
        assert text(exchange_with(url)[0]) == b"hello\n" * 1000


def test_a_stream_that_breaks_gives_what_came_and_then_raises():
    session = wire.Session()
    with server([HEAD + chunk(b"a\n") + b"ff\r\nhalf", CLOSE]) as url:
        exchange, got = wire.Exchange(), []
        with exchange, pytest.raises(urllib3.exceptions.ProtocolError):
            response = session.send(
                session.prepare_request(requests.Request("POST", url)), stream=True
            )
            for _, data in exchange.pieces(response):
                got.append(data)
    assert got == [b"a\n"]


@pytest.mark.parametrize(
    "raw",
    [
        b"\x00\x01\x02" * 200 + b"\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n" * 3,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    ],
)
def test_garbage_raises_and_does_not_hang(raw):
    with (
        server([raw, CLOSE]) as url,
        pytest.raises((requests.RequestException, urllib3.exceptions.HTTPError)),
    ):
        exchange_with(url)


def test_a_held_burst_leaves_when_it_is_fired_and_not_before():
    ready, results = queue.SimpleQueue(), queue.SimpleQueue()
    count = 8
    with server(*[[HEAD + chunk(b"x\n") + END]] * count) as url:

        def work():
            results.put(exchange_with(url, on_ready=ready.put))

        threads = [threading.Thread(target=work) for _ in range(count)]
        for thread in threads:
            thread.start()
        exchanges = [ready.get(timeout=10) for _ in range(count)]
        time.sleep(GAP_S)
        assert all(exchange.sent_ns is None and exchange.reads == 0 for exchange in exchanges)
        fired_ns = time.perf_counter_ns()
        for exchange in exchanges:
            exchange.fire()
        done = [results.get(timeout=10) for _ in range(count)]
        for thread in threads:
            thread.join()
    assert all(text(pieces) == b"x\n" and exchange.sent_ns >= fired_ns for pieces, exchange in done)


@pytest.mark.parametrize("hold", [False, True])
def test_https_is_recorded_above_tls(hold):
    ready = queue.SimpleQueue()
    with server([HEAD + chunk(b"a\n"), GAP_S, chunk(b"b\n") + END], tls=True) as url:
        if hold:
            threading.Thread(target=lambda: ready.get(timeout=10).fire(), daemon=True).start()
        pieces, exchange = exchange_with(url, on_ready=ready.put if hold else None)
    assert (
        text(pieces) == b"a\nb\n"
        and pieces[1][0] - pieces[0][0] > GAP_S * 0.8e9
        and exchange.recorder is not None
    )


def test_cancelling_ends_a_silent_stream():
    with server([HEAD + chunk(b"a\n"), 30.0]) as url:
        exchange = wire.Exchange()
        timer = threading.Timer(0.2, exchange.cancel, ["enough"])
        timer.start()
        session = wire.Session()
        with exchange, pytest.raises((requests.RequestException, urllib3.exceptions.HTTPError)):
            response = session.send(
                session.prepare_request(requests.Request("POST", url)), stream=True
            )
            list(exchange.pieces(response))
        assert exchange.cancelled == "enough" and exchange.ended_ns is not None


def test_a_long_answer_is_digested_in_episodes(monkeypatch):
    monkeypatch.setattr(wire, "EPISODE_BYTES", 10_000)
    piece = chunk(b"y" * 999 + b"\n")
    with server([HEAD + piece * 3, *[piece] * 97, END]) as url:
        pieces, exchange = exchange_with(url)
    assert len(text(pieces)) == 100_000 and exchange.reads > 1
    assert [at for at, _ in pieces] == sorted(at for at, _ in pieces)


@pytest.mark.parametrize(
    "piece",
    [chunk(b"data: " + b"y" * 500 + b"\r\n\r\n"), chunk(b"z" * 70_000 + b"\r\n\r\n")],
    ids=["small", "large"],
)
def test_an_episode_may_end_within_a_chunk(monkeypatch, piece):
    """Lines that end as HTTP's own do look like the end of the body each time."""
    monkeypatch.setattr(wire, "EPISODE_BYTES", 10_000)
    count = 20_000_000 // len(piece) // 50
    with server([HEAD + piece, *[piece] * (count - 1), END]) as url:
        pieces, exchange = exchange_with(url)
    payload = piece.split(b"\r\n", 1)[1][:-2]
    assert text(pieces) == payload * count and exchange.recorder.earlier_reads


def test_one_reader_serves_many_streams_and_a_bad_one_harms_no_other():
    """Each gets its own bytes at its own time; garbage, a reset and a negative size end only themselves."""
    good = [HEAD + chunk(b"a\n"), GAP_S, chunk(b"b\n"), GAP_S, chunk(b"c\n") + END]
    bad = [
        [HEAD + b"-40\r\n\r\n" * 30, 1.0, CLOSE],
        [HEAD + chunk(b"a\n"), CLOSE],
        [b"\x00" * 500 + b"\r\n\r\n", 1.0, CLOSE],
    ]
    got = queue.SimpleQueue()

    def work(url, reader):
        try:
            got.put(exchange_with(url, reader=reader)[0])
        except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError):
            got.put(None)

    with contextlib.ExitStack() as stack:
        reader = stack.enter_context(wire.Reader())
        urls = [stack.enter_context(server(answer)) for answer in [good] * 6 + bad]
        threads = [threading.Thread(target=work, args=(url, reader)) for url in urls]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()
    found = [got.get() for _ in urls]
    whole = [
        pieces
        for pieces in found
        if pieces and [data for _, data in pieces] == [b"a\n", b"b\n", b"c\n"]
    ]
    assert len(whole) == 6
    assert all(
        later[0] - earlier[0] > GAP_S * 0.5e9
        for pieces in whole
        for earlier, later in zip(pieces, pieces[1:])
    )
    assert not any(thread.name == "reader" for thread in threading.enumerate())


def test_no_proxy_variable_is_obeyed(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with server([FRAMINGS["length"]]) as url:
        assert text(exchange_with(url)[0]) == BODY


@pytest.mark.parametrize("hold", [False, True])
def test_without_a_place_to_record_it_reads_live(monkeypatch, hold):
    monkeypatch.setattr(wire, "RECORDS", False)
    ready = queue.SimpleQueue()
    with server([GAP_S, HEAD + chunk(b"a\n"), GAP_S, chunk(b"b\n") + END]) as url:
        if hold:
            threading.Thread(target=lambda: ready.get(timeout=10).fire(), daemon=True).start()
        pieces, exchange = exchange_with(url, on_ready=ready.put if hold else None)
    assert text(pieces) == b"a\nb\n" and exchange.recorder is None and exchange.reads == 2
    instants = [exchange.sent_ns, *(at for at, _ in pieces)]
    assert all(later - earlier > GAP_S * 0.8e9 for earlier, later in zip(instants, instants[1:]))
    assert exchange.first_read_ns == pieces[0][0] and exchange.last_read_ns == pieces[1][0]
