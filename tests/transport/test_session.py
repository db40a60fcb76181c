"""A session ignores proxies and sends one exchange at a time."""

import queue
import threading

import pytest

from ollama_bench.transport.session import Session
from tests.transport.scripted_server import (
    BODY,
    FRAMINGS,
    exchange_with,
    server,
    text,
)


def test_no_proxy_variable_is_obeyed(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with server([FRAMINGS["length"]]) as url:
        assert text(exchange_with(url)[0]) == BODY


def test_a_session_that_records_needs_an_exchange():
    with pytest.raises(ValueError, match="needs an exchange"):
        Session().get("http://127.0.0.1:9/")


def test_a_session_sends_one_request_at_a_time():
    session, ready = Session(), queue.SimpleQueue()
    with server([FRAMINGS["length"]]) as url:
        first = threading.Thread(
            target=exchange_with,
            args=(url, True, session),
            kwargs={"on_ready": ready.put},
        )
        first.start()
        waiting = ready.get(timeout=10)
        with pytest.raises(RuntimeError, match="already sending"):
            exchange_with(url, session=session)
        waiting.fire()
        first.join(10)
        assert waiting.ended_ns is not None


def test_a_session_that_does_not_record_needs_no_exchange():
    with server([FRAMINGS["length"]]) as url:
        assert Session(records=False).get(url).content == BODY


def test_a_post_is_prepared_once_for_each_url_and_its_headers():
    session, url = Session(), "http://127.0.0.1:9/"
    first = session.prepare_post(url, {"a": 1}, {"X-Y": "1"})
    second = session.prepare_post(url, {"a": "longer"}, {"X-Y": "1"})
    other = session.prepare_post(url, {}, {"X-Y": "2"})
    assert (
        first.body == b'{"a": 1}'
        and first.headers["Content-Length"] == "8"
    )
    assert (
        second.body == b'{"a": "longer"}'
        and second.headers["Content-Length"] == "15"
    )
    assert other.headers["X-Y"] == "2"
    with pytest.raises(ValueError):
        session.prepare_post(url, {"a": float("nan")}, {})
