"""Which server gets a request, by each policy, and which is left out."""

import collections

import pytest

from ollama_bench.load.balancer import LEFT_OUT_S, Balancer


class Clock:
    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


def send(balancer, number):
    host = balancer.choose(number)
    balancer.note_sent(host)
    return host


def test_in_turn_whatever_is_in_flight():
    balancer = Balancer(3, "round-robin")
    sent = [send(balancer, n) for n in range(1, 8)]
    assert sent == [0, 1, 2, 0, 1, 2, 0]


def test_by_chance_each_gets_its_share_and_a_seed_repeats_it():
    draws = [
        [Balancer(4, "random", seed).choose(n) for n in range(1, 2001)]
        for seed in ("1", "1", "2")
    ]
    assert draws[0] == draws[1] != draws[2]
    counts = collections.Counter(draws[0])
    # binomial: 500, standard deviation 19
    assert all(abs(counts[host] - 500) < 80 for host in range(4))


def test_a_burst_is_spread_evenly():
    balancer = Balancer(3, "least-in-flight")
    assert [balancer.choose(n) for n in range(1, 8)] == [
        *(0, 1, 2, 0, 1, 2, 0)
    ]


def test_several_processes_begin_with_a_server_of_their_own():
    """Else a few requests from each would all go to the first server."""
    firsts = [
        Balancer(3, "least-in-flight", first=place).choose(1)
        for place in range(5)
    ]
    assert firsts == [0, 1, 2, 0, 1]


def test_the_one_that_has_answered_gets_the_next():
    balancer = Balancer(2, "least-in-flight")
    assert [send(balancer, n) for n in (1, 2, 3, 4)] == [0, 1, 0, 1]
    balancer.note_ended(1)
    balancer.note_ended(1)
    assert [send(balancer, n) for n in (5, 6)] == [1, 1]


def test_among_idle_servers_the_one_that_was_sent_the_fewest_is_next():
    balancer = Balancer(2, "least-in-flight")
    for number in range(1, 5):
        host = send(balancer, number)
        assert host == (number - 1) % 2
        balancer.note_ended(host)


def test_a_request_that_is_not_sent_after_all_counts_no_longer():
    balancer = Balancer(2, "least-in-flight")
    assert [balancer.choose(n) for n in (1, 2, 3)] == [0, 1, 0]
    balancer.note_dropped(0)
    balancer.note_dropped(0)
    assert [balancer.choose(n) for n in (4, 5)] == [0, 0]


def test_the_next_turn_of_a_conversation_counts_where_it_stays():
    balancer = Balancer(2, "least-in-flight")
    balancer.stay(0)
    balancer.stay(0)
    assert [balancer.choose(n) for n in (1, 2)] == [1, 1]


@pytest.mark.parametrize(
    "policy", ["least-in-flight", "round-robin", "random"]
)
def test_a_server_that_cannot_be_reached_is_left_out_for_a_while(policy):
    clock = Clock()
    balancer = Balancer(2, policy, "1", clock=clock)
    balancer.leave_out(0)
    assert {send(balancer, n) for n in range(1, 20)} == {1}
    assert balancer.rank(1) < balancer.rank(0)
    clock.now_s = LEFT_OUT_S
    assert 0 in {balancer.choose(n) for n in range(1, 20)}


def test_where_none_can_be_reached_each_is_tried():
    balancer = Balancer(2, "round-robin")
    balancer.leave_out(0)
    balancer.leave_out(1)
    assert [balancer.choose(n) for n in (1, 2)] == [0, 1]


def test_what_is_ready_leaves_first_for_who_has_the_fewest_in_flight():
    balancer = Balancer(2, "least-in-flight")
    for number in (1, 2, 3):
        send(balancer, number)
    assert balancer.rank(1) < balancer.rank(0)
    in_turn = Balancer(2, "round-robin")
    send(in_turn, 1)
    assert in_turn.rank(0) == in_turn.rank(1)
