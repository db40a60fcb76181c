from array import array

import pytest

from ollama_bench.load.request import Outcome, Task
from ollama_bench.load.tally import Tally
from ollama_bench.protocols.chunks import StreamSummary
from ollama_bench.protocols.ollama import Ollama

S = 1_000_000_000


def outcome_with(*chunk_ns, status="completed", **fields):
    """An outcome with these chunks that ends with the last one, unless told otherwise."""
    outcome = Outcome(
        Task(1, Ollama(), "", {}),
        status,
        chunk_ns=array("q", chunk_ns),
        **fields,
    )
    if outcome.ended_ns is None and chunk_ns:
        outcome.ended_ns = chunk_ns[-1]
    return outcome


def tally_of(*outcomes):
    tally = Tally()
    for outcome in outcomes:
        tally.add(outcome)
    return tally


def test_requests_that_fail_to_connect_do_not_limit_the_client():
    completed = [
        outcome_with(sent + 1, sent + S // 2, sent_ns=sent)
        for sent in seconds(4)
    ]
    tally = tally_of(*completed, outcome_with(status="refused"))
    assert (
        tally.summarize_client("closed", 1, 10.0, 1.0, [])[
            "client_limited_why"
        ]
        is None
    )


def test_requests_that_fail_at_once_do_not_limit_the_client():
    tally = tally_of(
        *[
            outcome_with(
                status="http_error", sent_ns=sent, ended_ns=sent + 1000
            )
            for sent in seconds(4)
        ]
    )
    assert (
        tally.summarize_client("closed", 1, 10.0, 1.0, [])[
            "client_limited_why"
        ]
        is None
    )


def seconds(count):
    return [S * second for second in range(count)]


def test_inter_token_latency_pools_the_gaps_of_completed_streams():
    figures = tally_of(
        outcome_with(0, S, 4 * S),
        outcome_with(5, 2 * S + 5),
        outcome_with(0, 10**12, status="reset"),
        outcome_with(status="reset"),
    ).summarize_itl()
    assert figures == {
        "itl_chunks": 3,
        "itl_mean_s": 2.0,
        "itl_p50_s": 2.0,
        "itl_p95_s": None,
        "itl_p99_s": None,
        "itl_max_s": 3.0,
    }


def test_inter_token_latency_has_a_p99_from_100_gaps_on():
    figures = tally_of(outcome_with(*seconds(101))).summarize_itl()
    assert (figures["itl_chunks"], figures["itl_p99_s"]) == (100, 1.0)


def test_inter_token_latency_of_nothing_is_unknown():
    assert set(Tally().summarize_itl().values()) == {0, None}


def test_intervals_enclose_the_means():
    tally = tally_of(
        outcome_with(2 * S, 4 * S, sent_ns=S),
        outcome_with(4 * S, 5 * S, sent_ns=S),
        outcome_with(3 * S, 4 * S, sent_ns=S),
        outcome_with(3 * S, 4 * S, sent_ns=S),
    )
    figures = tally.summarize_intervals()
    assert figures["ttft_mean_low_s"] < 2.0 < figures["ttft_mean_high_s"]
    assert (
        figures["tokens_per_s_mean_low"]
        < figures["tokens_per_s_mean_high"]
    )
    assert (figures["interval_basis"], figures["interval_n"]) == (
        "requests",
        4,
    )
    assert set(Tally().summarize_intervals().values()) == {None}


def test_the_tokens_of_the_first_chunk_are_not_made_while_it_streams():
    """12 tokens in 3 chunks within 2 s: 8 came after the first chunk."""
    summary = StreamSummary(output_tokens=12)
    outcome = outcome_with(0, S, 2 * S, sent_ns=0, summary=summary)
    figures = tally_of(*[outcome] * 4).summarize_intervals()
    assert figures["tokens_per_s_mean_low"] == pytest.approx(4)
    assert figures["tokens_per_s_mean_high"] == pytest.approx(4)


def test_intervals_of_a_loop_are_made_of_batches():
    outcomes = [
        outcome_with(at, at + S + at // 100, sent_ns=0)
        for at in seconds(40)
    ]
    figures = tally_of(*outcomes).summarize_intervals(workers=4)
    assert (figures["interval_basis"], figures["interval_n"]) == (
        "batches",
        10,
    )
    figures = tally_of(*outcomes[:9]).summarize_intervals(workers=4)
    assert (figures["interval_basis"], figures["interval_n"]) == (
        "requests",
        9,
    )


def test_level_ends_with_its_last_chunk():
    tally = tally_of(
        outcome_with(S, 5 * S, ended_ns=6 * S),
        outcome_with(status="reset", ended_ns=3 * S),
    )
    assert (tally.ended, tally.completed, tally.last_ns) == (2, 1, 5 * S)


def test_the_steady_part_begins_after_the_filling():
    """Nobody is answered in the first 20 of 100 s; the last is sent at 100 s."""
    outcomes = [
        outcome_with(20 * S + at * S, 21 * S + at * S, sent_ns=at * S)
        for at in range(100)
    ]
    tally = tally_of(
        *outcomes, outcome_with(119 * S, 120 * S, sent_ns=100 * S)
    )
    start_ns, end_ns = tally.find_steady_window(0)
    assert 19 * S <= start_ns <= 22 * S
    assert end_ns == 100 * S
    # what was never sent was to be sent until then
    assert tally.find_steady_window(0, 130 * S)[1] == 130 * S


@pytest.mark.parametrize("due_s", [None, 149])
def test_what_a_dead_server_refuses_is_of_the_steady_part(due_s):
    """The last is sent after 99 s, the last is refused after 150 s: it is judged as well."""
    sent = [
        outcome_with(at * S + 1, (at + 1) * S, sent_ns=at * S)
        for at in range(1, 100)
    ]
    refused = outcome_with(status="refused", ended_ns=150 * S)
    refused.due_ns = due_s and due_s * S
    cut = outcome_with(status="cancelled", ended_ns=160 * S)
    window = tally_of(*sent, refused, cut).find_steady_window(0)
    assert window is not None and window[1] == (due_s or 150) * S


def test_of_a_few_requests_no_warm_up_is_cut():
    outcomes = [
        outcome_with(20 * S + at * S, 21 * S + at * S, sent_ns=at * S)
        for at in range(0, 100, 6)
    ]
    assert tally_of(*outcomes).find_steady_window(0) == (0, 96 * S)


def test_without_a_reply_that_ended_in_time_nothing_is_steady():
    assert Tally().find_steady_window(0) is None
    burst = [outcome_with(S, 2 * S, sent_ns=0)] * 2
    assert tally_of(*burst).find_steady_window(0) is None


def test_where_everybody_leaves_it_is_steady_all_the_same():
    """Each leaves after 2 s: how many were in flight can be told without a single reply."""
    outcomes = [
        outcome_with(
            status="abandoned", sent_ns=at * S, ended_ns=(at + 2) * S
        )
        for at in range(100)
    ]
    tally = tally_of(*outcomes)
    start_ns, end_ns = tally.find_steady_window(0)
    assert start_ns < 3 * S and end_ns == 99 * S
    assert tally.in_flight.mean((start_ns, end_ns)) == pytest.approx(
        2, 0.02
    )


def test_intervals_are_of_what_was_asked_in_the_steady_part():
    slow = [outcome_with(9 * S, 10 * S, sent_ns=0)] * 9
    quick = [
        outcome_with(at + S + at // 100, at + 2 * S, sent_ns=at)
        for at in seconds(20)
    ]
    tally = tally_of(*slow, *quick)
    figures = tally.summarize_intervals(steady=(S // 2, 99 * S))
    assert figures["interval_n"] == 19
    assert figures["ttft_mean_high_s"] < 1.5
    assert tally.summarize_intervals()["ttft_mean_high_s"] > 1.5


def test_send_lags_and_mean_in_flight():
    """Two workers; the third request is sent 0.2 s after the first reply, the fourth at once."""
    tally = tally_of(
        outcome_with(S, 2 * S, sent_ns=0),
        outcome_with(S, 3 * S, sent_ns=0),
        outcome_with(
            3 * S, 4 * S, sent_ns=22 * S // 10, send_lag_ns=2 * S // 10
        ),
        outcome_with(4 * S, 5 * S, sent_ns=3 * S, send_lag_ns=0),
        outcome_with(5 * S, 6 * S, sent_ns=4 * S, send_lag_ns=1000),
    )
    steady = (0, 4 * S)
    figures = tally.summarize_client(
        "closed", 2, 10.0, 1.0, [], steady=steady
    )
    assert figures["client_send_lag_p50_s"] == 1e-6
    assert (
        figures["client_send_lag_p99_s"]
        == figures["client_send_lag_max_s"]
        == 0.2
    )
    assert figures["in_flight_mean"] == pytest.approx(
        (2 + 3 + 1.8 + 1) / 4
    )
    why = figures["client_limited_why"]
    assert (
        "requests were sent up to 200 ms late" in why
        and "1.9 of 2 requests" in why
    )
    burst = tally.summarize_client("burst", 2, 10.0, 1.0, [])
    assert (
        burst["in_flight_mean"] is None
        and burst["client_send_skew_s"] == 4.0
    )


@pytest.mark.parametrize(
    "read_lags_ns, beats_late_ns, expected",
    [
        ([], [], (None, None, "user")),
        ([], [2_000_000], (0.002, "heartbeat", "user")),
        ([3_000_000], [2_000_000], (0.003, "kernel", "kernel")),
    ],
)
def test_read_lag_comes_from_the_kernel_else_from_the_heartbeat(
    read_lags_ns, beats_late_ns, expected
):
    tally = tally_of(
        outcome_with(0, S, read_lags_ns=array("q", read_lags_ns))
    )
    figures = tally.summarize_client("burst", 1, 10.0, 1.0, beats_late_ns)
    read_lag = (
        figures["client_read_lag_p99_s"],
        figures["client_read_lag_source"],
    )
    assert (*read_lag, figures["client_stamps"]) == expected


def test_gaps_in_which_this_process_stood_still_are_left_out():
    pause = (30_000_000, 5 * S)
    before_pause = [0, 1_000_000, 20_000_000]
    read_after_pause = [5 * S, 5 * S, 5 * S]
    later = [5 * S + 200_000_000, 5 * S + 220_000_000]
    tally = Tally()
    tally.add(
        outcome_with(*before_pause, *read_after_pause, *later), [pause]
    )
    figures = tally.summarize_itl()
    assert (figures["itl_max_s"], figures["itl_chunks"]) == (0.02, 3)
    tally.add(outcome_with(6 * S, 7 * S), [pause])
    assert tally.summarize_itl()["itl_max_s"] == 1.0


def test_chunks_of_a_cut_reply_hold_as_many_tokens_as_others():
    whole = outcome_with(1, 2, summary=StreamSummary(output_tokens=5))
    cut = outcome_with(1, 2, 3, 4, status="cancelled")
    assert tally_of(whole, cut).received_tokens == 5 + 10
    assert tally_of(cut).received_tokens is None
    assert tally_of(whole).received_tokens == 5
    assert tally_of(outcome_with(status="cancelled")).received_tokens == 0
