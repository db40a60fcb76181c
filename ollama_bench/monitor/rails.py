"""rails.py - tells an energy counter that steps slowly from a dead one.

An M5's CPU counter steps every 2.2 s, so that samples of 1 s read 0 and double in turn: these are
kept. On some Macs with macOS 27 the CPU's counter remains 0: no running machine takes 0 J for three
seconds, nor does a busy GPU. Such energy is unknown, and so is the sum.
"""

from __future__ import annotations

from collections.abc import Callable

from ollama_bench.monitor.power_source import Part, Sample

DEAD_RAIL_SAMPLES = 3  # successive zeros ...
DEAD_RAIL_S = 3.0  # ... over at least this time are a dead sensor
# a GPU with less work may take less than its counter's step, and read 0 J
BUSY_RATIO = 0.2


class Rail:
    """The energy counter of one part of the machine."""

    def __init__(
        self, part: Part, is_working: Callable[[Sample], bool]
    ) -> None:
        self.part: Part = part
        self.is_alive: bool | None = None  # None: not known yet
        # whether a sample shows that part at work
        self._is_working = is_working
        self._zeros = 0  # in a row
        self._zero_since_ns = 0

    def must_wait(self, sample: Sample) -> bool:
        """Take a sample in; return whether its zero cannot be judged yet."""
        energy_j = sample.energy_of(self.part)
        if energy_j:
            self.is_alive = True
        if energy_j != 0 or not self._is_working(sample):
            self._zeros = 0
            return False
        if self.is_alive is False:
            return False
        if not self._zeros:
            self._zero_since_ns = sample.start_ns
        self._zeros += 1
        span_ns = sample.end_ns - self._zero_since_ns
        if self._zeros < DEAD_RAIL_SAMPLES or span_ns < DEAD_RAIL_S * 1e9:
            return True
        self.is_alive, self._zeros = False, 0
        return False

    def settle(self, sample: Sample) -> Sample:
        """Make the zero of a dead counter NULL, and that of one never seen to move."""
        is_unproven = self.is_alive is None and self._is_working(sample)
        is_zero = sample.energy_of(self.part) == 0
        if is_zero and (self.is_alive is False or is_unproven):
            return sample.without_energy_of(self.part)
        return sample


class Rails:
    """The counters of a source. Samples are held back while a zero cannot be judged."""

    def __init__(self) -> None:
        self._rails = (Rail("cpu", is_running), Rail("gpu", is_gpu_busy))
        self._held: list[Sample] = []

    @property
    def holds(self) -> bool:
        return bool(self._held)

    @property
    def dead_parts(self) -> set[Part]:
        return {
            rail.part for rail in self._rails if rail.is_alive is False
        }

    def sift(self, sample: Sample) -> list[Sample]:
        """Return the samples that can be stored now."""
        self._held.append(sample)
        waiting = [rail.must_wait(sample) for rail in self._rails]
        return [] if any(waiting) else self.release()

    def release(self) -> list[Sample]:
        """Return what is held back, judged by what is known now."""
        held, self._held = self._held, []
        return [self._settle(sample) for sample in held]

    def _settle(self, sample: Sample) -> Sample:
        for rail in self._rails:
            sample = rail.settle(sample)
        return sample


def is_running(_: Sample) -> bool:
    """Return that the CPU is at work: it runs this program."""
    return True


def is_gpu_busy(sample: Sample) -> bool:
    return (sample.gpu_busy_ratio or 0) >= BUSY_RATIO
