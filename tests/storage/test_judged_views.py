"""The views that judge: shares of good requests, superseded levels, the effect of a cache."""

import random

import pytest

from ollama_bench.analysis import selection
from ollama_bench.analysis.service import measure_service
from ollama_bench.inputs.objectives import METRICS, parse
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


def test_what_this_client_cut_is_judged_by_what_was_seen_of_it(database):
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
    assert row["undecided_requests"] == 3
    (study,) = selection.choose(database, [], [])
    (service,) = measure_service(
        database, study, parse("ttft=2,e2e=10")
    ).values()
    assert service.share == pytest.approx(1 / 6)
    assert (service.undecided, service.is_served) == (3, False)
    # 1, 2 and 3 can be judged
    assert shares(database, study, parse("ttft=3")) == {1: 2 / 3}
    # the tokens of nobody are known: not met by the completed
    assert shares(database, study, parse("tokens_per_s=1")) == {1: 0}


@pytest.mark.parametrize(
    "objective, tokens, is_missed",
    [
        (parse("tokens_per_s=10"), 39, True),
        (parse("tokens_per_s=10"), 40, False),
        (parse("tpot=0.1"), 39, True),
        (parse("tpot=0.1"), 41, False),
    ],
)
def test_a_rate_is_judged_by_the_tokens_until_the_cut(
    database, objective, tokens, is_missed
):
    """All tokens seen, the first too: in its place stands the one that was on its way."""
    ((name, (bound, _)),) = objective.items()
    metric = "tpot_s" if name == "tpot" else name
    database["objective"].insert(
        {"run_id": 1, "metric": metric, "bound": bound}
    )
    level(database)
    # the last token came at 2 s, the cut at 5 s: silence counts
    cut(database, 1, ended=5, first=1, last=2, tokens=tokens)
    row = one(database, "level_summary")
    assert (row["good_ratio"], row["undecided_requests"]) == (
        (0, 0) if is_missed else (None, 1)
    )
    (study,) = selection.choose(database, [], [])
    (service,) = measure_service(database, study, objective).values()
    assert (service.asked, service.undecided) == (
        (1, 0) if is_missed else (0, 1)
    )


@pytest.mark.parametrize(
    "others, found",
    [
        ([], (None, None, None)),
        # its wait is known, and was missed
        ([{"first": 3, "last": 3}], (0, 0, 0)),
        ([{"first": 1, "last": 3}], (1, 1 / 3, 0.1)),
        # a single token has no speed, and misses none
        ([{"first": 1, "last": 1, "tokens": 1}], (1, 1 / 3, 0.1)),
        ([{"status": "http_error"}], (0, 0, 0)),
    ],
)
def test_nobody_knows_how_many_are_good_where_replies_come_in_one_piece(
    database, others, found
):
    database["objective"].insert_all(
        [
            {"run_id": 1, "metric": "ttft_s", "bound": 2.0},
            {"run_id": 1, "metric": "tokens_per_s", "bound": 10.0},
        ]
    )
    level(database)
    whole = {"first": 1, "last": 1, "tokens": 100}
    for number, columns in enumerate([whole, whole, *others], 1):
        request(database, number, **{"tokens": 100, **columns})
    row = one(database, "level_summary")
    names = ("good_requests", "good_ratio", "goodput_per_s")
    assert tuple(row[name] for name in names) == found


def test_chunks_of_a_cut_request_count_as_many_tokens_as_others_held(
    database,
):
    """Of those that were cut the server told no count: 20 chunks of 2 tokens are 40."""
    database["objective"].insert(
        {"run_id": 1, "metric": "tokens_per_s", "bound": 10.0}
    )
    level(database)
    counted = {"chunks": 50, "output_tokens_source": "server"}
    request(database, 1, first=1, last=3, tokens=100, **counted)
    counted = {"chunks": 20, "output_tokens_source": "chunks"}
    cut(database, 2, ended=5, first=1, last=5, tokens=20, **counted)
    row = one(database, "level_summary")
    assert (row["good_requests"], row["undecided_requests"]) == (1, 1)
    (study,) = selection.choose(database, [], [])
    (service,) = measure_service(
        database, study, parse("tokens_per_s=10")
    ).values()
    assert (service.good, service.undecided) == (1, 1)


