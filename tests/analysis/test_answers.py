"""The answers in sentences, for made-up runs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ollama_bench.analysis.answers import describe_shortfall, find_answer
from ollama_bench.analysis.selection import choose
from ollama_bench.analysis.service import (
    DemandOutcome,
    Service,
    measure_service,
)
from ollama_bench.analysis.wording import digits
from ollama_bench.inputs.objectives import list_demands, parse
from ollama_bench.storage.connection import connect
from tests.support import made_up_results
from tests.support.studies import SLO, read


def test_the_answers_carry_the_numbers(results):
    made_up_results.write(
        results, levels=(1, 2, 4, 8, 16, 32), slots=4, rate=41.0
    )
    _, said = read(results)
    assert (
        "One request alone gets 4" in said
        and "waits 200 ms for the first token (1 request, replies of "
        in said
    )
    assert (
        "Up to 2 at once get at least 10 tokens/s and the first token within 10 s; with 4, only "
        in said
        and "? 0.632 requests/s with 2 at once; at random times" in said
    )  # 41 / 4 with its spread falls below 10
    assert (
        "How does concurrency change throughput? 4" in said
        and "The mean wait is 200 ms with 1 and with 4 at once, jumps to"
        in said
    )
    assert "of 32 requests at once it answered 4 at a time" in said


def test_nobody_is_served_when_the_first_level_is_too_slow(results):
    made_up_results.write(results, levels=(1, 2), rate=5.0)
    said = read(results)[1]
    assert "Not even one at a time gets at least 10 tokens/s" in said
    assert ": it got 5.1" in said


def test_requests_that_come_at_a_rate_are_judged_by_the_rate(results):
    """The level's number is then the most that could be in flight: nobody was served 16 at once."""
    made_up_results.write(results, levels=(16,), slots=16, rate=16 * 12.0)
    _, said = read(
        results,
        "UPDATE level SET load = 'open', rate_per_s = 0.8, pool_waits = 3, never_sent = 2",
    )
    assert (
        said.startswith(
            "16 of 16 requests were answered, offered at 0.8 requests/s; "
            "16 of 16 got at least 10 tokens/s and the first token within 10 s. "
            "At 0.8 requests/s (16 requests, replies of "
        )
        and "The longest wait was 200 ms." in said
    )
    assert (
        "3 requests found all 16 places taken when due (their wait counts from then). "
        "2 requests of 16 came due and had not been sent when the level ended."
        in said
        and "at once get" not in said
    )


def test_levels_of_one_rate_are_told_apart_by_their_limit(results):
    made_up_results.write(
        results, levels=(4, 16), slots=16, rate=16 * 12.0
    )
    _, said = read(
        results, "UPDATE level SET load = 'open', rate_per_s = 0.8"
    )
    for limit in (4, 16):
        assert (
            f"offered at 0.8 requests/s with at most {limit} in flight;"
            in said
        )


def test_repeats_that_differ_are_a_range(results):
    made_up_results.write(results, levels=(1,), rate=40.0)
    made_up_results.write(
        results, levels=(1,), rate=80.0, started_unix=1.9e9
    )
    study, said = read(results, "UPDATE run SET source = 'import'")
    rates = sorted(level["tokens_per_s_mean"] for level in study.levels)
    assert (
        f"{digits(rates[0])} to {digits(rates[1])} tokens/s" in said
        and "(2 requests in 2 measurements, replies of " in said
    )


