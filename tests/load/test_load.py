"""Every end of a request has a status of its own; what a level leaves behind."""

import contextlib
import dataclasses
import itertools
import socket
import threading
import time

import pytest

from ollama_bench.load import attempt
from ollama_bench.load.arrivals import poisson
from ollama_bench.load.load import Load
from ollama_bench.load.observer import Observer
from ollama_bench.load.people import People
from ollama_bench.load.request import Limits, Task
from ollama_bench.protocols.registry import PROTOCOLS
from ollama_bench.statistics.think_time import ThinkTime
from tests.load.levels import NEVER, Seen, ask_model, fire_burst
from tests.load.played_server import SHORT_ANSWER

FAULTS = [  # the simulator's fault, what it may be called, HTTP status
    ("reset_before_headers", {"reset"}, None),
    ("reset_after_headers", {"reset"}, 200),
    ("reset_mid_line", {"reset"}, 200),
    ("html_502", {"http_error"}, 502),
    ("error_first", {"stream_error", "http_error"}, None),
    ("error_last", {"stream_error"}, 200),
    ("no_done", {"reset"}, 200),
    ("no_done_stop", {"truncated"}, 200),
    ("no_text", {"empty"}, 200),
    ("429", {"http_error"}, 429),
    ("503", {"http_error"}, 503),
    ("403_empty", {"http_error"}, 403),
    ("garbage", {"stream_error"}, None),
    ("redirect", {"http_error"}, None),
    ("gzip", {"completed"}, 200),
    ("done_twice", {"completed"}, 200),
    ("counters_nan", {"completed"}, 200),
    ("huge_line", {"completed"}, 200),
]


@pytest.fixture(scope="module")
def short(module_sim):
    return module_sim(
        "--profile", "exact", "--ttft", "5", "--itl", "1", "--tokens", "10"
    )


@pytest.fixture
def unused_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class Broken(Observer):
    def tick(self, level):
        raise RuntimeError("a screen that is gone")


@contextlib.contextmanager
def rude(early):
    """Says something to whoever connects, and hangs up before it was asked anything.

    It does so on some connections later than on others.
    """

    def talk(connection, number):
        time.sleep(number % 2 * 0.1)
        with connection, contextlib.suppress(OSError):
            connection.sendall(early)
            connection.shutdown(socket.SHUT_RDWR)

    def serve():
        with contextlib.suppress(OSError):
            for number in itertools.count():
                threading.Thread(
                    target=talk,
                    args=(listener.accept()[0], number),
                    daemon=True,
                ).start()

    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/x"


@pytest.mark.parametrize("api_name", ["ollama", "openai"])
@pytest.mark.parametrize("kernel_stamps", [True, False])
def test_times_and_counts_are_the_simulators(
    exact, api_name, kernel_stamps
):
    level = fire_burst(
        exact.url, 4, api_name, Limits(kernel_stamps=kernel_stamps)
    )
    assert [o.task.number for o in level.outcomes] == [1, 2, 3, 4]
    for outcome in level.outcomes:
        row = outcome.to_figures(0)
        assert (row["status"], row["http_status"]) == ("completed", 200)
        assert (row["output_tokens"], row["output_tokens_source"]) == (
            20,
            "server",
        )
        assert row["chunks"] == 20 == len(outcome.chunk_ns)
        assert row["reasoning_chunks"] == sum(outcome.chunk_is_reasoning)
        # the simulator's --ttft
        assert (row["first_text_ns"] - row["sent_ns"]) / 1e9 >= 0.1
        # and 19 gaps of --itl
        assert (row["last_text_ns"] - row["sent_ns"]) / 1e9 >= 0.1 + 0.19
        assert list(outcome.chunk_ns) == sorted(outcome.chunk_ns)
        # as they come: where this machine pauses, some are read at once
        assert len(set(outcome.chunk_ns)) > 5
        assert outcome.answer or outcome.reasoning
        characters = len(outcome.answer) + len(outcome.reasoning)
        assert sum(outcome.chunk_characters) == characters
    assert level.started_ns <= min(o.sent_ns for o in level.outcomes)


@pytest.mark.parametrize("fault, statuses, http_status", FAULTS)
def test_every_fault_is_one_outcome_of_its_own(
    short, fault, statuses, http_status
):
    outcome = fire_burst(
        short.url,
        limits=Limits(stall_s=20),
        headers={"X-Sim-Fault": fault},
    ).outcomes[0]
    assert outcome.status in statuses, outcome
    if http_status is not None:
        assert outcome.http_status == http_status
    assert (outcome.error is None) == (outcome.status == "completed")
    assert "\n" not in (outcome.error or "")


