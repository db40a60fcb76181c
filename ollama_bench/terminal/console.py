"""console.py - shows a run while it goes on: a live screen, or plain lines where there is no terminal.

    with Console(plain=False) as console:
        console.say("one line")
        console.level_started("level 3 of 6: 4 requests at once")
        level.run(tick=lambda level: console.draw(level, monitor.latest()))
        console.level_finished(row)

Drawing takes the interpreter's lock, so it is budgeted: after a draw of d seconds the next
one comes 250 d later at the earliest, and the screen costs at most 0.4 % of the time.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import textwrap
import time

from rich.console import Console as RichConsole
from rich.live import Live
from rich.text import Text

from ollama_bench.terminal import standard
from ollama_bench.terminal.standard import clean, clean_line

DRAW_EVERY_S = 1.0
DRAW_BUDGET = 250  # pauses are at least so many times as long as a draw
WIDTH = 80
LEAST_WIDTH = 20  # where a window says that it is narrower, or that it has no width
BAR_CELLS = 28
WARNING_STYLE = "bold magenta"  # yellow is faint on a white terminal, blue on a black one
LINES_AROUND_TABLE = 7  # GPU line, heading, bar, what is above

LEVEL_COLUMNS = (  # name in two lines, cells, which go first where there is no room
    ("", "LEVEL", 6, 9),
    ("", "OK", 10, 8),
    ("TTFT", "mean", 8, 7),
    ("TTFT", "max", 8, 3),
    ("TOK/S", "each", 7, 6),
    ("TOK/S", "all", 7, 5),
    ("AT", "once", 5, 4),
    ("", "TIME", 9, 2),
    ("", "WATTS", 7, 1),
    ("", "MHZ", 6, 0),
    ("", "J/TOK", 7, 3),
)
REQUEST_COLUMNS = (
    ("", "REQ ID", 6, 9),
    ("", "TOKENS", 8, 4),
    ("", "TOKENS/S", 10, 2),
    ("", "TTFT", 10, 5),
    ("", "WAITING", 10, 0),
    ("", "DURATION", 10, 1),
    ("", "  STATUS    ", 12, 8),
)


def fitting(columns: tuple, width: int) -> list[int]:
    """Which columns of a table a window of so many cells shows: those that matter most."""
    shown = list(range(len(columns)))
    while sum(columns[number][2] for number in shown) > width and len(shown) > 1:
        shown.remove(min(shown, key=lambda number: columns[number][3]))
    return shown


def row_line(columns: tuple, values: list[str], width: int) -> str:
    """The values under their columns, without those that do not fit."""
    return "".join(
        f"{values[number]:>{columns[number][2]}}" for number in fitting(columns, width)
    ).rstrip()


def heading(columns: tuple, width: int) -> str:
    """The names of the columns, in as many lines as they have."""
    lines = [row_line(columns, [column[line] for column in columns], width) for line in (0, 1)]
    return "\n".join(line for line in lines if line)


GPU_MARK = "g"  # after watts and joules of the GPU alone
GPU_NOTE = f"        {GPU_MARK}: of the GPU alone; together with the CPU it is not known"
LEVEL_HEADING = heading(LEVEL_COLUMNS, WIDTH)


class Console:
    """Where a run shows itself.

    Where that fails nothing more is shown and the run goes on: its rows are what counts. A reader
    of a pipe that has left (`| head`) wants no more: then ``on_left`` is called.
    """

    def __init__(self, plain: bool = False) -> None:
        self._rich = RichConsole(
            width=standard.rich_width(), highlight=False, markup=False, soft_wrap=True
        )
        self.live = self._rich.is_terminal and not plain and os.environ.get("TERM") != "dumb"
        self._screen: Live | None = None
        self._heading = ""
        self._next_draw = 0.0
        self._told: tuple = ()
        self._table_begun = self._mark_told = False
        self.on_left = lambda: None

    @property
    def width(self) -> int:
        """Cells of a line; of a file or a pipe always the same."""
        if not self._rich.is_terminal:
            return WIDTH
        return max(LEAST_WIDTH, min(WIDTH, self._rich.size.width))

    def __enter__(self) -> "Console":
        return self

    def __exit__(self, *_) -> None:
        self._close_screen()

    def say(self, text: str, style: str | None = None) -> None:
        """One line, above the live screen when there is one."""
        with self._showing():
            self._rich.print(Text(clean(text), style=style or ""))
            if not self.live:
                sys.stdout.flush()

    def sentence(self, text: str) -> None:
        """A sentence in bold, broken between words."""
        for line in textwrap.wrap(
            clean(text), self.width - 1, break_long_words=False, break_on_hyphens=False
        ):
            self.say(line, "bold")

    def warn(self, text: str) -> None:
        self.say(text, WARNING_STYLE)

    def level_started(self, heading: str) -> None:
        self._heading, self._told, self._next_draw = clean(heading), (), 0.0
        if self.live:
            self._screen = Live(console=self._rich, auto_refresh=False, transient=True)
            with self._showing():
                self._screen.start()
        else:
            self.say(heading)

    def level_finished(self, row: dict) -> None:
        """The level's line of the table; the heading comes with the first."""
        self._close_screen()
        if not self._table_begun:
            self._table_begun = True
            self.say(heading(LEVEL_COLUMNS, self.width), "bold")
        self.say(level_line(row, self.width), "bold red" if row["errors"] else None)
        if is_gpu_alone(row) and not self._mark_told:
            self._mark_told = True
            self.say(GPU_NOTE)
        if row["client_limited"]:
            name = "" if row["slept_s"] else "client-limited, "
            self.warn(f"        {name}do not trust this level: {row['client_limited_why']}")

    def table(self, rows: list[dict]) -> None:
        """All levels together, where other lines stood between them, or where there are several models: each has its name above."""
        several = len({row["model"] for row in rows}) > 1
        if several or not self.live and len(rows) > 1:
            self.say("")
            self.say(heading(LEVEL_COLUMNS, self.width), "bold")
            for model, levels in itertools.groupby(rows, lambda row: row["model"]):
                if several:
                    self.say(model)
                for row in levels:
                    self.say(level_line(row, self.width), "bold red" if row["errors"] else None)
            if any(map(is_gpu_alone, rows)):
                self.say(GPU_NOTE)

    def draw(self, level, sample: dict) -> None:
        """Called four times a second at most; draws when its budget allows."""
        if not self.live:
            return self._tell(level)
        began = time.monotonic()
        if began < self._next_draw:
            return
        with self._showing():
            self._screen.update(
                Text(self._picture(level, sample), no_wrap=True, overflow="crop"), refresh=True
            )
        took = time.monotonic() - began
        self._next_draw = began + max(DRAW_EVERY_S, DRAW_BUDGET * took)

    def _tell(self, level) -> None:
        """A plain line when how many wait, stream and have ended has changed by a tenth."""
        waiting, streaming, ended = states(level)
        step = max(1, (level.planned or level.workers) // 10)
        if (told := (streaming // step, ended // step)) != self._told:
            self._told = told
            self.say(
                f"  {clock_time(elapsed_s(level))}  {waiting} waiting, {streaming} streaming, {ended} ended"
            )

    def _picture(self, level, sample: dict) -> str:
        waiting, streaming, ended = states(level)
        room = max(3, self._rich.size.height - LINES_AROUND_TABLE)
        shown = busiest(level.exchanges, room)
        width = self._rich.size.width
        lines = [machine_line(sample, width), self._heading, heading(REQUEST_COLUMNS, width)]
        counted = (
            {outcome.task.number: outcome for outcome in level.outcomes} if level.is_burst else {}
        )  # else the ended are not shown
        now = time.perf_counter_ns()
        lines += [
            request_line(exchange, now, counted.get(exchange.task.number), width)
            for exchange in shown
        ]
        if len(level.exchanges) > len(shown):
            lines.append(f"{'...':>6} and {len(level.exchanges) - len(shown)} more")
        lines.append(progress_line(level, (waiting, streaming, ended), width))
        return "\n".join(line[:width] for line in lines)

    def _close_screen(self) -> None:
        if self._screen is not None:
            with self._showing():
                self._screen.stop()
            self._screen = None

    @contextlib.contextmanager
    def _showing(self):
        try:
            yield
        except (
            OSError,
            SystemExit,
        ) as error:  # SystemExit: what rich makes of a pipe without a reader
            self._rich.quiet = True
            standard.silence(sys.stdout)
            if isinstance(error, (BrokenPipeError, SystemExit)):
                return self.on_left()
            with contextlib.suppress(OSError):
                print(
                    f"bench.py: standard output: {error.strerror}; the run goes on and shows no more",
                    file=sys.stderr,
                )


def states(level) -> tuple[int, int, int]:
    """How many requests wait, stream and have ended."""
    flying = [exchange for exchange in level.exchanges if exchange.ended_ns is None]
    begun = sum(exchange.reads > 0 for exchange in flying)
    sent = sum(exchange.sent_ns is not None for exchange in flying)
    ended = len(level.exchanges) - len(
        flying
    )  # in a load that goes on only those that were not digested yet
    if not level.is_burst:
        ended += level.tally.ended
    return max(sent - begun, 0), begun, ended


def progress_line(level, counts: tuple[int, int, int], width: int) -> str:
    """How far a level is, with a bar where there is room."""
    waiting, streaming, ended = counts
    of = f"/{level.planned}" if level.planned else ""
    text = f"{ended}{of} ended, {streaming} streaming, {waiting} waiting  {clock_time(elapsed_s(level))}"
    cells = min(BAR_CELLS, width - len(text) - 3)
    if cells < 1:
        return text
    done = int(cells * min(1.0, progress_ratio(level, ended)))
    return f"[{'#' * done}{'-' * (cells - done)}] {text}"


def progress_ratio(level, ended: int) -> float:
    """How far a level is: of its requests, or of its time."""
    return ended / level.planned if level.planned else elapsed_s(level) / level.until_s


def elapsed_s(level) -> float:
    return (time.perf_counter_ns() - level.started_ns) / 1e9 if level.started_ns else 0.0


def busiest(exchanges: list, room: int) -> list:
    """As many as there is room for: those that stream, then those that wait, then the ended."""
    if len(exchanges) <= room:
        return exchanges

    def rank(exchange) -> int:
        return 2 if exchange.ended_ns is not None else 0 if exchange.reads else 1

    return sorted(exchanges, key=rank)[: room - 1]


def request_line(exchange, now_ns: int, outcome=None, width: int = WIDTH) -> str:
    """A request as the study showed it.

    Until its outcome is there TOKENS counts the reads after the first, which holds the head of the
    answer, and TOKENS/S their pace; then both are what the server counted.
    """
    number, sent = str(exchange.task.number), exchange.sent_ns
    if sent is None:
        return row_line(REQUEST_COLUMNS, [number, "-", "-", "-", "-", "-", "  connecting"], width)
    first = exchange.first_ns
    until = exchange.ended_ns or now_ns
    tokens = max(exchange.reads - 1, 0)
    speed = (
        pace(exchange.reads, first, exchange.last_read_ns) if first and exchange.reads > 2 else "-"
    )
    if outcome is not None and outcome.chunk_ns:
        first, tokens = outcome.chunk_ns[0], outcome.output_tokens
        speed = pace(tokens, first, outcome.chunk_ns[-1])
    ttft = short_time((first - sent) / 1e9) if first else "-"
    waiting = short_time(((first or until) - sent) / 1e9)
    duration = short_time((until - first) / 1e9) if first else "-"
    status = (
        ("cut" if exchange.cancelled else "ended")
        if exchange.ended_ns
        else "streaming"
        if first
        else "waiting"
    )
    return row_line(
        REQUEST_COLUMNS,
        [number, str(tokens or "-"), speed, ttft, waiting, duration, f"  {status:<10}"],
        width,
    )


def pace(tokens: int, first_ns: int, last_ns: int) -> str:
    """Tokens a second between the first and the last: 1 / TPOT."""
    return (
        f"{(tokens - 1) * 1e9 / (last_ns - first_ns):.1f}"
        if tokens > 1 and last_ns > first_ns
        else "-"
    )


MACHINE_PARTS = (  # a word, and after it: key of the sample, unit, factor, places below 100
    (
        "GPU",
        (("gpu_power_w", "W", 1, 1), ("gpu_mhz", "MHz", 1, 0), ("gpu_busy_ratio", "%", 100, 0)),
    ),
    ("all", (("power_w", "W", 1, 1),)),
    ("RSS", (("rss_bytes", "GB", 1e-9, 1),)),
    ("footprint", (("footprint_bytes", "GB", 1e-9, 1),)),
    ("CPU", (("cpu_ratio", "%", 100, 0),)),
)


def machine_line(sample: dict, width: int = WIDTH) -> str:
    """The machine now: heat, GPU, whole chip, the server's processes.

    What is not known is left out, and so is at the end what does not fit.
    """
    sample = dict(sample)
    larger = (sample.get("footprint_bytes") or 0) > (sample.get("rss_bytes") or 0)
    sample.pop(
        "rss_bytes" if larger else "footprint_bytes", None
    )  # RSS lacks GPU memory, footprint mapped files
    groups = []
    if (thermal := sample.get("thermal")) and str(thermal).lower() not in ("nominal", "none"):
        groups.append(f"thermal {clean(str(thermal))}")
    for word, parts in MACHINE_PARTS:
        known = [
            f"{sample[key] * factor:.{places if sample[key] * factor < 99.95 else 0}f} {unit}"
            for key, unit, factor, places in parts
            if sample.get(key) is not None
        ]
        if known:
            groups.append(" ".join([word, *known]))
    while len(groups) > 1 and len("  ".join(groups)) > width:
        groups.pop()
    return "  ".join(groups) or "no power and no process samples"


def level_line(row: dict, width: int = WIDTH) -> str:
    """A row of level_summary joined with energy_summary in 80 columns, in fewer without the least; '-' is not known."""
    return row_line(
        LEVEL_COLUMNS,
        [
            level_name(row),
            f"{row['completed']}/{row['requests']}",
            short_time(row["ttft_mean_s"]),
            short_time(row["ttft_max_s"]),
            digits(row["tokens_per_s_mean"]),
            digits(row["output_tokens_per_s"]),
            digits(row["peak_streaming"]),
            clock_time(row["duration_s"]),
            or_gpu(row, "mean_w", 1),
            digits(row["mean_gpu_mhz"], 0),
            or_gpu(row, "joules_per_output_token", 3),
        ],
        width,
    )


GPU_COLUMNS = {"mean_w": "gpu_power_w", "joules_per_output_token": "gpu_joules_per_output_token"}


def is_gpu_alone(row: dict) -> bool:
    """Whether only the GPU's watts or joules of a level are known."""
    return any(row[whole] is None and row[gpu] is not None for whole, gpu in GPU_COLUMNS.items())


def or_gpu(row: dict, column: str, places: int) -> str:
    """A level's watts or joules; with a mark the GPU's alone, where no more is known."""
    of_gpu = row[GPU_COLUMNS[column]]
    if row[column] is not None or of_gpu is None:
        return digits(row[column], places)
    return digits(of_gpu, places if of_gpu < 9.9995 else 1) + GPU_MARK


def level_name(row: dict) -> str:
    """How many at once, /2 for the second time, w for a warm cache."""
    repeat = f"/{row['repeat']}" if row["repeat"] > 1 else ""
    return f"{row['concurrency']}{repeat}{'w' if row['cache'] == 'warm' else ''}"


def digits(value: float | None, places: int = 1) -> str:
    """A number for a narrow column, from 1000 on without places; '-' is not known."""
    if value is None:
        return "-"
    return f"{value:.{0 if isinstance(value, int) or value >= 1000 else places}f}"


def steady_line(row: dict) -> str:
    """A row of steady_summary under its level."""
    return (
        f"        steady {clock_time(row['duration_s'])}: {row['completed']}/{row['requests']} requests, TTFT {short_time(row['ttft_mean_s'])}, "
        f"{row['tokens_per_s_mean'] or 0:.1f} tokens/s each, {row['output_tokens_per_s'] or 0:.1f} all"
    )


def cache_line(row: dict) -> str:
    """A row of cache_effect."""
    saved = "-" if row["ttft_saved_ratio"] is None else f"{row['ttft_saved_ratio']:.0%}"
    return (
        f"  {row['model']}, {row['concurrency']} at once: TTFT {short_time(row['cold_ttft_mean_s'])} cold, "
        f"{short_time(row['warm_ttft_mean_s'])} warm: the prompt cache saves {saved}"
    )


def host_line(row: dict) -> str:
    """A row of host_summary."""
    return (
        f"  {clean_line(row['model'])}, {level_name(row)} at once, {clean_line(row['host'])}: {row['completed']}/{row['requests']} requests, "
        f"TTFT {short_time(row['ttft_mean_s'])}, {short_speed(row['tokens_per_s_mean'])} tokens/s each, {short_speed(row['output_tokens_per_s'])} all"
    )


def short_speed(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def short_time(value: float | None) -> str:
    """A duration, three digits at most: 4.2 ms, 12 ms, 3.41 s, from a minute on 12:05."""
    if value is None:
        return "-"
    if value < 0.9995:
        return f"{value * 1e3:.2g} ms" if value < 0.0095 else f"{value * 1e3:.0f} ms"
    return f"{value:.3g} s" if value < 59.95 else clock_time(value)


def clock_time(value: float | None) -> str:
    """m:ss, or h:mm:ss from an hour on."""
    if value is None:
        return "-"
    minutes, rest = divmod(int(round(value)), 60)
    return (
        f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"
    )
