"""A worker of a fleet as the coordinator sees it: what it is asked, and how long that takes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from ollama_bench.fleet.clock import EVERY_S, TRIPS_ASIDE, RoundTrip
from ollama_bench.fleet.clock_track import ClockTrack

# a worker that does not answer for so long is taken for dead
STALLED_S = 10.0
LOOK_S = 0.02
# with what digesting and storing take, a row is there within a second
FETCH_EVERY_S = 0.1

# asks the door of a worker: an answer with the worker's two readings of its clock
AskDoor = Callable[..., Awaitable[dict[str, Any]]]


class WorkerGoneError(Exception):
    """A worker does not answer any more; str() is why."""


@dataclass(eq=False)
class Member:
    """A worker. Its coroutines run in the thread of Dask's event loop."""

    name: str
    address: str
    ask_door: AskDoor
    machine: int | None = None  # row of the table machine, once stored
    track: ClockTrack = field(default_factory=ClockTrack)
    # of pump(): batches are fetched as long as they are wanted, and none while
    # nobody has looked at the last one
    is_wanted: bool = False
    is_behind: bool = False

    async def ask(self, word: str, content: bytes = b"") -> bytes:
        """Ask something and note the round trip. Raises WorkerGoneError."""
        sent_ns = time.perf_counter_ns()
        try:
            answer = await asyncio.wait_for(
                self.ask_door(word=word, content=content), STALLED_S
            )
        except (TimeoutError, asyncio.TimeoutError):
            raise WorkerGoneError(
                f"no answer for {STALLED_S:g} s"
            ) from None
        except OSError as error:
            raise WorkerGoneError(describe_loss(error)) from None
        trip = RoundTrip(
            sent_ns,
            answer["received_ns"],
            answer["answered_ns"],
            time.perf_counter_ns(),
        )
        self.track.add(trip)
        return bytes(answer["content"])

    async def compare_clocks(self) -> None:
        """Make the round trips before or after a level. Raises WorkerGoneError."""
        for _ in range(TRIPS_ASIDE):
            await self.ask("clock")

    async def pump(
        self, put: Callable[[bytes | WorkerGoneError], None]
    ) -> None:
        """Fetch batches, ten a second at most, until they are not wanted or the worker is gone."""
        compare_s = 0.0
        try:
            while self.is_wanted:
                # a batch may be long under way
                if time.monotonic() >= compare_s:
                    compare_s = time.monotonic() + EVERY_S
                    await self.ask("clock")
                content = await self.ask("take")
                self.is_behind = True
                put(content)
                await asyncio.sleep(FETCH_EVERY_S)
                while self.is_behind and self.is_wanted:
                    await asyncio.sleep(LOOK_S)
        except WorkerGoneError as error:
            put(error)


def describe_loss(error: OSError) -> str:
    """Return why a link broke, without Dask's own words around it."""
    cause = error.__cause__ or error
    name = type(cause).__name__
    return "the link broke" if "Closed" in name else f"{name}"
