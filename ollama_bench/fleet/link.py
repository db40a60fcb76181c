"""A link of Dask's own to one worker, past its pool: a link that breaks is noticed at once.

The pool would try for half a minute to reach a process that is no more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from ollama_bench.fleet.agent import DOOR


class Link:
    """One question at a time; used in the thread of Dask's event loop alone."""

    def __init__(
        self, address: str, connection_args: Mapping[str, Any]
    ) -> None:
        self._address, self._connection_args = address, connection_args
        self._turn = asyncio.Lock()
        self._comm: Any = None

    async def ask(self, **message: object) -> dict[str, Any]:
        """Return the answer of the worker's door. Raises OSError."""
        from distributed.core import connect, send_recv

        async with self._turn:
            if self._comm is None:
                self._comm = await connect(
                    self._address, **self._connection_args
                )
            answer = await send_recv(
                self._comm, op=DOOR, reply=True, **message
            )
        return dict(answer)

    async def close(self) -> None:
        """Hang up."""
        if self._comm is not None:
            await self._comm.close()
