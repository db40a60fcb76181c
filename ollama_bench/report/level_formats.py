"""The table of the levels for programs and people: JSON of a versioned form, Markdown, CSV.

    analyze.py --format json      docs/levels.schema.json says what each value is
    analyze.py --format csv       a row for each level, under the names of the columns

What is not known is null or empty, never 0. A column is added and never changes its meaning;
else the number in SCHEMA rises.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlite_utils import Database

from ollama_bench import __version__
from ollama_bench.analysis.crowd import AT_ONCE, RATE, noun
from ollama_bench.analysis.interference import Contrast, Interference
from ollama_bench.analysis.key_figures import (
    KeyFigures,
    find_key_figures,
)
from ollama_bench.analysis.service import measure_service
from ollama_bench.analysis.study import Row, Study, size_of
from ollama_bench.analysis.verdict import Verdict
from ollama_bench.analysis.wording import digits
from ollama_bench.formats.study.export import escape_formula
from ollama_bench.inputs.objectives import list_demands
from ollama_bench.report.markdown import escape_markdown

SCHEMA = "ollama-bench/levels/1"
RUN = [
    "run_id",
    "label",
    "source",
    "status",
    "simulated",
    "started_utc",
    "duration_s",
    "command",
    "tool_version",
]
MACHINE = [
    "chip",
    "model",
    "cpu_cores",
    "memory_bytes",
    "gpu",
    "gpu_cores",
    "gpu_memory_bytes",
    "os",
    "virtual",
]
SERVER = [
    "run_id",
    "host",
    "api",
    "server",
    "server_version",
    "model",
    "family",
    "parameter_size",
    "quantization",
    "digest",
    "context_tokens",
    "slots",
    "size_bytes",
    "vram_bytes",
]
# heading: column of a level
MARKDOWN = {
    AT_ONCE: "concurrency",
    "completed": "completed",
    "failed": "errors",
    "TTFT mean, s": "ttft_mean_s",
    "TTFT p95, s": "ttft_p95_s",
    "tokens/s each": "tokens_per_s_mean",
    "tokens/s all": "output_tokens_per_s",
    "requests/s": "requests_per_s",
    "W": "mean_w",
    "J/token": "joules_per_output_token",
}


def write_json(database: Database, verdicts: Sequence[Verdict]) -> str:
    """Return everything as JSON, with a line end."""
    found = {
        "schema": SCHEMA,
        "tool_version": __version__,
        "studies": [
            describe_study(database, verdict) for verdict in verdicts
        ],
    }
    return json.dumps(found, indent=2) + "\n"


def describe_study(database: Database, verdict: Verdict) -> dict[str, Any]:
    study = verdict.study
    services = measure_service(database, study, verdict.objectives)
    key = find_key_figures(study, verdict.objectives, services)
    return {
        "model": study.model,
        "asked_prompt_tokens": study.asked_prompt_tokens,
        "prompt_mix": study.prompt_mix,
        "simulated": study.simulated,
        "objectives": {
            name: objective.bound
            for name, objective in verdict.objectives.items()
        },
        "demands": [
            demand._asdict() for demand in list_demands(verdict.objectives)
        ],
        "answer": [line for line in verdict.answer.lines if line],
        "key_figures": describe_key_figures(key),
        "interference": [
            pick_interference(one) for one in verdict.interference
        ],
        "levels": study.levels,
        "caveats": [asdict(caveat) for caveat in verdict.caveats],
        "runs": [pick(run, RUN) for run in study.runs],
        "machine": pick(study.machine, MACHINE) if study.machine else None,
        "servers": [pick(target, SERVER) for target in study.targets],
    }


def pick_interference(one: Interference) -> dict[str, Any]:
    """Return what long prompts did to the others in a level."""
    return {
        "level_id": one.level["level_id"],
        "long_tokens": one.long_tokens,
        "evaluations": one.evaluations,
        **{
            name: found and describe_contrast(found)
            for name, found in (("token", one.token), ("wait", one.wait))
        },
    }


def describe_contrast(found: Contrast) -> dict[str, Any]:
    return {
        name: {
            "mean_s": mean.value_s,
            "low_s": mean.interval.low,
            "high_s": mean.interval.high,
            "stretches": mean.stretches,
        }
        for name, mean in (
            ("during", found.during),
            ("otherwise", found.otherwise),
        )
    }


def describe_key_figures(key: KeyFigures) -> dict[str, Any]:
    """Return the figures; the level that they are of by its number at once."""
    found = asdict(key)
    level = found.pop("level")
    found["of_concurrency"] = level["concurrency"] if level else None
    return found


def pick(row: Row, names: Sequence[str]) -> dict[str, Any]:
    return {name: row[name] for name in names}


def write_markdown(database: Database, verdicts: Sequence[Verdict]) -> str:
    """Return the answer and a table for each model, as GitHub shows them."""
    return "\n".join(
        line for verdict in verdicts for line in list_markdown(verdict)
    )


def list_markdown(verdict: Verdict) -> list[str]:
    study = verdict.study
    simulated = ", simulated: no real machine" if study.simulated else ""
    headings = [
        heading
        for heading, column in MARKDOWN.items()
        if any(level[column] is not None for level in study.levels)
    ]
    rows = [
        [
            digits(size_of(level))
            if heading == AT_ONCE
            else digits(level[MARKDOWN[heading]])
            for heading in headings
        ]
        for level in study.levels
    ]
    return [
        f"**{escape_markdown(study.name)}**{simulated}",
        "",
        *map(escape_markdown, verdict.answer.first),
        "",
        write_row(
            [
                name_first_column(study) if heading == AT_ONCE else heading
                for heading in headings
            ]
        ),
        write_row(["--:"] * len(headings)),
        *map(write_row, rows),
        "",
    ]


def name_first_column(study: Study) -> str:
    """Return what the levels count; of a search, apart from the requests/s that were served."""
    crowd = noun(study.levels)
    return f"{crowd} asked" if crowd == RATE else crowd


def write_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def write_csv(database: Database, verdicts: Sequence[Verdict]) -> str:
    """Return a row for each level of all models under the names of the columns."""
    levels = [
        level for verdict in verdicts for level in verdict.study.levels
    ]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(levels[0] if levels else [])
    for level in levels:
        writer.writerow([write_cell(value) for value in level.values()])
    return text.getvalue()


def write_cell(value: object) -> object:
    return escape_formula(value) if isinstance(value, str) else value


FORMATS: Mapping[str, Callable[[Database, Sequence[Verdict]], str]] = {
    "json": write_json,
    "markdown": write_markdown,
    "csv": write_csv,
}
