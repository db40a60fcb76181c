"""A source that is the output of a sampler: split into documents, each placed on our clock."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import IO, cast

from ollama_bench.power.powermetrics_command import SAMPLERS
from ollama_bench.power.source import (
    Kind,
    Launcher,
    PowerSample,
    SamplerReading,
    StreamedSource,
)

CHIP_SCOPE = (
    "CPU + GPU + ANE of the chip as estimated by the system;"
    " excludes DRAM, display, SSD and power supply"
)
# an M2 Ultra's is 65 KB; more than this is not powermetrics
MAX_DOCUMENT_BYTES = 8_000_000
REFUSED = re.compile(
    r"unrecognized sampler|invalid sampler|exit code 64\b"
)


class Stream:
    """Bytes in, samples with start_ns and end_ns out.

    elapsed_ns stays in the samples, because a sleep shows in it.
    """

    def __init__(
        self,
        name: str,
        launcher: Launcher,
        parse: Callable[[bytes], SamplerReading],
        end: bytes,
        interval_s: float,
        *,
        advice: str = "",
        successor: Callable[[], StreamedSource | None] | None = None,
    ) -> None:
        self.name = name
        self.device = "soc"
        self.kind: Kind = "interval"
        self.scope: str | None = CHIP_SCOPE
        self.status = "ok"
        self.dropped = 0
        self.interval_s = interval_s
        self.launcher = launcher
        self.advice = advice
        self.successor = successor
        self._parse = parse
        self._end = end  # of a document
        self._step = 0  # number of the command in use
        self._buffer = b""
        self._last_ns: int | None = None  # end of the last sample

    def start(self) -> IO[bytes] | None:
        """Start the sampler and return its output; None if it cannot be started."""
        self._buffer, self._last_ns = b"", None
        return self.launcher.start(self._step)

    def feed(self, data: bytes, at_ns: int) -> list[PowerSample]:
        """Return the samples completed by `data`, which arrived at `at_ns`."""
        *documents, self._buffer = (self._buffer + data).split(self._end)
        if len(self._buffer) > MAX_DOCUMENT_BYTES:
            self._buffer = b""
            self.dropped += 1
        readings: list[SamplerReading] = []
        for document in documents:
            try:
                readings.append(self._parse(document + self._end))
            except ValueError:
                self.dropped += 1
        return self._place(readings, at_ns) if readings else []

    def finish(self) -> None:
        """Count the incomplete document that is left when the output was cut off."""
        if self._buffer.strip(b"\0 \r\n"):
            self.dropped += 1

    def refused(self, complaint: str) -> bool:
        """Return whether the sampler rejected an option and a simpler command is left."""
        if not REFUSED.search(complaint):
            return False
        self._step += 1
        return self._step < len(SAMPLERS)

    def complaint(self) -> str:
        """Return why the output ended."""
        return self.launcher.complaint()

    def kill(self) -> None:
        """End the sampler and so its output."""
        self.launcher.kill()

    def stop(self) -> None:
        """End the sampler and release everything."""
        self.launcher.stop()

    def _place(
        self, readings: list[SamplerReading], at_ns: int
    ) -> list[PowerSample]:
        """Give readings that arrived together their windows on our clock.

        A document arrives after its window, never before, and windows follow one another without
        a gap. So the end is the last end plus elapsed_ns, unless the document arrived earlier,
        or so much later (half an interval) that time was lost in between.
        """
        if "elapsed_ns" not in readings[0]:
            self._set_energies(readings, at_ns)
        spans_ns = [reading.get("elapsed_ns") or 0 for reading in readings]
        end_ns = at_ns
        if self._last_ns is not None:
            expected_ns = self._last_ns + sum(spans_ns)
            if at_ns - expected_ns <= spans_ns[-1] / 2:
                end_ns = max(
                    min(at_ns, expected_ns), self._last_ns + len(readings)
                )
        samples: list[PowerSample] = []
        for reading, span_ns in zip(
            reversed(readings), reversed(spans_ns), strict=True
        ):
            reading.pop("at_unix", None)
            window = {"start_ns": end_ns - span_ns, "end_ns": end_ns}
            samples.append(cast(PowerSample, {**reading, **window}))
            end_ns -= span_ns
        return self._without_overlap(samples[::-1])

    def _without_overlap(
        self, samples: list[PowerSample]
    ) -> list[PowerSample]:
        for sample in samples:
            if self._last_ns is not None:
                sample["end_ns"] = max(sample["end_ns"], self._last_ns + 1)
                sample["start_ns"] = max(sample["start_ns"], self._last_ns)
            self._last_ns = sample["end_ns"]
        return samples

    def _set_energies(
        self, readings: list[SamplerReading], at_ns: int
    ) -> None:
        """Turn watts without windows into energy since the last sample."""
        last_ns = self._last_ns
        if last_ns is None:
            last_ns = at_ns - int(self.interval_s * 1e9)
        span_ns = max((at_ns - last_ns) // len(readings), 1)
        for reading in readings:
            reading["elapsed_ns"] = span_ns
            reading["energy_j"] = multiply(reading.pop("watts"), span_ns)
            reading["gpu_energy_j"] = multiply(
                reading.pop("gpu_watts"), span_ns
            )
            reading["cpu_energy_j"] = multiply(
                reading.pop("cpu_watts"), span_ns
            )


def multiply(watts: float | None, span_ns: int) -> float | None:
    """Return the joules of a power over a span of time."""
    return None if watts is None else watts * span_ns / 1e9
