"""Decides which requests are cut: those that stall, and all at the deadline or when interrupted."""

from __future__ import annotations

from ollama_bench.load.dispatcher import Dispatcher
from ollama_bench.load.errors import LoadError
from ollama_bench.load.flight import Flight, Transport
from ollama_bench.load.heartbeat import Heartbeat
from ollama_bench.load.patience import Patience, has_text
from ollama_bench.load.result import LevelResult
from ollama_bench.load.spec import LevelSpec

# why requests are cancelled after Ctrl-C
INTERRUPTED = "interrupted"


class Watchdog:
    """Looks at a level now and then; only the conductor's thread calls it."""

    def __init__(
        self,
        spec: LevelSpec,
        result: LevelResult,
        transport: Transport,
        dispatcher: Dispatcher,
        heartbeat: Heartbeat,
    ) -> None:
        self._limits = spec.limits
        self._interrupt = spec.interrupt
        self._result = result
        self._transport = transport
        self._dispatcher = dispatcher
        self._heartbeat = heartbeat
        self._looked_ns: int | None = None  # when nobody had interrupted
        self.patience = Patience(spec.limits.patience_s)
        self._is_past_deadline = False

    @property
    def deadline_ns(self) -> int | None:
        """The instant at which all is to be cut; None without one, and once that is done."""
        deadline_s, started_ns = (
            self._limits.deadline_s,
            self._result.started_ns,
        )
        if not deadline_s or started_ns is None or self._is_past_deadline:
            return None
        return started_ns + int(deadline_s * 1e9)

    def look(self, now_ns: int) -> None:
        """Stop sending when the time is over, and cut what is to be cut.

        Raises LoadError when nothing is received any more, and whatever went wrong in the
        receiving thread.
        """
        self._check_reader()
        self._transport.digests.look()
        if self._interrupt.is_set():
            # what came due after Ctrl-C was not to be sent
            self._dispatcher.close(
                self._looked_ns or self._result.started_ns, INTERRUPTED
            )
            self.cut_all(INTERRUPTED)
            return
        self._looked_ns = now_ns
        deadline_ns = self.deadline_ns
        if deadline_ns is not None and now_ns >= deadline_ns:
            self._is_past_deadline = True
        if self._is_past_deadline:
            reason = f"deadline of {self._limits.deadline_s:g} s"
            self._dispatcher.close(why=reason)
            self.cut_all(reason)
            return
        if self._dispatcher.is_time_over(now_ns):
            self._dispatcher.close()
        if self._limits.stall_s is not None:
            self._cut_stalled(now_ns, self._limits.stall_s)

    def cut_all(self, reason: str) -> None:
        """Cancel every request in flight."""
        for exchange in list(self._result.exchanges):
            exchange.cancel(reason)

    def cut_waiting(self, reason: str) -> None:
        """Cancel every request in flight that has no first token."""
        for flight in list(self._result.exchanges):
            if flight.ended_ns is None and not has_text(flight):
                flight.cancel(reason)

    def _check_reader(self) -> None:
        reader = self._transport.reader
        if reader is None:
            return
        if reader.death is not None:
            raise LoadError(
                f"the receiving thread has died: {reader.death!r}"
            )
        if reader.failure is not None:
            raise reader.failure

    def _cut_stalled(self, now_ns: int, stall_s: float) -> None:
        """Cut streams that have begun and are silent, and those that only wait when all are silent.

        While this process stood still nobody could be heard.
        """
        silent_since_ns = now_ns - int(stall_s * 1e9)
        exchanges = list(self._result.exchanges)
        heard_ns = [
            find_last_heard_ns(exchange, now_ns) for exchange in exchanges
        ]
        resumed_ns = self._heartbeat.last_pause_end_ns
        full_ns = self._result.full_ns or self._result.started_ns or now_ns
        are_all_silent = (
            max([*heard_ns, full_ns, resumed_ns]) < silent_since_ns
        )
        for exchange, last_ns in zip(exchanges, heard_ns, strict=True):
            if exchange.sent_ns is None or exchange.ended_ns is not None:
                continue
            is_silent = (
                last_ns > 0 and max(last_ns, resumed_ns) < silent_since_ns
            )
            if is_silent or are_all_silent:
                exchange.cancel(f"stalled: nothing for {stall_s:g} s")


def find_last_heard_ns(exchange: Flight, now_ns: int) -> int:
    """Return when the server was last heard; 0 if never, now while this client does not listen."""
    return now_ns if exchange.pauses else exchange.last_read_ns or 0
