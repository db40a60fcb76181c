"""What to know of runs that another tool measured."""

from __future__ import annotations

from collections.abc import Callable

from ollama_bench.analysis.caveat import Caveat
from ollama_bench.analysis.study import Study
from ollama_bench.terminal.command_line import name_program

# run.tool_version of what the study's own tool measured
ORIGINAL_TOOL = "original Go tool"


def lacking(study: Study) -> list[Caveat]:
    """Find what no file of another tool tells."""
    tools = {
        run["tool_version"]: None
        for run in study.runs
        if run["source"] == "import"
        and run["tool_version"] != ORIGINAL_TOOL
    }
    return [
        Caveat(
            f"measured by {tool} and imported",
            "Its file tells nothing of power, memory, processes, the machine and whether that "
            "client was the limit: these are blank, and a wait ends with its first chunk",
            f"Run {name_program('bench')} to measure them",
        )
        for tool in tools
    ]


def word_counts(study: Study) -> list[Caveat]:
    """Find runs whose tokens are words."""
    if not any(run["tool_version"] == ORIGINAL_TOOL for run in study.runs):
        return []
    return [
        Caveat(
            "tokens are a count of words",
            "The original tool split the text on blanks",
            f"Run {name_program('bench')} to get the server's count",
        )
    ]


IMPORT_CHECKS: tuple[Callable[[Study], list[Caveat]], ...] = (
    lacking,
    word_counts,
)
