"""level_schema.py - the JSON schema of analyze.py --format json, from the comments in schema.sql.

python tools/level_schema.py   write docs/levels.schema.json anew, after a change of schema.sql
"""

from __future__ import annotations

import json
import sqlite3
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from ollama_bench.analysis import selection  # noqa: E402
from ollama_bench.report import level_formats  # noqa: E402
from ollama_bench.storage import schema  # noqa: E402
from tools.describe import described  # noqa: E402

SCHEMA = Path(__file__).parents[1] / "docs" / "levels.schema.json"
# where a column of a level is described, the first that has it
VIEWS = (
    "level_summary",
    "energy_summary",
    "level_replies",
    "level_machine",
    "full_load",
    "level_waiting",
    "target",
)
TEXTS = """
model status interval_basis client_read_lag_source client_stamps client_limited_why cache load
power_source other_model label source started_utc command tool_version chip gpu os host api
server server_version family parameter_size quantization digest prompt_mix think_law
"""
RENAMED = {"power_source": ("energy_summary", "source")}
ESTIMATE = {
    "type": ["object", "null"],
    "description": "a mean with its 95 % interval, null where that is not known",
    "properties": {
        "value": {"type": "number"},
        "low": {"type": ["number", "null"]},
        "high": {"type": ["number", "null"]},
    },
    "required": ["value", "low", "high"],
    "additionalProperties": False,
}
KEY_FIGURES = {
    "at_once": (
        "integer",
        "the most served at once; 0: not even the fewest measured; null: cannot be told",
    ),
    "is_highest": ("boolean", "nothing above it was measured"),
    "of_concurrency": (
        "integer",
        "the level that the figures are of, requests in flight at once",
    ),
    "tokens_per_s": (ESTIMATE, "of each request, tokens per second"),
    "wait_s": (ESTIMATE, "time to the first token, seconds"),
    "watts": ("number", "mean during the level, watts"),
    "joules_per_token": ("number", "energy per output token, joules"),
    "watts_of": (
        "string",
        "GPU where watts and joules are of the GPU alone, else empty",
    ),
    "limit": ("string", "what limits the server; empty where not known"),
}
NEVER_NULL = {"is_highest", "watts_of", "limit"}


def main() -> int:
    SCHEMA.write_text(text(), encoding="utf-8")
    print(f"{SCHEMA.name} describes {len(list_level_columns())} columns")
    return 0


def text() -> str:
    """Return docs/levels.schema.json."""
    return json.dumps(make_schema(), indent=2) + "\n"


def make_schema() -> dict[str, Any]:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What analyze.py --format json prints",
        "description": "null is unknown, 0 is zero. Within a version members are added, and "
        "none is removed or changes its meaning.",
        **make_object(
            {
                "schema": {"const": level_formats.SCHEMA},
                "tool_version": {"type": "string"},
                "studies": make_list(
                    make_study(),
                    "one for each model, machine and prompt length",
                ),
            }
        ),
    }


