"""The views that judge: shares of good requests, superseded levels, the effect of a cache."""

import pytest

from ollama_bench.analysis import selection
from ollama_bench.analysis.service import measure_service
from tests.storage.rows import S, level, one, request


def shares(database, study, limits):
    return {
        level_id: service.share
        for level_id, service in measure_service(
            database, study, limits
        ).items()
    }


def cut(database, number, ended, **columns):
    request(
        database,
        number,
        status="cancelled",
        **{"ended_ns": int(ended * S), **columns},
    )


def test_what_this_client_cut_counts_only_when_it_had_missed_an_objective(
    database,
):
    database["objective"].insert_all(
        [
            {"run_id": 1, "metric": "ttft_s", "bound": 2.0},
            {"run_id": 1, "metric": "e2e_s", "bound": 10.0},
        ]
    )
    level(database, concurrency=10)
    request(database, 1, first=1, last=5)  # good
    request(database, 2, first=3, last=5)  # its first token came late
    # the server failed
    request(database, 3, status="http_error", http_status=503)
    cut(database, 4, ended=1.5)  # might have come in time
    cut(database, 5, ended=2.5)  # had waited too long
    cut(database, 6, ended=5, first=1, last=4)  # might have ended in time
    cut(database, 7, ended=11, first=1, last=4)  # had gone on too long
    cut(database, 8, ended=9, sent=None)  # never left
    # was due long before it left
    cut(database, 9, ended=2.5, sent=2, due_ns=0)
    request(database, 10, status="in_flight")
    row = one(database, "level_summary")
    assert (row["requests"], row["errors"], row["good_requests"]) == (
        10,
        7,
        1,
    )
    # 1, 2, 3, 5, 7 and 9 can be judged
    assert row["good_ratio"] == pytest.approx(1 / 6)
    (study,) = selection.choose(database, [], [])
    assert shares(database, study, {"ttft": 2.0, "e2e": 10.0}) == {
        1: pytest.approx(1 / 6)
    }
    # 1, 2 and 3 can be judged
    assert shares(database, study, {"ttft": 3.0}) == {1: 2 / 3}
    assert shares(database, study, {"tokens_per_s": 1.0}) == {
        1: 0
        # not known of the completed: not met; of those cut nothing can be said
    }


def test_a_level_in_which_nothing_could_be_judged_has_no_share(database):
    database["objective"].insert(
        {"run_id": 1, "metric": "tokens_per_s", "bound": 10.0}
    )
    level(database)
    cut(
        database, 1, ended=5, first=1, last=4, tokens=3
    )  # how fast it would have been in the end is not known
    row = one(database, "level_summary")
    assert (
        row["good_requests"],
        row["good_ratio"],
        row["goodput_per_s"],
    ) == (0, None, 0)
    (study,) = selection.choose(database, [], [])
    assert shares(database, study, {"tokens_per_s": 10.0}) == {}


@pytest.mark.parametrize("tokens", [1, 2])
def test_a_reply_that_came_at_once_misses_no_speed(database, tokens):
    """It has no gap, so no rate: what it can be held against is its wait."""
    level(database, concurrency=2)
    for metric, bound in (("tokens_per_s", 10), ("ttft_s", 2)):
        database["objective"].insert(
            {"run_id": 1, "metric": metric, "bound": bound}
        )
    request(database, 1, first=1.0, last=1.0, tokens=tokens)
    request(database, 2, first=3.0, last=3.0, tokens=tokens)
    assert one(database, "level_summary")["good_requests"] == 1
    (study,) = selection.choose(database, [], [])
    assert shares(database, study, {"tokens_per_s": 10.0, "ttft": 2.0}) == {
        1: 0.5
    }


def test_without_objectives_there_is_no_share(database):
    level(database)
    request(database, 1, first=1, last=2, tokens=3)
    row = one(database, "level_summary")
    assert (
        row["good_requests"],
        row["good_ratio"],
        row["goodput_per_s"],
    ) == (None, None, None)


def test_an_interrupted_level_is_superseded_by_a_finished_one_of_its_kind(
    database,
):
    kinds = [
        (1, 4, 1, "cold", "interrupted"),
        (2, 4, 1, "warm", "interrupted"),
        (3, 4, 2, "cold", "interrupted"),
        (4, 8, 1, "cold", "interrupted"),
        (5, 4, 1, "cold", "interrupted"),
        (6, 4, 1, "cold", "finished"),
        (7, 8, 1, None, "interrupted"),
        (8, 8, 1, None, "finished"),
    ]
    for level_id, concurrency, repeat, cache, status in kinds:
        level(
            database,
            level_id,
            concurrency,
            repeat=repeat,
            cache=cache,
            status=status,
        )
    assert [
        row["level_id"]
        for row in database.query(
            "SELECT level_id FROM level_summary WHERE superseded ORDER BY 1"
        )
    ] == [1, 5, 7]


def test_a_level_that_slept_is_superseded_by_one_that_did_not(database):
    for level_id, concurrency, slept_s in (
        (1, 4, 30.0),
        (2, 4, 0.0),
        (3, 8, 30.0),
        (4, 8, 10.0),
        (5, 16, 0.0),
        (6, 16, None),
        (7, 32, 5.0),
        (8, 32, None),
    ):
        level(
            database, level_id, concurrency, cache="cold", slept_s=slept_s
        )
    assert [
        row["level_id"]
        for row in database.query(
            "SELECT level_id FROM level_summary WHERE superseded ORDER BY 1"
        )
    ] == [1, 7]


def test_cache_effect_tells_how_much_was_hit(database):
    level(database, 1, cache="cold")
    level(database, 2, cache="warm")
    for level_id, first, cached in (
        (1, 2.0, (10, None)),
        (2, 0.5, (90, 70)),
    ):
        for number, hit in enumerate(cached, 1):
            request(
                database,
                number,
                first=first,
                last=3,
                tokens=5,
                level_id=level_id,
                prompt_tokens=100,
                cached_tokens=hit,
            )
    row = one(database, "cache_effect")
    assert (
        row["cold_cached_ratio"],
        row["warm_cached_ratio"],
        row["ttft_saved_ratio"],
    ) == (
        0.1,
        0.8,
        0.75,
    )


def test_what_the_context_cut_is_not_good(database):
    database["objective"].insert(
        {"run_id": 1, "metric": "ttft_s", "bound": 2.0}
    )
    level(database, concurrency=4)
    request(database, 1, first=1, last=5, prompt_cut=0, reply_cut=0)
    request(database, 2, first=1, last=5)  # not known
    request(database, 3, first=1, last=5, prompt_cut=1)
    request(database, 4, first=1, last=5, prompt_cut=0, reply_cut=1)
    row = one(database, "level_summary")
    assert (row["good_requests"], row["good_ratio"]) == (2, 0.5)
    assert (row["prompts_cut"], row["replies_cut"]) == (1, 1)
    (study,) = selection.choose(database, [], [])
    assert shares(database, study, {"ttft": 2.0}) == {1: 0.5}
