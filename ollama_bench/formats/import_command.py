"""The program that reads into results.db what other tools measured.

import results.json       what vllm bench serve --save-detailed or GuideLLM wrote
import old --dry-run      every such file below this folder; report, write nothing
import ollama             the original study's <model>/test_results_<level>/ below it
"""

from __future__ import annotations

import sys

from ollama_bench.terminal import interpreter

# Python's version and the packages, before anything needs them
interpreter.check()
import argparse
import sqlite3
from pathlib import Path

from ollama_bench.formats.file_import import find_files, import_files
from ollama_bench.formats.json_file import ImportFileError
from ollama_bench.formats.study.importer import import_tree
from ollama_bench.formats.study.tree import ImportTreeError, find_models
from ollama_bench.privilege.sudo import PrivilegeError, drop_root
from ollama_bench.storage.results_file import ResultsError
from ollama_bench.terminal.command_line import (
    OneLineParser,
    name_command,
    quote_path,
    refuse_nul,
)
from ollama_bench.terminal.output import (
    clean,
    prepare_streams,
    word_error,
)

PROGRAM = "ollama-bench import"


def main(argv: list[str] | None = None) -> int:
    """Run the program and return its exit code."""
    prepare_streams()
    arguments = parse_args(argv)
    try:
        drop_root()
        read(arguments.path, arguments.db, arguments.dry_run)
    except (
        ImportFileError,
        ImportTreeError,
        ResultsError,
        PrivilegeError,
        sqlite3.Error,
        OSError,
    ) as error:
        print(clean(f"{PROGRAM}: {word_error(error)}"), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    command = f"{name_command('analyze')} --db {quote_path(arguments.db)}"
    print(
        "dry run: nothing was written"
        if arguments.dry_run
        else f"next: {command}"
    )
    return 0


def read(path: Path, database: str, is_dry: bool) -> None:
    """Read a file, or what a folder has of each form; the study's tree where it has no other."""
    if not path.exists():
        raise ImportFileError(
            f"{path} is not there: expected a file or a folder"
        )
    files = find_files(path)
    if files:
        import_files(path, files, database, is_dry)
        try:
            find_models(path)
        except ImportTreeError:
            return
    import_tree(path, database, is_dry)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = OneLineParser(
        prog=PROGRAM,
        description="Read into results.db what vLLM, GuideLLM or the original tool measured.",
    )
    add = parser.add_argument
    add(
        "path",
        type=Path,
        metavar="PATH",
        help="a JSON file of vllm bench serve or GuideLLM, or a folder that holds such files "
        "or <model>/test_results_<level>/",
    )
    add(
        "--db",
        default="results.db",
        help="results file (default: results.db)",
    )
    add(
        "--dry-run",
        action="store_true",
        help="report what would be stored, write nothing",
    )
    arguments = parser.parse_args(argv)
    refuse_nul(parser, arguments)
    return arguments


if __name__ == "__main__":
    sys.exit(main())
