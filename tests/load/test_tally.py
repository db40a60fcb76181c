"""tally.py: figures against hand-computed ones; percentiles exact while values are few, then within their bin."""
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_bench.load import attempt
from ollama_bench.load import tally

S = 1_000_000_000


@pytest.mark.parametrize("load, changes, words", [
    ("burst", {}, None), ("burst", {"client_cpu_ratio": 0.95}, "95% of a core"), ("burst", {"client_send_lag_p99_s": 0.2}, "200 ms late"),
    ("burst", {"client_send_lag_p99_s": 0.02}, None), ("closed", {"client_send_lag_p99_s": 0.006}, "6 ms late"),
    ("closed", {"client_send_lag_p99_s": 0.004}, None), ("open", {"client_send_lag_p99_s": 0.003}, "3 ms late"),
    ("open", {"client_send_lag_p99_s": 0.001}, None), ("closed", {"in_flight_mean": 7.9}, None),
    ("closed", {"in_flight_mean": 7.8}, "7.8 of 8 requests"), ("closed", {"client_paused_s": 2.0}, "stood still for 2.0 s (stopped)"),
    ("closed", {"client_paused_s": 2.0, "slept_s": None}, "stood still for 2.0 s (stopped or asleep)"),
    ("closed", {"client_paused_s": 30.2, "slept_s": 30.0}, "the machine slept for 30.0 s"),
    ("closed", {"client_paused_s": 32.0, "slept_s": 30.0}, "slept for 30.0 s; this client itself stood still for 2.0 s (stopped)"),
    ("open", {"client_held_s": 3.0}, "nothing was sent for 3.0 s"),
    ("burst", {"client_read_lag_p99_s": 0.02}, "20 ms late"), ("burst", {"client_read_lag_p99_s": 0.02, "client_stamps": "kernel"}, None),
    ("burst", {"client_read_lag_p99_s": 0.5, "client_stamps": "kernel"}, "500 ms late"),
])
def test_when_the_client_is_the_limit(load, changes, words):
    figures = {"client_cpu_ratio": 0.2, "client_send_lag_p99_s": 0.001, "client_read_lag_p99_s": 0.001, "client_stamps": "user",
               "client_paused_s": 0.0, "slept_s": 0.0, "client_held_s": 0.0, "client_digest_lag_max_s": None, "in_flight_mean": None} | changes
    why = tally.limited_why(figures, load, 8, keeps_failing=False)
    assert (why is None) == (words is None) and (words or "") in (why or "")


