"""track.py - checks and stores the samples of one power source in a run."""

from __future__ import annotations

import threading
import time

from ollama_bench.monitor.journal import Journal
from ollama_bench.monitor.power_source import (
    READABLE,
    Columns,
    IntervalSource,
    Part,
    PowerSource,
    Sample,
    StreamedSource,
)
from ollama_bench.monitor.rails import Rails
from ollama_bench.monitor.store import Store
from ollama_bench.platforms import conditions

# intervals without a sample: a stall, or a sleep when one sample spans them ...
STALL_INTERVALS = 3
STALL_S = 5.0  # ... but never fewer seconds than this
FEW_SAMPLES = 5  # in a row without any energy are reported
CALM_WORDS = ("nominal", "none")  # for thermal pressure that is none
DEAD_RAIL_WORDS: dict[Part, str] = {
    "cpu": "a running CPU",
    "gpu": "a busy GPU",
}


class Track:
    """One power source in this run; every sample passes keep().

    keep() and the rest belong to the thread that reads the source; release() may come from the
    run's thread.
    """

    def __init__(
        self,
        source: PowerSource,
        store: Store,
        journal: Journal,
        *,
        run_id: int,
        origin_ns: int,
        interval_s: float,
    ) -> None:
        self.source = source
        self.name = f"{source.name} {source.device}"
        self.interval_s = interval_s
        if isinstance(source, IntervalSource):
            self.interval_s = source.interval_s
        self.status = source.status
        self.samples = 0  # stored
        self.latest: Sample | None = None
        # the last that was stored, and the joules of all that were, by rail
        self.stored: Sample | None = None
        self.joules: dict[str, float] = {}
        # end of the last stored sample; latest may be held back
        self.stored_end_ns = 0
        self.heard_s = time.monotonic()  # infinity: nothing is expected
        self._store = store
        self._journal = journal
        self._origin_ns = origin_ns
        self._rails = Rails()
        self._without_energy = 0  # samples in a row
        self._lock = threading.Lock()  # of the rails and what is stored
        row = {
            "run_id": run_id,
            "name": source.name,
            "device": source.device,
            "kind": source.kind,
            "scope": source.scope,
            "status": source.status,
        }
        self._row_id = store.insert("power_source", row)
        self._has_told_no_energy = False

    @property
    def live(self) -> bool:
        return self.status == READABLE

    @property
    def patience_s(self) -> float:
        """How long it may take until the sample over this instant is stored.

        An interval, and another for a late sample; two more while samples are held back, for an
        M5's CPU counter shows no sooner that it is alive.
        """
        return (4 if self._rails.holds else 2) * self.interval_s

    def is_fresh(self, sample: Sample) -> bool:
        """Return whether the sample still tells of now."""
        age_ns = time.perf_counter_ns() - sample.end_ns
        return age_ns < (STALL_S + self.interval_s) * 1e9

    def keep(self, columns: Columns, has_slept: bool = False) -> None:
        """Check a sample, whose instants are perf_counter_ns, and store it.

        has_slept: whether the machine slept since the last one.
        """
        self.heard_s = time.monotonic()
        known = dict(columns)
        elapsed_ns = known.pop("elapsed_ns", None)
        sample = Sample(**known)
        self._check_energy(sample)
        sample = self._check_gap(sample, elapsed_ns, has_slept)
        self._note_thermal(sample)
        self.latest = sample
        with self._lock:
            dead_before = self._rails.dead_parts
            self._store_samples(self._rails.sift(sample))
            newly_dead = self._rails.dead_parts - dead_before
        for part in sorted(newly_dead):
            self._report_dead_rail(part, sample.end_ns)

    def _check_energy(self, sample: Sample) -> None:
        """Report once a source whose samples contain no energy at all."""
        self._without_energy = (
            0 if sample.has_energy else self._without_energy + 1
        )
        if self._without_energy != FEW_SAMPLES or self._has_told_no_energy:
            return
        self._has_told_no_energy = True
        detail = f"{self.name} gives samples without any energy"
        # a log is of another time, or of another machine
        is_live = isinstance(self.source, StreamedSource)
        if (
            is_live
            and self.source.name == "powermetrics"
            and conditions.is_virtual()
        ):
            detail += ": a virtual machine has no power sensors"
        self._journal.note_and_tell("no_energy", detail, sample.end_ns)

    def _check_gap(
        self, sample: Sample, elapsed_ns: int | None, has_slept: bool
    ) -> Sample:
        """Return the sample without its energy where that cannot be trusted.

        In a sleep one of two clocks stood still. A counter that was only read late is exact.
        """
        span_ns = sample.end_ns - sample.start_ns
        elapsed_ns = span_ns if elapsed_ns is None else elapsed_ns
        span_s = max(span_ns, elapsed_ns) / 1e9
        has_slept |= elapsed_ns > 2 * span_ns
        is_late = (
            span_s > STALL_INTERVALS * self.interval_s
            and self.source.kind != "counter"
        )
        if not has_slept and not is_late:
            return sample
        words = " over a sleep" if has_slept else ""
        detail = f"{self.name}: a sample of {span_s:.1f} s{words}; its energy is NULL"
        self._journal.note("gap", detail, sample.end_ns)
        return sample.without_energy()

    def _note_thermal(self, sample: Sample) -> None:
        word = sample.thermal
        before = self.latest.thermal if self.latest else None
        if (
            word
            and word != before
            and (before or word.lower() not in CALM_WORDS)
        ):
            self._journal.note(
                "thermal", f"{self.name}: {word}", sample.end_ns
            )

    def _report_dead_rail(self, part: Part, at_ns: int) -> None:
        advice = (
            self.source.advice
            if isinstance(self.source, StreamedSource)
            else ""
        )
        detail = f"{self.name} reports 0 J for {DEAD_RAIL_WORDS[part]}: it and the sum are NULL"
        self._journal.note_and_tell(
            f"{part}_power_zero", detail + advice, at_ns
        )

    def _store_samples(self, samples: list[Sample]) -> None:
        for sample in samples:
            self.samples += 1
            self.stored_end_ns = sample.end_ns
            self.latest = self.stored = sample
            self._add_up(sample)
            row = {
                **sample.to_row(self._origin_ns),
                "source_id": self._row_id,
            }
            self._store.add("power_sample", row)

    def _add_up(self, sample: Sample) -> None:
        rails = {
            "total": sample.energy_j,
            "cpu": sample.cpu_energy_j,
            "gpu": sample.gpu_energy_j,
        }
        for rail, energy_j in rails.items():
            if energy_j is not None:
                before_j = self.joules.get(rail, 0.0)
                self.joules[rail] = before_j + energy_j

    def release(self) -> None:
        """Store what is held back: nothing more is waited for."""
        with self._lock:
            self._store_samples(self._rails.release())

    def await_sample(self) -> None:
        """Expect a sample from now on."""
        self.heard_s = time.monotonic()

    def expect_silence(self) -> None:
        """Expect no sample until one comes."""
        self.heard_s = float("inf")

    def find_silence(
        self, now_s: float, limit_s: float | None = None
    ) -> float | None:
        """Return the limit in seconds when nothing was heard for longer, else None."""
        limit_s = limit_s or max(
            STALL_INTERVALS * self.interval_s, STALL_S
        )
        return (
            limit_s
            if self.live and now_s - self.heard_s > limit_s
            else None
        )

    def fail(self, why: str, successor: str = "") -> None:
        """End this source for the run; successor: the name of the source that continues."""
        self.status = why
        continued = f", continuing with {successor}" if successor else ""
        detail = (
            f"stopped receiving data from {self.name}{continued}: {why}"
        )
        self._journal.note_and_tell("sampler_failed", detail)

    def finish(self) -> None:
        """Store what is held back, and the final figures of the source."""
        self.release()
        changes = {
            "kind": self.source.kind,
            "status": self.status,
            "samples": self.samples,
            "dropped": self.source.dropped,
        }
        self._store.update("power_source", self._row_id, changes)
