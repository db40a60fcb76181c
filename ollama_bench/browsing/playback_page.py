"""The page that plays a level back in real time, beside another one where that is chosen."""

from __future__ import annotations

from html import escape
from itertools import groupby

from sqlite_utils import Database

from ollama_bench.analysis.study import Row
from ollama_bench.browsing.links import Links
from ollama_bench.browsing.shell import write_page
from ollama_bench.terminal.output import clean
from ollama_bench.terminal.rows import name_group, name_load

LEVEL = "SELECT * FROM level WHERE id = ?"
MOST_LEVELS = 500  # to choose from, of the newest runs
LEVELS = """
SELECT level.*, run.title FROM level JOIN run ON run.id = level.run_id
ORDER BY run_id DESC, level.id LIMIT ?"""
SPEEDS = ("0.25", "0.5", "1", "2", "4", "8")


def write_playback_page(
    database: Database, level_id: int, links: Links
) -> str | None:
    """Return the page as HTML; None if the file has no such level."""
    level = next(database.query(LEVEL, [level_id]), None)
    if level is None:
        return None
    speeds = "".join(
        f"<option value={speed}{' selected' if speed == '1' else ''}>{speed}x</option>"
        for speed in SPEEDS
    )
    levels = escape(links.level(level_id).rpartition("/")[0])
    body = f"""<p class="hint">Each stream as it came: at 1x a second is a second.
Space plays and pauses, the arrow keys move by a second.</p>
<div id="player" data-levels="{levels}" data-level="{level_id}" hidden>
<p class="beside"><label>Beside it <select id="beside"><option value="">nothing</option>
{write_levels(database)}</select></label></p>
<div class="controls" role="group" aria-label="Playback">
<button type="button" id="play">Play</button>
<button type="button" id="back" aria-label="back by a second">− 1 s</button>
<button type="button" id="on" aria-label="on by a second">+ 1 s</button>
<label>speed <select id="speed">{speeds}</select></label>
<input type="range" id="at" min="0" max="0" step="0.001" value="0" aria-label="position">
<span id="clock"></span></div>
<div id="places"></div></div>
<p id="said" class="hint" role="status"></p>
<noscript><p>Playing back needs JavaScript.</p></noscript>"""
    name = name_load(level)
    way = [
        (f"run {level['run_id']}", links.run(level["run_id"])),
        (f"level {name}", links.level(level_id)),
    ]
    title = f"Level {name}, {level['model']}, played back"
    return write_page(title, way, body, links, of="playback")


def write_levels(database: Database) -> str:
    """Return the levels of the file, by their runs, as options."""
    rows = database.query(LEVELS, [MOST_LEVELS])
    by_run = groupby(
        rows, key=lambda level: (level["run_id"], level["title"])
    )
    return "".join(
        f'<optgroup label="{escape(clean(f"Run {run_id}: {title}"))}">'
        f"{''.join(map(write_choice, levels))}</optgroup>"
        for (run_id, title), levels in by_run
    )


def write_choice(level: Row) -> str:
    name = (
        f"Run {level['run_id']}: {name_load(level)}, {name_group(level)}"
    )
    return f"<option value={level['id']}>{escape(clean(name))}</option>"