def test_an_arrival_that_was_never_sent_has_failed(database):
    database["objective"].insert(
        {"run_id": 1, "metric": "ttft_s", "bound": 2.0}
    )
    level(database, load="open", rate_per_s=1.0, ended_ns=4 * S)
    request(database, 1, first=1, last=2, due_ns=0)
    cut(database, 2, ended=0, sent=None, due_ns=S)
    cut(database, 3, ended=0, sent=None, due_ns=3 * S)
    # before it was due: not asked of it
    cut(database, 4, ended=0, sent=None)
    row = one(database, "level_summary")
    assert (row["errors"], row["good_ratio"]) == (3, pytest.approx(1 / 3))
    assert row["undecided_requests"] == 1
    found = {
        row["status"]: row["requests"] for row in database["outcomes"].rows
    }
    assert found == {"completed": 1, "not_sent": 2, "cancelled": 1}
    (study,) = selection.choose(database, [], [])
    (service,) = measure_service(database, study, parse("ttft=2")).values()
    assert (service.good, service.asked, service.undecided) == (1, 3, 1)


@pytest.mark.parametrize(
    "came",
    [
        {"tokens": 2, "chunks": 1},
        {"tokens": 100, "chunks": 1, "output_tokens_source": "server"},
        # how many tokens it was nobody knows
        {"tokens": 1, "chunks": 1, "output_tokens_source": "chunks"},
    ],
)
def test_a_reply_that_came_at_once_meets_no_rate(database, came):
    level(database)
    for metric, bound in (("tokens_per_s", 10), ("ttft_s", 2)):
        database["objective"].insert(
            {"run_id": 1, "metric": metric, "bound": bound}
        )
    request(database, 1, first=1.0, last=1.0, **came)
    demands = list(database.query("SELECT good_ratio FROM demand_summary"))
    assert demands == [{"good_ratio": 0}]
    (study,) = selection.choose(database, [], [])
    assert shares(database, study, parse("tokens_per_s=10,ttft=2")) == {
        1: 0
    }


def test_a_reply_of_one_token_misses_no_rate(database):
    """It has none: what it can be held against is its wait."""
    level(database)
    for metric, bound in (("tokens_per_s", 10), ("ttft_s", 2)):
        database["objective"].insert(
            {"run_id": 1, "metric": metric, "bound": bound}
        )
    server = {"output_tokens_source": "server", "chunks": 1}
    request(database, 1, first=1.0, last=1.0, tokens=1, **server)
    request(database, 2, first=3.0, last=3.0, tokens=1, **server)
    assert one(database, "level_summary")["good_requests"] == 1
    (study,) = selection.choose(database, [], [])
    assert shares(database, study, parse("tokens_per_s=10,ttft=2")) == {
        1: 0.5
    }


def test_the_first_chunks_tokens_are_not_made_while_it_streams(database):
    """100 tokens in 50 chunks: 98 came within the 2 s after the first chunk."""
    level(database)
    counted = {"chunks": 50, "output_tokens_source": "server"}
    request(database, 1, first=1, last=3, tokens=100, **counted)
    request(database, 2, first=1, last=3, tokens=99)  # chunks unknown
    found = list(database["request"].rows)
    assert [row["stream_tokens_per_s"] for row in found] == [49, 49]
    assert found[0]["tokens_per_chunk"] == 2
    row = one(database, "level_summary")
    assert (row["tokens_per_s_mean"], row["tokens_per_chunk"]) == (49, 2)
    assert row["tpot_mean_s"] == pytest.approx(1 / 49)


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
    assert shares(database, study, parse("ttft=2")) == {1: 0.5}


BOUNDS = parse("ttft=2,ttfat=2.2,e2e=8,tpot=0.2,tokens_per_s=4")


@pytest.mark.parametrize(
    "bounds", [BOUNDS, *({name: BOUNDS[name]} for name in BOUNDS)]
)
def test_the_view_and_the_analysis_judge_alike(database, bounds):
    """Requests of every kind, drawn at random; the rule stands in both."""
    draw = random.Random(1)
    for name, (column, _) in METRICS.items():
        if name in bounds:
            database["objective"].insert(
                {
                    "run_id": 1,
                    "metric": column,
                    "bound": bounds[name].bound,
                }
            )
    level(database)
    for number in range(1, 601):
        first = draw.choice([None, 1.0, 1.9, 2.5])
        status = draw.choice(["completed", "cancelled", "reset"])
        is_sent = first is not None or draw.random() < 0.5
        request(
            database,
            number,
            sent=0.0 if is_sent else None,
            first=first,
            last=first and first + draw.choice([0, 3, 6]),
            tokens=draw.choice([None, 1, 2, 15, 40]),
            status=status,
            due_ns=draw.choice([None, 0]),
            chunks=draw.choice([None, 1, 10]),
            output_tokens_source=draw.choice([None, "server", "chunks"]),
            prompt_cut=draw.choice([None, None, None, 0, 0, 0, 1]),
            reply_cut=draw.choice([None, None, None, 0, 0, 0, 1]),
        )
        answer_ns = first and int((first + draw.choice([0, 0.5])) * S)
        later = {
            "ended_ns": int(draw.uniform(3, 10) * S),
            "first_answer_ns": draw.choice([None, answer_ns, answer_ns]),
        }
        database["request"].update(number, later)
    row = one(database, "level_summary")
    (study,) = selection.choose(database, [], [])
    (service,) = measure_service(database, study, bounds).values()
    assert (service.good, service.undecided) == (
        row["good_requests"],
        row["undecided_requests"],
    )
    assert service.share == pytest.approx(row["good_ratio"])
    assert service.good > 5 and service.undecided > 5


