"""What a scrape says of the server's processes and of power, and how it fails."""

import threading
import time
import types

import psutil
import pytest

from ollama_bench.monitor import monitor, process_tree, server_search
from ollama_bench.monitor.journal import Journal
from ollama_bench.monitor.process_sample import (
    ProcessSample,
    ServerProcess,
)
from ollama_bench.monitor.process_tree import Slots
from ollama_bench.monitor.server_watch import ServerWatch
from ollama_bench.prometheus import families
from ollama_bench.prometheus.collector import MonitorCollector
from ollama_bench.prometheus.run_figures import RunFigures
from ollama_bench.protocols.work import ServerQueue
from tests.monitor.support import (
    Denied,
    Rows,
    Told,
    free_port,
    ollama,
    posix,
)
from tests.prometheus.support import Shown

CPU = families.CPU.name
RESIDENT = families.RESIDENT.name
POWER = families.POWER.name
ENERGY = families.ENERGY.name
S = 1_000_000_000


@pytest.fixture
def collector_of(bench):
    """collector_of(monitor) -> what shows it, with the runs of a file beside it."""
    made = []

    def make(monitor, page=None):
        said = []
        collector = MonitorCollector(
            monitor, RunFigures(bench.path), page, said.append
        )
        collector.said = said
        made.append(collector)
        return collector

    yield make
    for collector in made:
        collector.close()


def process(pid, role="serve", name="ollama", **columns):
    sample = ProcessSample(0, **columns) if columns else None
    return types.SimpleNamespace(
        kind=(role, name),
        latest=sample,
        process=types.SimpleNamespace(pid=pid),
    )


def seen(*processes, tracks=(), cpu_s=None, slots=None):
    """A monitor that has seen these."""
    return types.SimpleNamespace(
        processes=processes,
        tracks=tracks,
        cpu_s=cpu_s or {},
        slots=lambda: Slots(slots),
    )


def test_processes_are_summed_up_by_role_and_name(collector_of):
    monitor = seen(
        process(1, rss_bytes=10, threads=1),
        process(2, "runner", "llama", rss_bytes=100, threads=8),
        process(3, "runner", "llama", rss_bytes=200, threads=9),
        cpu_s={("serve", "ollama"): 1.5, ("runner", "llama"): 60.0},
        slots=4,
    )
    shown = Shown(collector_of(monitor))
    assert shown.value(RESIDENT, role="runner", name="llama") == 300
    assert shown.value(families.PROCESSES.name, role="runner") == 2
    assert shown.value(families.THREADS.name, role="serve") == 1
    assert shown.value(CPU, role="serve") == 1.5
    assert shown.value(families.SLOTS.name) == 4


def test_what_is_unknown_is_absent_and_not_0(collector_of):
    monitor = seen(
        process(1, rss_bytes=10, threads=0),
        process(2, "runner", "llama", rss_bytes=100, threads=8),
        # another user's
        process(3, "runner", "llama", threads=None),
        process(4, "helper", "new"),
    )
    shown = Shown(collector_of(monitor))
    # a part of the sum is not the sum
    assert shown.values(RESIDENT) == [10]
    assert shown.values(families.THREADS.name) == [0]
    assert "footprint" not in shown.text
    assert not shown.values(families.PROCESSES.name, role="helper")
    assert (
        "slots" not in shown.text and "requests_running" not in shown.text
    )
    assert "watts" not in shown.text and "cpu_seconds" not in shown.text


def has_looked_at(watching, server):
    return any(
        one.process.pid == server.pid and one.latest
        for one in watching.processes
    )


@posix
def test_cpu_time_never_falls_when_the_server_starts_anew(
    watch, collector_of, tmp_path, monkeypatch
):
    monkeypatch.setattr(monitor, "RESCAN_S", 0.1)
    monkeypatch.setattr(process_tree, "SEARCH_S", 0.1)
    monkeypatch.setattr(
        server_search, "listens", lambda process, _: process.pid in current
    )
    current, totals, watched = [], [], watch(ports=[free_port()])
    collector = collector_of(watched.monitor)
    for _ in range(2):
        with ollama(tmp_path) as (server, tell):
            current[:] = [server.pid]
            tell("runner")
            watched.until(lambda: has_looked_at(watched.monitor, server))
            (total,) = Shown(collector).values(CPU, role="serve")
            totals.append(total)
    assert totals == sorted(totals)


class Sampled(Denied):
    """A process that has used so many CPU seconds at each look, and then ends."""

    def __init__(self, *cpu_s):
        super().__init__(all_of_it=False)
        self.left = list(cpu_s)

    def cpu_times(self):
        if not self.left:
            raise psutil.NoSuchProcess(self.pid)
        return types.SimpleNamespace(user=self.left.pop(0), system=0.0)


def test_the_time_of_a_process_counts_from_its_start_to_its_last_look():
    rows = Rows()
    tree = process_tree.ProcessTree([1], None)
    journal = Journal(rows, 1, 0, lambda _: None)
    server = ServerWatch(tree, rows, journal, run_id=1, origin_ns=0)
    used = []
    for pid, looks in enumerate(
        [(100.0, 103.0), (2.0, 2.0), (5.0, 4.0, 6.0)]
    ):
        process = ServerProcess(Sampled(*looks), "runner", "llama")
        tree.members = {pid: process}
        for _ in range(len(looks) + 1):
            server.sample(None)
            used.append(server.cpu_s["runner", "llama"])
    # a clock that reads less than before counts nothing
    assert used == [100, 103, 103, 105, 105, 105, 110, 110, 111, 111]