def make_study() -> dict[str, Any]:
    views = described()
    return make_object(
        {
            "model": {"type": "string"},
            "asked_prompt_tokens": {
                "type": ["integer", "null"],
                "description": "length that its prompts were asked to have (--prompt-tokens)",
            },
            "prompt_mix": {
                "type": ["string", "null"],
                "description": "lengths of its prompts, if several were mixed (--mix)",
            },
            "simulated": {
                "type": "boolean",
                "description": "true: not a measurement of a real machine",
            },
            "objectives": {
                "type": "object",
                "description": "what a request must meet: ttft, ttfat, tpot, e2e in seconds "
                "at most, tokens_per_s at least",
                "additionalProperties": {"type": "number"},
            },
            "demands": make_list(
                make_object(
                    {
                        "names": make_list(
                            {"type": "string"},
                            "objectives that a request must meet together",
                        ),
                        "enough": {
                            "type": "number",
                            "description": "share of a level's requests that must, 0 to 1",
                        },
                    }
                ),
                "a level that reaches each of them is served",
            ),
            "answer": make_list(
                {"type": "string"}, "the answer in sentences"
            ),
            "key_figures": make_object(
                {
                    name: make_key_figure(name, *said)
                    for name, said in KEY_FIGURES.items()
                }
            ),
            "interference": make_list(
                make_interference(),
                "of each level of a mixture (--mix): what its longest prompts did to the others",
            ),
            "levels": make_list(
                make_columns(list_level_columns(), views, VIEWS),
                "a row for each level and repeat, as in level_summary",
            ),
            "caveats": make_list(
                make_object(
                    {
                        name: {"type": "string"}
                        for name in ("seen", "meaning", "remedy")
                    }
                ),
                "what to know before trusting a figure",
            ),
            "runs": make_list(
                make_columns(level_formats.RUN, views, ("runs",)),
                "the runs, oldest first",
            ),
            "machine": {
                "anyOf": [
                    make_columns(
                        level_formats.MACHINE, views, ("machine",)
                    ),
                    {"type": "null"},
                ]
            },
            "servers": make_list(
                make_columns(level_formats.SERVER, views, ("target",)),
                "the model on its servers, as each run saw it",
            ),
        }
    )


def make_interference() -> dict[str, Any]:
    mean = make_object(
        {
            "mean_s": {"type": "number", "description": "mean, seconds"},
            "low_s": {
                "type": "number",
                "description": "of the 95 % interval",
            },
            "high_s": {
                "type": "number",
                "description": "of the 95 % interval",
            },
            "stretches": {
                "type": "integer",
                "description": "independent parts that it is made of",
            },
        }
    )
    contrast = {
        "anyOf": [
            make_object({"during": mean, "otherwise": mean}),
            {"type": "null"},
        ]
    }
    times = {
        "token": "time between two chunks of the others",
        "wait": "wait for the first token of the others",
    }
    return make_object(
        {
            "level_id": {"type": "integer"},
            "long_tokens": {
                "type": "integer",
                "description": "length of the longest prompts",
            },
            "evaluations": {
                "type": "integer",
                "description": "stretches in which such prompts were evaluated",
            },
            **{
                name: {
                    **contrast,
                    "description": f"{said}, during these and otherwise; null: cannot be told",
                }
                for name, said in times.items()
            },
        }
    )


def make_object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": [*properties],
    }


def make_list(items: dict[str, Any], said: str) -> dict[str, Any]:
    return {"type": "array", "description": said, "items": items}


def make_key_figure(
    name: str, kind: str | dict[str, Any], said: str
) -> dict[str, Any]:
    if not isinstance(kind, str):
        return {**kind, "description": f"{said}; {kind['description']}"}
    kinds = kind if name in NEVER_NULL else [kind, "null"]
    return {"type": kinds, "description": said}


def make_columns(
    names: tuple[str, ...] | list[str],
    views: dict[str, tuple[str, dict[str, str]]],
    places: tuple[str, ...],
) -> dict[str, Any]:
    """Return an object of columns of some views, with what they mean."""
    found = {}
    for name in names:
        view, column = RENAMED.get(name, ("", name))
        said = next(
            views[place][1][column]
            for place in ([view] if view else places)
            if column in views[place][1]
        )
        kind = "string" if name in TEXTS.split() else "number"
        found[name] = {"type": [kind, "null"], "description": said}
    return make_object(found)


def list_level_columns() -> list[str]:
    """Return the columns of Study.levels, in their order."""
    connection = sqlite3.connect(":memory:")
    for statement in schema.statements():
        connection.execute(statement)
    connection.execute("CREATE TEMP TABLE chosen (run_id, model, machine)")
    connection.execute("CREATE TEMP TABLE aside (level_id)")
    key = {
        "model": "",
        "machine": 0,
        "prompt_tokens": None,
        "prompt_mix": None,
    }
    rows = connection.execute(selection.LEVELS, key)
    names = [column[0] for column in rows.description]
    connection.close()
    return names


if __name__ == "__main__":
    sys.exit(main())
