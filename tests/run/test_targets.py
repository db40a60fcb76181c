"""Models on servers: one that vanishes between two levels, what is known of one before."""

import types
from unittest.mock import Mock

import pytest

from ollama_bench.inputs.calibration import Calibration
from ollama_bench.run import targets
from ollama_bench.run.targets import CALIBRATION_COLUMNS, Targets


class Fickle:
    """A server that answers as it is told, and then no more."""

    url = "http://127.0.0.1:1"

    def __init__(self, *answers):
        self.left = list(answers)

    def answers(self):
        return bool(self.left) and self.left.pop(0)


def make_targets(server, monkeypatch):
    monkeypatch.setattr(targets, "COME_BACK_S", 0.05)
    monkeypatch.setattr(targets, "ASK_AGAIN_S", 0.01)
    made = Targets.__new__(Targets)
    said, warmed = [], []
    made.servers, made._lost = [server], set()
    made._screen = types.SimpleNamespace(say=said.append, warn=said.append)
    made._interrupt = types.SimpleNamespace(wait=lambda seconds: False)
    monkeypatch.setattr(
        made, "warm", lambda *of: warmed.append(of), raising=False
    )
    return made, said, warmed


def test_a_server_that_comes_back_is_warmed_again(monkeypatch):
    server = Fickle(False, False, True)
    made, said, warmed = make_targets(server, monkeypatch)
    made.wait_for("m", 1)
    assert said[-1] == "the server is back" and warmed == [
        (server, "m", 1)
    ]


def test_a_server_that_is_gone_for_good_is_waited_for_once(monkeypatch):
    made, said, warmed = make_targets(Fickle(), monkeypatch)
    for _ in range(3):
        made.wait_for("m", 1)
    assert said == [
        "http://127.0.0.1:1 does not answer; waiting up to 0 s",
        "http://127.0.0.1:1 did not come back",
    ]
    assert not warmed


def test_a_lost_server_that_answers_is_waited_for_again(monkeypatch):
    server = Fickle()
    made, said, _ = make_targets(server, monkeypatch)
    made.wait_for("m", 1)
    server.left = [True]
    made.wait_for("m", 1)
    made.wait_for("m", 1)
    assert said.count("http://127.0.0.1:1 did not come back") == 2


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ((9.0, 13.0, 1.0, 0.0), Calibration(9.0, 13.0, 1.0, 0.0)),
        ((None, None, None, None), None),
    ],
)
def test_a_resumed_run_makes_prompts_as_it_did_before(stored, expected):
    """Its prompts are the same only if the calibration is."""
    server = Fickle()
    row = {"id": 1, "model": "m", "host": server.url, "is_measured": 1}
    row |= dict(zip(CALIBRATION_COLUMNS, stored, strict=True))
    record = types.SimpleNamespace(id=1, rows=lambda *_: [row])
    request = types.SimpleNamespace(
        models=["m"], prompt_lengths=[5000], cache="cold"
    )
    made = Targets(record, [server], request, None, None, Mock(), None)
    assert made.facts("m", server).calibration == expected
    # measured without one before: it stays so, and nothing is asked
    made._calibrate(server, "m", 1)
    assert made.facts("m", server).calibration == expected