@pytest.mark.parametrize(
    "service, said",
    [
        (
            Service(
                24,
                24,
                5,
                {"ttft": 24, "tokens_per_s": 5},
                {"ttft": 6.4, "tokens_per_s": 9.2},
            ),
            "only 5 of 24 got at least 10 tokens/s (slowest 9.2)",
        ),
        (
            Service(
                32,
                32,
                26,
                {"ttft": 26, "tokens_per_s": 32},
                {"ttft": 84.1, "tokens_per_s": 20.0},
            ),
            "only 26 of 32 got the first token within 10 s (longest 1:24); 95 % must get that",
        ),
        (
            Service(
                48,
                39,
                39,
                {"ttft": 39, "tokens_per_s": 39},
                {"ttft": 4.1, "tokens_per_s": 19.0},
            ),
            "9 of 48 failed; 95 % must get that",
        ),
        (
            Service(
                48,
                39,
                8,
                {"ttft": 39, "tokens_per_s": 8},
                {"ttft": 4.1, "tokens_per_s": 9.0},
            ),
            "9 of 48 failed and only 8 of 39 got at least 10 tokens/s (slowest 9)",
        ),
        (
            Service(
                4,
                0,
                0,
                {"ttft": 0, "tokens_per_s": 0},
                {"ttft": None, "tokens_per_s": None},
            ),
            "all 4 failed",
        ),
        (
            Service(
                100,
                100,
                93,
                {"ttft": 96, "tokens_per_s": 97},
                {"ttft": 11.0, "tokens_per_s": 9.0},
            ),
            "only 93 of 100 got all of that; 95 % must get that",
        ),
    ],
)
def test_what_was_missed_is_told_with_the_worst(service, said):
    (demand,) = list_demands(SLO)
    outcome = DemandOutcome(demand, service.asked, service.good)
    service = replace(service, demands=(outcome,))
    assert describe_shortfall(service, SLO) == said


@pytest.mark.parametrize(
    "wish, good, met, said",
    [
        (
            "ttft=2@99,tpot=0.1@90",
            (97, 89),
            {"ttft": 97, "tpot": 89},
            "only 97 of 100 got the first token within 2 s (longest 3.5 s) "
            "and only 89 of 100 got a token every 0.1 s (slowest 200 ms)",
        ),
        (
            "ttft=2@99,tpot=0.1",
            (94, 99),
            {"ttft": 99, "tpot": 94},
            "only 94 of 100 got a token every 0.1 s (slowest 200 ms); 95 % must get that",
        ),
        (
            "ttft=2@100,tpot=0.1@90",
            (99, 95),
            {"ttft": 99, "tpot": 95},
            "only 99 of 100 got the first token within 2 s (longest 3.5 s); all must get that",
        ),
    ],
)
def test_the_demand_that_was_missed_is_named(wish, good, met, said):
    objectives = parse(wish)
    demands = [
        DemandOutcome(demand, 100, count)
        for demand, count in zip(
            list_demands(objectives), good, strict=True
        )
    ]
    service = Service(
        100, 100, 80, met, {"ttft": 3.5, "tpot": 0.2}, demands=(*demands,)
    )
    assert describe_shortfall(service, objectives) == said


def test_shares_stand_beside_what_is_promised(results):
    made_up_results.write(results, levels=(4,), slots=4, rate=160.0)
    database = connect(results, readonly=True)
    (study,) = choose(database, [], [])
    wish = parse("ttft=2@99.5,tokens_per_s=5@100")
    services = measure_service(database, study, wish)
    assert find_answer(study, wish, services).first == [
        "4 at once get at least 5 tokens/s (all of them) and the first token "
        "within 2 s (99.5 %); more were not measured."
    ]


def test_the_warm_twin_of_a_level_is_no_repeat_of_it(results):
    made_up_results.write(results, levels=(4,))
    study, said = read(
        results,
        "INSERT INTO level (run_id, model, concurrency, cache, status, started_ns, ended_ns) "
        "SELECT run_id, model, concurrency, 'warm', status, started_ns, ended_ns FROM level",
        "INSERT INTO request (level_id, number, status, sent_ns, first_text_ns, last_text_ns, "
        "ended_ns, output_tokens)"
        " SELECT 2, number, status, sent_ns, sent_ns + 100000000, last_text_ns, ended_ns, "
        "output_tokens FROM request",
    )
    assert [level["cache"] for level in study.levels] == ["cold"]
    assert (
        "With a warm prompt cache a request waits 100 ms instead of 200 ms, with 4 at once"
        in said
    )


def cut(count, ended_ns, tokens):
    """SQL that lets this client cut the first requests of every level."""
    return (
        "UPDATE request SET status = 'cancelled', output_tokens_source = 'chunks', "
        f"ended_ns = first_text_ns + {ended_ns}, output_tokens = {tokens} "
        f"WHERE number <= {count}"
    )


