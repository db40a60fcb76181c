"""The monitor on real processes, with a stand-in for powermetrics that fails in every known way."""
from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time
import types

import psutil
import pytest

import bench
import db
import monitor
import power
from test_power import TEXT_11, document

ROOT = pathlib.Path(__file__).resolve().parent.parent
PATIENCE_S = 20.0  # for something to happen on a loaded machine
posix = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell")

FAKE = '''
import os, sys, time
while time.process_time() < 0.05:
    pass  # so that it has a CPU time: clocks tick each 0.01 s
folder, mode, samplers = sys.argv[1], sys.argv[2], sys.argv[4]
document = open(os.path.join(folder, "document"), "rb").read()
with open(os.path.join(folder, "starts"), "a") as starts:
    starts.write(samplers + "\\n")
start = len(open(os.path.join(folder, "starts")).readlines())

def send(elapsed_s=0.1, cpu=2000, cut=None):
    data = document.replace(b"2000000000", b"%d" % (elapsed_s * 1e9)).replace(b">2000<", b">%d<" % cpu)
    sys.stdout.buffer.write((data + b"\\n\\0")[:cut])
    sys.stdout.buffer.flush()

if mode == "no_root":
    sys.exit("powermetrics must be invoked as the superuser")
if mode == "unrecognized" and "thermal" in samplers:
    sys.stderr.write("powermetrics: unrecognized sampler: thermal\\n")
    sys.exit(64)
if mode == "silent":
    time.sleep(60)
sys.stderr.write("Second underflow occured.\\n")
for number in range(600):
    time.sleep(0.1)
    if mode == "sleep" and number == 1:
        send(elapsed_s=30)
    elif mode == "damaged" and number == 1:
        sys.stdout.buffer.write(b"<?xml version='1.0'?><plist><dict></plist>")
    elif mode == "truncated" and number == 2:
        send(cut=200)
        break
    elif mode == "die" and number == 2 or mode == "die_once" and number == 2 and start == 1:
        sys.exit("died")
    elif mode == "stall" and number == 2 and start == 1:
        time.sleep(60)
    else:
        send(cpu=0 if mode == "zero_cpu" or mode == "slow_cpu" and number % 2 else 2000)
'''


@pytest.fixture
def fake(tmp_path):
    """fake(mode) -> the source of a powermetrics that behaves so, ten documents a second."""
    (tmp_path / "fake.py").write_text(FAKE)
    (tmp_path / "document").write_bytes(document())

    def source(mode):
        command = [sys.executable, str(tmp_path / "fake.py"), str(tmp_path), mode, "--samplers", power.SAMPLERS[0], "-i", "100"]
        return power.sources(powermetrics_command=command)[0]

    return source


class Watched:
    """A monitor at work, and what it stored and said."""

    def __init__(self, path, sources, options):
        self.path, self.said = path, []
        self.writer = db.Writer(path)
        self.run_id = self.writer.insert("run", {"source": "bench", "status": "running", "started_unix": time.time(),
                                                 "arguments": "{}", "tool_version": "test"})
        self.monitor = monitor.Monitor(self.writer, self.run_id, time.perf_counter_ns(), sources=sources,
                                       say=self.said.append, **{"interval_s": 0.1, **options})

    def rows(self, table, **where):
        self.writer.flush()
        database = db.connect(self.path, readonly=True)
        with contextlib.closing(database.conn):
            rows = list(database[table].rows)
        return [row for row in rows if all(row[column] == value for column, value in where.items())]

    def until(self, condition):
        """Waits for condition() and returns what it gave."""
        end_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < end_s:
            if found := condition():
                return found
            time.sleep(0.05)
        raise AssertionError(f"nothing of the kind within {PATIENCE_S} s; said: {self.said}")

    def samples(self, count):
        return self.until(lambda: len(rows := self.rows("power_sample")) >= count and rows)


@pytest.fixture
def watch(tmp_path):
    """watch(sources, **options) -> Watched, started; stopped and closed at the end."""
    with contextlib.ExitStack() as stack:
        def start(sources=(), **options):
            watched = Watched(tmp_path / "results.db", list(sources), options)
            stack.callback(watched.writer.close)
            stack.callback(watched.monitor.stop)
            watched.monitor.start()
            return watched

        yield start


# -- power ------------------------------------------------------------------------------

def test_samples_lie_end_to_end_on_the_runs_clock(watch, fake):
    watched = watch([fake("fine")])
    assert watched.monitor.wait_first_sample(PATIENCE_S)
    rows = watched.samples(4)
    assert [row["energy_j"] for row in rows] == pytest.approx([8.01] * len(rows))
    assert all(row["end_ns"] > row["start_ns"] for row in rows)
    assert all(0 <= after["start_ns"] - before["end_ns"] < 50_000_000 for before, after in zip(rows, rows[1:]))
    latest = watched.monitor.latest()
    assert latest["power_w"] == pytest.approx(80.1, rel=0.5) and latest["gpu_mhz"] == 1360.85
    assert (latest["gpu_busy_ratio"], latest["thermal"], latest["rss_bytes"]) == (0.75, "Nominal", None)


def test_cost_and_counts_are_known_after_stop(watch, fake):
    watched = watch([fake("fine")])
    watched.samples(3)
    cost = watched.monitor.stop()
    assert 0 < cost["monitor_cpu_s"] < time.process_time() and cost["sampler_cpu_s"] > 0
    (source,) = watched.rows("power_source")
    assert (source["status"], source["dropped"], source["kind"]) == ("ok", 0, "interval")
    assert source["samples"] == len(watched.rows("power_sample"))


def test_wait_covered_lasts_until_the_samples_reach_the_instant(watch, fake):
    watched = watch([fake("fine")])
    assert watched.monitor.wait_first_sample(PATIENCE_S)
    at_ns = time.perf_counter_ns()
    while not watched.monitor.wait_covered(at_ns):
        assert time.perf_counter_ns() - at_ns < PATIENCE_S * 1e9
    assert watched.monitor.tracks[0].latest["end_ns"] >= at_ns
    assert not watched.monitor.wait_covered(at_ns + 10**12)  # bounded
    interrupt = threading.Event()
    interrupt.set()
    assert not watched.monitor.wait_covered(at_ns + 10**12, interrupt)


