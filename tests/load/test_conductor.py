"""Requests are made ready shortly before they are due."""

import contextlib
import socket
import threading

import pytest

from ollama_bench.load import conductor
from ollama_bench.load.load import Load
from ollama_bench.load.request import Task
from ollama_bench.protocols.registry import PROTOCOLS
from tests.load.levels import NEVER, Seen, fire
from tests.load.played_server import ANSWER, SHORT_ANSWER, Played


@pytest.fixture
def impatient():
    """Closes a connection that is silent for 0.5 s, as llama-server does after 5 s."""

    def talk(connection):
        connection.settimeout(0.5)
        with connection, contextlib.suppress(OSError):
            while connection.recv(65_536):
                connection.sendall(SHORT_ANSWER)

    def serve():
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(
                    target=talk, args=(listener.accept()[0],), daemon=True
                ).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/x"


@pytest.mark.parametrize(
    "way",
    [
        {"ramp_s": 3.0},
        {"arrivals": iter([0.0, 0.9, 1.0, 2.5, 2.6]), "planned": 5},
    ],
    ids=["ramp", "open loop"],
)
@pytest.mark.faults
def test_nobody_is_connected_long_before_it_is_due(impatient, way):
    seen = Seen()
    level = Load(
        lambda n: Task(n, PROTOCOLS["ollama"], impatient, {}),
        NEVER,
        5,
        **way,
    )
    level.run(seen)
    assert [o.status for o in seen.outcomes] == ["completed"] * 5
    assert sorted(o.task.number for o in seen.outcomes) == [1, 2, 3, 4, 5]
    assert level.pool_waits == level.never_sent == 0


def test_a_held_request_whose_line_was_closed_goes_on_another(monkeypatch):
    """It is held for 2 s; the server closes who is silent for 0.6 s."""
    monkeypatch.setattr(conductor, "CONNECT_AHEAD_S", 3.0)

    class Impatient(Played):
        def _talk(self, connection):
            connection.settimeout(0.6)
            super()._talk(connection)

    with Impatient(ANSWER) as server:
        level = fire(server.url, 2, arrivals=iter([0.0, 2.0]), planned=2)
    assert [o.status for o in level.seen] == ["completed"] * 2


def test_requests_that_the_client_never_sent_are_its_own_lateness(
    monkeypatch,
):
    """No thread is there to make them ready in time: nobody is told that the pool was too small."""
    monkeypatch.setattr(conductor, "PREPARE_AT_ONCE", 0)
    with Played(ANSWER) as server:
        level = fire(
            server.url, 8, arrivals=iter([0.0, 0.4, 0.5, 0.6]), until_s=0.8
        )
    assert level.never_sent == 3
    assert level.pool_waits == 0
    assert "late" in level.client_figures()["client_limited_why"]
