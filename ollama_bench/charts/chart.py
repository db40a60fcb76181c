"""A chart: a question, the rows that answer it and the function that draws them.

    spec = chart.draw(database, study)    # a Vega-Lite spec; None if its data is absent

The same spec is drawn twice: as a PNG, and live on the page.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import altair as alt
from altair.utils.schemapi import debug_mode
from sqlite_utils import Database

from ollama_bench.analysis.crowd import name_axis, noun
from ollama_bench.analysis.study import IN_STUDY, Row, Study
from ollama_bench.charts.axes import CROWD, LEVELS
from ollama_bench.charts.marks import ALL_LEVELS
from ollama_bench.charts.theme import AMBER, GREY
from ollama_bench.inputs import objectives as known_objectives
from ollama_bench.inputs.objectives import Objectives

Spec = dict[str, Any]  # a chart in Vega-Lite's JSON

# a text that is the name of something every object of JavaScript has
NAME_OF_OBJECTS = re.compile(
    '"(constructor|hasOwnProperty|isPrototypeOf|propertyIsEnumerable'
    '|to(?:Locale)?String|valueOf|__[A-Za-z]+__)"(?!:)'
)
NOTE_LETTERS = 118  # of a subtitle's line
SIMULATED = "simulated server: not a measurement of a real machine"
WORDS_NOTE = (
    "Tokens are words here: the original tool split the text on blanks."
)

# What the SQL of a chart ends with: the chosen study, and of views with a level_id its levels.
OF_MODEL = f"model = :model AND level_id IN (SELECT id FROM level WHERE {IN_STUDY})"
OF_STUDY = f"JOIN chosen USING (run_id, model) WHERE {OF_MODEL}"
# what stands for the concurrency: of a search for a rate its rates, whose limits are all the same
SIZE = "(SELECT coalesce(probe_rate_per_s, level.concurrency) FROM level WHERE level.id = level_id)"
OF_LEVELS = f"{OF_STUDY} AND level_id NOT IN (SELECT level_id FROM aside)"


@dataclass(frozen=True)
class Chart:
    """A question, its file, the SQL that feeds it and the function that draws it."""

    name: str
    title: str
    sql: str
    paint: Callable[[Study, list[Row]], alt.TopLevelMixin | None]
    needs: str  # what a results file without it lacks
    top: int = ALL_LEVELS  # levels above are left out
    # what the marks mean, for the subtitle
    note: str | Callable[[Study, list[Row]], str] = ""
    counts_tokens: bool = False

    def draw(
        self,
        database: Database,
        study: Study,
        objectives: Objectives | None = None,
    ) -> Spec | None:
        """Return the Vega-Lite spec, or None if the study has nothing to draw.

        Objectives, by their short names, replace those that the run was judged by.
        """
        if objectives is not None:
            columns = known_objectives.METRICS
            by_column = {
                columns[name].column: objective
                for name, objective in objectives.items()
            }
            study = replace(study, objectives=by_column)
        rows = list(
            database.query(self.sql, {**study.key, "top": self.top})
        )
        with debug_mode(False):
            painted = self.paint(study, rows) if rows else None
            if not painted:
                return None
            spec = finish(
                painted,
                self.title,
                study.name,
                study.simulated,
                any(level["errors"] for level in study.levels),
                self._notes(study, rows),
                study.levels,
            )
        return spec

    def _notes(self, study: Study, rows: list[Row]) -> Iterable[str]:
        note = (
            self.note
            if isinstance(self.note, str)
            else self.note(study, rows)
        )
        if note:
            yield note
        if self.counts_tokens and counts_words(study):
            yield WORDS_NOTE

    def says_more(self, study: Study) -> bool:
        """Return whether it shows levels that its smaller sibling lacks, or has no sibling."""
        is_whole = self.top == ALL_LEVELS
        return is_whole or any(
            level["concurrency"] > self.top for level in study.levels
        )


def name_levels_of(levels: Sequence[Row], spec: Spec) -> Spec:
    """Fill in what these levels count.

    Vega looks texts up in plain objects, which have some names of their own: a chart of a model
    called constructor would be an error. A blank behind makes it a name like any other.
    """
    crowd = noun(levels)
    above = name_axis(crowd)
    text = json.dumps(spec, ensure_ascii=False)
    text = NAME_OF_OBJECTS.sub(r'"\1 "', text)
    named: Spec = json.loads(
        text.replace(LEVELS, above).replace(CROWD, crowd)
    )
    return named


def counts_words(study: Study) -> bool:
    """Return whether a run was imported: the original tool counted words, not tokens."""
    return any(run["source"] == "import" for run in study.runs)


def finish(
    painted: alt.TopLevelMixin,
    title: str,
    subject: str,
    simulated: bool,
    has_failures: bool = False,
    notes: Iterable[str] = (),
    levels: Sequence[Row] = (),
) -> Spec:
    """Add the title and a subtitle: whose figures, that they are simulated, and the notes.

    The notes also go into usermeta, where the page finds them. levels: whose kind tells what
    they count, which is named wherever a chart left it open.
    """
    notes = list(notes)
    lines = [
        line
        for note in notes
        for line in textwrap.wrap(note, NOTE_LETTERS)
    ]
    subtitle = [subject, *([SIMULATED] if simulated else []), *lines]
    heading = alt.TitleParams(
        title,
        subtitle=subtitle,
        anchor="start",
        offset=26 if has_failures else 14,
        subtitleColor=AMBER if simulated else GREY,
    )
    spec: Spec = painted.properties(
        usermeta={"notes": notes}, title=heading
    ).to_dict(validate=False)
    return name_levels_of(levels, spec)
