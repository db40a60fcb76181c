"""monitor.py - watches the server's processes, the machine and its power while a run goes on.

    monitor = Monitor(writer, run_id, origin_ns, sources=power.sources(helper), ports=[11434])
    monitor.start()
    monitor.mark()                            # a level begins or ends
    monitor.wait_covered(ended_ns)            # until its energy is known
    cost = monitor.stop()

Fills process, process_sample, system_sample, power_source, power_sample and event. All of it
happens in threads of its own: what fails here is a NULL and one line, never an error of the run.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ollama_bench.monitor.clock_watch import ClockWatch
from ollama_bench.monitor.feed import FIRST_DOCUMENT_S, Feed
from ollama_bench.monitor.journal import Journal
from ollama_bench.monitor.latest_figures import LatestFigures, sum_up
from ollama_bench.monitor.power_source import (
    PolledSource,
    PowerSource,
    StreamedSource,
)
from ollama_bench.monitor.process_sample import ServerProcess
from ollama_bench.monitor.process_tree import ProcessTree, Slots
from ollama_bench.monitor.refusals import REFUSALS
from ollama_bench.monitor.server_watch import ServerWatch
from ollama_bench.monitor.store import Store
from ollama_bench.monitor.system_sample import SystemSampler
from ollama_bench.monitor.track import STALL_INTERVALS, STALL_S, Track
from ollama_bench.platforms import conditions
from ollama_bench.terminal.interrupt import Interrupt

# seconds between two looks; finer is of no use: NVML and powermetrics average 1 s
INTERVAL_S = 1.0
RESCAN_S = 2.0  # between two looks for new processes, which take 3 ms
PORT = 11434  # Ollama's
JOIN_S = 8.0  # for all threads to end; a sampler may take 3 s of it
CONDITION_WORDS = {  # while it is not so, and while it is
    "on_battery": ("on mains", "on battery"),
    "low_power_mode": ("low power mode is off", "low power mode is on"),
}


class Coverage(NamedTuple):
    """How far the stored samples of a source reach, and for how long the next is waited for."""

    end_ns: int  # perf_counter_ns
    patience_s: float


class PolledTrack:
    """A track whose source is asked by the monitor's own thread."""

    def __init__(self, source: PolledSource, track: Track) -> None:
        self.source = source
        self.track = track

    def read(self, has_slept: bool) -> None:
        columns = self.source.read(time.perf_counter_ns())
        if columns:
            self.track.keep(columns, has_slept)


