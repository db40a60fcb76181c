"""What follows from the requests of another tool: the steady part, gaps, peaks, endings."""

import pytest

from ollama_bench.formats.measured import (
    MeasuredLevel,
    MeasuredRequest,
    classify,
    peak_in_flight,
)
from ollama_bench.formats.storing import describe_gaps, find_steady

S = 1_000_000_000


def completed(sent_s, ended_s, chunks_s=None):
    return MeasuredRequest(
        status="completed",
        sent_s=sent_s,
        ended_s=ended_s,
        chunks_s=chunks_s,
    )


@pytest.mark.parametrize(
    "load, window",
    [("burst", None), ("closed", (0, 3 * S)), ("open", (0, 3 * S))],
)
def test_a_load_is_steady_as_a_measured_one_is(load, window):
    """So few show no trend: all of it, until the last was sent."""
    requests = [completed(sent, sent + 1) for sent in (0.0, 0.1, 2.0, 3.0)]
    level = MeasuredLevel(2, load, None, 0.0, 4.0, requests)
    assert find_steady(level, 0.0) == window


def test_the_warm_up_of_another_tool_is_cut_as_ours():
    """For 20 s one at a time, then for 60 s ten: by the same rule as a level of our own."""
    requests = [completed(at, at + 1) for at in range(20)]
    requests += [
        completed(at + place / 10, at + place / 10 + 1)
        for at in range(20, 80)
        for place in range(10)
    ]
    level = MeasuredLevel(10, "closed", None, 0.0, 81.0, requests)
    start_ns, end_ns = find_steady(level, 0.0)
    assert 19 * S < start_ns < 24 * S
    assert end_ns == pytest.approx(79.9 * S)


def test_a_load_that_was_over_before_a_reply_ended_has_no_steady_part():
    level = MeasuredLevel(2, "closed", None, 0.0, 4.0, [completed(0.0, 1)])
    assert find_steady(level, 0.0) is None


def test_gaps_are_of_all_completed_requests_or_unknown():
    known = completed(0.0, 1.0, [0.5, 0.75, 1.0])
    found = describe_gaps([known, known])
    assert (found["itl_chunks"], found["itl_p50_s"]) == (4, 0.25)
    assert "itl_p95_s" not in found  # below 20 gaps
    assert describe_gaps([known, completed(0.0, 1.0)]) == {}


def test_the_peak_counts_requests_at_the_same_time():
    requests = [completed(0, 2), completed(1, 3), completed(2, 4)]
    assert peak_in_flight(requests) == 2
    assert peak_in_flight([]) == 1


@pytest.mark.parametrize(
    "error, ending",
    [
        ("reset: connection reset", "reset"),
        ("not_sent", "cancelled"),
        ("Bad Request", "http_error"),
        ("Never received a valid chunk to calculate TTFT.", "empty"),
        (
            "Traceback (most recent call last): ... ClientConnectorError",
            "refused",
        ),
        ("Traceback ... ServerDisconnectedError", "reset"),
        ("Traceback ... TimeoutError", "stalled"),
        ("Traceback ... JSONDecodeError", "stream_error"),
    ],
)
def test_an_error_s_words_tell_the_ending(error, ending):
    assert classify(error) == ending
