"""The address at which Prometheus asks."""

import contextlib
import http.client
import socket
import threading

import pytest
from prometheus_client.core import GaugeMetricFamily

from ollama_bench.prometheus.endpoint import Endpoint, Handler
from ollama_bench.prometheus.error import EndpointError


class One:
    def collect(self):
        yield GaugeMetricFamily("one", "One.", 1)


def get(port, method="GET", host="127.0.0.1"):
    line = http.client.HTTPConnection(host, port, timeout=20)
    with contextlib.closing(line):
        line.request(method, "/metrics")
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
