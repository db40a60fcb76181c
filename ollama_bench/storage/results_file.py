"""What marks a results file: its versions, its application id, and the error of all who use it."""

from __future__ import annotations

import functools

TOOL_VERSION = "1.1.0"  # of the whole tool, stored with every run
# PRAGMA user_version of the tables: unchanged as long as columns are only added
VERSION = 1
APPLICATION_ID = int.from_bytes(b"olbe", "big")  # PRAGMA application_id
# its place in SQLite's header
APPLICATION_ID_AT, APPLICATION_ID_BYTES = 68, 4


class ResultsError(Exception):
    """A results file cannot be used; str() is one line for the user."""


@functools.cache
def is_results_file(path: str) -> bool:
    """Tell by its first bytes whether a file is a results file; one that cannot be read is none."""
    try:
        with open(path, "rb") as file:
            file.seek(APPLICATION_ID_AT)
            found = file.read(APPLICATION_ID_BYTES)
    except OSError:
        return False
    return found == APPLICATION_ID.to_bytes(APPLICATION_ID_BYTES, "big")
