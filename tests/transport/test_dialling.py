"""Connections: with TLS, the recording is above it."""

import queue
import threading

import pytest

from tests.transport.scripted_server import (
    END,
    GAP_S,
    HEAD,
    SEEN_GAP_S,
    chunk,
    exchange_with,
    server,
    text,
)


@pytest.mark.parametrize("hold", [False, True])
def test_https_is_recorded_above_tls(hold):
    ready = queue.SimpleQueue()
    with server(
        [HEAD + chunk(b"a\n"), GAP_S, chunk(b"b\n") + END], tls=True
    ) as url:
        if hold:
            threading.Thread(
                target=lambda: ready.get(timeout=10).fire(), daemon=True
            ).start()
        pieces, exchange = exchange_with(
            url, on_ready=ready.put if hold else None
        )
    assert (
        text(pieces) == b"a\nb\n"
        and pieces[1][0] - pieces[0][0] > SEEN_GAP_S * 1e9
        and exchange.recorder is not None
    )