def test_wait_covered_waits_for_nothing_that_is_not_there(watch):
    watched = watch([power.Absent("powermetrics", "soc", "interval", "not read")])
    assert watched.monitor.wait_covered(10**18)


class Told:
    """An interval source whose samples a test hands to its track."""

    name, device, kind, scope, status, dropped, interval_s = "powermetrics", "soc", "interval", None, "ok", 0, 0.3

    def stop(self):
        pass


def tell(track, number, cpu_j):
    """The sample from number to number + 1 tenths of a second."""
    track.keep({"start_ns": number * 10**8, "end_ns": (number + 1) * 10**8, "energy_j": 1.0 + cpu_j, "gpu_energy_j": 1.0, "cpu_energy_j": cpu_j})


def test_a_level_is_covered_when_the_sample_over_its_end_is_stored_not_when_it_came(watch):
    watched = watch([Told()])
    (track,) = watched.monitor.tracks
    tell(track, 0, 2.0)
    tell(track, 1, 0.0)  # held back: a slow counter or a dead one?
    threading.Timer(0.7, tell, (track, 2, 4.0)).start()  # later than a sample that is not held back may be
    assert watched.monitor.wait_covered(15 * 10**7)
    assert [row["cpu_energy_j"] for row in watched.rows("power_sample")] == [2.0, 0.0, 4.0]


@pytest.mark.parametrize("first, stored", [(2.0, [(2.0, 3.0), (0.0, 1.0)]), (0.0, [(None, None), (None, None)])])
def test_what_is_held_back_is_stored_when_the_waiting_ends(watch, first, stored):
    watched = watch([Told()])
    (track,) = watched.monitor.tracks
    tell(track, 0, first)
    tell(track, 1, 0.0)
    interrupt = threading.Event()
    interrupt.set()
    assert not watched.monitor.wait_covered(15 * 10**7, interrupt)
    assert [(row["cpu_energy_j"], row["energy_j"]) for row in watched.rows("power_sample")] == stored
    watched.monitor.stop()
    assert len(watched.rows("power_sample")) == 2


def test_no_root(watch, fake):
    watched = watch([fake("no_root")])
    assert watched.monitor.wait_first_sample(PATIENCE_S)  # a failed source is not waited for
    source = watched.monitor.tracks[0].source
    assert source.status == "powermetrics must be invoked as the superuser exit code 1"
    assert len([line for line in watched.said if "superuser" in line]) == 1
    watched.until(lambda: watched.rows("system_sample"))  # the rest goes on
    assert watched.rows("event", kind="sampler_failed")


def test_tool_missing(watch):
    watched = watch(power.sources(powermetrics_command=["/nonexistent/powermetrics"]))
    assert watched.monitor.wait_first_sample(PATIENCE_S)
    assert "nonexistent" in watched.monitor.tracks[0].source.status


def test_unrecognized_sampler_is_left_out(watch, fake, tmp_path):
    watched = watch([fake("unrecognized")])
    watched.samples(1)
    assert (tmp_path / "starts").read_text().split() == ["cpu_power,gpu_power,thermal", "cpu_power,gpu_power"]
    assert watched.monitor.tracks[0].live


def test_no_first_document(watch, fake):
    watched = watch([fake("silent")], first_document_s=0.5)
    assert watched.monitor.wait_first_sample(PATIENCE_S)
    assert watched.monitor.tracks[0].source.status == "no sample in 0.5 s"


def test_wait_first_sample_gives_up(watch, fake):
    watched = watch([fake("silent")])
    assert not watched.monitor.wait_first_sample(0.2)


@pytest.mark.parametrize("mode, why", [("stall", "no sample in 0.5 s"), ("die_once", "died exit code 1")])
def test_stalled_or_dead_sampler_is_started_again(watch, fake, monkeypatch, tmp_path, mode, why):
    monkeypatch.setattr(monitor, "STALL_S", 0.5)
    watched = watch([fake(mode)])
    watched.samples(5)
    assert len((tmp_path / "starts").read_text().split()) == 2
    (event,) = watched.rows("event", kind="sampler_restarted")
    assert event["detail"].endswith(why)
    assert watched.monitor.tracks[0].live


def test_sampler_that_keeps_dying_is_given_up(watch, fake, monkeypatch, tmp_path):
    monkeypatch.setattr(monitor, "RESTART_EVERY_S", 0.0)
    watched = watch([fake("die")])
    watched.until(lambda: not watched.monitor.tracks[0].live)
    assert len((tmp_path / "starts").read_text().split()) == 1 + monitor.RESTARTS
    assert watched.monitor.tracks[0].source.status.endswith("after 3 restarts")
    assert [line for line in watched.said if "powermetrics" in line] == [
        "power: powermetrics soc is started again: Second underflow occured. died exit code 1",
        "power: powermetrics soc gives nothing more: Second underflow occured. died exit code 1, after 3 restarts"]


def test_a_sampler_that_cannot_be_started_again_is_not_said_to_be(watch, fake):
    source = fake("die")
    starts = [source.start]
    source.start = lambda: starts.pop()() if starts else None  # a helper whose pipes are spent
    watched = watch([source])
    watched.until(lambda: not watched.monitor.tracks[0].live)
    assert source.status == "Second underflow occured. died exit code 1, and it can't be started again"
    watched.until(lambda: any(line.endswith(source.status) for line in watched.said))
    assert not watched.rows("event", kind="sampler_restarted")


MACMON = """
import sys, time
while True:
    sys.stdout.write('{"all_power": 10.0, "cpu_power": 4.0, "gpu_power": 6.0}\\n')
    sys.stdout.flush()
    time.sleep(0.1)
"""


