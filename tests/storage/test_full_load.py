"""The view full_load: tokens per second of all streams while the load was full."""

import pytest

from tests.storage.rows import S, level, one, request


def test_full_load_is_the_time_with_nine_in_ten_of_the_streams(database):
    """Two streams of 10 tokens/s; one of them goes on alone for ten times as long."""
    level(database, concurrency=2, ended_ns=101 * S)
    request(database, 1, sent=0.0, first=1.0, last=11.0, tokens=101)
    request(database, 2, sent=0.0, first=1.0, last=101.0, tokens=1001)
    summary = one(database, "level_summary")
    assert summary["output_tokens_per_s"] == pytest.approx(1102 / 101)
    found = one(database, "full_load")
    assert found["duration_s"] == 10.0
    # without stored chunks a stream is as if even
    assert found["full_load_tokens_per_s"] == pytest.approx(20.1, rel=0.01)


def test_full_load_counts_the_chunks_that_came_then(database):
    level(database, concurrency=2, ended_ns=20 * S)
    request(database, 1, first=1.0, last=3.0, tokens=4, chunks=2)
    request(database, 2, first=1.0, last=20.0, tokens=40, chunks=20)
    for request_id, instants in ((1, (1, 3)), (2, range(1, 21))):
        for number, second in enumerate(instants):
            database["chunk"].insert(
                {
                    "request_id": request_id,
                    "number": number,
                    "at_ns": second * S,
                    "is_reasoning": 0,
                }
            )
    # after 1 s and up to 3 s: a chunk of two tokens, and two of two
    assert one(database, "full_load")["full_load_tokens_per_s"] == 3.0


@pytest.mark.faults
def test_full_load_reads_the_chunks_outside_alone(database):
    level(database, concurrency=1, ended_ns=300 * S)
    request(
        database, 1, first=1.0, last=200.0, tokens=99_501, chunks=99_501
    )
    rows = [(1, i, S + i * 2_000_000, 0) for i in range(99_501)]
    database.conn.executemany(
        "INSERT INTO chunk (request_id, number, at_ns, is_reasoning) VALUES (?, ?, ?, ?)",
        rows,
    )
    steps = []  # of a thousand instructions each
    database.conn.set_progress_handler(lambda: steps.append(1), 1000)
    assert one(database, "full_load")["output_tokens"] == 99_500
    assert len(steps) < 50


def test_full_load_of_a_loop_is_its_steady_part(database):
    level(
        database,
        concurrency=1,
        load="closed",
        ended_ns=10 * S,
        steady_start_ns=2 * S,
        steady_end_ns=8 * S,
    )
    request(database, 1, first=2.5, last=4.5, tokens=12)
    request(database, 2, first=5.0, last=7.0, tokens=12)
    assert one(database, "full_load")["full_load_tokens_per_s"] == 4.0


def test_full_load_is_unknown_where_little_came_then(database):
    """Two streams met for an instant of a hundred seconds."""
    level(database, concurrency=2, ended_ns=100 * S)
    request(database, 1, first=1.0, last=50.0, tokens=500)
    request(database, 2, first=49.9, last=100.0, tokens=500)
    assert one(database, "full_load")["full_load_tokens_per_s"] is None


def test_replies_in_one_piece_have_no_speed_and_nobody_ran_beside_another(
    database,
):
    """A buffering proxy: each reply came whole, a few milliseconds after the one before."""
    level(database, concurrency=4)
    for number in range(4):
        at = 5 + number / 1000
        request(database, number, first=at, last=at, tokens=40)
    assert one(database, "full_load")["full_load_tokens_per_s"] is None
    assert one(database, "level_summary")["peak_streaming"] is None


def test_two_reads_of_a_few_replies_make_no_speed_of_the_others(database):
    level(database, concurrency=4)
    request(database, 1, first=5.0, last=5.001, tokens=40)
    for number in (2, 3, 4):
        request(database, number, first=5.0, last=5.0, tokens=40)
    assert one(database, "full_load")["full_load_tokens_per_s"] is None
    assert one(database, "level_summary")["peak_streaming"] is None


def test_whole_replies_count_in_the_steady_part_of_a_load(database):
    """Its length is known: what came in it is a throughput."""
    level(
        database,
        concurrency=1,
        load="closed",
        ended_ns=10 * S,
        steady_start_ns=2 * S,
        steady_end_ns=8 * S,
    )
    request(database, 1, first=4.0, last=4.0, tokens=12)
    request(database, 2, first=7.0, last=7.0, tokens=12)
    assert one(database, "full_load")["full_load_tokens_per_s"] == 4.0


def test_a_single_token_among_streams_hides_no_speed(database):
    level(database, concurrency=2)
    request(database, 1, first=1.0, last=6.0, tokens=51)
    request(
        database,
        2,
        first=1.0,
        last=1.0,
        tokens=1,
        output_tokens_source="server",
    )
    found = one(database, "full_load")["full_load_tokens_per_s"]
    assert found == pytest.approx(10.2)
