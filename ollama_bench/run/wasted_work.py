"""How much a server goes on generating for clients that have left, by its own counter.

    meter = WorkMeter(servers, interrupt)
    before = meter.read()                      # the server is idle
    ...                                        # a level
    wasted = meter.count_wasted(before, tokens_received, was_cut=True)

The servers must serve nobody else meanwhile: their counters do not tell for whom they work.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from ollama_bench.protocols.names import OLLAMA
from ollama_bench.protocols.work import METRICS_PATH, Work, read_work
from ollama_bench.run.server import Server, ServerError
from ollama_bench.terminal.interrupt import Interrupt

ANSWER_S = 2.0  # for one look
# what a server does for nobody may take so long to end
IDLE_S, LOOK_EVERY_S = 10.0, 0.25


class WorkMeter:
    """Reads the counters of all servers of a run; it knows nothing where one has none."""

    def __init__(
        self, servers: Sequence[Server], interrupt: Interrupt
    ) -> None:
        self._servers, self._interrupt = servers, interrupt
        # Ollama has no counters
        self._can_tell = all(
            server.protocol.name != OLLAMA for server in servers
        )

    def read(self) -> Work | None:
        """Return what all servers have done together; None where one does not tell."""
        if not self._can_tell:
            return None
        found = [self._read(server) for server in self._servers]
        known = [work for work in found if work is not None]
        # who does not tell once is not asked again
        self._can_tell = len(known) == len(found)
        if not self._can_tell:
            return None
        return Work(
            sum(work.generated_tokens for work in known),
            all(work.is_idle for work in known),
        )

    def _read(self, server: Server) -> Work | None:
        try:
            status, text = server.get_text(METRICS_PATH, ANSWER_S)
        except ServerError:
            return None
        return read_work(text) if status == 200 else None

    def count_wasted(
        self,
        before: Work | None,
        received_tokens: int | None,
        was_cut: bool,
    ) -> int | None:
        """Return the tokens that were generated since and reached nobody; None if unknown.

        Where clients have left, wait until the servers are idle, at most IDLE_S.
        """
        after = self.read() if before is not None else None
        until_s = time.monotonic() + IDLE_S
        while was_cut and after is not None and not after.is_idle:
            if time.monotonic() >= until_s:
                break
            if self._interrupt.wait(LOOK_EVERY_S):
                break
            after = self.read()
        if before is None or after is None or received_tokens is None:
            return None
        made = after.generated_tokens - before.generated_tokens
        # a server that has restarted counts from 0
        return None if made < 0 else max(0, made - received_tokens)
