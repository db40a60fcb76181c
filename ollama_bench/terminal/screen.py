"""Shows a run while it goes on: a live screen, or plain lines where there is no terminal.

    with Console(plain=False) as console:
        console.say("one line")
        console.level_started("level 3 of 6: 4 requests at once")
        level.run(tick=lambda level: console.draw(level, monitor.latest()))
        console.level_finished(row)

Drawing holds the interpreter's lock, so it has a budget: after a draw of d seconds the next one
comes 250 d later at the earliest, and the screen costs at most 0.4 % of the time.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from rich.console import Console as RichConsole
from rich.live import Live
from rich.text import Text

from ollama_bench.terminal import output
from ollama_bench.terminal.command_line import name_program
from ollama_bench.terminal.figures import format_clock, name_lengths
from ollama_bench.terminal.interrupt import Interrupt
from ollama_bench.terminal.picture import (
    Level,
    Size,
    count_requests,
    count_tokens,
    draw_picture,
    is_digesting,
    measure_elapsed,
)
from ollama_bench.terminal.rows import (
    GPU_NOTE,
    LEAST_WIDTH,
    WIDTH,
    Row,
    format_heading,
    format_level,
    format_result,
    is_gpu_alone,
    name_columns,
    name_group,
    name_level,
)

DRAW_EVERY_S = 1.0
# without a live screen nothing that goes on is silent for longer
TELL_EVERY_S = 30.0
LOOK_EVERY_S = 1.0  # for a reply without an end
# a pause is at least this many times as long as the draw before it
DRAW_BUDGET = 250
SAVING = (
    "interrupted: saving what is finished (Ctrl-C again leaves at once)"
)
# yellow is faint on a white terminal, blue on a black one
WARNING_STYLE = "bold magenta"


class Outlook(Protocol):
    """What can be said of a level that runs."""

    def describe_left(self, shown: Level) -> str:
        """Return about how long it still takes; "" where it is not known."""

    def find_long_reply(self, shown: Level) -> str:
        """Return a warning where a reply does not end; "" where none is due."""


class Console:
    """Where a run shows itself.

    If that fails, nothing more is shown and the run continues: its rows are what counts. When
    the reader of a pipe has left (`| head`), ``on_left`` is called.
    """

    def __init__(
        self,
        plain: bool = False,
        on_left: Callable[[], object] | None = None,
    ) -> None:
        self._rich = RichConsole(
            width=output.find_rich_width(),
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
        is_dumb = os.environ.get("TERM") == "dumb"
        self.live = self._rich.is_terminal and not plain and not is_dumb
        self.on_left = on_left
        self._screen: Live | None = None
        # what goes on now, for other threads to read: in a line, and the
        # level that runs
        self.doing = ""
        self.level: Level | None = None
        self._heading = ""
        self._next_draw = 0.0
        self._next_look = 0.0
        self._outlook: Outlook | None = None
        self.interrupt: Interrupt | None = None
        self._has_told_interrupt = False
        self._said_s = time.monotonic()
        # steps of streaming and ended, and whether all had ended, as told
        self._told: tuple[int, int, bool] | None = None
        self._told_line = ""
        self._has_table = False
        # names of the levels whose lines were shown
        self._shown: list[str] = []
        # of the prompts of the last level on a terminal
        self._lengths = ""
        self._has_gpu_note = False

    @property
    def width(self) -> int:
        """Cells of a line; for a file or a pipe always the same."""
        if not self._rich.is_terminal:
            return WIDTH
        return max(LEAST_WIDTH, min(WIDTH, self._rich.size.width))

    def __enter__(self) -> Console:
        return self

    def __exit__(self, *_: object) -> None:
        self._close_screen()

    def say(self, text: str, style: str | None = None) -> None:
        """Show one line, above the live screen if there is one."""
        self._said_s = time.monotonic()
        with self._showing():
            self._rich.print(Text(output.clean(text), style=style or ""))
            if not self.live:
                sys.stdout.flush()

    def sentence(self, text: str) -> None:
        """Show a sentence in bold, broken between words."""
        self.note(text, "bold")

    def note(self, text: str, style: str | None = None) -> None:
        """Show a text broken between words."""
        lines = textwrap.wrap(
            output.clean(text),
            self.width - 1,
            break_long_words=False,
            break_on_hyphens=False,
        )
        for line in lines:
            self.say(line, style)

    def warn(self, text: str) -> None:
        """Show one line in the color of warnings; on a terminal broken between words."""
        if self._rich.is_terminal:
            text = output.break_lines(text, self.width)
        self.say(text, WARNING_STYLE)

    def show_progress(self, text: str) -> None:
        """Show what goes on, in place of what went on before, until ``end_progress``.

        Without a live screen it is a line, and only where nothing was said for TELL_EVERY_S.
        """
        self.doing = text
        if not self.live:
            if time.monotonic() - self._said_s >= TELL_EVERY_S:
                self.say(f"  {text}")
            return
        if self._screen is None:
            self._open_screen()
        with self._showing():
            shown = Text(output.clean(text), no_wrap=True, overflow="crop")
            if self._screen is not None:
                self._screen.update(shown, refresh=True)

    def end_progress(self) -> None:
        """Remove what ``show_progress`` has shown."""
        self.doing = ""
        self._close_screen()

    def count_down(
        self, text: str, seconds: float, interrupt: Interrupt
    ) -> None:
        """Wait for so many seconds or an interrupt, and show how many are left."""
        until_s = time.monotonic() + seconds
        while not interrupt.is_set():
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                break
            self.show_progress(f"{text}: {math.ceil(left_s)} s left")
            interrupt.wait(min(left_s, DRAW_EVERY_S))
        self.end_progress()
        self._tell_interrupt()

    def level_started(
        self, heading: str, outlook: Outlook | None = None
    ) -> None:
        """Show the level's heading, and open the live screen on a terminal."""
        self.doing, self.level = heading, None
        self._outlook, self._next_look = outlook, 0.0
        self._heading, self._told, self._next_draw = (
            output.clean(heading),
            None,
            0.0,
        )
        if not self.live:
            self.say(heading)
            return
        self._open_screen()

    def level_finished(self, row: Row) -> None:
        """Show what a level gave: on a terminal its line of the table, after the heading."""
        self._close_screen()
        self.doing, self.level = "", None
        style = "bold red" if row["errors"] else None
        if not self.live:
            self.say(format_result(row), style)
        else:
            if not self._has_table:
                self._has_table = True
                self._say_heading([row])
            self._tell_lengths(row)
            self._say_level(row)
            self._tell_gpu_alone([row])
        if not row.get("is_control"):
            self._shown.append(name_level(row))
        if row["client_limited"]:
            name = "" if row["slept_s"] else "client-limited, "
            self.warn(
                f"        {name}do not trust this level: {row['client_limited_why']}"
            )

    def _tell_lengths(self, row: Row) -> None:
        """Say above a level how long its prompts are, where the last one's were not."""
        lengths = name_lengths(
            row.get("asked_prompt_tokens"), row.get("prompt_mix")
        )
        if lengths != self._lengths:
            self._lengths = lengths
            self.say(lengths or "other prompts")

    def table(
        self, rows: Sequence[Row], in_any_order: bool = False
    ) -> None:
        """Show all levels in their order, unless they stand on the screen like that.

        in_any_order: as they were measured will do. Of several models or lengths of prompts, the
        name stands above each of them.
        """
        groups = list(dict.fromkeys(map(name_group, rows)))
        ordered = sorted(
            rows,
            key=lambda row: (
                groups.index(name_group(row)),
                row["concurrency"],
                row["repeat"],
                row["cache"] or "",
            ),
        )
        names = [name_level(row) for row in ordered]
        shown = self._shown
        if in_any_order:
            names, shown = sorted(names), sorted(shown)
        is_shown = self.live and names == shown
        if not rows or (is_shown and len(groups) == 1):
            return
        self.say("")
        self._say_heading(rows)
        for group, levels in itertools.groupby(ordered, name_group):
            if len(groups) > 1:
                self.say(group)
            for row in levels:
                self._say_level(row)
        self._has_gpu_note = False
        self._tell_gpu_alone(rows)

    def _tell_gpu_alone(self, rows: Sequence[Row]) -> None:
        """Say once under a table what its mark for the GPU alone means."""
        if any(map(is_gpu_alone, rows)) and not self._has_gpu_note:
            self._has_gpu_note = True
            self.say(GPU_NOTE)

    def draw(self, level: Level, sample: Mapping[str, Any]) -> None:
        """Draw if the budget allows; called four times a second at most."""
        self.level = level
        self._tell_interrupt()
        began = time.monotonic()
        if began >= self._next_look:
            self._warn_of_long_reply(level)
        if not self.live:
            self._tell_changes(level)
            return
        if self._screen is None or began < self._next_draw:
            return
        with self._showing():
            picture = Text(
                self._picture(level, sample), no_wrap=True, overflow="crop"
            )
            self._screen.update(picture, refresh=True)
        took = time.monotonic() - began
        self._next_draw = began + max(DRAW_EVERY_S, DRAW_BUDGET * took)

    def _tell_interrupt(self) -> None:
        """Say once, above a live screen, that an interrupt has come."""
        is_new = self.interrupt is not None and self.interrupt.is_set()
        if self.live and is_new and not self._has_told_interrupt:
            self._has_told_interrupt = True
            self.warn(SAVING)

    def _tell_changes(self, level: Level) -> None:
        """Show a plain line when the requests that stream or have ended changed by a tenth.

        And where nothing was said for TELL_EVERY_S. The last line is of all that came.
        """
        counts = count_requests(level)
        step = max(1, (level.planned or level.workers) // 10)
        has_ended = level.ended_ns is not None
        told = (
            counts.streaming // step,
            counts.ended // step,
            has_ended,
        )
        is_silent = time.monotonic() - self._said_s >= TELL_EVERY_S
        is_early = has_ended and is_digesting(level)
        if (told == self._told or is_early) and not is_silent:
            return
        self._told = told
        tokens = count_tokens(level)
        parts = [
            f"{counts.waiting} waiting",
            f"{counts.streaming} streaming",
            f"{counts.ended} ended",
            f"{tokens:,} tokens" if tokens else "",
            self.describe_left(level),
        ]
        text = ", ".join(filter(None, parts))
        line = f"  {format_clock(measure_elapsed(level))}  {text}"
        if line != self._told_line or is_silent:
            self.say(line)
        self._told_line = line

    def describe_left(self, level: Level) -> str:
        """Return about how long a level still takes; "" where it is not known."""
        return self._outlook.describe_left(level) if self._outlook else ""

    def _warn_of_long_reply(self, level: Level) -> None:
        """Warn once a level where a reply has no ceiling and does not end."""
        if self._outlook is None:
            return
        began = time.monotonic()
        warning = self._outlook.find_long_reply(level)
        if warning:
            self.warn(warning)
            self._next_look = math.inf
            return
        took = time.monotonic() - began
        self._next_look = began + max(LOOK_EVERY_S, DRAW_BUDGET * took)

    def _picture(self, level: Level, sample: Mapping[str, Any]) -> str:
        width, height = self._rich.size
        return draw_picture(
            level,
            sample,
            self._heading,
            Size(width, height),
            self.describe_left(level),
        )

    def _say_heading(self, rows: Sequence[Row]) -> None:
        self.say(format_heading(name_columns(rows), self.width), "bold")

    def _say_level(self, row: Row) -> None:
        self.say(
            format_level(row, self.width),
            "bold red" if row["errors"] else None,
        )

    def _open_screen(self) -> None:
        self._screen = Live(
            console=self._rich, auto_refresh=False, transient=True
        )
        with self._showing():
            self._screen.start()

    def _close_screen(self) -> None:
        if self._screen is not None:
            with self._showing():
                self._screen.stop()
            self._screen = None

    @contextlib.contextmanager
    def _showing(self) -> Iterator[None]:
        """Handle an output that fails while the block writes to it."""
        try:
            yield
        except (OSError, SystemExit) as error:
            # rich raises SystemExit for a pipe without reader
            self._rich.quiet = True
            output.silence(sys.stdout)
            if isinstance(error, (BrokenPipeError, SystemExit)):
                if self.on_left:
                    self.on_left()
                return
            with contextlib.suppress(OSError):
                print(
                    f"{name_program('bench')}: cannot write to standard output ({error.strerror});"
                    " the run continues without showing anything more",
                    file=sys.stderr,
                )
