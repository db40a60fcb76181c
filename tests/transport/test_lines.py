"""A line serves again where the server keeps it."""

import time

import pytest

from ollama_bench.transport.lines import KEPT_AFTER_S, Lines
from ollama_bench.transport.session import Session
from tests.transport.scripted_server import (
    BODY,
    EXPECTED,
    FRAMINGS,
    exchange_with,
    server,
    text,
)


@pytest.mark.parametrize("name", FRAMINGS)
def test_every_framing_ends_by_itself_and_the_connection_serves_again(
    name,
):
    session, lines = Session(), Lines()
    with server([FRAMINGS[name]], [FRAMINGS["length"]]) as url:
        assert (
            text(exchange_with(url, session=session, lines=lines)[0])
            == EXPECTED[name]
        )
        # now the server is known to keep its connections
        time.sleep(2 * KEPT_AFTER_S)
        assert (
            text(exchange_with(url, session=session, lines=lines)[0])
            == BODY
        )
    lines.close()
