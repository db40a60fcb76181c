"""powermetrics_log.py - stores what powermetrics wrote into a file, plist or text, as a run.

Every sample is checked as a live one is.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ollama_bench.monitor.journal import Journal, print_line
from ollama_bench.monitor.power_source import READABLE, Columns
from ollama_bench.monitor.run_row import make_run_row
from ollama_bench.monitor.track import Track
from ollama_bench.power.powermetrics_plist import GpuRail, parse_plist
from ollama_bench.power.powermetrics_text import parse_text
from ollama_bench.power.stream import CHIP_SCOPE
from ollama_bench.power.values import LARGEST
from ollama_bench.storage.writer import Writer

PLIST_END = b"</plist>"
PADDING = b"\0 \r\n"  # between two documents

Document = Mapping[str, Any]  # a sample with elapsed_ns and at_unix


WATTS = ("energy_j", "gpu_energy_j", "cpu_energy_j")


class LogError(Exception):
    """A powermetrics log cannot be read; str() is one line for the user."""


@dataclass(frozen=True)
class LogContent:
    """The samples of a log, and how many of its documents were damaged."""

    documents: Sequence[Document]
    damaged: int = 0


@dataclass(frozen=True)
class ImportedLog:
    """What was stored of a log."""

    run_id: int
    samples: int
    length_s: float


class PowermetricsLog:
    """A log as a power source whose samples have all come."""

    name = "powermetrics"
    device = "soc"
    kind = "interval"
    scope = CHIP_SCOPE
    status = READABLE

    def __init__(self, content: LogContent) -> None:
        self._documents = [
            document
            for document in content.documents
            if document["elapsed_ns"]
        ]
        self.dropped = (
            content.damaged + len(content.documents) - len(self._documents)
        )
        spans_ns = [
            int(document["elapsed_ns"]) for document in self._documents
        ]
        self.is_empty = not spans_ns
        self.has_watts = any(
            document.get(name) is not None
            for document in self._documents
            for name in WATTS
        )
        self.length_ns = sum(spans_ns)
        self.interval_s = statistics.median(spans_ns or [0]) / 1e9

    def place_samples(self) -> Iterator[Columns]:
        """Yield the samples end to end, from 0 on."""
        end_ns = 0
        for document in self._documents:
            start_ns, end_ns = end_ns, end_ns + document["elapsed_ns"]
            columns = {
                name: value
                for name, value in document.items()
                if name != "at_unix"
            }
            yield {**columns, "start_ns": start_ns, "end_ns": end_ns}

    def find_start_unix(self) -> float | None:
        first = self._documents[0]
        return (
            None
            if first["at_unix"] is None
            else first["at_unix"] - first["elapsed_ns"] / 1e9
        )

    def stop(self) -> None:
        """Do nothing: there is no sampler."""


def import_log(path: str, db_path: str) -> ImportedLog:
    """Store a log as a run. Raises LogError when it holds no sample or cannot be read."""
    log = PowermetricsLog(read_log(path))
    if log.is_empty:
        raise LogError(f"{path} contains no powermetrics sample")
    if log.length_ns > LARGEST:
        raise LogError(
            f"{path} is not a powermetrics log: it lasts {log.length_ns / 1e9:.3g} s"
        )
    started_unix = log.find_start_unix()
    if started_unix is None:
        started_unix = os.path.getmtime(path)
    with Writer(db_path) as writer:
        row = make_run_row(
            {"powermetrics_log": path, "db": db_path}, started_unix
        )
        ended = {"status": "finished", "ended_ns": log.length_ns}
        run_id = writer.insert("run", {**row, **ended})
        journal = Journal(writer, run_id, origin_ns=0)
        track = Track(
            log,
            writer,
            journal,
            run_id=run_id,
            origin_ns=0,
            interval_s=log.interval_s,
        )
        for columns in log.place_samples():
            track.keep(columns)
        track.finish()
    if not log.has_watts:
        print_line(
            f"{path} contains no watts: no energy can come of it "
            "(start powermetrics with the samplers cpu_power and gpu_power)"
        )
    return ImportedLog(run_id, track.samples, log.length_ns / 1e9)


def read_log(path: str) -> LogContent:
    """Return the samples of a log in powermetrics' text format or as plist documents."""
    try:
        with open(path, "rb") as file:
            log = file.read()
    except OSError as error:
        raise LogError(f"{path}: {error.strerror}") from None
    if b"<plist" not in log:
        return LogContent(parse_text(log.decode("utf-8", "replace")))
    documents: list[Document] = []
    damaged = 0
    gpu_rail = GpuRail()
    for document in log.split(PLIST_END):
        try:
            documents.append(parse_plist(document + PLIST_END, gpu_rail))
        except ValueError:
            damaged += bool(document.strip(PADDING))
    return LogContent(documents, damaged)
