"""Print a verdict on the terminal: the answer, the table, the curve, the rest, the caveats."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence

from ollama_bench.analysis.intervals import (
    describe_intervals,
    find_intervals,
)
from ollama_bench.analysis.prompt_lengths import (
    group_by_model,
    list_lengths,
)
from ollama_bench.analysis.study import Study
from ollama_bench.analysis.verdict import Verdict
from ollama_bench.analysis.wording import name_run
from ollama_bench.report.answer_text import (
    format_answer,
    format_curve,
    format_name,
)
from ollama_bench.report.host_table import format_hosts
from ollama_bench.report.length_table import format_length_table
from ollama_bench.report.machine_table import format_machines
from ollama_bench.report.turn_table import describe_estimates, format_turns
from ollama_bench.terminal.output import clean, embolden, shorten
from ollama_bench.terminal.rows import (
    GPU_NOTE,
    LEAST_WIDTH,
    WIDTH,
    format_heading,
    format_level,
    is_gpu_alone,
    name_columns,
)


def print_verdict(verdict: Verdict) -> None:
    """Print everything that is said of a study, the answer first."""
    study, width = verdict.study, line_width()
    print_heading(study)
    for line in format_answer(verdict.answer, width):
        print(embolden(line.text) if line.is_bold else line.text)
    print()
    print(format_heading(name_columns(study.levels), width))
    for level in study.levels:
        print(format_level(level, width))
    if any(map(is_gpu_alone, study.levels)):
        print(GPU_NOTE)
    for text in format_curve(study, width):
        print(text)
    print_intervals(study)
    print()
    for sentence in verdict.answer.rest:
        print_wrapped(sentence)
    for caveat in verdict.caveats:
        print_wrapped(f"! {caveat}")
    print()
    print_turns(study, width)
    for text in format_hosts(study, width):
        print(text)
    if study.hosts:
        print()


def print_machines(verdicts: Sequence[Verdict]) -> None:
    """Print the machines side by side, where a model was measured on several."""
    lines = list(format_machines(verdicts, line_width()))
    for line in lines:
        print(line)
    if lines:
        print()


def print_lengths(verdicts: Sequence[Verdict]) -> None:
    """Print what longer prompts cost each model that was asked several lengths."""
    for group in group_by_model(verdicts):
        heading, *lines = format_length_table(
            list_lengths(group), line_width()
        )
        print(embolden(heading))
        for line in lines:
            print(line)
        print()


def print_intervals(study: Study) -> None:
    """Print the 95 % intervals of the levels' means, where any is known."""
    lines = describe_intervals(find_intervals(study), study.levels)
    if lines:
        print("\n95 % intervals of the means")
    for line in lines:
        print_wrapped(f"  {line}")


def print_heading(study: Study) -> None:
    for text in format_name(study, line_width()):
        print(embolden(text))
    for run in study.runs:
        name = shorten(name_run(run))
        print(f"  run {name}, {run['started_utc']} UTC")
    print()


def print_turns(study: Study, width: int) -> None:
    """Print each level by turn, if there were conversations."""
    if not study.turns:
        return
    for line in format_turns(study.turns, width):
        print(line)
    if note := describe_estimates(study.turns):
        print_wrapped(note)
    print()


def line_width() -> int:
    """Return the cells of a line; for a file or a pipe always the same."""
    if not sys.stdout.isatty():
        return WIDTH
    columns = shutil.get_terminal_size().columns
    return max(LEAST_WIDTH, min(WIDTH, columns))


def print_wrapped(text: str) -> None:
    """Print a sentence, broken between words."""
    lines = textwrap.fill(
        clean(text),
        line_width() - 1,
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    print(lines)
