"""Arrivals that were never sent get their rows, in memory that does not grow with them."""

import tracemalloc
import types

import pytest

from ollama_bench.load.result import UnsentArrivals
from ollama_bench.run.level_recorder import (
    UNSENT_AT_ONCE,
    LevelRecorder,
    make_request_id,
)

S = 1_000_000_000


class Counted:
    """A writer that keeps the first and the last row of each call."""

    def __init__(self):
        self.counts, self.ends, self.flushes = [], [], 0

    def add(self, *_):
        pass

    def add_many(self, table, columns, rows):
        for _ in range(2):  # a full disk makes the writer try again
            first, count = None, 0
            for row in rows:
                last, count = row, count + 1
                first = first or row
        self.counts.append(count)
        self.ends += [
            dict(zip(columns, row, strict=True)) for row in (first, last)
        ]

    def flush(self):
        self.flushes += 1


def record_unsent(unsent, sent):
    writer = Counted()
    record = types.SimpleNamespace(origin_ns=S, writer=writer)
    recorder = LevelRecorder(record, 2, None, None, None, None)
    recorder._begun.update(range(1, sent + 1))
    recorder._add_unsent(
        types.SimpleNamespace(started_ns=3 * S, unsent=unsent)
    )
    return writer


def test_an_arrival_that_was_never_sent_has_a_row_with_its_due_time():
    unsent = UnsentArrivals()
    unsent.add(0.5, True)
    unsent.add(1.5, False)
    assert unsent.pool_waits == 1 and list(unsent.lags_ns(2.0)) == [S // 2]
    writer = record_unsent(unsent, sent=7)
    first, last = writer.ends
    assert (first["id"], first["number"]) == (2_000_008, 8)
    assert (last["id"], last["number"]) == (2_000_009, 9)
    assert (first["due_ns"], last["due_ns"]) == (2.5 * S, 3.5 * S)
    assert first["status"] == last["status"] == "cancelled"
    assert "every place was taken" in first["error"]
    assert "this client was late" in last["error"]


@pytest.mark.faults
def test_ten_thousand_a_second_for_minutes_stay_small():
    """Nine bytes for each arrival, and a transaction has no more rows than its part."""
    unsent, count = UnsentArrivals(), 120_000
    tracemalloc.start()
    try:
        for number in range(count):
            unsent.add(number / 10_000, True)
        writer = record_unsent(unsent, sent=0)
        assert tracemalloc.get_traced_memory()[1] < 3e6
    finally:
        tracemalloc.stop()
    assert sum(writer.counts) == count
    assert max(writer.counts) == UNSENT_AT_ONCE
    assert writer.flushes == len(writer.counts)


def test_ids_of_two_levels_never_meet():
    numbers = (1, 999_999, 1_000_000, 1_000_001, 2**31)
    ids = [
        make_request_id(level_id, number)
        for level_id in (1, 2, 3, 900_000)
        for number in numbers
    ]
    assert len(set(ids)) == len(ids) and max(ids) < 2**63
