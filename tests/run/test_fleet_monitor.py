"""The watch of another machine: its rows, its clock, and what is left when it is lost."""

import asyncio
import contextlib
import pickle
import threading
import time
from functools import partial

import pytest

from ollama_bench.fleet.agent import Agent
from ollama_bench.fleet.fleet import Fleet
from ollama_bench.fleet.member import Member
from ollama_bench.fleet.watching import WATCHING_WORDS
from ollama_bench.monitor.monitor import Coverage
from ollama_bench.run import fleet_monitor, machine_watch
from ollama_bench.run.fleet_monitor import (
    INSTANTS,
    FarMonitor,
    FleetMonitor,
    WatchedMachine,
    list_others,
)
from ollama_bench.run.places import MachineFacts
from ollama_bench.run.record import RunRecord
from ollama_bench.storage.connection import connect
from ollama_bench.storage.writer import Writer
from tests.monitor.support import Counter

# the worker's clock less ours
SHIFT_NS = 1000 * 10**9
PATIENCE_S = 30.0


def shift_seen(content):
    """Return what a worker has seen by a clock that shows another time."""
    seen = pickle.loads(content)
    rows = [
        row._replace(
            columns={
                name: value + SHIFT_NS if name in INSTANTS else value
                for name, value in row.columns.items()
            }
        )
        for row in seen.rows
    ]
    coverage = [
        Coverage(one.end_ns + SHIFT_NS, one.patience_s)
        for one in seen.coverage
    ]
    fields = {**vars(seen), "rows": rows, "coverage": coverage}
    return pickle.dumps(type(seen)(**fields))