def test_requests_cut_at_two_tokens_a_second_are_not_served(results):
    made_up_results.write(results, levels=(8,), slots=8, rate=8 * 40.0)
    _, said = read(results, cut(8, 10_000_000_000, tokens=20))
    assert "Not even 8 at once get" in said and "all 8 failed" in said


@pytest.mark.parametrize("count, is_served", [(1, True), (2, False)])
def test_a_level_with_more_than_a_twentieth_undecided_is_not_called_served(
    results, count, is_served
):
    made_up_results.write(results, levels=(20,), slots=20, rate=20 * 40.0)
    _, said = read(results, cut(count, 1_000_000_000, tokens=20))
    assert ("more were not measured" in said) == is_served
    was = "was" if count == 1 else "were"
    undecided = f"{count} of 20 {was} cut before it showed."
    assert (undecided in said) != is_served


def test_repeats_that_disagree_are_told_apart(results):
    made_up_results.write(results, levels=(8,), slots=8, rate=8 * 40.0)
    made_up_results.write(
        results, levels=(8,), slots=8, rate=8 * 5.0, started_unix=1.9e9
    )
    _, said = read(results, "UPDATE run SET source = 'import'")
    assert "in 1 of 2 measurements, none got at least 10 tokens/s" in said


def test_of_repeats_served_alike_the_slowest_is_named(results):
    for number, rate in enumerate((9.0, 4.0, 7.0)):
        made_up_results.write(
            results, levels=(1,), rate=rate, started_unix=1.8e9 + number
        )
    _, said = read(results, "UPDATE run SET source = 'import'")
    assert "in 3 of 3 measurements, at worst it got 4.15 tokens/s" in said


def test_a_reply_in_one_chunk_has_no_speed(results):
    made_up_results.write(results, levels=(1,))
    _, said = read(
        results, "UPDATE request SET first_text_ns = last_text_ns"
    )
    assert said.startswith(
        "Whether one at a time gets at least 10 tokens/s and the first token within 10 s"
        " cannot be told: the reply came in one piece, so that its speed is not known."
    )
    assert "How sure is it that they are served? cannot be told" in said


@pytest.mark.parametrize("slo", ["tokens_per_s=10", "tpot=0.1"])
def test_some_replies_in_one_chunk_are_not_called_slow(results, slo):
    made_up_results.write(results, levels=(4,), slots=4, rate=100.0)
    database = connect(results)
    database.execute(
        "UPDATE request SET first_text_ns = last_text_ns WHERE number = 1"
    )
    (study,) = choose(database, [], [])
    bounds = parse(slo)
    services = measure_service(database, study, bounds)
    said = " ".join(find_answer(study, bounds, services).lines)
    database.close()
    assert (
        "the replies of 1 of 4 came in one piece, so that their speed "
        "is not known" in said
    )
    assert "slowest" not in said.partition(";")[0]


def test_what_is_known_below_replies_in_one_chunk_is_said(results):
    made_up_results.write(results, levels=(1, 2), slots=4)
    _, said = read(
        results,
        "UPDATE request SET first_text_ns = last_text_ns WHERE level_id = 2",
    )
    assert said.startswith("One at a time gets at least 10 tokens/s")
    assert (
        "with 2, the replies came in one piece, so that their speed is not known."
        in said
    )


def test_a_level_in_which_all_failed_has_no_figures(results):
    made_up_results.write(results, levels=(2,), slots=4)
    study, said = read(
        results,
        "UPDATE request SET status = 'reset', first_text_ns = NULL, "
        "last_text_ns = NULL, output_tokens = NULL",
    )
    assert "Not even 2 at once get" in said and "all 2 failed" in said
    assert "With 2 at once (no request completed)" in said
    assert "do I get? no request completed" in said
    assert "(10 tokens/s)? none " in said


def test_the_figures_together_are_of_all_repeats(results):
    made_up_results.write(results, levels=(4,), slots=4, rate=4 * 40.0)
    made_up_results.write(
        results, levels=(4,), slots=4, rate=4 * 80.0, started_unix=1.9e9
    )
    study, said = read(results, "UPDATE run SET source = 'import'")
    rates = [level["output_tokens_per_s"] for level in study.levels]
    assert rates[0] != rates[1]
    assert f", {digits(sum(rates) / 2)} all together, " in said