def test_nobody_there_is_refused(unused_port):
    outcome = fire_burst(f"http://127.0.0.1:{unused_port}").outcomes[0]
    assert outcome.status == "refused"
    assert outcome.sent_ns is None
    assert outcome.error


def test_a_level_that_could_not_even_connect_is_not_the_clients_fault(
    unused_port,
):
    level = fire_burst(f"http://127.0.0.1:{unused_port}", 4)
    figures = level.client_figures()
    assert figures["client_cpu_ratio"] is None
    assert "core" not in (figures["client_limited_why"] or "")
    # It took no time, and none before it began.
    assert level.ended_ns == level.tally.last_ns == level.started_ns


def test_an_open_loop_at_a_server_that_is_not_there_ends(unused_port):
    ollama = PROTOCOLS["ollama"]
    seen = Seen()
    level = Load(
        lambda n: Task(n, ollama, f"http://127.0.0.1:{unused_port}/x", {}),
        NEVER,
        3,
        arrivals=poisson(20, 1),
        until_s=1,
    )
    level.run(seen)
    assert {o.status for o in seen.outcomes} == {"refused"}
    assert len(seen.outcomes) == level.tally.ended <= 30
    for outcome in seen.outcomes:  # each fails when it was due
        assert outcome.sent_ns is None
        assert outcome.ended_ns >= outcome.due_ns


@pytest.mark.parametrize(
    "way",
    [{}, {"planned": 24}, {"arrivals": poisson(40, 1), "planned": 12}],
    ids=["burst", "closed", "open"],
)
@pytest.mark.parametrize(
    "early, status", [(b"", "reset"), (SHORT_ANSWER, "stream_error")]
)
def test_a_server_that_hangs_up_or_answers_before_it_is_asked(
    early, status, way
):
    seen = Seen()
    with rude(early) as url:
        level = Load(
            lambda n: Task(n, PROTOCOLS["ollama"], url, {}),
            Limits(stall_s=5),
            12,
            **way,
        )
        level.run(seen)
    count = level.result.planned
    assert sorted(o.task.number for o in seen.outcomes) == list(
        range(1, count + 1)
    )
    # Each is told once: a second row of it would be refused.
    told = seen.ready_numbers + seen.begun_numbers
    assert len(told) == len(set(told))
    statuses = {o.status for o in seen.outcomes}
    # on a busy machine it hangs up even before the connection stands
    possible = {status, "reset", "refused", "completed"}
    assert {status} <= statuses <= possible, seen.outcomes
    assert all(
        o.ended_ns >= (o.due_ns or o.sent_ns or 0) for o in seen.outcomes
    )
    completed = [o for o in seen.outcomes if o.status == "completed"]
    # asked just in time
    assert all(o.sent_ns <= o.first_byte_ns for o in completed)


@pytest.mark.parametrize(
    "way",
    [{}, {"planned": 50}, {"arrivals": poisson(20, 1), "until_s": 30}],
    ids=["burst", "closed", "open"],
)
def test_an_observer_that_fails_leaves_nobody_waiting(module_sim, way):
    slow = module_sim(
        profile="exact", ttft=10, itl=50, tokens=1000, slots=2
    )
    level = Load(ask_model(slow.url), NEVER, 4, **way)
    with pytest.raises(RuntimeError, match="screen"):
        level.run(Broken())
    names = [thread.name for thread in threading.enumerate()]
    assert not [
        name for name in names if name.startswith(("stream", "reader"))
    ]


def test_slots_and_queue_show(module_sim):
    slots = module_sim(
        profile="exact", ttft=20, itl=10, tokens=20, slots=2
    )
    level = fire_burst(slots.url, 4)
    waits = sorted(
        (o.chunk_ns[0] - o.sent_ns) / 1e9 for o in level.outcomes
    )
    # the last two wait for the first two to end
    assert waits[1] < 0.19 <= waits[2]


def test_an_unforeseen_error_is_that_requests_alone(exact, monkeypatch):
    monkeypatch.setattr(attempt, "read_stream", lambda *_: 1 / 0)
    outcome = fire_burst(exact.url).outcomes[0]
    assert outcome.status == "client_error"
    assert "ZeroDivisionError" in outcome.error


class Ending(Seen):
    """Ends its level early at a call of its own: the first tick, or the n-th of its kind."""

    def __init__(self, call, count=1):
        super().__init__()
        self.level, self.call, self.left = None, call, count

    def _look(self, call):
        self.left -= call == self.call
        if self.level is not None and not self.left:
            self.level.end_early("enough")
            self.asked_ns = time.perf_counter_ns()
            self.call = ""

    def ready(self, tasks):
        super().ready(tasks)
        self._look("ready")

    def begun(self, task):
        super().begun(task)
        self._look("begun")

    def ended(self, outcome):
        super().ended(outcome)
        self._look("ended")

    def tick(self, level):
        self._look("tick")


