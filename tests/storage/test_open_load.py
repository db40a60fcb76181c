"""What was offered and answered in an open loop, and when it was saturated."""

import pytest

from ollama_bench.analysis.offered import (
    describe_arrivals,
    describe_gone,
    describe_growth,
    describe_offered,
    describe_saturation,
)
from tests.storage.rows import S, level, one, request


def offer(database, due_s, ends_s, **columns):
    """An open loop with these due times; those without an end were never sent."""
    level(
        database,
        load="open",
        rate_per_s=1.0,
        ended_ns=int(max(ends_s) * S),
        **columns,
    )
    for number, due in enumerate(due_s, 1):
        end = ends_s[number - 1] if number <= len(ends_s) else None
        sent = None if end is None else due
        request(
            database,
            number,
            sent=sent,
            first=end,
            last=end,
            status="cancelled" if end is None else "completed",
            due_ns=int(due * S),
        )
    return one(database, "open_load")


def test_a_server_that_answers_one_in_six_seconds_is_saturated(database):
    """The first reply ends at 6 s: of the 24 that came due after it 4 were answered by 30 s."""
    due_s = range(31)
    found = offer(database, due_s, [6.0 * n for n in range(1, 32)])
    assert (found["due"], found["answered"], found["not_sent"]) == (
        24,
        4,
        0,
    )
    assert found["offered_per_s"] == 1 and found["saturated"] == 1
    assert found["answered_per_s"] == pytest.approx(1 / 6)
    row = one(database, "level_summary")
    assert row["requests_per_s"] == pytest.approx(1 / 6)
    said = "f 1 requests/s offered, 0.167 were answered"
    assert describe_offered(row) == f"O{said} (saturated)"
    assert describe_saturation(row) == f"saturated: o{said}"


def test_even_arrivals_that_are_all_answered_are_offered_at_their_rate(
    database,
):
    due_s = [number / 4 for number in range(33)]
    found = offer(database, due_s, [due + 0.1 for due in due_s])
    assert found["offered_per_s"] == 4 and found["saturated"] == 0


def test_of_a_saturated_level_the_rate_counts_until_the_last_reply(
    database,
):
    """None of the 6 that came due after the first reply was answered by then."""
    offer(database, range(12), [6.0 * n for n in range(1, 13)])
    row = one(database, "level_summary")
    assert (row["answered_per_s"], row["saturated"]) == (0, 1)
    assert "requests/s offered, 0.167 were answered" in describe_offered(
        row
    )


def test_a_server_that_keeps_up_is_not_saturated_however_long_it_takes(
    database,
):
    """Each reply takes 10 s: some are still on their way when the last one comes due."""
    due_s = range(31)
    found = offer(database, due_s, [due + 10.0 for due in due_s])
    assert (found["due"], found["answered"]) == (20, 20)
    assert found["saturated"] == 0
    row = one(database, "level_summary")
    assert row["requests_per_s"] == pytest.approx(31 / 40)
    assert (
        describe_offered(row) == "Of 1 requests/s offered, 1 were answered"
    )


def test_slots_that_are_filling_are_no_saturation(database):
    """Every other reply takes 1 s, the others 19: at first fewer end than come."""
    level(database, load="open", rate_per_s=4.5, ended_ns=69 * S)
    for number in range(225):
        due_s = number / 4.5
        request(
            database,
            number + 1,
            sent=due_s,
            first=due_s + 0.1,
            last=due_s + (19 if number % 2 else 1),
            due_ns=int(due_s * S),
        )
    found = one(database, "open_load")
    assert found["answered"] == pytest.approx(found["due"], abs=2)
    assert found["due"] == pytest.approx(110, abs=2)
    assert found["saturated"] == 0


def test_what_was_never_sent_was_offered(database):
    found = offer(database, range(31), [6.0 * n for n in range(1, 6)])
    assert (found["due"], found["not_sent"]) == (24, 26)
    assert found["saturated"] == 1


def test_too_few_requests_tell_no_rate(database):
    found = offer(database, [0, 1, 2, 9], [8.0, 9.0, 10.0, 17.0])
    assert found["offered_per_s"] is found["saturated"] is None
    row = one(database, "level_summary")
    assert describe_offered(row) == (
        "4 of 4 requests were answered, offered at 1 requests/s"
    )


def test_most_requests_never_sent_are_saturation_whenever_the_first_reply_ends(
    database,
):
    """Two of 30 are answered after the last one came due, 28 are never sent."""
    found = offer(database, range(30), [31.0, 32.0])
    assert (found["due"], found["not_sent"]) == (0, 28)
    assert found["offered_per_s"] is None and found["saturated"] == 1
    assert describe_offered(one(database, "level_summary")).endswith(
        "(saturated)"
    )


