"""feed.py - reads the output of one sampler, and starts it again when it ends or stalls."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import IO

from ollama_bench.monitor.journal import Journal
from ollama_bench.monitor.power_source import StreamedSource
from ollama_bench.monitor.track import Track

# powermetrics' first takes 1.3 s; ten times that on a loaded machine
FIRST_DOCUMENT_S = 15.0
RESTARTS = 3  # of a sampler in one run
RESTART_EVERY_S = 60.0
READ_BYTES = 1 << 20


class Feed:
    """Follows a sampler in a thread of its own, run(); check() and stop() come from others."""

    def __init__(
        self,
        source: StreamedSource,
        journal: Journal,
        open_track: Callable[[StreamedSource], Track],
        first_document_s: float = FIRST_DOCUMENT_S,
    ) -> None:
        """open_track: makes a track for a source, this one and any that continues for it."""
        self.source = source
        self.track = open_track(source)
        self._journal = journal
        self._open_track = open_track
        self._first_document_s = first_document_s
        self._restarts_s: list[float] = []  # when
        self._stalled = ""  # why check() has ended the sampler
        self._stopping = threading.Event()

    def run(self) -> None:
        """Read until stop(), or until the sampler is given up."""
        try:
            self._follow()
        except Exception as error:
            # nobody may wait for a source that nobody reads
            self.track.fail(f"{type(error).__name__}: {error}")

    def check(self, now_s: float) -> None:
        """End a sampler that has fallen silent; for the monitor's own thread."""
        first_s = None if self.track.latest else self._first_document_s
        limit_s = self.track.find_silence(now_s, first_s)
        if not limit_s or self._stopping.is_set():
            return
        self._stalled = f"no sample in {limit_s:g} s"
        self.track.await_sample()
        source = self.source

        def kill() -> None:
            self._journal.guard("sampler", source.kill)

        # ending it may take seconds
        threading.Thread(
            target=kill, name="sampler's end", daemon=True
        ).start()

    def stop(self) -> None:
        self._stopping.set()
        self.source.stop()

    def _follow(self) -> None:
        why = ""  # it is started again
        while self.track.live and not self._stopping.is_set():
            self.track.await_sample()
            output = self.source.start()
            if output is None:
                self._report_no_start(why)
                why = ""
                continue
            if self._stopping.is_set():
                # stop() came before there was anything to stop
                self.source.kill()
            elif why:
                self._report_restart(why)
            with output:
                self._read(output)
            if not self._stopping.is_set():
                why = self._recover(
                    self._stalled or self.source.complaint()
                )
                self._stalled = ""

    def _read(self, output: IO[bytes]) -> None:
        descriptor = output.fileno()
        while data := os.read(descriptor, READ_BYTES):
            for columns in self.source.feed(data, time.perf_counter_ns()):
                self.track.keep(columns)
        self.source.finish()

    def _recover(self, why: str) -> str:
        """Prepare another start, at most one a minute; return the reason to report with it.

        A sampler that gave nothing at all gets a simpler command if it refused this one, else it
        is given up.
        """
        if not self.track.latest:
            if not self.source.refused(why):
                self._give_up(why)
            return ""
        if len(self._restarts_s) >= RESTARTS:
            self._give_up(f"{why}, after {RESTARTS} restarts")
            return ""
        if self._restarts_s:
            self.track.expect_silence()
            rest_s = (
                self._restarts_s[-1] + RESTART_EVERY_S - time.monotonic()
            )
            self._stopping.wait(rest_s)
        self._restarts_s.append(time.monotonic())
        return why

    def _report_restart(self, why: str) -> None:
        detail = f"restarting {self.track.name}: {why}"
        self._journal.note_and_tell("sampler_restarted", detail)

    def _report_no_start(self, why: str) -> None:
        if self._stopping.is_set():
            return
        if why:
            self._give_up(f"{why}, and it cannot be restarted")
        else:
            self._give_up(
                self.source.complaint() or "it cannot be started"
            )

    def _give_up(self, why: str) -> None:
        """End the source for the run; follow another from now on that knows the same."""
        failed = self.track
        successor = (
            self.source.successor() if self.source.successor else None
        )
        if successor:
            self.source = successor
            self.track = self._open_track(successor)
            self._restarts_s = []
        failed.fail(why, successor.name if successor else "")
