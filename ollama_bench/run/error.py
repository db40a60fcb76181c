"""The error that ends a run with one line."""

from __future__ import annotations


class RunError(Exception):
    """A run cannot start or go on; str() is one line for the user."""


class OtherRunError(RunError):
    """The run to resume was asked something else; str() is one line that says what."""
