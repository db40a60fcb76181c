"""The answer at the top, and the curve of the levels, as lines of a terminal."""

from __future__ import annotations

import re
import textwrap
from typing import NamedTuple

from ollama_bench.analysis.answers import Answer
from ollama_bench.analysis.crowd import noun
from ollama_bench.analysis.key_figures import is_open
from ollama_bench.analysis.study import Study
from ollama_bench.terminal import curve
from ollama_bench.terminal.command_line import place_command_here
from ollama_bench.terminal.output import clean

SIMULATED = "SIMULATED: not a measurement of a real machine"
INDENT = "  "
BEFORE_UNIT = re.compile(r"(?<=\d) (?=(?:s|ms|W|%|J/token|tokens/s)\b|%)")


class Line(NamedTuple):
    """A line of the answer."""

    text: str
    is_bold: bool


def format_name(study: Study, width: int) -> list[str]:
    """Return the model, and beside or below it that it is simulated."""
    name = study.name
    if not study.simulated:
        return [name]
    line = f"{name}   {SIMULATED}"
    return [line] if len(line) < width else [name, SIMULATED[: width - 1]]


def format_answer(answer: Answer, width: int) -> list[Line]:
    """Return the answer: how many, then the study's questions with the figures of that level."""
    lines = [
        Line(text, True)
        for sentence in answer.first
        for text in wrap(sentence, width, INDENT)
    ]
    if answer.questions:
        lines.append(Line("", False))
        of = wrap(f"{answer.of}:", width, INDENT)
        lines += [Line(text, False) for text in of]
    for asked, said, command in answer.questions:
        lines += [Line(text, False) for text in wrap(asked, width, INDENT)]
        texts = wrap(said, width, INDENT * 2)
        lines += [Line(text, True) for text in texts]
        if command:  # in one piece, to be copied
            lines.append(
                Line(
                    f"{INDENT * 2}{clean(place_command_here(command))}",
                    False,
                )
            )
    return lines


def format_curve(study: Study, width: int) -> list[str]:
    """Return throughput and wait over the levels; nothing for an open loop."""
    if is_open(study):
        return []
    mark = ", simulated" if study.simulated else ""
    rates, waits_s = (
        study.mean(name) for name in ("output_tokens_per_s", "ttft_mean_s")
    )
    points = [
        curve.Point(n, rates.get(n), waits_s.get(n))
        for n in study.by_size()
    ]
    return curve.draw(points, width, mark, noun(study.levels))


def wrap(
    text: str, width: int, indent: str, hanging: str | None = None
) -> list[str]:
    """Break between words, not before a unit; hanging is the indent of all lines but the first."""
    lines = textwrap.wrap(
        BEFORE_UNIT.sub("\u00a0", clean(text)),
        width - 1,
        initial_indent=indent,
        subsequent_indent=indent if hanging is None else hanging,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace("\u00a0", " ") for line in lines]
