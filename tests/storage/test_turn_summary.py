"""The view of a level by turn: wait, prefill and what was cached."""

import pytest

from tests.storage.rows import level, request


def turns(database):
    return list(
        database.query(
            "SELECT * FROM turn_summary ORDER BY level_id, turn"
        )
    )


def turn(database, number, turn, prompt, prefill_s, first=1.0, **columns):
    prefill_ns = None if prefill_s is None else round(prefill_s * 1e9)
    request(
        database,
        number,
        first=first,
        last=5.0,
        tokens=9,
        turn=turn,
        prompt_tokens=prompt,
        server_prefill_ns=prefill_ns,
        **columns,
    )


def test_the_servers_count_tells_what_was_cached(database):
    level(database, cache="cold")
    turn(database, 1, 1, 100, 1.0, cached_tokens=0)
    turn(database, 2, 1, 100, 3.0, cached_tokens=20)
    turn(database, 3, 2, 200, 0.5, cached_tokens=150)
    first, second = turns(database)
    assert (first["cached_ratio"], first["cached_source"]) == (
        pytest.approx(0.1),
        "server",
    )
    assert first["prefill_tokens_per_s"] == pytest.approx(180 / 4)
    assert (second["cached_ratio"], second["evaluated_tokens_mean"]) == (
        pytest.approx(0.75),
        50,
    )
    assert second["prefill_tokens_per_s"] == pytest.approx(100)


def test_without_a_count_the_prefill_time_tells(database):
    """100 tokens took a second; a quarter of it are 25 of 200."""
    level(database, cache="cold")
    turn(database, 1, 1, 100, 1.0)
    turn(database, 2, 2, 200, 0.25)
    turn(database, 3, 3, 200, 60.0)
    first, second, third = turns(database)
    assert (first["cached_ratio"], first["cached_source"]) == (None, None)
    assert (
        first["evaluated_tokens_mean"],
        first["prefill_tokens_per_s"],
    ) == (
        100,
        100,
    )
    assert second["evaluated_tokens_mean"] == pytest.approx(25)
    assert second["cached_ratio"] == pytest.approx(0.875)
    assert second["cached_source"] == "prefill time"
    assert second["prefill_tokens_per_s"] is None
    assert (third["cached_ratio"], third["evaluated_tokens_mean"]) == (
        0,
        200,
    )


@pytest.mark.parametrize(
    "cache, prefill_s", [("warm", 1.0), (None, 1.0), ("cold", None)]
)
def test_what_nothing_tells_is_unknown(database, cache, prefill_s):
    level(database, cache=cache)
    turn(database, 1, 1, 100, prefill_s)
    turn(database, 2, 2, 200, prefill_s)
    second = turns(database)[1]
    assert second["prompt_tokens_mean"] == 200
    for name in (
        "cached_ratio",
        "cached_source",
        "evaluated_tokens_mean",
        "prefill_tokens_per_s",
    ):
        assert second[name] is None


def test_each_server_has_its_own_speed(database):
    level(database, cache="cold")
    target = {**database["target"].get(1), "id": 2, "host": "other"}
    database["target"].insert(target)
    turn(database, 1, 1, 100, 1.0)
    turn(database, 2, 1, 100, 10.0, target_id=2)
    turn(database, 3, 2, 100, 1.0, target_id=2)
    assert turns(database)[1]["evaluated_tokens_mean"] == pytest.approx(10)


def test_waits_are_of_completed_requests(database):
    level(database, cache="cold")
    for number, wait in enumerate((1.0, 2.0, 6.0, 7.0), 1):
        turn(database, number, 1, 100, 1.0, first=wait)
    request(database, 5, turn=1, status="reset")
    request(database, 6, turn=1, status="in_flight")
    (row,) = turns(database)
    assert (row["requests"], row["completed"], row["errors"]) == (6, 4, 1)
    assert (row["ttft_p50_s"], row["ttft_mean_s"]) == (2.0, 4.0)