def test_a_process_that_refuses_has_no_time():
    rows = Rows()
    tree = process_tree.ProcessTree([1], None)
    tree.members = {1: ServerProcess(Denied(True), "serve", "ollama")}
    journal = Journal(rows, 1, 0, lambda _: None)
    server = ServerWatch(tree, rows, journal, run_id=1, origin_ns=0)
    server.sample(None)
    assert server.cpu_s == {}


@pytest.mark.parametrize(
    "name", ['"} 1\nup 2', "\udcff\x1b", "x" * 10_000, None]
)
def test_hostile_names_of_processes_stay_values(collector_of, name):
    kind = ServerProcess(Denied(False), "helper", name).kind
    monitor = seen(process(1, *kind, rss_bytes=5), cpu_s={kind: 1.0})
    shown = Shown(collector_of(monitor))
    assert shown.value(RESIDENT) == 5 and shown.value(CPU) == 1
    (label,) = {
        one.labels["name"] for one in shown.samples if one.name == CPU
    }
    assert len(label) < 210 and "\n" not in label


def test_power_is_shown_by_device_and_rail(watch, collector_of):
    watched = watch([Told()])
    (track,) = watched.monitor.tracks
    track.interval_s = 1.0
    now_ns = time.perf_counter_ns()
    for number in range(2):
        track.keep(
            {
                "start_ns": now_ns + number * S,
                "end_ns": now_ns + (number + 1) * S,
                "energy_j": 30.0,
                "gpu_energy_j": 20.0,
                "system_power_w": 45.0,
                "temperature_c": 61.5,
                "gpu_busy_ratio": 0.0,
                "gpu_mhz": 1398.0,
            }
        )
    shown = Shown(collector_of(watched.monitor))
    device = {"source": "powermetrics", "device": "soc"}
    assert shown.value(POWER, rail="total", **device) == 30
    assert shown.value(POWER, rail="gpu", **device) == 20
    assert shown.value(POWER, rail="machine", **device) == 45
    assert shown.value(ENERGY, rail="total", **device) == 60
    assert shown.value(ENERGY, rail="gpu") == 40
    assert shown.value(families.TEMPERATURE.name, **device) == 61.5
    assert shown.value(families.GPU_BUSY.name) == 0
    assert shown.value(families.GPU_CLOCK.name) == 1.398e9
    # nobody told it
    assert not shown.values(POWER, rail="cpu")
    assert not shown.values(ENERGY, rail="cpu")
    assert not shown.values(families.GPU_MEMORY.name)


def test_a_rail_that_may_be_dead_is_not_0_watts(watch, collector_of):
    watched = watch([Told()])
    (track,) = watched.monitor.tracks
    now_ns = time.perf_counter_ns()
    for number in range(2):
        track.keep(
            {
                "start_ns": now_ns + number,
                "end_ns": now_ns + number + 1,
                "energy_j": 1.0,
                "cpu_energy_j": 0.0,
            }
        )
    shown = Shown(collector_of(watched.monitor))
    assert not shown.values(POWER) and not shown.values(ENERGY)


def test_a_source_that_fell_silent_keeps_its_counter(watch, collector_of):
    watched = watch([Told()])
    (track,) = watched.monitor.tracks
    track.interval_s = 1.0
    track.keep({"start_ns": 0, "end_ns": S, "energy_j": 9.0})
    shown = Shown(collector_of(watched.monitor))
    assert shown.value(ENERGY) == 9 and not shown.values(POWER)


def test_the_server_tells_of_its_queue(collector_of):
    asked = []

    class Page:
        def read(self, processes):
            asked.append(processes)
            return ServerQueue(running=0, waiting=None)

    shown = Shown(collector_of(seen(process(7)), Page()))
    assert shown.value(families.RUNNING.name) == 0
    assert not shown.values(families.WAITING.name)
    assert asked == [frozenset({7})]


def test_what_fails_is_one_line_and_takes_nothing_else_along(collector_of):
    monitor = seen(process(1, rss_bytes=10))
    monitor.slots = lambda: 1 / 0
    collector = collector_of(monitor)
    for _ in range(3):
        shown = Shown(collector)
        assert shown.value(RESIDENT) == 10
        assert shown.value(families.BUILD.name) == 1
    assert collector.said == [
        "prometheus: slots: ZeroDivisionError: division by zero"
    ]


def test_a_results_file_that_cannot_be_read_leaves_the_counters(
    bench, collector_of
):
    bench.begin(1, 2)
    bench.end(1)
    collector = collector_of(seen())
    ended, level = families.REQUESTS.name, families.CONCURRENCY.name
    bench.end(2)
    assert Shown(collector).value(ended) == 1
    collector._runs.close()
    for _ in range(2):
        shown = Shown(collector)
        assert shown.value(ended) == 1 and not shown.values(level)
    (said,) = collector.said
    assert said.startswith("prometheus: results file: ")


def test_those_who_ask_at_once_get_counters_that_only_grow(
    bench, collector_of
):
    collector, counts = collector_of(seen()), []

    def ask():
        for _ in range(10):
            counts.append(Shown(collector).value(families.REQUESTS.name))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    bench.begin(*range(1, 101))
    bench.end(*range(1, 101))
    for thread in threads:
        thread.join()
    assert len(counts) == 30 and set(counts) <= {0, 100}
    assert Shown(collector).value(families.REQUESTS.name) == 100
