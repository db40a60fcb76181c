"""An exchange: instants of the right read, bursts, cuts, broken and live answers."""

import gzip
import queue
import threading
import time

import pytest
import requests
import urllib3

from ollama_bench.transport import capabilities, sending
from ollama_bench.transport.exchange import Exchange
from ollama_bench.transport.reader import Reader
from ollama_bench.transport.session import Session
from tests.transport.scripted_server import (
    CLOSE,
    END,
    GAP_S,
    HEAD,
    SEEN_GAP_S,
    Reads,
    chunk,
    exchange_with,
    gaps_s,
    server,
    text,
)


@pytest.mark.parametrize("kernel_stamps", [True, False])
def test_each_piece_has_the_instant_of_its_own_read(kernel_stamps):
    exchange = Exchange(kernel_stamps=kernel_stamps)
    reads = Reads(exchange)
    with server(
        [
            GAP_S,
            HEAD + chunk(b"a\n"),
            reads.after(1),
            chunk(b"b\n"),
            reads.after(2),
            chunk(b"c\n") + END,
        ]
    ) as url:
        pieces, _ = exchange_with(url, exchange=exchange)
    assert [data for _, data in pieces] == [b"a\n", b"b\n", b"c\n"]
    instants = [exchange.sent_ns, *(at for at, _ in pieces)]
    assert min(gaps_s(instants)) > SEEN_GAP_S
    assert (
        exchange.first_read_ns == pieces[0][0]
        and exchange.ended_ns == pieces[-1][0]
    )
    assert exchange.recorder is not None and exchange.reads == 3
    if kernel_stamps and capabilities.KERNEL_STAMPS:
        assert (
            len(exchange.read_lags_ns) == 3
            and min(exchange.read_lags_ns) >= 0
        )


def test_a_body_until_the_end_of_file():
    with server(
        [
            b"HTTP/1.0 200 OK\r\n\r\n",
            GAP_S,
            b"abc\n",
            GAP_S,
            b"def\n",
            CLOSE,
        ]
    ) as url:
        pieces, exchange = exchange_with(url)
    assert (
        text(pieces) == b"abc\ndef\n"
        and pieces[-1][0] - pieces[0][0] > SEEN_GAP_S * 1e9
    )


def test_a_compressed_body_is_decompressed_by_urllib3():
    packed = gzip.compress(b"hello\n" * 1000)
    with server(
        [
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
            % len(packed)
            + packed
        ]
    ) as url:
        assert text(exchange_with(url)[0]) == b"hello\n" * 1000


def test_a_stream_that_breaks_gives_what_came_and_then_raises():
    session = Session()
    with server([HEAD + chunk(b"a\n") + b"ff\r\nhalf", CLOSE]) as url:
        exchange, got = Exchange(), []
        with exchange, pytest.raises(urllib3.exceptions.ProtocolError):
            response = session.send(
                session.prepare_request(requests.Request("POST", url)),
                exchange=exchange,
                stream=True,
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
        pytest.raises(
            (requests.RequestException, urllib3.exceptions.HTTPError)
        ),
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
        assert all(
            exchange.sent_ns is None and exchange.reads == 0
            for exchange in exchanges
        )
        fired_ns = time.perf_counter_ns()
        for exchange in exchanges:
            exchange.fire()
        done = [results.get(timeout=10) for _ in range(count)]
        for thread in threads:
            thread.join()
    assert all(
        text(pieces) == b"x\n" and exchange.sent_ns >= fired_ns
        for pieces, exchange in done
    )


def test_cancelling_ends_a_silent_stream():
    with server([HEAD + chunk(b"a\n"), 30.0]) as url:
        exchange, session = Exchange(), Session()

        def cancel_in_the_middle():
            while not exchange.reads:
                time.sleep(0.005)
            exchange.cancel("enough")

        threading.Thread(target=cancel_in_the_middle, daemon=True).start()
        with (
            exchange,
            pytest.raises(
                (requests.RequestException, urllib3.exceptions.HTTPError)
            ),
        ):
            response = session.send(
                session.prepare_request(requests.Request("POST", url)),
                exchange=exchange,
                stream=True,
            )
            list(exchange.pieces(response))
        assert (
            exchange.cancelled == "enough"
            and exchange.ended_ns is not None
        )


def test_a_request_is_not_written_on_a_line_that_was_closed(monkeypatch):
    """Its number may be another connection's: it leaves as its server hangs up."""
    over, descriptors = threading.Event(), []

    class HungUp(Reader):
        def watch(self, line, recorder, exchange):
            super().watch(line, recorder, exchange)
            line.shut_down()
            over.wait(0.1)

    def send(line, *_):
        descriptors.append(line.sock.fileno())

    monkeypatch.setattr(sending, "send_at_once", send)
    with server() as url, HungUp() as reader:
        exchange = Exchange(
            reader=reader, on_over=lambda e: (e.free_line(), over.set())
        )
        with pytest.raises(requests.ConnectionError):
            exchange_with(url, exchange=exchange)
    assert len(descriptors) == 1 and descriptors != [-1]


@pytest.mark.parametrize("hold", [False, True])
def test_without_a_place_to_record_it_reads_live(monkeypatch, hold):
    monkeypatch.setattr(capabilities, "RECORDS", False)
    ready = queue.SimpleQueue()
    exchange = Exchange(
        kernel_stamps=True, on_ready=ready.put if hold else None
    )
    again = Reads(exchange).after(1)
    with server(
        [GAP_S, HEAD + chunk(b"a\n"), again, chunk(b"b\n") + END]
    ) as url:
        if hold:
            threading.Thread(
                target=lambda: ready.get(timeout=10).fire(), daemon=True
            ).start()
        pieces, _ = exchange_with(url, exchange=exchange)
    assert (
        text(pieces) == b"a\nb\n"
        and exchange.recorder is None
        and exchange.reads == 2
    )
    instants = [exchange.sent_ns, *(at for at, _ in pieces)]
    assert min(gaps_s(instants)) > SEEN_GAP_S
    assert (
        exchange.first_read_ns == pieces[0][0]
        and exchange.last_read_ns == pieces[1][0]
    )
