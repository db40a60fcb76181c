"""What Prometheus gets when it asks: what the monitor saw last, and the runs in results.db.

NULL is a series that is absent. Nothing that fails here reaches the monitor or a run: it is one
line, and the series that need it are absent for that time.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from prometheus_client.registry import Collector

from ollama_bench import __version__
from ollama_bench.monitor.journal import print_line
from ollama_bench.monitor.monitor import Monitor
from ollama_bench.monitor.power_source import Sample
from ollama_bench.monitor.process_sample import ProcessSample
from ollama_bench.monitor.track import Track
from ollama_bench.prometheus import families
from ollama_bench.prometheus.distribution import LabelValues
from ollama_bench.prometheus.families import AnyFamily, MetricSpec
from ollama_bench.prometheus.run_figures import RunFigures, fill_family
from ollama_bench.prometheus.server_page import ServerPage
from ollama_bench.terminal.output import shorten

Families = Iterable[AnyFamily]
Values = Mapping[LabelValues, float | None]


class Gauge(NamedTuple):
    """A metric that is a column of each power source's last sample."""

    metric: MetricSpec
    read: Callable[[Sample], float | None]


SENSORS = (
    Gauge(families.TEMPERATURE, lambda sample: sample.temperature_c),
    Gauge(families.GPU_BUSY, lambda sample: sample.gpu_busy_ratio),
    Gauge(
        families.GPU_CLOCK,
        lambda sample: scale_known(sample.gpu_mhz, 1e6),
    ),
    Gauge(families.GPU_MEMORY, lambda sample: sample.gpu_memory_bytes),
)
PROCESS_SIZES = (
    (families.RESIDENT, "rss_bytes"),
    (families.FOOTPRINT, "footprint_bytes"),
    (families.THREADS, "threads"),
)


class MonitorCollector(Collector):
    """Asked by the endpoint's threads, one after another."""

    def __init__(
        self,
        monitor: Monitor,
        runs: RunFigures,
        page: ServerPage | None = None,
        say: Callable[[str], object] = print_line,
    ) -> None:
        self._monitor = monitor
        self._runs = runs
        self._page = page
        self._say = say
        self._lock = threading.Lock()
        self._told: set[str] = set()

    def collect(self) -> Iterator[AnyFamily]:
        """Yield every family that has a series now."""
        with self._lock:
            found = [
                *self._guard("processes", self._collect_processes),
                *self._guard("slots", self._collect_slots),
                *self._guard("power", self._collect_power),
                *self._guard("results file", self._collect_runs),
                fill_family(families.BUILD, {(__version__,): 1}),
            ]
        yield from (family for family in found if family.samples)

    def close(self) -> None:
        """Let go of the results file; what is asked for afterwards is without it."""
        with self._lock:
            self._runs.close()
            self._told.add("results file")

    def _guard(
        self, kind: str, collect: Callable[[], Families]
    ) -> Families:
        try:
            return list(collect())
        except Exception as error:
            self._tell(kind, error)
            return ()

    def _tell(self, kind: str, error: Exception) -> None:
        if kind not in self._told:
            self._told.add(kind)
            text = f"{type(error).__name__}: {error}"
            self._say(f"prometheus: {kind}: {text}")

    def _collect_processes(self) -> Families:
        samples: dict[LabelValues, list[ProcessSample]] = {}
        for process in self._monitor.processes:
            if process.latest:
                kind = clean_labels(process.kind)
                samples.setdefault(kind, []).append(process.latest)
        counts = {kind: len(found) for kind, found in samples.items()}
        yield fill_family(families.PROCESSES, counts)
        used: dict[LabelValues, float] = defaultdict(float)
        for kind, cpu_s in self._monitor.cpu_s.items():
            used[clean_labels(kind)] += cpu_s
        yield fill_family(families.CPU, used)
        for metric, column in PROCESS_SIZES:
            yield fill_known(
                metric,
                {
                    kind: sum_all(getattr(one, column) for one in found)
                    for kind, found in samples.items()
                },
            )

    def _collect_slots(self) -> Families:
        slots = self._monitor.slots().number
        yield fill_known(families.SLOTS, {(): slots})
        if self._page:
            pids = {one.process.pid for one in self._monitor.processes}
            queue = self._page.read(frozenset(pids))
            yield fill_known(families.RUNNING, {(): queue.running})
            yield fill_known(families.WAITING, {(): queue.waiting})

    def _collect_power(self) -> Families:
        tracks = {name_device(one): one for one in self._monitor.tracks}
        fresh = {
            device: track.stored
            for device, track in tracks.items()
            if track.stored and track.live and track.is_fresh(track.stored)
        }
        yield fill_known(
            families.POWER,
            {
                (*device, rail): watts
                for device, sample in fresh.items()
                for rail, watts in find_watts(sample).items()
            },
        )
        yield fill_family(
            families.ENERGY,
            {
                (*device, rail): joules
                for device, track in tracks.items()
                for rail, joules in dict(track.joules).items()
            },
        )
        for metric, read in SENSORS:
            values = {
                device: read(sample) for device, sample in fresh.items()
            }
            yield fill_known(metric, values)

    def _collect_runs(self) -> Families:
        try:
            self._runs.update()
        except Exception as error:
            # what was counted so far remains true
            self._tell("results file", error)
            self._runs.forget_moment()
        return self._runs.make_families()


def name_device(track: Track) -> LabelValues:
    return clean_labels((track.source.name, track.source.device))


def clean_labels(words: Iterable[str]) -> LabelValues:
    """Return values of labels without control characters, and not without end."""
    return tuple(map(shorten, words))


def find_watts(sample: Sample) -> dict[str, float | None]:
    """Return the power of each rail in a sample."""
    return {
        "total": sample.power_w,
        "cpu": sample.cpu_power_w,
        "gpu": sample.gpu_power_w,
        "machine": sample.system_power_w,
    }


def fill_known(metric: MetricSpec, values: Values) -> AnyFamily:
    """Return the family without the series whose value is unknown."""
    return fill_family(
        metric,
        {
            labels: value
            for labels, value in values.items()
            if value is not None
        },
    )


def sum_all(values: Iterable[float | None]) -> float | None:
    """Return the sum, None where one of the values is unknown."""
    found = list(values)
    known = [value for value in found if value is not None]
    return sum(known) if len(known) == len(found) else None


def scale_known(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor
