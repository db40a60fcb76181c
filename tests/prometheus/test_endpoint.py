"""The address at which Prometheus asks."""

import contextlib
import http.client
import socket
import threading

import pytest
from prometheus_client.core import GaugeMetricFamily

from ollama_bench.prometheus import publishing
from ollama_bench.prometheus.endpoint import (
    Endpoint,
    Handler,
    is_own_name,
)
from ollama_bench.prometheus.error import EndpointError


class One:
    def collect(self):
        yield GaugeMetricFamily("one", "One.", 1)


class Closing(One):
    def close(self):
        pass


def get(port, method="GET", host="127.0.0.1", path="/metrics", headers=()):
    line = http.client.HTTPConnection(host, port, timeout=20)
    with contextlib.closing(line):
        line.request(method, path, headers=dict(headers))
        answer = line.getresponse()
        return answer.status, answer.read().decode()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_it_answers_what_is_collected_then(host):
    try:
        endpoint = Endpoint(host, 0)
    except EndpointError:
        pytest.skip(f"no {host} on this machine")
    with endpoint, endpoint.serve(One()):
        status, text = get(endpoint.port, host=host)
        assert (status, text.splitlines()[-1]) == (200, "one 1.0")
        assert get(endpoint.port, "POST", host)[0] == 405
    name = f"[{host}]" if ":" in host else host
    assert endpoint.url == f"http://{name}:{endpoint.port}/metrics"


def test_it_listens_on_loopback_only_where_that_is_asked_for():
    with Endpoint("127.0.0.1", 0) as endpoint:
        assert endpoint._server.socket.getsockname()[0] == "127.0.0.1"


@pytest.mark.parametrize(
    "path, status, text",
    [
        ("/metrics?x=1", 200, "one 1.0"),
        ("/", 200, '<a href="/metrics">'),
        ("/nope", 404, "/metrics"),
        ("/metrics/", 404, "/metrics"),
        ("/favicon.ico", 404, "/metrics"),
    ],
)
def test_only_metrics_and_a_link_to_them_are_there(path, status, text):
    with Endpoint("127.0.0.1", 0) as endpoint, endpoint.serve(One()):
        found, body = get(endpoint.port, path=path)
    assert found == status and text in body


@pytest.mark.parametrize(
    "named, status",
    [
        ("localhost:9464", 200),
        ("127.0.0.1", 200),
        ("192.168.1.20:9464", 200),
        ("[::1]:9464", 200),
        ("evil.com", 403),
        ("127.0.0.1.evil.com:9464", 403),
        ("localhost.evil.com", 403),
        ("evil.com:x", 403),
        ("[::1", 403),
    ],
)
def test_a_name_of_somebody_else_is_refused(named, status):
    with Endpoint("127.0.0.1", 0) as endpoint, endpoint.serve(One()):
        found, body = get(endpoint.port, headers={"Host": named})
    assert found == status and ("one" in body) == (status == 200)


def test_the_name_that_was_asked_for_is_its_own():
    assert is_own_name("Bench.lan:9464", "bench.lan")
    assert not is_own_name("other.lan:9464", "bench.lan")


@pytest.mark.parametrize(
    "host, is_open", [("127.0.0.1", 0), ("0.0.0.0", 1)]
)
def test_an_address_that_others_reach_says_so(host, is_open, monkeypatch):
    said = []
    monkeypatch.setattr(publishing, "print_line", said.append)
    monkeypatch.setattr(
        publishing, "MonitorCollector", lambda *_: Closing()
    )
    monkeypatch.setattr(publishing, "RunFigures", str)
    with (
        Endpoint(host, 0) as endpoint,
        publishing.published(endpoint, None, "none.db", None),
    ):
        pass
    assert ("open to every machine" in said[0]) == is_open


def test_a_taken_address_is_refused_whole():
    with Endpoint("127.0.0.1", 0) as first:
        address = f"127.0.0.1:{first.port}"
        with pytest.raises(EndpointError, match=f"{address}: .*use"):
            Endpoint("127.0.0.1", first.port)


@pytest.mark.parametrize(
    "host", ["no.such.host.invalid", "192.0.2.1", "a..b"]
)
def test_an_address_of_nobody_here_is_refused(host):
    with pytest.raises(EndpointError, match=f"--prometheus {host}:9464: "):
        Endpoint(host, 9464)


def test_who_sends_nothing_holds_up_nobody(monkeypatch):
    monkeypatch.setattr(Handler, "timeout", 0.2)
    with Endpoint("127.0.0.1", 0) as endpoint, endpoint.serve(One()):
        address = ("127.0.0.1", endpoint.port)
        with socket.create_connection(address, timeout=20) as silent:
            assert get(endpoint.port)[0] == 200
            # and is sent away
            assert silent.recv(1) == b""


def test_it_ends_while_somebody_is_being_answered():
    began, may_end = threading.Event(), threading.Event()

    class Slow(One):
        def collect(self):
            began.set()
            may_end.wait(20)
            yield from super().collect()

    with Endpoint("127.0.0.1", 0) as endpoint, endpoint.serve(Slow()):
        asking = threading.Thread(target=get, args=[endpoint.port])
        asking.start()
        assert began.wait(20)
    may_end.set()
    asking.join(20)
    assert not asking.is_alive()
