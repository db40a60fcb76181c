"""A folder for the files of each model, and of each machine where it was measured on several."""

from __future__ import annotations

import re

from sqlite_utils import Database

from ollama_bench.analysis.machines import (
    UNKNOWN,
    name_machines,
    number_machines,
)

LONGEST_NAME = 100
NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")
# on Windows
RESERVED = re.compile(
    r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE
)
MEASURED = """
SELECT model, machine_id FROM level JOIN run ON run.id = run_id
GROUP BY model, machine_id ORDER BY min(level.id)"""


def assign_folders(database: Database) -> dict[tuple[str, int], str]:
    """Return a folder name for each model and machine; the first of two alike has the plain one.

    A model that was measured on several machines has one for each, with the machine's name.
    Names that differ only in case are alike: macOS and Windows do not tell them apart.
    """
    found: dict[tuple[str, int], str] = {}
    taken: set[str] = set()
    numbers, names = number_machines(database), name_machines(database)
    keys = [
        (row["model"], numbers.get(row["machine_id"], UNKNOWN))
        for row in database.query(MEASURED)
    ]
    for model, machine in dict.fromkeys(keys):
        is_alone = (
            len({number for name, number in keys if name == model}) == 1
        )
        name = model if is_alone else f"{model} {names[machine]}"
        plain = folder = safe_name(name)
        number = 1
        while folder.casefold() in taken:
            number += 1
            folder = f"{plain}-{number}"
        taken.add(folder.casefold())
        found[model, machine] = folder
    return found


def safe_name(model: str) -> str:
    """Return a model's name as a folder name that every system accepts."""
    name = NOT_IN_NAMES.sub("-", model).strip(".-")[:LONGEST_NAME]
    if not name or RESERVED.fullmatch(name):
        return f"model-{name}"
    return name


def name_length_folder(
    folder: str, tokens: int | None, mix: str | None
) -> str:
    """Return the folder of a model's levels of one prompt length; no model's has a tilde."""
    length = safe_name(f"mix-{mix.replace('*', 'x')}") if mix else "other"
    return f"{folder}~{tokens or length}"
