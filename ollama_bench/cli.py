"""The installed command: ollama-bench [LEVELS] measures, ollama-bench WORD ... does the rest."""

from __future__ import annotations

import importlib
import importlib.util
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from ollama_bench.terminal import interpreter
from ollama_bench.terminal.interrupt import leave_at_once

CLONE = Path(__file__).resolve().parents[1]
HELP = """ollama-bench: how many a local model serves at once, how fast, at what energy

  ollama-bench                  find what runs here and measure it, in about a minute
  ollama-bench 1,2,4,19         measure that many requests at once (ollama-bench bench --help)
  ollama-bench --demo           measure a simulated server
  ollama-bench analyze          the answer, charts and a page
  ollama-bench doctor           check this machine and its servers
  ollama-bench monitor          only watch the server and its power
  ollama-bench simulate         start the simulated server
  ollama-bench import PATH      read what vLLM, GuideLLM or the study measured
  ollama-bench export vllm DIR  write files for other tools
  ollama-bench merge A B -o C   join results files of several machines

  datasette results.db          browse runs, levels and requests

Each word takes --help, all take --version. Results are kept in results.db in the current folder.
"""
DOORS = {"analyze": "analyze", "monitor": "monitor"}
COMMANDS = {
    "doctor": "ollama_bench.doctor.__main__",
    "simulate": "ollama_bench.simulator.__main__",
    "import": "ollama_bench.formats.import_command",
    "export": "ollama_bench.formats.export_command",
    "merge": "ollama_bench.formats.merge_command",
}
OLD_NAMES = {
    "bench.py": "ollama-bench LEVELS",
    "analyze.py": "ollama-bench analyze",
    "monitor.py": "ollama-bench monitor",
    "sim.py": "ollama-bench simulate",
    "import_csv.py": "ollama-bench import",
}


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    words = sys.argv[1:] if argv is None else argv
    first = words[0] if words else "bench"
    if first in ("-h", "--help"):
        print(HELP, end="")
        return 0
    if first in OLD_NAMES:
        print(
            f"ollama-bench: {first} is now: {OLD_NAMES[first]}",
            file=sys.stderr,
        )
        return 2
    if first in DOORS:
        return entry(load_door(DOORS[first]))(words[1:])
    if first in COMMANDS:
        return entry(importlib.import_module(COMMANDS[first]))(words[1:])
    if first.isalpha() and first != "bench":
        known = ", ".join([*DOORS, *COMMANDS])
        print(
            f"ollama-bench: invalid word {first!r}: expected LEVELS, e.g. "
            f"1,2,4, or one of {known} (--help shows all)",
            file=sys.stderr,
        )
        return 2
    return bench(words[1:] if first == "bench" else words)


def bench(words: list[str]) -> int:
    """Measure, as bench.py does; before its slow imports Ctrl-C and wrong options are one line."""
    # until main begins
    signal.signal(signal.SIGINT, leave_at_once)
    interpreter.check()
    if "SUDO_UID" not in os.environ:
        importlib.import_module("ollama_bench.inputs.command_line").parse(
            words
        )
    return entry(load_door("bench"))(words)


def entry(module: ModuleType) -> Callable[[list[str]], int]:
    function: Callable[[list[str]], int] = module.main
    return function


def load_door(name: str) -> ModuleType:
    """Import one of the programs: inside an installed package, else from the clone's root."""
    packaged = f"ollama_bench.doors.{name}"
    if importlib.util.find_spec("ollama_bench.doors") is not None:
        return importlib.import_module(packaged)
    spec = importlib.util.spec_from_file_location(
        packaged, CLONE / f"{name}.py"
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{name}.py is not in {CLONE}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[packaged] = module
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    sys.exit(main())
