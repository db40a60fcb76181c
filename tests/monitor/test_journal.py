"""What is noted and told: each kind once to the user, every time in the file."""

from __future__ import annotations

import time

from ollama_bench.monitor.journal import MESSAGE_LENGTH, Journal
from tests.monitor.support import Rows


def test_every_event_is_stored_and_each_kind_is_told_once():
    rows, said = Rows(), []
    journal = Journal(rows, 7, 1000, said.append)
    for second in (1, 2):
        journal.note_and_tell(
            "sampler_failed", f"it ended {second}", at_ns=second * 10**9
        )
    assert said == ["power: it ended 1"]
    first = {
        "run_id": 7,
        "at_ns": 10**9 - 1000,
        "kind": "sampler_failed",
        "detail": "it ended 1",
    }
    assert rows.all[0] == ("event", first) and len(rows.all) == 2


def test_an_event_without_an_instant_is_of_now():
    rows, origin_ns = Rows(), time.perf_counter_ns()
    Journal(rows, 1, origin_ns, print).note(
        "process_appeared", "serve ollama (7)"
    )
    ((_, event),) = rows.all
    assert 0 <= event["at_ns"] <= time.perf_counter_ns() - origin_ns


def test_a_long_message_is_told_in_part_and_stored_whole():
    rows, said = Rows(), []
    Journal(rows, 1, 0, said.append).note_and_tell(
        "sampler_failed", "x" * 1000
    )
    assert said == ["power: " + "x" * MESSAGE_LENGTH]
    assert rows.all[0][1]["detail"] == "x" * 1000


def test_whatever_fails_is_one_line(capsys):
    journal = Journal(Rows(), 1, 0)
    for _ in range(2):
        journal.guard("machine", lambda: 1 / 0)
    said = capsys.readouterr().err
    assert (
        said == "monitor: machine: ZeroDivisionError: division by zero\n"
    )
