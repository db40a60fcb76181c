"""Machines side by side, for each model that several have measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ollama_bench.analysis.key_figures import Estimate, find_key_figures
from ollama_bench.analysis.verdict import Verdict
from ollama_bench.terminal import rows
from ollama_bench.terminal.figures import (
    UNKNOWN,
    format_duration,
    format_number,
)
from ollama_bench.terminal.output import clean_line

COLUMNS: rows.Columns = (
    rows.Column("SERVED", "at once", 9, 9),
    rows.Column("TOK/S", "each", 9, 7),
    rows.Column("TOK/S", "all", 9, 6),
    rows.Column("WAIT", "mean", 9, 8),
    rows.Column("", "J/TOK", 9, 5),
)
LEAST_NAME = 20  # cells for the name of a machine


def format_machines(
    verdicts: Sequence[Verdict], width: int
) -> Iterator[str]:
    """Yield a table for each model and prompt length that several machines have measured.

    The figures are the key figures of each study: of the most that it served at once, else of the
    fewest measured.
    """
    groups: dict[tuple[str, str], list[Verdict]] = {}
    for verdict in verdicts:
        key = verdict.study.model, verdict.study.prompts
        groups.setdefault(key, []).append(verdict)
    for (_, prompts), group in groups.items():
        if len(group) < 2:
            continue
        model = group[0].study.model_name
        what = ", ".join(filter(None, (model, prompts)))
        heading = rows.format_heading(COLUMNS, width - LEAST_NAME)
        yield f"{what}: its machines side by side"
        yield f"{heading}  MACHINE"
        for verdict in group:
            yield format_machine_row(verdict, width)


def format_machine_row(verdict: Verdict, width: int) -> str:
    study = verdict.study
    key = find_key_figures(study, verdict.objectives, verdict.services)
    together = None
    if key.level is not None:
        together = study.mean("output_tokens_per_s").get(
            key.level["concurrency"]
        )
    served = UNKNOWN if key.at_once is None else str(key.at_once)
    line = rows.format_row(
        COLUMNS,
        [
            f"{served}+" if key.at_once and key.is_highest else served,
            format_number(mean_of_estimate(key.tokens_per_s)),
            format_number(together),
            format_duration(mean_of_estimate(key.wait_s)),
            format_number(key.joules_per_token, 3),
        ],
        width - LEAST_NAME,
    )
    return f"{line}  {clean_line(study.place)}"[:width].rstrip()


def mean_of_estimate(estimate: Estimate | None) -> float | None:
    return estimate.value if estimate else None