def test_who_cannot_connect_is_not_in_flight_by_the_servers_fault():
    made = tally_of(*[outcome_with(sent + 1, sent + S // 2, sent_ns=sent) for sent in (0, S, 2 * S, 3 * S)], outcome_with(status="refused"))
    assert made.client_figures("closed", 1, 10.0, 1.0, [])["client_limited_why"] is None
    made = tally_of(*[outcome_with(status="http_error", sent_ns=sent, ended_ns=sent + 1000) for sent in (0, S, 2 * S, 3 * S)])
    assert made.client_figures("closed", 1, 10.0, 1.0, [])["client_limited_why"] is None


def outcome_with(*instants, status="completed", sent_ns=None, **more):
    outcome = attempt.Outcome(attempt.Task(1, None, "", {}), status, sent_ns=sent_ns, chunk_ns=array("q", instants), **more)
    outcome.ended_ns = outcome.ended_ns or (instants[-1] if instants else None)
    return outcome


def tally_of(*outcomes):
    made = tally.Tally()
    for outcome in outcomes:
        made.add(outcome)
    return made


def test_inter_token_latency_pools_the_gaps_of_completed_streams():
    figures = tally_of(outcome_with(0, S, 4 * S), outcome_with(5, 2 * S + 5), outcome_with(0, 10**12, status="reset"),
                       outcome_with(status="reset")).itl_figures()
    assert (figures["itl_chunks"], figures["itl_mean_s"], figures["itl_p50_s"], figures["itl_max_s"]) == (3, 2.0, 2.0, 3.0)
    assert figures["itl_p95_s"] is None and figures["itl_p99_s"] is None
    figures = tally_of(outcome_with(*range(0, 101 * S, S))).itl_figures()
    assert (figures["itl_chunks"], figures["itl_p99_s"]) == (100, 1.0)
    assert set(tally.Tally().itl_figures().values()) == {0, None}


def test_a_level_ends_with_its_last_chunk():
    made = tally_of(outcome_with(S, 5 * S, ended_ns=6 * S), outcome_with(status="reset", ended_ns=3 * S))
    assert (made.ended, made.completed, made.last_ns) == (2, 1, 5 * S)


def test_the_steady_part_of_a_load_that_goes_on():
    made = tally_of(*[outcome_with(sent + 1, sent + 2 * S, sent_ns=sent) for sent in (0, S // 2, 2 * S, 3 * S, 4 * S)])
    assert made.steady_window(2, is_open=False) == (S // 2, 4 * S)  # from the second worker's sending
    assert made.steady_window(2, is_open=True) == (2 * S, 4 * S)  # from the first reply's end
    assert made.steady_window(5, is_open=False) is None and tally.Tally().steady_window(2, True) is None


def test_send_lags_and_what_was_in_flight():
    """Two workers; the third request leaves 0.2 s after the first reply, the fourth at once."""
    made = tally_of(outcome_with(S, 2 * S, sent_ns=0), outcome_with(S, 3 * S, sent_ns=0),
                    outcome_with(3 * S, 4 * S, sent_ns=22 * S // 10, send_lag_ns=2 * S // 10), outcome_with(4 * S, 5 * S, sent_ns=3 * S, send_lag_ns=0),
                    outcome_with(5 * S, 6 * S, sent_ns=4 * S, send_lag_ns=1000))
    figures = made.client_figures("closed", 2, 10.0, 1.0, [])
    assert (figures["client_send_lag_p50_s"], figures["client_send_lag_p99_s"], figures["client_send_lag_max_s"]) == (1e-6, 0.2, 0.2)
    assert figures["in_flight_mean"] == pytest.approx((2 + 3 + 1.8 + 1) / 4)
    assert "requests left up to 200 ms late" in figures["client_limited_why"] and "1.9 of 2 requests" in figures["client_limited_why"]
    assert made.client_figures("burst", 2, 10.0, 1.0, [])["in_flight_mean"] is None


def test_gaps_in_which_this_process_stood_still_count_to_no_server():
    made = tally.Tally()
    at = [0, 1_000_000, 20_000_000, 5 * S, 5 * S, 5 * S, 5 * S + 200_000_000, 5 * S + 220_000_000]
    made.add(outcome_with(*at), [(30_000_000, 5 * S)])
    figures = made.itl_figures()
    assert figures["itl_max_s"] == 0.02 and figures["itl_chunks"] == 3  # two before the pause, one well after it
    made.add(outcome_with(6 * S, 7 * S), [(30_000_000, 5 * S)])
    assert made.itl_figures()["itl_max_s"] == 1.0


@given(st.lists(st.integers(0, 2**62), min_size=1, max_size=60), st.integers(1, 100), st.booleans())
def test_percentiles_of_a_pool(values, percent, is_binned):
    """Nearest rank: the least value with at least so many percent of all at or below it; in bins within 1/4096."""
    true = next(value for value in sorted(values) if 100 * sum(other <= value for other in values) >= percent * len(values))
    pool = tally.Pool()
    with pytest.MonkeyPatch.context() as patch:
        if is_binned:
            patch.setattr(tally, "EXACT_VALUES", 0)
        for value in values:
            pool.extend([value])
    found = pool.percentile(percent)
    assert found == true if not is_binned else abs(found - true) <= true / 4096
    assert (pool.count, pool.total, pool.largest) == (len(values), sum(values), max(values))


def test_a_pool_does_not_grow_with_its_values():
    pool = tally.Pool()
    for start in range(0, 3_000_000, 100_000):
        pool.extend(range(start, start + 100_000))
    assert pool.count == 3_000_000 and len(pool._bins) < 30_000 and not pool._values
    assert pool.percentile_s(99) == pytest.approx(2_970_000 / 1e9, rel=1 / 4096)