def test_of_a_load_that_goes_on_its_steady_part_is_judged(database):
    """It fills for 5 s, in which two wait too long; what comes due after 20 s is not steady."""
    database["objective"].insert(
        {"run_id": 1, "metric": "ttft_s", "bound": 2.0}
    )
    level(
        database,
        concurrency=2,
        load="closed",
        ended_ns=30 * S,
        steady_start_ns=5 * S,
        steady_end_ns=20 * S,
    )
    request(database, 1, sent=0, first=4, last=5)
    request(database, 2, sent=0, first=4, last=6)
    request(database, 3, sent=5, first=6, last=9)
    # what counts is when it was due
    request(database, 4, sent=7, first=9, last=12, due_ns=6 * S)
    request(database, 5, sent=20, first=21, last=22)
    request(database, 6, sent=25, first=29, last=30)
    row = one(database, "level_summary")
    assert (row["requests"], row["completed"]) == (6, 6)
    assert (row["good_requests"], row["good_ratio"]) == (2, 2 / 3)
    # in the 15 steady seconds
    assert row["goodput_per_s"] == pytest.approx(2 / 15)
    assert (row["ttft_mean_s"], row["ttft_max_s"]) == (
        pytest.approx(5 / 3),
        3.0,
    )
    (study,) = selection.choose(database, [], [])
    assert shares(database, study, parse("ttft=2")) == {1: 2 / 3}
    steady = one(database, "steady_summary")
    assert (steady["requests"], steady["requests_per_s"]) == (3, 3 / 15)


def test_without_a_steady_part_all_are_judged(database):
    database["objective"].insert(
        {"run_id": 1, "metric": "ttft_s", "bound": 2.0}
    )
    level(database, load="closed", ended_ns=9 * S)
    request(database, 1, sent=0, first=4, last=5)
    request(database, 2, sent=4, first=5, last=6)
    assert one(database, "level_summary")["good_ratio"] == 0.5


def test_each_demand_is_judged_by_itself(database):
    """Of 20 one waits too long for the first token, one for the last, and one fails."""
    database["objective"].insert_all(
        [
            {"run_id": 1, "metric": "ttft_s", "bound": 2.0, "share": 0.9},
            {"run_id": 1, "metric": "e2e_s", "bound": 8.0, "share": None},
            {
                "run_id": 1,
                "metric": "tokens_per_s",
                "bound": 1.0,
                "share": None,
            },
        ]
    )
    level(database, concurrency=20)
    request(database, 1, first=3, last=5, tokens=40)
    request(database, 2, first=1, last=9, tokens=40)
    request(database, 3, status="http_error", http_status=503)
    for number in range(4, 21):
        request(database, number, first=1, last=5, tokens=40)
    demands = {
        row["share"]: row
        for row in database.query("SELECT * FROM demand_summary")
    }
    assert [demands[key]["good_requests"] for key in (0.9, None)] == [
        18,
        18,
    ]
    assert demands[0.9]["metrics"] == "ttft_s"
    assert set(demands[None]["metrics"].split(",")) == {
        "e2e_s",
        "tokens_per_s",
    }
    assert one(database, "level_summary")["good_requests"] == 17
    (study,) = selection.choose(database, [], [])
    bounds = parse("ttft=2@90,e2e=8,tokens_per_s=1")
    (service,) = measure_service(database, study, bounds).values()
    assert [outcome.good for outcome in service.demands] == [18, 18]
    assert [one.is_reached for one in service.demands] == [False, True]
    assert (service.good, service.is_served) == (17, False)
    bounds = parse("ttft=2@90,e2e=8@90")
    (service,) = measure_service(database, study, bounds).values()
    assert (service.good, service.is_served) == (17, True)