def test_another_source_goes_on_for_one_that_failed_for_good(watch, fake):
    source = fake("no_root")
    source.successor = lambda: power.macmon_source([sys.executable, "-c", MACMON])
    watched = watch([source])
    assert watched.monitor.wait_first_sample(PATIENCE_S)
    assert watched.samples(3)[0]["gpu_energy_j"] > 0
    assert watched.monitor.latest()["power_w"] == pytest.approx(10.0)
    watched.monitor.stop()
    assert [(row["name"], row["status"] == "ok", row["samples"] > 0) for row in watched.rows("power_source")] == [
        ("powermetrics", False, False), ("macmon", True, True)]
    assert [line for line in watched.said if line.startswith("power")] == [
        "power: powermetrics soc gives nothing more, macmon goes on: powermetrics must be invoked as the superuser exit code 1"]


class Stuck(power.Stream):
    """A sampler that says nothing and takes its time to end."""

    def __init__(self):
        super().__init__("stuck", types.SimpleNamespace(cpu_s=0.0), power.parse_plist, b"</plist>", 0.1)
        self.reading, self.writing = os.pipe()
        self.killed, self.may_end = threading.Event(), threading.Event()

    def start(self):
        return os.fdopen(self.reading, "rb", buffering=0)

    def kill(self):
        self.killed.set()
        self.may_end.wait(PATIENCE_S)
        os.close(self.writing)

    def stop(self):
        self.may_end.set()


def test_a_sampler_that_is_slow_to_end_does_not_hold_up_the_rest(watch):
    source = Stuck()
    watched = watch([source], first_document_s=0.3)
    watched.until(source.killed.is_set)
    seen = len(watched.rows("system_sample"))
    watched.until(lambda: len(watched.rows("system_sample")) > seen + 2)
    assert not source.may_end.is_set()
    source.may_end.set()
    watched.until(lambda: source.status == "no sample in 0.3 s")


def test_second_death_within_a_minute_rests_and_stop_does_not_wait(watch, fake, tmp_path):
    watched = watch([fake("die")])
    watched.samples(4)
    watched.until(lambda: watched.monitor.tracks[0].heard_s == float("inf"))
    assert len((tmp_path / "starts").read_text().split()) == 2 and watched.monitor.tracks[0].live
    begun_s = time.monotonic()
    watched.monitor.stop()
    assert time.monotonic() - begun_s < monitor.RESTART_EVERY_S / 2
    assert len((tmp_path / "starts").read_text().split()) == 2


def test_damaged_and_truncated_documents_are_counted(watch, fake):
    watched = watch([fake("damaged")])
    watched.samples(3)
    watched.monitor.stop()
    assert watched.rows("power_source")[0]["dropped"] == 1
    watched = watch([fake("truncated")])
    watched.until(lambda: watched.monitor.tracks[0].source.dropped)


def test_a_sleep_has_no_energy(watch, fake):
    watched = watch([fake("sleep")])
    rows = watched.samples(4)
    (gap,) = [row for row in rows if row["energy_j"] is None]
    assert gap["gpu_energy_j"] is None and gap["gpu_busy_ratio"] == 0.75
    assert watched.rows("event", kind="gap")


def test_cpu_energy_that_stays_zero_is_unknown(watch, fake, monkeypatch):
    monkeypatch.setattr(monitor, "DEAD_RAIL_S", 0.3)
    watched = watch([fake("zero_cpu")])
    rows = watched.samples(6)
    assert {(row["cpu_energy_j"], row["energy_j"], row["gpu_energy_j"]) for row in rows} == {(None, None, 6.0)}
    assert len(watched.rows("event", kind="cpu_power_zero")) == 1


def told(watch, *values, **columns):
    """What is stored of samples of a second, each (GPU's joules, its busy share), and what was said."""
    watched = watch([Told()])
    (track,) = watched.monitor.tracks
    track.interval_s = 1.0
    for number, (gpu_j, busy) in enumerate(values):
        known = {} if gpu_j is None else {"energy_j": 2.0 + gpu_j, "gpu_energy_j": gpu_j, "cpu_energy_j": 2.0}
        track.keep({"start_ns": number * 10**9, "end_ns": (number + 1) * 10**9, "gpu_busy_ratio": busy, **known, **columns})
    track.release()
    return [(row["gpu_energy_j"], row["energy_j"]) for row in watched.rows("power_sample")], watched


@pytest.mark.parametrize("values, stored, is_dead", [
    ([(0.0, 0.97)] * 5, [(None, None)] * 5, True),
    ([(0.0, 0.01)] * 3 + [(0.0, 0.97)] * 3, [(0.0, 2.0)] * 3 + [(None, None)] * 3, True),  # an idle GPU may take next to nothing
    ([(0.0, 0.01)] * 5, [(0.0, 2.0)] * 5, False),
    ([(6.0, 0.97), (0.0, 0.97), (0.0, 0.97), (9.0, 0.97)], [(6.0, 8.0), (0.0, 2.0), (0.0, 2.0), (9.0, 11.0)], False),  # steps
    ([(6.0, 0.97)] + [(0.0, 0.97)] * 4, [(6.0, 8.0)] + [(None, None)] * 4, True),
    ([(0.0, 0.97)] * 4 + [(6.0, 0.97)], [(None, None)] * 4 + [(6.0, 8.0)], True),
    ([(0.0, None)] * 5, [(0.0, 2.0)] * 5, False)])  # how busy it is is not known
def test_gpu_energy_that_stays_zero_while_it_works_is_unknown(watch, values, stored, is_dead):
    rows, watched = told(watch, *values)
    assert rows == stored
    assert [line for line in watched.said if "busy GPU" in line] == ["power: powermetrics soc says 0 J for a busy GPU: it and the sum are NULL"] * is_dead
    assert len(watched.rows("event", kind="gpu_power_zero")) == is_dead


def test_a_dead_cpu_counter_beside_a_slow_gpu_counter(watch):
    watched = watch([Told()])
    (track,) = watched.monitor.tracks
    track.interval_s = 1.0
    for number, gpu_j in enumerate((0.0, 0.0, 6.0, 6.0, 0.0, 6.0)):
        track.keep({"start_ns": number * 10**9, "end_ns": (number + 1) * 10**9, "energy_j": gpu_j, "gpu_energy_j": gpu_j, "cpu_energy_j": 0.0, "gpu_busy_ratio": 1.0})
    track.release()
    rows = watched.rows("power_sample")
    assert [(row["cpu_energy_j"], row["energy_j"]) for row in rows] == [(None, None)] * 6
    assert [row["gpu_energy_j"] for row in rows] == [0.0, 0.0, 6.0, 6.0, 0.0, 6.0]


