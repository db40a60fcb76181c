"""run_row.py - the row of the table run for what monitor.py stores: a run without levels."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from typing import Any

from ollama_bench.storage.results_file import TOOL_VERSION
from ollama_bench.terminal.command_line import name_this_command


def make_run_row(
    arguments: Mapping[str, Any], started_unix: float
) -> dict[str, Any]:
    """Return the row of a run that begins; arguments: what it was asked to do."""
    return {
        "source": "monitor",
        "status": "running",
        "started_unix": started_unix,
        "arguments": json.dumps(dict(arguments)),
        "command": name_this_command(),
        "pid": os.getpid(),
        "tool_version": TOOL_VERSION,
        "python_version": platform.python_version(),
    }
