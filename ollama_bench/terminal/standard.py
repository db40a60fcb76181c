"""The former module: checks the interpreter at import, then re-exports."""

from ollama_bench.terminal import interpreter

interpreter.check()

from ollama_bench.terminal.command_line import quote_path as quoted  # noqa: E402
from ollama_bench.terminal.command_line import refuse_nul as refuse_nul  # noqa: E402
from ollama_bench.terminal.interpreter import PACKAGES as PACKAGES  # noqa: E402
from ollama_bench.terminal.output import clean as clean  # noqa: E402
from ollama_bench.terminal.output import clean_line as clean_line  # noqa: E402
from ollama_bench.terminal.output import find_rich_width as rich_width  # noqa: E402
from ollama_bench.terminal.output import prepare as prepare  # noqa: E402
from ollama_bench.terminal.output import shorten as brief  # noqa: E402
from ollama_bench.terminal.output import silence as silence  # noqa: E402

__all__ = ["brief", "quoted", "rich_width"]