@pytest.mark.parametrize("virtual, why", [("1", ": a virtual machine has no power sensors"), ("0", ""), ("", "")])
def test_samples_without_any_energy_are_told_once_with_the_reason(watch, fake, monkeypatch, tmp_path, virtual, why):
    (tmp_path / "document").write_bytes(document(processor=None, gpu=None))
    asked = []
    monkeypatch.setattr(monitor.conditions.sys, "platform", "darwin")
    monkeypatch.setattr(monitor, "memory_pressure", lambda: None)
    monkeypatch.setattr(monitor.conditions, "output_of", lambda *command, **_: asked.append(command) or virtual)
    watched = watch([fake("fine")])
    watched.samples(8)
    line = f"power: powermetrics soc gives samples without any energy{why}"
    assert [said for said in watched.said if "without any energy" in said] == [line]
    assert [row["detail"] for row in watched.rows("event", kind="no_energy")] == [line.removeprefix("power: ")]
    assert asked.count(("/usr/sbin/sysctl", "-n", "kern.hv_vmm_present")) == 1


def test_four_samples_without_energy_are_not_told(watch):
    _, watched = told(watch, *[(None, 0.5)] * 4, (0.1, 0.5), *[(None, 0.5)] * 4)
    assert watched.rows("event", kind="no_energy") == []


def test_battery_and_low_power_mode_are_told_once_noted_at_each_change_and_known_of_a_level(watch, monkeypatch):
    plugged, mode = [True], [False]
    monkeypatch.setattr(monitor.conditions, "on_battery", lambda: not plugged[0])
    monkeypatch.setattr(monitor.conditions, "low_power_mode", lambda *_: mode[0])
    watched = watch()

    def seen(kind, count):
        return watched.until(lambda: len(rows := watched.rows("event", kind=kind)) >= count and [row["detail"] for row in rows])

    watched.monitor.wait_first_sample(PATIENCE_S)
    assert watched.monitor.conditions_since(0) == {"on_battery": 0, "low_power_mode": 0} and not watched.rows("event")
    plugged[0], mode[0] = False, True
    assert seen("on_battery", 1) == ["on battery"] and seen("low_power_mode", 1) == ["low power mode is on"]
    plugged[0] = True
    assert seen("on_battery", 2) == ["on battery", "on mains"]
    since_ns = time.perf_counter_ns()
    assert watched.monitor.conditions_since(since_ns) == {"on_battery": 0, "low_power_mode": 1}
    plugged[0] = False
    seen("on_battery", 3)
    plugged[0] = True
    seen("on_battery", 4)
    assert watched.monitor.conditions_since(since_ns) == {"on_battery": 1, "low_power_mode": 1}  # for a part of it
    assert [line for line in watched.said if line.startswith("machine: ")] == [
        "machine: on battery: many machines are slower so", "machine: low power mode is on: many machines are slower so"]


def test_cpu_energy_that_comes_in_steps_is_kept(watch, fake, monkeypatch):
    monkeypatch.setattr(monitor, "DEAD_RAIL_S", 0.3)
    watched = watch([fake("slow_cpu")])
    rows = watched.samples(6)
    assert [row["cpu_energy_j"] for row in rows[:4]] == [2.0, 0.0, 2.0, 0.0]
    assert [row["energy_j"] for row in rows[:2]] == pytest.approx([8.01, 6.01])


class Counter:
    """A polled source; broken() makes it raise."""

    name, device, kind, scope, status, dropped = "test", "gpu0", "counter", None, "ok", 0

    def __init__(self):
        self.broken, self.last_ns, self.reads_ns = False, None, []

    def read(self, at_ns):
        if self.broken:
            raise RuntimeError("the driver fell over")
        self.reads_ns.append(at_ns)
        self.last_ns, last_ns = at_ns, self.last_ns
        return last_ns and {"start_ns": last_ns, "end_ns": at_ns, "energy_j": 1.0, "gpu_energy_j": 1.0}

    def stop(self):
        pass


def test_mark_reads_counters_at_once(watch):
    source = Counter()
    watched = watch([source], interval_s=30.0)
    watched.until(lambda: source.reads_ns)
    for _ in range(2):
        before, marked_ns = len(source.reads_ns), time.perf_counter_ns()
        watched.monitor.mark()
        watched.until(lambda: len(source.reads_ns) > before)
        assert source.reads_ns[-1] >= marked_ns
    assert len(watched.rows("power_sample")) == 2


def test_a_source_that_raises_is_one_line_and_the_rest_goes_on(watch):
    source, other = Counter(), Counter()
    watched = watch([source, other])
    watched.samples(2)
    source.broken = True
    watched.until(lambda: any("fell over" in line for line in watched.said))
    reads = len(other.reads_ns)
    watched.until(lambda: len(other.reads_ns) > reads + 2)
    seen = len(watched.rows("system_sample"))
    watched.until(lambda: len(watched.rows("system_sample")) > seen + 2)
    assert sum("fell over" in line for line in watched.said) == 1


def test_a_sleep_between_two_readings_has_no_energy(watch, monkeypatch):
    watched = watch([Counter()], interval_s=0.1)
    watched.samples(1)
    wall, going, slept = time.time, monitor.awake.continuous_ns, monitor.awake.slept_ns
    monkeypatch.setattr(monitor.time, "time", lambda: wall() + 600)
    monkeypatch.setattr(monitor.awake, "continuous_ns", lambda: going() + 600 * 10**9)
    monkeypatch.setattr(monitor.awake, "slept_ns", lambda: slept() + 600 * 10**9)
    watched.until(lambda: watched.rows("event", kind="sleep"))
    watched.until(lambda: [row for row in watched.rows("power_sample") if row["energy_j"] is None])
    assert [row["detail"] for row in watched.rows("event", kind="sleep")] == ["the machine slept for 600.0 s"]
    assert not watched.rows("event", kind="clock_set")


