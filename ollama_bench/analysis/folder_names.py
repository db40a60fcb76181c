"""A folder for the files of each model."""

from __future__ import annotations

import re

from sqlite_utils import Database

LONGEST_NAME = 100
NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")
# on Windows
RESERVED = re.compile(
    r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE
)


def assign_folders(database: Database) -> dict[str, str]:
    """Return a folder name for each model of the file; the first of two alike has the plain one.

    Names that differ only in case are alike: macOS and Windows do not tell them apart.
    """
    found: dict[str, str] = {}
    taken: set[str] = set()
    for row in database.query(
        "SELECT model FROM level GROUP BY model ORDER BY min(id)"
    ):
        plain = folder = safe_name(row["model"])
        number = 1
        while folder.casefold() in taken:
            number += 1
            folder = f"{plain}-{number}"
        taken.add(folder.casefold())
        found[row["model"]] = folder
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