class Monitor:
    """Samples the server, the machine and its power in threads until stop().

    Nothing it meets raises into the caller; say() is called once per kind of problem.
    """

    def __init__(
        self,
        store: Store,
        run_id: int,
        origin_ns: int,
        *,
        sources: Sequence[PowerSource],
        ports: Sequence[int] = (),
        pid: int | None = None,
        interval_s: float = INTERVAL_S,
        say: Callable[[str], object] | None = None,
        first_document_s: float = FIRST_DOCUMENT_S,
    ) -> None:
        """origin_ns: perf_counter_ns when the run began. pid: watch this process, not the ports."""
        self.interval_s = interval_s
        self.origin_ns = origin_ns
        self._store = store
        self._run_id = run_id
        self._journal = Journal(store, run_id, origin_ns, say)
        self._cpu_s: list[float] = []  # of each thread that has ended
        # mark() puts, _poll() takes
        self._edges: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._has_looked = threading.Event()
        self._threads: list[threading.Thread] = []
        self._system = SystemSampler()
        self._clocks = ClockWatch(
            self._journal, max(STALL_S, STALL_INTERVALS * interval_s)
        )
        self._conditions = conditions.ConditionHistory()
        self._server: ServerWatch | None = None
        if ports or pid is not None:
            tree = ProcessTree(ports, pid)
            self._server = ServerWatch(
                tree, store, self._journal, run_id, origin_ns
            )
        self.tracks: list[Track] = []  # a feed's thread may add one
        self._feeds: list[Feed] = []
        self._polled: list[PolledTrack] = []
        for source in sources:
            self._add_source(source, first_document_s)

    def _add_source(
        self, source: PowerSource, first_document_s: float
    ) -> None:
        if isinstance(source, StreamedSource):
            feed = Feed(
                source, self._journal, self._open_track, first_document_s
            )
            self._feeds.append(feed)
        elif isinstance(source, PolledSource):
            self._polled.append(
                PolledTrack(source, self._open_track(source))
            )
        else:
            self._open_track(source)

    def _open_track(self, source: PowerSource) -> Track:
        track = Track(
            source,
            self._store,
            self._journal,
            run_id=self._run_id,
            origin_ns=self.origin_ns,
            interval_s=self.interval_s,
        )
        self.tracks.append(track)
        return track

    def start(self) -> None:
        for track in self.tracks:
            if not track.live:
                self._journal.tell(
                    track.source.name,
                    f"power: {track.name} {track.status}",
                )
        if not self.tracks:
            self._journal.tell(
                "power", "power: found no readable sensor on this machine"
            )
        if self._server is None:
            self.tell_unseen()
        self._start_thread(self._poll, "monitor")
        for feed in self._feeds:
            self._start_thread(feed.run, feed.source.name)

    def tell_unseen(self) -> None:
        """Say that no server runs on this machine."""
        text = "processes: not watched, the server runs on another machine"
        self._journal.tell("remote", text)

    def _start_thread(self, work: Callable[[], None], name: str) -> None:
        def run() -> None:
            self._journal.guard(name, work)
            self._cpu_s.append(time.thread_time())

        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    @property
    def processes(self) -> Sequence[ServerProcess]:
        """The server's processes that were seen last."""
        return self._server.processes if self._server else []

    @property
    def cpu_s(self) -> dict[tuple[str, str], float]:
        """CPU seconds of the server's processes, ended ones too, by role and name."""
        return dict(self._server.cpu_s) if self._server else {}

    def wait_first_sample(
        self, timeout_s: float = FIRST_DOCUMENT_S
    ) -> bool:
        """Wait until every working source has given a sample; False when time ran out."""
        until_s = time.monotonic() + timeout_s
        while time.monotonic() < until_s:
            if self.has_first_sample():
                return True
            time.sleep(0.02)
        return False

    def has_first_sample(self) -> bool:
        """Return whether every working source has given a sample."""
        return self._has_looked.is_set() and all(
            track.latest or not track.live for track in self.tracks
        )

    def mark(self) -> None:
        """Tell that a level begins or ends: read counters and look for processes at once."""
        self._edges.put(True)

    def wait_covered(
        self, at_ns: int, interrupt: Interrupt | None = None
    ) -> bool:
        """Wait until the stored power samples reach at_ns (perf_counter_ns); False if they do not.

        A level's energy is known only when the samples over its end have come: one interval
        later, a few when its CPU counter is slow. Waits no longer than that, nor for a source that
        gives none; what is held back then is stored as it is.
        """
        began_s = time.monotonic()
        while late := [
            source
            for source in self.list_coverage()
            if source.end_ns < at_ns
        ]:
            patience_s = max(source.patience_s for source in late)
            is_interrupted = interrupt is not None and interrupt.is_set()
            if is_interrupted or time.monotonic() - began_s > patience_s:
                self.release(at_ns)
                return False
            time.sleep(0.01)
        return True

    def list_coverage(self) -> list[Coverage]:
        """Return how far the samples of each source reach that works and has given one."""
        return [
            Coverage(track.stored_end_ns, track.patience_s)
            for track in self.tracks
            if track.live and track.latest
        ]

    def release(self, at_ns: int) -> None:
        """Store what is held back of the sources that do not reach at_ns (perf_counter_ns)."""
        for track in list(self.tracks):
            if track.live and track.stored_end_ns < at_ns:
                self._journal.guard("power", track.release)

    def slots(self, port: int | None = None) -> Slots:
        """Return how many requests at a time the server on this port (or any) takes."""
        try:
            return (
                self._server.tree.find_slots(port)
                if self._server
                else Slots()
            )
        except REFUSALS:
            return Slots()

    def cache_type(self, port: int | None = None) -> str | None:
        """Return the type of the context's cache of the server on this port, where it is seen."""
        try:
            return (
                self._server.tree.find_cache_type(port)
                if self._server
                else None
            )
        except REFUSALS:
            return None

    def latest(self) -> LatestFigures:
        """Return what was seen last of all sources and processes."""
        fresh = [
            track.latest
            for track in self.tracks
            if track.latest and track.is_fresh(track.latest)
        ]
        processes = [
            process.latest for process in self.processes if process.latest
        ]
        return sum_up(fresh, processes)

    def conditions_since(self, since_ns: int) -> dict[str, int | None]:
        """Return columns of a level that began at since_ns (perf_counter_ns) and ends now."""
        return self._conditions.since(since_ns)

    def stop(self) -> dict[str, float]:
        """End all threads and samplers and store what is left; return what watching cost."""
        self._stopping.set()
        self._edges.put(False)
        for feed in self._feeds:
            self._journal.guard("sampler", feed.stop)
        until_s = time.monotonic() + JOIN_S
        for thread in self._threads:
            thread.join(max(until_s - time.monotonic(), 0))
        sampler_cpu_s = 0.0
        for track in self.tracks:
            self._journal.guard("power", track.source.stop)
            self._journal.guard("power", track.finish)
            if isinstance(track.source, StreamedSource):
                sampler_cpu_s += track.source.launcher.cpu_s
        return {
            "monitor_cpu_s": sum(self._cpu_s),
            "sampler_cpu_s": sampler_cpu_s,
        }

    def _poll(self) -> None:
        """Look once an interval, and at each mark; the monitor's own thread."""
        due_s = rescan_s = time.monotonic()
        while not self._stopping.is_set():
            now_s = time.monotonic()
            is_due = now_s >= due_s
            if not is_due and not self._wait_for_edge(due_s - now_s):
                continue
            self._read_polled()
            if not is_due or now_s >= rescan_s:
                self._rescan()
                rescan_s = now_s + RESCAN_S
            if is_due:
                self._look()
                due_s = max(due_s + self.interval_s, time.monotonic())
        self._read_polled()  # up to the very end

    def _wait_for_edge(self, timeout_s: float) -> bool:
        try:
            return self._edges.get(timeout=timeout_s)
        except queue.Empty:
            return False

    def _read_polled(self) -> None:
        has_slept = self._clocks.check()
        for polled in self._polled:
            self._read_guarded(polled, has_slept)

    def _read_guarded(self, polled: PolledTrack, has_slept: bool) -> None:
        self._journal.guard(
            polled.track.name, lambda: polled.read(has_slept)
        )

    def _rescan(self) -> None:
        if self._server is not None:
            self._journal.guard("processes", self._server.rescan)

    def _look(self) -> None:
        if self._server is not None:
            self._server.sample(self._system.memory_bytes)
        self._journal.guard("machine", self._sample_system)
        self._journal.guard("conditions", self._check_conditions)
        self._journal.guard("power", self._check_silence)
        self._has_looked.set()

    def _sample_system(self) -> None:
        sample = self._system.sample(
            time.perf_counter_ns() - self.origin_ns
        )
        self._store.add(
            "system_sample", {"run_id": self._run_id, **vars(sample)}
        )

    def _check_conditions(self) -> None:
        for change in self._conditions.check(time.perf_counter_ns()):
            words = CONDITION_WORDS[change.name][change.is_so]
            self._journal.note(change.name, words)
            if change.is_so:
                text = f"machine: {words}: many machines run slower then"
                self._journal.tell(change.name, text)

    def _check_silence(self) -> None:
        now_s = time.monotonic()
        for feed in self._feeds:
            feed.check(now_s)
        for polled in self._polled:
            track = polled.track
            if limit_s := track.find_silence(now_s):
                track.expect_silence()  # reported once; a sample ends it
                detail = f"{track.name}: no sample in {limit_s:g} s"
                self._journal.note_and_tell("sampler_silent", detail)
