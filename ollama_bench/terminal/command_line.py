"""Command lines: how this tool was started, values it cannot use, paths to type.

The same programs are started as scripts in a clone and as words of an installed command:

    python analyze.py        ollama-bench analyze        python -m ollama_bench analyze
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from ollama_bench.terminal.output import clean_line

COMMAND = "ollama-bench"
MOST_ERROR_CHARACTERS = 1000
PACKAGE = Path(__file__).resolve().parents[1]
SCRIPTS = {
    "bench": "bench.py",
    "analyze": "analyze.py",
    "monitor": "monitor.py",
}
CLONE_COMMANDS = {
    **{word: f"python {script}" for word, script in SCRIPTS.items()},
    "doctor": "python -m ollama_bench.doctor",
    "simulate": "python -m ollama_bench.simulator",
    "import": "python -m ollama_bench import",
    "export": "python -m ollama_bench export",
    "merge": "python -m ollama_bench merge",
}


class OneLineParser(argparse.ArgumentParser):
    """argparse with one line for an error."""

    def error(self, message: str) -> NoReturn:
        text = clean_line(" ".join(message.split()))
        text = text.removeprefix("argument ")[:MOST_ERROR_CHARACTERS]
        self.exit(2, f"{self.prog}: {text} (--help shows all)\n")


def name_program(word: str) -> str:
    """Return what a program calls itself: bench.py in a clone, else ollama-bench."""
    if find_prefix() is None and word in SCRIPTS:
        return SCRIPTS[word]
    return join_words(COMMAND, word)


def name_command(word: str) -> str:
    """Return what to type to start a program: bench, analyze, monitor, simulate, ..."""
    prefix = find_prefix()
    return (
        CLONE_COMMANDS[word]
        if prefix is None
        else join_words(prefix, word)
    )


def name_command_here(word: str) -> str:
    """Return the same with a clone's script by its path from here: only for the terminal."""
    if find_prefix() is not None or word not in SCRIPTS:
        return name_command(word)
    script = locate_in_clone(PACKAGE.parent / SCRIPTS[word])
    return f"python {script}"


def place_command_here(command: str) -> str:
    """Return a command with a clone's script by its path from here: only for the terminal."""
    for word in SCRIPTS:
        named, here = name_command(word), name_command_here(word)
        command = command.replace(f"{named} ", f"{here} ", 1)
    return command


def name_browser(path: str) -> str:
    """Return what to type to see the pages of a results file; a clone's are no plugin yet."""
    command = f"datasette {quote_path(path)}"
    if not is_clone():
        return command
    folder = locate_in_clone(PACKAGE / "browsing" / "plugins")
    return f"{command} --plugins-dir {folder}"


def locate_in_clone(path: Path) -> str:
    """Return a path as it is typed here: relative where it is below the current folder."""
    here = Path.cwd()
    if path.is_relative_to(here):
        path = path.relative_to(here)
    return quote_path(path.as_posix())


def is_clone() -> bool:
    """Return whether this is a folder of sources, not an installed package."""
    return (PACKAGE.parent / SCRIPTS["bench"]).exists()


def name_command_as_root() -> str:
    """Return what to type to measure as root, which some machines want for power."""
    command = name_command("bench")
    if command == COMMAND:  # sudo has a PATH of its own
        return f'sudo "$(command -v {command})"'
    return f"sudo {command}"


def name_this_command() -> str:
    """Return the command line of this process, as it can be typed again."""
    prefix = find_prefix()
    if prefix is None:
        return join_arguments(["python", *sys.argv])
    return f"{prefix} {join_arguments(sys.argv[1:])}".rstrip()


def name_resuming_command() -> str:
    """Return the command line that goes on with the run of this process, as it must be typed."""
    sudo = "sudo " if "SUDO_UID" in os.environ else ""
    command = name_this_command()
    if "--resume" not in sys.argv:
        command += " --resume"
    return sudo + command


def find_prefix() -> str | None:
    """Return what the word of a program follows; None for a script in a clone."""
    started = Path(sys.argv[0] if sys.argv else "")
    if started.stem == COMMAND:
        return COMMAND
    if (
        started.name == "__main__.py"
        and started.resolve().parent == PACKAGE
    ):
        return "python -m ollama_bench"
    return None if is_clone() else COMMAND


def join_words(prefix: str, word: str) -> str:
    """Return a command; measuring, which is the tool's purpose, needs no word."""
    return prefix if word == "bench" else f"{prefix} {word}"


def join_arguments(arguments: Sequence[str]) -> str:
    """Return arguments as they are typed in a shell, in quotes where they need them."""
    return (
        subprocess.list2cmdline(arguments)
        if os.name == "nt"
        else shlex.join(arguments)
    )


def add_choice_of_runs(add: Callable[..., Any]) -> None:
    """Add the options that name a results file, and models and runs in it."""
    add(
        "models",
        nargs="*",
        # else argparse says that it is required
        default=[],
        metavar="MODEL",
        help="only these models (default: all)",
    )
    add(
        "--run",
        action="append",
        default=[],
        metavar="RUN",
        help="these runs, by number or label, instead of the newest finished one of each model "
        "and machine",
    )
    add(
        "--db",
        default="results.db",
        help="results file (default: results.db)",
    )


def add_version(parser: argparse.ArgumentParser, version: str) -> None:
    """Add --version, which says the tool's, whatever the program is called."""
    parser.add_argument(
        "--version", action="version", version=f"{COMMAND} {version}"
    )


def refuse_nul(
    parser: argparse.ArgumentParser, arguments: argparse.Namespace
) -> None:
    """Exit with 2 and one line when a value of the command line holds a NUL character."""
    for name, value in vars(arguments).items():
        values = value if isinstance(value, list) else [value]
        if any("\0" in str(one) for one in values):
            option = f"--{name.replace('_', '-')}"
            parser.error(
                f"invalid {option} {str(value)!r}: expected text without a NUL character"
            )


def quote_path(path: str) -> str:
    """Return a path as it is typed in a shell, in quotes where it needs them."""
    return join_arguments([path])