@pytest.mark.parametrize("moved_s, word", [(600, "+600 s"), (-600, "-600 s")])
def test_a_clock_that_was_set_is_no_sleep(watch, monkeypatch, moved_s, word):
    """Its energy is as good as before."""
    watched = watch([Counter()], interval_s=0.1)
    watched.samples(1)
    wall = time.time
    monkeypatch.setattr(monitor.time, "time", lambda: wall() + moved_s)
    watched.until(lambda: watched.rows("event", kind="clock_set"))
    samples = len(watched.rows("power_sample"))
    watched.until(lambda: len(watched.rows("power_sample")) > samples + 2)
    assert [row["detail"] for row in watched.rows("event", kind="clock_set")] == [f"the clock was set by {word}"]
    assert not watched.rows("event", kind="sleep") and None not in [row["energy_j"] for row in watched.rows("power_sample")]


def test_where_no_clock_tells_a_sleep_from_a_set_clock_both_are_named(watch, monkeypatch):
    monkeypatch.setattr(monitor.awake, "slept_ns", lambda: None)
    watched = watch([Counter()], interval_s=0.1)
    watched.samples(1)
    wall = time.time
    monkeypatch.setattr(monitor.time, "time", lambda: wall() + 600)
    watched.until(lambda: watched.rows("event", kind="sleep"))
    assert [row["detail"] for row in watched.rows("event", kind="sleep")] == ["the machine slept, or its clock was set, by 600 s"]


def test_what_is_not_there_is_said_once(watch):
    watched = watch([power.Absent("powermetrics", "soc", "interval", "not read: start with sudo")])
    assert watched.monitor.wait_first_sample(PATIENCE_S)
    assert watched.said == ["power: powermetrics soc not read: start with sudo",
                            "processes: not watched, the server runs on another machine"]
    assert watched.rows("power_source")[0]["status"] == "not read: start with sudo"
    assert watched.rows("process") == [] and watched.monitor.latest()["power_w"] is None


# -- processes --------------------------------------------------------------------------

SERVE = """
while read -r word; do
  case $word in
    runner) (exec -a llama-server bash -c 'read -t 60 line <>wait' x --model blob --port 2 -np 7) & runner=$! ;;
    helper) (exec -a ollama bash -c 'read -t 60 line <>wait' x gpu-discover) & helper=$! ;;
    stop) kill $runner; wait $runner ;;
  esac
done
kill $runner $helper
"""


@contextlib.contextmanager
def ollama(folder):
    """A process that is `ollama serve` by its command line, and a function that tells it what to do."""
    (folder / "serve").write_text(SERVE)
    if not (folder / "wait").exists():
        os.mkfifo(folder / "wait")
    process = subprocess.Popen(["ollama", "serve"], executable="/bin/bash", cwd=folder, stdin=subprocess.PIPE,
                               stderr=subprocess.DEVNULL)

    def tell(word):
        process.stdin.write(f"{word}\n".encode())
        process.stdin.flush()

    try:
        yield process, tell
    finally:
        process.communicate()


@posix
def test_tree_with_roles_through_the_life_of_a_runner(watch, tmp_path):
    with ollama(tmp_path) as (server, tell):
        watched = watch(pid=server.pid)
        for word in ("runner", "helper"):
            tell(word)
        watched.until(lambda: watched.monitor.mark() or len(watched.rows("process")) == 3)
        assert sorted(row["role"] for row in watched.rows("process")) == ["helper", "runner", "serve"]
        runner = watched.rows("process", role="runner")[0]
        looks = watched.until(lambda: len(rows := watched.rows("process_sample", process_id=runner["id"])) > 2 and rows)
        assert looks[0]["cpu_ratio"] is None and looks[1]["cpu_ratio"] >= 0  # the first has nothing to compare with
        assert all(row["rss_bytes"] > 0 and row["threads"] == 1 and row["fds"] > 0 for row in looks)
        assert watched.monitor.latest()["rss_bytes"] > looks[0]["rss_bytes"]
        tell("stop")
        watched.until(lambda: watched.rows("event", kind="process_vanished"))
        tell("runner")
        watched.until(lambda: watched.monitor.mark() or len(watched.rows("process", role="runner")) == 2)
    watched.until(lambda: len(watched.rows("event", kind="process_vanished")) == 4)
    assert os.getpid() not in {row["pid"] for row in watched.rows("process")}


@posix
def test_a_child_that_was_just_forked_is_not_judged_yet(monkeypatch):
    code = "import os, sys; child = os.fork(); child and print(child, flush=True); sys.stdin.read(); child and os.wait()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        child = int(process.stdout.readline())
        monkeypatch.setattr(monitor, "FORK_S", 10**9)
        appeared, _ = monitor.Tree((), process.pid).rescan(0.0)
        assert [member.process.pid for member in appeared] == [process.pid]
        monkeypatch.setattr(monitor, "FORK_S", 0.0)
        appeared, _ = monitor.Tree((), process.pid).rescan(0.0)
        assert [member.process.pid for member in appeared] == [process.pid, child]
        process.communicate()


@posix
def test_server_that_restarts_is_found_again(watch, tmp_path, monkeypatch):
    monkeypatch.setattr(monitor, "RESCAN_S", 0.1)
    port = free_port()
    monkeypatch.setattr(monitor, "listens", lambda process, wanted: process.pid in current)
    current = []
    with ollama(tmp_path) as (first, _):
        current[:] = [first.pid]
        watched = watch(ports=[port])
        watched.until(lambda: watched.rows("process", pid=first.pid))
    with ollama(tmp_path) as (second, _):
        current[:] = [second.pid]
        monkeypatch.setattr(monitor, "SEARCH_S", 0.1)
        watched.until(lambda: watched.rows("process", pid=second.pid, role="serve"))


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


LISTENER = ("import socket, sys; server = socket.create_server(('127.0.0.1', int(sys.argv[1])));"
            "print(server.getsockname()[1], flush=True); sys.stdin.read()")


