"""The program that writes runs of results.db in the forms that other tools read.

export vllm .                      every model's newest finished run, below ./vllm
export study out qwen3:8b --run 7  one model, one run, below out/ollama
"""

from __future__ import annotations

import sys

from ollama_bench.terminal import interpreter

# Python's version and the packages, before anything needs them
interpreter.check()
import argparse
import sqlite3
from pathlib import Path

from ollama_bench.analysis import run_lookup, selection
from ollama_bench.formats.export import FORMS, export
from ollama_bench.privilege.sudo import PrivilegeError, drop_root
from ollama_bench.storage.connection import connect
from ollama_bench.storage.damage import refuse_damage
from ollama_bench.storage.results_file import ResultsError
from ollama_bench.terminal.command_line import (
    OneLineParser,
    add_choice_of_runs,
    name_program,
    refuse_nul,
)
from ollama_bench.terminal.output import (
    clean,
    prepare_streams,
    word_error,
)


def main(argv: list[str] | None = None) -> int:
    """Run the program and return its exit code."""
    prepare_streams()
    arguments = parse_args(argv)
    try:
        drop_root()
        print(write(arguments))
    except sqlite3.Error as error:
        return fail(f"{arguments.db}: {error}")
    except (ResultsError, PrivilegeError, OSError) as error:
        return fail(word_error(error))
    except KeyboardInterrupt:
        return 130
    return 0


def fail(message: str) -> int:
    print(clean(f"{name_program('export')}: {message}"), file=sys.stderr)
    return 1


def write(arguments: argparse.Namespace) -> str:
    """Write the files and return what there is. Raises ResultsError, OSError, sqlite3.Error."""
    database = connect(arguments.db, readonly=True)
    try:
        refuse_damage(database)
        runs = run_lookup.find_runs(database, arguments.run)
        studies = selection.choose(database, arguments.models, runs)
        is_whole = not (runs or arguments.models)
        return export(
            database, studies, arguments.form, arguments.folder, is_whole
        )
    finally:
        database.close()


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = OneLineParser(
        prog=name_program("export"),
        description="Write runs of results.db in a form that other tools read.",
    )
    add = parser.add_argument
    add(
        "form",
        choices=tuple(FORMS),
        metavar="FORM",
        help=f"one of {', '.join(FORMS)}",
    )
    add(
        "folder",
        type=Path,
        metavar="DIR",
        help="folder below which the files are written",
    )
    add_choice_of_runs(add)
    arguments = parser.parse_args(argv)
    refuse_nul(parser, arguments)
    return arguments


if __name__ == "__main__":
    sys.exit(main())
