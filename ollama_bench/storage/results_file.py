"""What marks a results file: its versions, its application id, and the error of all who use it."""

from __future__ import annotations

TOOL_VERSION = "1.1.0"  # of the whole tool, stored with every run
# PRAGMA user_version of the tables: unchanged as long as columns are only added
VERSION = 1
APPLICATION_ID = int.from_bytes(b"olbe", "big")  # PRAGMA application_id


class ResultsError(Exception):
    """A results file cannot be used; str() is one line for the user."""