@contextlib.contextmanager
def listener(port=0):
    """A process that listens, and its port."""
    with subprocess.Popen([sys.executable, "-c", LISTENER, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield process, int(process.stdout.readline())
        process.communicate()


@posix
def test_the_servers_on_all_ports_are_watched_each_through_its_restarts(watch, monkeypatch):
    monkeypatch.setattr(monitor, "RESCAN_S", 0.1)
    with listener() as (first, first_port):
        with listener() as (second, second_port):
            watched = watch(ports=[first_port, second_port])
            watched.until(lambda: {row["pid"] for row in watched.rows("process", role="serve")} == {first.pid, second.pid})
        watched.until(lambda: watched.rows("event", kind="process_vanished"))
        monkeypatch.setattr(monitor, "SEARCH_S", 0.1)
        with listener(second_port) as (again, _):
            watched.until(lambda: watched.rows("process", pid=again.pid, role="serve"))
        assert len(watched.rows("process", pid=first.pid)) == 1


def test_bench_watches_every_local_server(sim, tmp_path):
    servers = [sim("--profile", "exact", "--ttft", "60", "--itl", "5", "--tokens", "30") for _ in range(2)]
    hosts = [word for server in servers for word in ("--host", server.url)]
    done = subprocess.run([sys.executable, str(ROOT / "bench.py"), "2", *hosts, "--idle", "0", "--warmup", "0", "--plain"],
                          cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    database = db.connect(tmp_path / "results.db", readonly=True)
    with contextlib.closing(database.conn):
        assert {row["pid"] for row in database["process"].rows} == {server.process.pid for server in servers}


def test_bench_stores_how_the_machine_ran_with_each_level(sim, tmp_path, monkeypatch):
    server = sim("--profile", "exact", "--itl", "2", "--tokens", "10")
    monkeypatch.setattr(monitor.conditions, "on_battery", lambda: True)
    monkeypatch.setattr(monitor.conditions, "low_power_mode", lambda *_: None)
    options = ["1", "--host", server.url, "--db", str(tmp_path / "results.db"), "--cooldown", "0", "--idle", "0", "--plain"]
    assert bench.main(options) == 0 and bench.main([*options, "--no-monitor"]) == 0
    database = db.connect(tmp_path / "results.db", readonly=True)
    with contextlib.closing(database.conn):
        levels = list(database.query("SELECT on_battery, low_power_mode FROM level_summary ORDER BY run_id"))
    assert [tuple(row.values()) for row in levels] == [(1, None), (None, None)]


@posix
def test_slots_are_those_of_the_server_on_the_port():
    tree = monitor.Tree([1, 2], None)
    with listener() as (first, _), listener() as (second, _):
        tree._found = {1: [psutil.Process(first.pid)], 2: [psutil.Process(second.pid)]}
        for port, process in ((1, first), (2, second)):
            assert [found.pid for found, _ in tree._walk(tree._found[port])] == [process.pid]
    assert tree.slots(1) == (None, None)


def test_no_server_on_any_port_is_said_once():
    assert monitor.Tree([1, 2, 1], None).where == " on ports 1 or 2" and monitor.Tree([1], None).where == " on port 1"


@posix
def test_ollama_is_found_by_its_command_line(tmp_path):
    with ollama(tmp_path) as (server, _):
        assert server.pid in [root.pid for root in monitor.find_roots(free_port(), None)]


def test_another_server_is_found_by_its_port():
    with listener() as (process, port):
        assert [root.pid for root in monitor.find_roots(port, None)] == [process.pid]


def test_we_are_never_our_own_server(watch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        tree = monitor.Tree([server.getsockname()[1]], None)
        appeared, _ = tree.rescan(0.0)
    assert os.getpid() not in [member.process.pid for member in appeared]
    tree = monitor.Tree((), os.getppid())
    appeared, _ = tree.rescan(0.0)
    assert appeared and os.getpid() not in [member.process.pid for member in appeared]


@pytest.mark.parametrize("cmdline, expected", [
    (["ollama", "serve"], True), (["/usr/local/bin/ollama", "serve"], True), (["C:\\x\\ollama.exe", "serve"], os.name == "nt"),
    (["ollama.exe", "start"], True), (["ollama", "--verbose", "serve"], True), (["ollama", "run", "serve"], False),
    (["ollama", "runner", "--model", "x"], False), (["bash", "ollama", "serve"], False), (["ollama"], False), ([], False)])
def test_serve_rule(cmdline, expected):
    assert monitor.is_serve(cmdline) is expected


@pytest.mark.parametrize("cmdline, expected", [
    (["llama-server", "--model", "blob", "--port", "2"], True), (["ollama", "runner", "--ollama-engine", "--model=blob"], True),
    (["llama-server", "--list-devices"], False), (["ollama", "gpu-discover"], False), ([], False)])
def test_runner_rule(cmdline, expected):
    assert monitor.is_runner(cmdline) is expected


@pytest.mark.parametrize("cmdline, slots", [
    (["llama-server", "-np", "19", "--model", "x"], 19), (["ollama", "runner", "--parallel", "4"], 4), (["x", "--parallel=8"], 8),
    (["x", "-np"], None), (["x", "-np", "many"], None), (["x", "-np", "0"], None), ([], None)])
def test_slots_in_a_command_line(cmdline, slots):
    assert monitor.parallel_option(cmdline) == slots


@posix
def test_slots_of_a_server(watch, tmp_path, monkeypatch):
    monkeypatch.setenv("OLLAMA_NUM_PARALLEL", "3")
    with ollama(tmp_path) as (server, tell):
        watched = watch(pid=server.pid)
        watched.until(lambda: watched.rows("process"))
        assert watched.monitor.slots() == (3, "OLLAMA_NUM_PARALLEL of the server")
        tell("runner")
        assert watched.until(lambda: (found := watched.monitor.slots())[0] == 7 and found) == (7, "command line of the runner")
    assert watch().monitor.slots() == (None, None)


def test_a_runner_of_the_mlx_engine_serves_one_at_a_time(monkeypatch):
    cmdlines = {1: ["ollama", "serve"], 2: ["ollama", "runner", "--mlx-engine", "--model", "qwen3.5", "--port", "5"],
                3: ["ollama", "runner", "--ollama-engine", "--model", "gemma", "--parallel", "4"]}

    def process(pid, created, children=()):
        return types.SimpleNamespace(
            pid=pid, cmdline=lambda: cmdlines[pid], create_time=lambda: created, environ=lambda: {"OLLAMA_NUM_PARALLEL": "8"},
            status=lambda: psutil.STATUS_RUNNING, children=lambda recursive: list(children))

    mlx, gguf = process(2, 300.0), process(3, 200.0)
    tree = monitor.Tree([1], None)
    tree._found = {1: [process(1, 100.0, [mlx, gguf])]}
    assert tree.slots(1) == (1, "MLX engine: one request at a time")  # the newest runner's
    gguf.create_time = lambda: 400.0
    assert tree.slots(1) == (4, "command line of the runner")
    cmdlines[2] += ["--parallel", "3"]  # of an Ollama that passes it on
    mlx.create_time = lambda: 500.0
    assert tree.slots(1) == (3, "command line of the runner")


@posix
def test_a_zombie_has_ended():
    process = subprocess.Popen(["true"])
    member = monitor.Member(psutil.Process(process.pid), "runner", "true")
    end_s = time.monotonic() + PATIENCE_S
    while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE and time.monotonic() < end_s:
        time.sleep(0.01)
    assert member.look(1, 10**9) is None
    assert not monitor.alive(member.process)
    process.wait()
    assert member.look(2, 10**9) is None  # and gone for good


class Denied:
    """A process of another user, as Linux and macOS show it."""

    pid = 4711

    def __init__(self, all_of_it):
        self.all_of_it = all_of_it

    def oneshot(self):
        return contextlib.nullcontext()

    def status(self):
        if self.all_of_it:
            raise psutil.AccessDenied(self.pid)
        return psutil.STATUS_RUNNING

    def cpu_times(self):
        return types.SimpleNamespace(user=1.0, system=0.5)

    def memory_info(self):
        return psutil.Process().memory_info()

    def num_threads(self):
        return 7

    def num_fds(self):
        raise psutil.AccessDenied(self.pid)


def test_open_files_of_another_user_are_null():
    member = monitor.Member(Denied(False), "runner", "llama-server")
    row = member.look(10**9, 10**10)
    assert (row["fds"], row["cpu_s"], row["threads"]) == (None, 1.5, 7) and member.fds_denied


def test_processes_whose_files_are_not_ours_to_count_are_counted_and_said_once(watch):
    watched = watch()
    watched.until(lambda: watched.rows("system_sample"))
    members = {number: monitor.Member(Denied(False), "runner", "llama-server") for number in range(3)}
    watched.monitor.tree = types.SimpleNamespace(members=members, rescan=lambda now_s: ([], []))
    said = watched.until(lambda: [line for line in watched.said if "open files" in line])
    seen = len(watched.rows("system_sample"))
    watched.until(lambda: len(watched.rows("system_sample")) > seen + 2)
    assert said == ["processes: open files of 3 processes are not ours to count: NULL"]
    assert [line for line in watched.said if "open files" in line] == said


def test_a_process_that_may_not_be_read_stays_and_is_null():
    member = monitor.Member(Denied(True), "runner", "llama-server")
    assert member.look(5, 10**10) == {"at_ns": 5}


def test_a_pid_used_again_is_another_process():
    class Recycled(Denied):
        def create_time(self):
            return self.created

    old, new = Recycled(False), Recycled(False)
    old.created, new.created = 100.0, 200.0
    assert not monitor.Member(old, "runner", "ollama").is_of(new)


def test_a_start_that_moved_with_the_clock_makes_no_other_process(monkeypatch):
    """psutil moves the start of what it sees for the first time after a step of the clock."""
    moved_s, create_time = [0.0], psutil.Process.create_time

    def moved(process):
        start = create_time(process) + moved_s[0]
        if start < 0:
            raise RuntimeError("refused")
        return start

    monkeypatch.setattr(psutil.Process, "create_time", moved)
    with listener() as (process, _):
        tree = monitor.Tree((), process.pid)
        (member,), _ = tree.rescan(0.0)
        for moved_s[0] in (1.5, -1.5, 3600.0, -3600.0, -1e12):
            monkeypatch.setattr(tree, "_walk", lambda roots: [(psutil.Process(process.pid), "serve")])
            assert tree.rescan(0.0) == ([], []) and tree.members == {process.pid: member}


def test_a_start_within_two_seconds_is_the_same_process():
    class Old(Denied):  # of a psutil whose processes are equal by the start that moved
        def __init__(self, start):
            super().__init__(False)
            self.start = start

        def create_time(self):
            return self.start

    member = monitor.Member(Old(100.0), "runner", "ollama")
    assert [member.is_of(Old(start)) for start in (101.9, 98.1, 102.1, 97.9)] == [True, True, False, False]


@posix
def test_a_child_started_in_the_future_is_no_fork_of_now(monkeypatch):
    """Its parent's own command line, and a clock that was set back since."""
    code = "import os, sys; child = os.fork(); child and print(child, flush=True); sys.stdin.read(); child and os.wait()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        child, now = int(process.stdout.readline()), time.time
        monkeypatch.setattr(monitor.time, "time", lambda: now() - 3600)
        appeared, _ = monitor.Tree((), process.pid).rescan(0.0)
        assert [member.process.pid for member in appeared] == [process.pid, child]
        process.communicate()


def test_the_machine_is_watched_beside(watch):
    watched = watch()
    rows = watched.until(lambda: len(rows := watched.rows("system_sample")) > 2 and rows)
    assert all(row["memory_used_bytes"] > 0 for row in rows)
    assert all(row["cpu_ratio"] is None or 0 <= row["cpu_ratio"] <= 1 for row in rows)


@pytest.mark.parametrize("refusal", [
    psutil.AccessDenied(1), OSError(5, "refused"), RuntimeError("host_statistics64() failed"),
    SystemError("returned NULL without setting an exception"), ValueError("a line without numbers"),
    KeyError(b"MemTotal:")], ids=lambda refusal: type(refusal).__name__)
def test_whatever_psutil_refuses_of_the_machine_is_unknown(monkeypatch, refusal):
    def refuse(*_, **__):
        raise refusal

    for name in ("cpu_times", "virtual_memory", "swap_memory"):
        monkeypatch.setattr(psutil, name, refuse)
    for name in ("memory_bytes", "available_bytes", "swap_used_bytes"):
        monkeypatch.setattr(monitor.darwin, name, lambda: None)
    row = monitor.System().look(1)
    assert [row[name] for name in ("cpu_ratio", "memory_used_bytes", "swap_used_bytes")] == [None] * 3


# -- alone ------------------------------------------------------------------------------

def run_monitor(folder, *arguments):
    return subprocess.run([sys.executable, str(ROOT / "monitor.py"), *arguments], cwd=folder, capture_output=True, text=True,
                          timeout=60)


def only_row(path, table):
    database = db.connect(path, readonly=True)
    with contextlib.closing(database.conn):
        (row,) = database[table].rows
    return row


def test_alone_it_stores_a_run_without_levels(tmp_path):
    done = run_monitor(tmp_path, "--pid", str(os.getpid()), "--interval", "0.2", "--duration", "1")
    assert done.returncode == 0, done.stderr
    assert f"serve {monitor.name_of(psutil.Process())} ({os.getpid()})" in done.stdout
    run = only_row(tmp_path / "results.db", "run")
    assert (run["source"], run["status"]) == ("monitor", "finished") and run["monitor_cpu_s"] > 0
    assert only_row(tmp_path / "results.db", "machine")["id"] == run["machine_id"]
    assert all(len(line) <= 80 for line in done.stdout.splitlines())


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_end_with_130_and_keep_all(tmp_path, number):
    process = subprocess.Popen([sys.executable, str(ROOT / "monitor.py"), "--pid", str(os.getpid()), "--interval", "0.1"],
                               cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for _ in range(3):
        process.stdout.readline()
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and "stored as run 1" in said and "Traceback" not in said
    check_interrupted(tmp_path)


def check_interrupted(folder):
    run = only_row(folder / "results.db", "run")
    assert run["status"] == "interrupted" and run["ended_ns"] > 0
    database = db.connect(folder / "results.db", readonly=True)
    with contextlib.closing(database.conn):
        assert database["process_sample"].count > 0


@posix
def test_a_reader_that_has_seen_enough_is_no_error(tmp_path):
    with subprocess.Popen([sys.executable, str(ROOT / "monitor.py"), "--pid", str(os.getpid()), "--interval", "0.1"],
                          cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read()
    assert process.wait(60) == 130
    assert "stored as run 1" in said.splitlines()[-1] and "Error" not in said
    check_interrupted(tmp_path)


@pytest.mark.parametrize("log, samples", [(TEXT_11.encode(), 1), ((document() + b"\n\0") * 3 + document()[:99], 3)])
def test_a_log_that_a_user_hands_in(tmp_path, log, samples):
    (tmp_path / "log").write_bytes(log)
    done = run_monitor(tmp_path, "--powermetrics-log", "log", "--db", "other.db")
    assert done.returncode == 0, done.stderr
    source = only_row(tmp_path / "other.db", "power_source")
    assert (source["samples"], source["dropped"]) == (samples, samples // 3)
    database = db.connect(tmp_path / "other.db", readonly=True)
    with contextlib.closing(database.conn):
        rows = list(database["power_sample"].rows)
    assert len(rows) == samples and rows[0]["start_ns"] == 0
    assert all(before["end_ns"] == after["start_ns"] for before, after in zip(rows, rows[1:]))


def imported(folder, *blocks):
    """The rows that a text log of (elapsed ms, CPU mW) gives, and what was said."""
    header = "*** Sampled system activity (Sat Feb 14 00:42:06 2026 -0500) (%sms elapsed) ***\n"
    (folder / "log").write_text("".join(header % ms + f"CPU Power: {mw} mW\nGPU Power: 500 mW\n" for ms, mw in blocks))
    done = run_monitor(folder, "--powermetrics-log", "log")
    assert done.returncode == 0, done.stderr
    database = db.connect(folder / "results.db", readonly=True)
    with contextlib.closing(database.conn):
        return [(row["cpu_energy_j"], row["energy_j"], row["gpu_energy_j"]) for row in database["power_sample"].rows], done.stderr


def test_a_log_whose_cpu_energy_stays_zero_has_no_sum(tmp_path):
    rows, said = imported(tmp_path, *[("1000.00", 0)] * 12)
    assert rows == [(None, None, 0.5)] * 12
    assert said.splitlines()[-1] == "power: powermetrics soc says 0 J for a running CPU: it and the sum are NULL"
    assert only_row(tmp_path / "results.db", "event")["at_ns"] == 3 * 10**9


def test_a_log_over_a_sleep_and_one_with_a_slow_counter(tmp_path):
    rows, _ = imported(tmp_path, ("1000.00", 2000), ("1000.00", 0), ("90000.00", 2000), ("1000.00", 0))
    assert rows == [(2.0, 2.5, 0.5), (0.0, 0.5, 0.5), (None, None, None), (0.0, 0.5, 0.5)]
    assert only_row(tmp_path / "results.db", "event")["kind"] == "gap"


def test_damaged_headers_of_a_log_are_counted(tmp_path):
    rows, _ = imported(tmp_path, ("1000.00", "e"), ("1.2.3", 1000), ("9" * 17, 1000), ("1000.00", 1000))
    assert rows == [(None, None, 0.5), (1.0, 1.5, 0.5)]
    assert only_row(tmp_path / "results.db", "power_source")["dropped"] == 2


@pytest.mark.parametrize("arguments, code, said", [
    (["--powermetrics-log", "absent"], 1, "monitor.py: absent: No such file or directory"),
    (["--powermetrics-log", "empty"], 1, "monitor.py: empty holds no sample of powermetrics"),
    (["--port", "0"], 2, "no port"), (["--interval", "0"], 2, "at least 0.05"),
    (["--db", "empty/x.db", "--duration", "1"], 1, "monitor.py: ")])
def test_errors_are_one_line(tmp_path, arguments, code, said):
    (tmp_path / "empty").write_text("")
    done = run_monitor(tmp_path, *arguments)
    assert done.returncode == code
    assert said in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