def run_ending(url, seen, workers=3, source=None, **way):
    level = Load(source or ask_model(url), NEVER, workers, **way)
    seen.level = level
    level.run(seen)
    return level


WAYS = {
    "closed": lambda: {"until_s": 60},
    "planned": lambda: {"planned": 5000},
    "open": lambda: {"arrivals": poisson(30, 1), "until_s": 60},
    "people": lambda: {
        "people": People(3, ThinkTime(0.1, "fixed"), "1"),
        "until_s": 60,
    },
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "call, count", [("begun", 1), ("ended", 4), ("tick", 1)]
)
def test_a_load_that_is_ended_early_lets_what_is_in_flight_finish(
    exact, way, call, count
):
    seen = Ending(call, count)
    level = run_ending(exact.url, seen, **WAYS[way]())
    assert level.result.ended_early == "enough"
    assert seen.outcomes
    assert {o.status for o in seen.outcomes} == {"completed"}
    assert max(o.sent_ns for o in seen.outcomes) <= seen.asked_ns
    # all that left, and nothing that was only made ready
    numbers = [o.task.number for o in seen.outcomes]
    assert sorted(numbers) == list(range(1, len(numbers) + 1))
    # a reply takes 0.3 s
    assert (level.ended_ns - seen.asked_ns) / 1e9 < 5


def test_an_open_loop_that_is_ended_early_left_unsent_only_what_was_due(
    exact,
):
    seen = Ending("ended")
    due_s = [0.01 * n for n in range(10_000)]
    level = run_ending(
        exact.url, seen, 1, arrivals=iter(due_s), until_s=90
    )
    passed_s = (seen.asked_ns - level.started_ns) / 1e9
    unsent = level.result.unsent.due_s
    assert len(unsent) > 5 and max(unsent) <= passed_s


def test_a_load_may_be_ended_before_it_has_begun(exact):
    level = Load(ask_model(exact.url), NEVER, 3, until_s=60)
    level.end_early("not wanted")
    seen = Seen()
    level.run(seen)
    assert level.result.ended_early == "not wanted"
    assert seen.outcomes == [] == seen.ready_numbers


def test_another_thread_may_end_a_load(exact):
    begun = threading.Event()

    class Telling(Seen):
        def begun(self, task):
            super().begun(task)
            begun.set()

    level = Load(ask_model(exact.url), NEVER, 3, until_s=60)

    def end():
        begun.wait(30)
        level.end_early("another thread")

    thread = threading.Thread(target=end)
    thread.start()
    seen = Telling()
    level.run(seen)
    thread.join()
    assert level.result.ended_early == "another thread"
    assert {o.status for o in seen.outcomes} == {"completed"}


def test_a_conversation_that_is_ended_early_asks_no_further_turn(exact):
    ask = ask_model(exact.url)

    def talk(number, said=None):
        return dataclasses.replace(ask(number), follow=talk)

    seen = Ending("ended", 4)
    run_ending(exact.url, seen, source=talk, until_s=60)
    assert {o.status for o in seen.outcomes} == {"completed"}
    assert max(o.sent_ns for o in seen.outcomes) <= seen.asked_ns


def test_the_first_reason_to_end_a_load_counts(exact):
    seen = Ending("ended", 3)
    level = run_ending(exact.url, seen, until_s=60)
    level.end_early("too late")
    assert level.result.ended_early == "enough"
    ended = Load(ask_model(exact.url), NEVER, 1, planned=1)
    ended.run()
    ended.end_early("too late")
    assert ended.result.ended_early == ""


def test_a_burst_is_sent_again_when_its_last_reply_has_ended(exact):
    level = Load(ask_model(exact.url), NEVER, 3, in_bursts=True, planned=8)
    seen = Seen()
    level.run(seen)
    outcomes = sorted(seen.outcomes, key=lambda o: o.task.number)
    assert [o.status for o in outcomes] == ["completed"] * 8
    bursts = [outcomes[:3], outcomes[3:6], outcomes[6:]]
    for earlier, later in itertools.pairwise(bursts):
        ended_ns = max(o.ended_ns for o in earlier)
        assert min(o.sent_ns for o in later) >= ended_ns
        sent_ns = [o.sent_ns for o in later]
        assert max(sent_ns) - min(sent_ns) < 50e6
    # all of them are judged: nothing fills and nothing drains
    assert level.steady_figures() == {}
    assert level.client_figures()["client_limited"] == 0
