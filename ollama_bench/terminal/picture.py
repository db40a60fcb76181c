"""The live picture of a level: the machine, the requests in flight, and how far it is."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ollama_bench.terminal.figures import (
    UNKNOWN,
    format_clock,
    format_duration,
    format_pace,
)
from ollama_bench.terminal.machine_line import format_machine
from ollama_bench.terminal.rows import (
    WIDTH,
    Column,
    Columns,
    format_heading,
    format_row,
)

BAR_CELLS = 28
LINES_AROUND_TABLE = 7  # the machine, the headings, the bar, what is above
# a terminal shows ^C behind the last line; a line more would stay when all is removed
CTRL_C_CELLS = 2
LEAST_ROOM = 3  # lines of requests, however low the window

REQUEST_COLUMNS: Columns = (
    Column("", "REQ ID", 6, 9),
    Column("", "TOKENS", 8, 4),
    Column("", "TOKENS/S", 10, 2),
    Column("", "TTFT", 10, 5),
    Column("", "WAITING", 10, 0),
    Column("", "DURATION", 10, 1),
    Column("", "  STATUS    ", 12, 8),
)


class Task(Protocol):
    """What is asked in a request."""

    @property
    def number(self) -> int: ...


class Exchange(Protocol):
    """A request in flight or ended. All instants are time.perf_counter_ns()."""

    @property
    def task(self) -> Task: ...
    @property
    def sent_ns(self) -> int | None: ...
    @property
    def first_ns(self) -> int | None: ...
    @property
    def last_read_ns(self) -> int | None: ...
    @property
    def ended_ns(self) -> int | None: ...
    @property
    def reads(self) -> int: ...
    @property
    def cancelled(self) -> object: ...


class Outcome(Protocol):
    """What an ended request delivered."""

    @property
    def task(self) -> Task: ...
    @property
    def output_tokens(self) -> int | None: ...
    @property
    def chunk_ns(self) -> Sequence[int]: ...


class Tally(Protocol):
    """Counts of the requests whose exchanges are no longer kept."""

    @property
    def ended(self) -> int: ...
    @property
    def tokens(self) -> int: ...


class Level(Protocol):
    """A level that runs."""

    @property
    def exchanges(self) -> Sequence[Exchange]: ...
    @property
    def outcomes(self) -> Sequence[Outcome]: ...
    @property
    def tally(self) -> Tally: ...
    @property
    def is_burst(self) -> bool: ...
    @property
    def planned(self) -> int | None: ...
    @property
    def workers(self) -> int: ...
    @property
    def started_ns(self) -> int | None: ...
    @property
    def ended_ns(self) -> int | None: ...
    @property
    def until_s(self) -> float | None: ...


@dataclass(frozen=True)
class Counts:
    """How many requests wait, stream and have ended."""

    waiting: int
    streaming: int
    ended: int


@dataclass(frozen=True)
class Size:
    """The cells of the window."""

    width: int
    height: int


def draw_picture(
    level: Level,
    sample: Mapping[str, Any],
    heading: str,
    size: Size,
    left: str = "",
) -> str:
    """Return the whole picture.

    sample: the machine now; heading: the level's own line; left: how long it still takes.
    """
    exchanges = level.exchanges
    room = size.height - LINES_AROUND_TABLE - bool(left)
    shown = choose_busiest(exchanges, max(LEAST_ROOM, room))
    lines = [
        format_machine(sample, size.width),
        heading,
        format_heading(REQUEST_COLUMNS, size.width),
    ]
    outcomes: dict[int, Outcome] = {}
    if level.is_burst:  # otherwise ended requests are not shown
        outcomes = {
            outcome.task.number: outcome for outcome in level.outcomes
        }
    now_ns = time.perf_counter_ns()
    for exchange in shown:
        outcome = outcomes.get(exchange.task.number)
        lines.append(format_request(exchange, now_ns, outcome, size.width))
    hidden = len(exchanges) - len(shown)
    if hidden > 0:
        lines.append(f"{'...':>6} and {hidden} more")
    width = size.width - CTRL_C_CELLS
    progress = format_progress(level, count_requests(level), width)
    lines.append(progress[:width])
    if left:
        lines.append(left)
    return "\n".join(line[: size.width] for line in lines)


def count_requests(level: Level) -> Counts:
    """Count the requests that wait, stream and have ended."""
    flying = [
        exchange
        for exchange in level.exchanges
        if exchange.ended_ns is None
    ]
    streaming = sum(exchange.reads > 0 for exchange in flying)
    sent = sum(exchange.sent_ns is not None for exchange in flying)
    ended = len(level.exchanges) - len(flying)
    # then these are only the ones that have not been tallied yet
    if not level.is_burst:
        ended += level.tally.ended
    return Counts(max(sent - streaming, 0), streaming, ended)


def is_digesting(level: Level) -> bool:
    """Whether replies have ended whose tokens are not counted yet."""
    return count_requests(level).ended > level.tally.ended


def count_tokens(level: Level) -> int:
    """Return how many tokens have come, of an ended level exactly; until then a read is one."""
    if level.ended_ns is not None and not is_digesting(level):
        return level.tally.tokens
    tokens = sum(
        max(exchange.reads - 1, 0) for exchange in level.exchanges
    )
    return tokens if level.is_burst else tokens + level.tally.tokens


def choose_busiest(
    exchanges: Sequence[Exchange], room: int
) -> Sequence[Exchange]:
    """Return those for which there is room: first streaming ones, then waiting, then ended."""
    if len(exchanges) <= room:
        return exchanges

    def rank(exchange: Exchange) -> int:
        if exchange.ended_ns is not None:
            return 2
        return 0 if exchange.reads else 1

    return sorted(exchanges, key=rank)[: room - 1]


def format_request(
    exchange: Exchange,
    now_ns: int,
    outcome: Outcome | None = None,
    width: int = WIDTH,
) -> str:
    """Return the line of a request, in the columns of the study.

    Until its outcome is known, TOKENS counts the reads after the first, which holds the head of
    the answer, and TOKENS/S is their pace; then both are what the server counted.
    """
    number, sent = str(exchange.task.number), exchange.sent_ns
    if sent is None:
        unknown = [UNKNOWN] * 5
        return format_row(
            REQUEST_COLUMNS, [number, *unknown, "  connecting"], width
        )
    first, last = exchange.first_ns, exchange.last_read_ns
    until = exchange.ended_ns or now_ns
    tokens: int | None = max(exchange.reads - 1, 0)
    speed = UNKNOWN
    if first and last and exchange.reads > 2:
        speed = format_pace(exchange.reads, first, last)
    if outcome is not None and outcome.chunk_ns:
        first, last = outcome.chunk_ns[0], outcome.chunk_ns[-1]
        tokens = outcome.output_tokens
        speed = format_pace(tokens or 0, first, last)
    values = [
        number,
        str(tokens or UNKNOWN),
        speed,
        format_duration((first - sent) / 1e9) if first else UNKNOWN,
        format_duration(((first or until) - sent) / 1e9),
        format_duration((until - first) / 1e9) if first else UNKNOWN,
        f"  {describe_status(exchange, has_begun=bool(first)):<10}",
    ]
    return format_row(REQUEST_COLUMNS, values, width)


def describe_status(exchange: Exchange, has_begun: bool) -> str:
    """Return the word for what a sent request does."""
    if exchange.ended_ns:
        return "cancelled" if exchange.cancelled else "ended"
    return "streaming" if has_begun else "waiting"


def format_progress(level: Level, counts: Counts, width: int) -> str:
    """Return how far a level is, with a bar if there is room."""
    planned = f"/{level.planned}" if level.planned else ""
    text = (
        f"{counts.ended}{planned} ended, {counts.streaming} streaming, {counts.waiting} waiting"
        f"  {format_clock(measure_elapsed(level))}"
    )
    cells = min(BAR_CELLS, width - len(text) - 3)
    if cells < 1:
        return text
    done = int(cells * min(1.0, measure_progress(level, counts.ended)))
    return f"[{'#' * done}{'-' * (cells - done)}] {text}"


def measure_progress(level: Level, ended: int) -> float:
    """Return the part of a level that is done: of its requests, or of its time."""
    if level.planned:
        return ended / level.planned
    return measure_elapsed(level) / level.until_s if level.until_s else 0.0


def measure_elapsed(level: Level) -> float:
    """Return the seconds since the level started."""
    if not level.started_ns:
        return 0.0
    return (time.perf_counter_ns() - level.started_ns) / 1e9
