"""What is stored of a request, and what is forgotten then."""

import json
from types import SimpleNamespace
from unittest.mock import Mock

from ollama_bench.load.attempt import Outcome, Task
from ollama_bench.protocols.registry import PROTOCOLS
from ollama_bench.run.level_recorder import LevelRecorder

CALLS = [{"function": {"name": "f", "arguments": {"x": 1}}}]


def record(outcome):
    """The row of the table reply that an outcome leaves."""
    writer = Mock()
    kept = SimpleNamespace(writer=writer, origin_ns=0)
    LevelRecorder(kept, 1, None, Mock(), Mock(), Mock()).ended(outcome)
    rows = dict(call.args for call in writer.add.call_args_list)
    return rows.get("reply")


def make_outcome(follow=None, **texts):
    task = Task(1, PROTOCOLS["ollama"], "http://x", {}, follow=follow)
    return Outcome(task, **texts)


def test_texts_are_forgotten_once_they_are_stored():
    outcome = make_outcome(answer="a", reasoning="r")
    assert record(outcome)["answer"] == "a"
    assert (outcome.answer, outcome.reasoning) == ("", "")


def test_the_answer_stays_for_the_next_turn():
    outcome = make_outcome(follow=Mock(), answer="a", reasoning="r")
    record(outcome)
    assert (outcome.answer, outcome.reasoning) == ("a", "")


def test_calls_of_tools_are_stored():
    row = record(make_outcome(tool_calls=CALLS))
    assert json.loads(row["tool_calls"]) == CALLS
    assert (row["answer"], row["reasoning"]) == (None, None)
    assert record(make_outcome()) is None