def test_a_few_that_were_never_sent_are_no_saturation(database):
    """Two of 30 at the end, of a level too long for its loads: that may be chance."""
    found = offer(database, range(30), [30.0] * 28)
    assert (found["not_sent"], found["saturated"]) == (2, None)


def test_a_dead_server_is_no_saturation(database):
    level(database, load="open", rate_per_s=1.0)
    request(database, 1, status="refused", due_ns=0)
    request(database, 2, sent=None, status="cancelled", due_ns=S)
    found = one(database, "open_load")
    assert found["saturated"] is None and found["server_gone_s"] == 0


@pytest.mark.parametrize("ending", ["refused", "reset", "stalled"])
def test_a_server_that_stops_in_the_middle_was_not_saturated(
    database, ending
):
    """It answers each request within half a second, until 20 s; 40 more come."""
    offer(database, range(20), [due + 0.5 for due in range(20)])
    for number in range(21, 61):
        due_s = number - 1.0
        request(
            database,
            number,
            sent=due_s,
            status=ending,
            due_ns=int(due_s * S),
        )
    row = one(database, "level_summary")
    assert row["server_gone_s"] == 19.5 and row["saturated"] == 0
    assert row["offered_per_s"] == pytest.approx(1, rel=0.05)
    assert row["answered_per_s"] == pytest.approx(1, rel=0.05)
    assert describe_gone(row) == (
        "the server answered nothing more after 19.5 s of the level: "
        "it failed, it was not saturated"
    )


def test_a_server_that_was_saturated_before_it_stopped_was_both(database):
    offer(database, range(31), [6.0 * n for n in range(1, 6)])
    due_s = 31.0
    request(
        database, 99, sent=due_s, status="reset", due_ns=int(due_s * S)
    )
    row = one(database, "level_summary")
    assert row["saturated"] == 1 and row["server_gone_s"] == 30


def test_a_request_that_fails_alone_is_no_server_that_stopped(database):
    offer(database, range(20), [due + 2.5 for due in range(20)])
    request(database, 99, sent=19.5, status="reset", due_ns=int(19.5 * S))
    row = one(database, "level_summary")
    assert row["server_gone_s"] is None and describe_gone(row) == ""


def test_a_burst_offers_no_rate(database):
    level(database, load="burst")
    request(database, 1, first=1, last=2)
    row = one(database, "level_summary")
    assert row["offered_per_s"] is row["saturated"] is None
    assert row["requests_per_s"] == 0.1


def test_later_turns_are_offered_when_they_are_sent(database):
    """A conversation of two turns each second, each turn answered in half a second."""
    level(database, load="open", rate_per_s=1.0, ended_ns=31 * S)
    for number in range(60):
        at, turn = number / 2, number % 2 + 1
        request(
            database,
            number + 1,
            sent=at,
            first=at + 0.25,
            last=at + 0.5,
            turn=turn,
            due_ns=int(at * S) if turn == 1 else None,
        )
    found = one(database, "open_load")
    assert found["offered_per_s"] == pytest.approx(2, rel=0.05)
    assert found["answered_per_s"] == pytest.approx(2, rel=0.05)
    assert found["saturated"] == 0


GROWTH = {
    "saturated": 1,
    "queue_growth_per_s": 0.8,
    "queue_growth_low_per_s": 0.6,
    "queue_growth_high_per_s": 1.0,
}


def test_a_queue_that_was_seen_to_grow_is_saturation(database):
    """Too few ended for a rate of what was answered, and none was left unsent."""
    found = offer(database, [0, 1, 2, 3], [9.5, 9.6, 9.7, 9.8], **GROWTH)
    assert found["saturated"] == 1
    row = one(database, "level_summary")
    said = (
        "the queue grew by 0.8 requests/s (95 %: 0.6 to 1): "
        "the server cannot keep up with 1 requests/s"
    )
    assert describe_growth(row) == said
    assert describe_saturation(row) == f"saturated: {said}"
    assert describe_offered(row).endswith("(saturated)")


def test_a_queue_that_was_not_seen_to_grow_says_nothing(database):
    slope = {**GROWTH, "saturated": 0, "queue_growth_low_per_s": -0.1}
    offer(database, [0, 1, 2, 3], [9.5, 9.6, 9.7, 9.8], **slope)
    row = one(database, "level_summary")
    assert row["saturated"] is None
    assert describe_growth(row) == ""


@pytest.mark.parametrize(
    "cv, said",
    [
        (None, ""),
        (1.0, ""),
        (0.0, " at even gaps"),
        (2.0, " in bursts (gamma, CV 2)"),
        (0.5, " evenly (gamma, CV 0.5)"),
    ],
)
def test_arrivals_that_are_not_poisson_are_named(database, cv, said):
    offer(database, [0, 1], [9.5, 9.6], arrival_cv=cv)
    assert describe_arrivals(one(database, "level_summary")) == said
