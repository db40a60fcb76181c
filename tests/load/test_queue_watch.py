"""An open load whose queue grows is ended early; one that the server answers is not."""

import itertools
from types import SimpleNamespace

import pytest

from ollama_bench.load.arrivals import ArrivalQueue, QueueCounts, gamma
from ollama_bench.load.conductor import Conductor
from ollama_bench.load.dispatcher import Dispatcher
from ollama_bench.load.load import Load
from ollama_bench.load.queue_watch import QueueWatch
from ollama_bench.load.result import LevelResult
from tests.load.levels import NEVER, Seen, ask_model


@pytest.fixture(scope="module")
def two_slots(module_sim):
    """A server that answers 40 requests a second."""
    return module_sim(
        profile="exact", slots=2, ttft=30, itl=2, tokens=10, queue=512
    )


def run_watched(url, workers, arrivals, **way):
    level = Load(
        ask_model(url),
        NEVER,
        workers,
        arrivals=arrivals,
        is_watched=True,
        **way,
    )
    seen = Seen()
    level.run(seen)
    return level.result, seen


@pytest.mark.faults
@pytest.mark.parametrize("workers", [400, 8], ids=["roomy", "full pool"])
def test_a_load_whose_queue_grows_is_ended_early(two_slots, workers):
    result, seen = run_watched(
        two_slots.url, workers, gamma(80, 0, 1), until_s=60
    )
    assert result.is_saturated
    slope = result.queue_slope
    assert 0 < slope.low < slope.value < slope.high
    assert 20 < slope.value < 60  # 80 come and at most 40 are answered
    assert result.ended_early.startswith("the queue grew by ")
    assert (result.ended_ns - result.started_ns) / 1e9 < 20
    statuses = [outcome.status for outcome in seen.outcomes]
    assert set(statuses) == {"completed", "cancelled"}
    cut = [o for o in seen.outcomes if o.status == "cancelled"]
    # who was being answered was answered to the end; the slots may have begun two just then
    assert sum(bool(o.chunk_ns) for o in cut) <= 2
    assert all(
        "not awaited: the level was saturated" in o.error for o in cut
    )


@pytest.mark.faults
def test_a_load_that_the_server_answers_goes_on_to_its_end(two_slots):
    result, seen = run_watched(
        two_slots.url, 100, gamma(30, 0, 1), planned=140
    )
    assert result.ended_early == ""
    assert result.is_saturated is False
    assert result.queue_slope.low <= 0 <= result.queue_slope.high
    assert len(seen.outcomes) == 140


def test_what_is_due_has_left_before_a_load_may_be_ended(
    two_slots, monkeypatch
):
    steps = []

    def note(owner, name):
        real = getattr(owner, name)

        def step(*arguments):
            steps.append(name)
            return real(*arguments)

        monkeypatch.setattr(owner, name, step)

    note(Conductor, "_wait_for_event")
    note(Dispatcher, "send_due")
    note(QueueWatch, "look")
    run_watched(two_slots.url, 100, gamma(30, 0, 1), planned=30)
    before = {
        one for one, step in itertools.pairwise(steps) if step == "look"
    }
    assert before == {"send_due"}


def test_of_a_short_load_nobody_can_tell(two_slots):
    result, _ = run_watched(
        two_slots.url, 100, gamma(40, 1, 1), planned=30
    )
    assert result.is_saturated is result.queue_slope is None


@pytest.mark.parametrize(
    "reads_until_s, is_saturated",
    # the server has stopped after 20 s, or answers half of what comes
    [(20, False), (60, True)],
)
def test_a_server_that_is_silent_is_not_saturated(
    reads_until_s, is_saturated
):
    second, cuts = 10**9, []
    spec = SimpleNamespace(
        workers=99, total=None, until_s=60, is_burst=False, kind="open"
    )
    result = LevelResult(spec)
    result.started_ns = second
    flight = SimpleNamespace(pauses=0, last_read_ns=0)
    result.exchanges = [flight]
    counts = []
    watch = QueueWatch(
        SimpleNamespace(
            count_queue=lambda: counts[-1], end_early=cuts.append
        ),
        result,
        SimpleNamespace(cut_waiting=lambda why: None),
    )
    ended = 0
    for tick in range(1, 600):
        now_ns = second + tick * second // 10
        if tick < 200 or (tick % 2 and is_saturated):
            ended += 1
            watch.note_end(
                SimpleNamespace(
                    task=SimpleNamespace(number=ended),
                    status="completed",
                    sent_ns=now_ns - second,
                    ended_ns=now_ns,
                )
            )
        if tick / 10 < reads_until_s:
            flight.last_read_ns = now_ns
        counts.append(QueueCounts(tick + 10, ended))
        watch.look(now_ns)
    assert result.is_saturated is is_saturated
    assert bool(cuts) is is_saturated


def test_the_waiting_are_counted_admitted_or_not_and_none_is_lost():
    queue = ArrivalQueue(iter([0.1, 0.2, 0.3, 0.4, 9.0]))
    queue.admit()
    assert queue.count_waiting(0.05) == 0
    assert queue.count_waiting(0.35) == 3
    assert queue.count_waiting(0.35) == 3
    assert queue.next_due_s == 0.2
    assert [queue.admit().due_s for _ in range(4)] == [0.2, 0.3, 0.4, 9.0]
    assert queue.count_waiting(1.0) == 4
    assert queue.count_waiting(10.0) == 5