class FarFleet(Fleet):
    """A fleet whose workers are this process with a clock of its own."""

    is_connected = True

    def __init__(self):
        super().__init__(None, [])
        self.agent, self.gone = Agent(), set()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()

    def open_line(self, member):
        answer = partial(self.answer, member.name)
        return Member(member.name, member.address, answer)

    def schedule(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    async def answer(self, name, word, content):
        if name in self.gone:
            raise OSError("gone") from ConnectionResetError(104)
        answer = await self.agent.answer(word, content)
        for name in ("received_ns", "answered_ns"):
            answer[name] += SHIFT_NS
        if word in WATCHING_WORDS and answer["content"]:
            answer["content"] = shift_seen(answer["content"])
        return answer

    def close(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


class FarRun:
    """A run that watches its own machine, and that of a worker."""

    def __init__(self, path, fleet, sources, others):
        self.path, self.fleet, self.said = path, fleet, []
        self.writer = Writer(path)
        machine_id = self.writer.insert("machine", {"fingerprint": "far"})
        run_id = self.writer.insert(
            "run",
            {
                "source": "bench",
                "status": "running",
                "started_unix": time.time(),
                "arguments": "{}",
                "tool_version": "test",
            },
        )
        origin_ns = time.perf_counter_ns()
        self.record = RunRecord(
            run_id, self.writer, path, origin_ns, time.time()
        )
        members = [
            Member(name, f"tcp://{name}:1", None, machine_id)
            for name in ("far", *others)
        ]
        fleet.members = members
        self.monitor = FleetMonitor(
            self.writer,
            run_id,
            origin_ns,
            sources=sources,
            say=self.said.append,
        )
        self.far = FarMonitor(
            fleet,
            WatchedMachine(members[0], (1,), tuple(members[1:])),
            self.record,
            self.said.append,
        )
        self.monitor.far = [self.far]

    def rows(self, sql):
        self.writer.flush()
        database = connect(self.path, readonly=True)
        with contextlib.closing(database.conn):
            return list(database.query(sql))

    def unwatch(self):
        """End the watch of a worker that was only called dead."""
        asyncio.run_coroutine_threadsafe(
            self.fleet.agent.answer("unwatch"), self.fleet.loop
        ).result()

    def wait_lost(self):
        self.wait_for(lambda: self.far.is_lost)

    def wait_for(self, is_so):
        end_s = time.monotonic() + PATIENCE_S
        while not is_so():
            assert time.monotonic() < end_s
            time.sleep(0.01)


@pytest.fixture
def far_run(tmp_path, monkeypatch):
    """far_run(far_sources, own_sources) -> a run, started; stopped at the end."""
    monkeypatch.setattr(fleet_monitor, "FETCH_S", 0.05)
    with contextlib.ExitStack() as stack:

        def begin(far_sources, own_sources=(), others=()):
            monkeypatch.setattr(
                machine_watch, "find_sources", lambda: far_sources
            )
            fleet = FarFleet()
            stack.callback(fleet.close)
            found = FarRun(
                tmp_path / "results.db", fleet, list(own_sources), others
            )
            stack.callback(found.writer.close)
            stack.callback(found.monitor.stop)
            found.monitor.start()
            return found

        yield begin


SOURCES = "SELECT * FROM power_source ORDER BY watcher"


def test_samples_of_another_machine_are_on_this_clock_with_its_name(
    far_run,
):
    begun = far_run([Counter()], [Counter()])
    assert begun.monitor.wait_first_sample(PATIENCE_S)
    begun.monitor.mark()
    assert begun.monitor.wait_covered(time.perf_counter_ns())
    own, far = begun.rows(SOURCES)
    assert (own["watcher"], own["machine_id"]) == (None, None)
    assert (far["watcher"], far["machine_id"]) == ("far", 1)
    samples = begun.rows(
        f"SELECT * FROM power_sample WHERE source_id = {far['id']}"
    )
    assert len(samples) > 1
    for sample in samples:
        # within the run, although the other clock is off by 1,000 s
        assert -1e9 < sample["start_ns"] < sample["end_ns"]
        assert sample["end_ns"] <= begun.record.now_ns()
    begun.monitor.stop()
    (_, far) = begun.rows(SOURCES)
    assert far["samples"] >= len(samples) and far["status"] == "ok"


def test_what_the_other_machine_says_is_said_with_its_name(far_run):
    begun = far_run([])
    assert begun.monitor.wait_first_sample(PATIENCE_S)
    nothing = "power: found no readable sensor on this machine"
    assert f"worker far: {nothing}" in begun.said
    unseen = "processes: not watched, the server runs on another machine"
    assert unseen not in begun.said
    found = begun.rows("SELECT * FROM system_sample")
    assert len({row["at_ns"] for row in found}) == len(found)


def test_a_worker_that_is_gone_leaves_what_came(far_run):
    begun = far_run([Counter()])
    assert begun.monitor.wait_first_sample(PATIENCE_S)
    begun.monitor.mark()
    assert begun.monitor.wait_covered(time.perf_counter_ns())
    begun.fleet.gone = {"far"}
    begun.wait_lost()
    # nothing more is waited for
    assert begun.monitor.wait_covered(time.perf_counter_ns())
    (source,) = begun.rows(SOURCES)
    assert source["status"] == "lost: ConnectionResetError"
    (count,) = begun.rows("SELECT count(*) AS n FROM power_sample")
    assert source["samples"] == count["n"] > 0
    (event,) = begun.rows(
        "SELECT detail FROM event WHERE kind = 'watcher_lost'"
    )
    said = "worker far does not watch its machine any more: ConnectionResetError"
    assert event["detail"] == said
    assert f"power: {said}" in begun.said
    begun.unwatch()


@pytest.mark.faults
def test_another_worker_of_the_machine_goes_on(far_run):
    begun = far_run([Counter()], others=["dead", "near"])
    assert begun.monitor.wait_first_sample(PATIENCE_S)
    begun.fleet.gone = {"far", "dead"}
    begun.wait_for(lambda: begun.far.name == "near" and begun.far.coverage)
    begun.monitor.mark()
    assert begun.monitor.wait_covered(time.perf_counter_ns())
    assert not begun.far.is_lost
    begun.monitor.stop()
    before, after = begun.rows("SELECT * FROM power_source ORDER BY id")
    assert before["status"] == "lost: ConnectionResetError"
    assert after["status"] == "ok" and after["samples"] > 1
    # the name by which the run knows the machine
    assert before["watcher"] == after["watcher"] == "far"
    samples = begun.rows(
        "SELECT source_id, count(*) AS n FROM power_sample GROUP BY source_id"
    )
    assert [(one["source_id"], one["n"]) for one in samples] == [
        (before["id"], before["samples"]),
        (after["id"], after["samples"]),
    ]
    events = begun.rows(
        "SELECT detail FROM event WHERE kind = 'watcher_lost' ORDER BY id"
    )
    assert [event["detail"] for event in events] == [
        f"worker {name} does not watch its machine any more: "
        f"ConnectionResetError; worker {heir} goes on"
        for name, heir in (("far", "dead"), ("dead", "near"))
    ]


def test_nobody_goes_on_without_a_scheduler(far_run):
    begun = far_run([], others=["near"])
    assert begun.monitor.wait_first_sample(PATIENCE_S)
    begun.fleet.is_connected = False
    begun.fleet.gone = {"far"}
    begun.wait_lost()
    assert begun.far.name == "far"
    begun.unwatch()


def test_the_others_are_those_of_the_same_machine():
    one, two, box = (
        Member(name, f"tcp://{name}:1", None) for name in "abc"
    )
    facts = {
        member: MachineFacts(identity, frozenset(), {})
        for member, identity in ((one, "x"), (two, "x"), (box, "y"))
    }
    assert list_others(one, facts) == (two,)
    assert list_others(box, facts) == ()


def test_a_watch_that_cannot_begin_is_one_line(far_run, monkeypatch):
    # which makes nothing that watches
    monkeypatch.setattr(fleet_monitor, "MachineWatch", len)
    begun = far_run([])
    begun.wait_lost()
    (said,) = [one for one in begun.said if "any more" in one]
    assert "\n" not in said and said.startswith("power: worker far does")


def test_a_watch_that_nobody_asks_ends(monkeypatch):
    monkeypatch.setattr(machine_watch, "SILENT_S", 0.0)
    monkeypatch.setattr(machine_watch, "LOOK_S", 0.01)
    monkeypatch.setattr(machine_watch, "find_sources", list)
    watch = machine_watch.MachineWatch([])
    end_s = time.monotonic() + PATIENCE_S
    while not watch.take("").has_ended:
        assert time.monotonic() < end_s
        time.sleep(0.05)
