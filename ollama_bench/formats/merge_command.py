"""The program that joins results files: of several machines, or of several folders.

merge a.db b.db -o all.db        every run once, numbered anew
merge all.db c.db -o all.db      add what c.db has to a file that was merged before
"""

from __future__ import annotations

import os
import sys

from ollama_bench.terminal import interpreter

# Python's version and the packages, before anything needs them
interpreter.check()
import argparse
import signal
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from ollama_bench.privilege.sudo import PrivilegeError, drop_root
from ollama_bench.storage.merge import merge
from ollama_bench.storage.merge_plan import PlannedRun
from ollama_bench.storage.results_file import ResultsError
from ollama_bench.terminal.command_line import (
    OneLineParser,
    name_command,
    name_program,
    quote_path,
    refuse_nul,
)
from ollama_bench.terminal.output import (
    clean,
    prepare_streams,
    word_error,
)

# how errors of a file end where the user has chosen it with an option
REMEDIES = ("; choose another with --db", ": choose another with --db")


def main(argv: list[str] | None = None) -> int:
    """Run the program and return its exit code."""
    prepare_streams()
    arguments = parse_args(argv)
    # what is half made is removed then, too
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        drop_root()
        paths = drop_repeated(arguments.files)
        planned = merge(paths, arguments.output)
    except sqlite3.Error as error:
        return fail(f"{arguments.output}: {error}")
    except (ResultsError, PrivilegeError, OSError) as error:
        return fail(word_error(error))
    except KeyboardInterrupt:
        return 130
    for line in describe(paths, planned):
        print(clean(line))
    command = name_command("analyze")
    print(f"next: {command} --db {quote_path(str(arguments.output))}")
    return 0


def fail(message: str) -> int:
    for remedy in REMEDIES:
        message = message.removesuffix(remedy)
    print(clean(f"{name_program('merge')}: {message}"), file=sys.stderr)
    return 1


def drop_repeated(paths: Sequence[str]) -> list[str]:
    """Return the files without those that are one of the others, by whatever name."""
    found: dict[object, str] = {}
    for path in paths:
        try:
            status = os.stat(path)
        except OSError:
            # who opens it says what is wrong
            found[path] = path
        else:
            found.setdefault((status.st_dev, status.st_ino), path)
    return [*found.values()]


def describe(
    paths: Sequence[str], planned: Sequence[PlannedRun]
) -> Iterator[str]:
    """Yield a line for each file: which of its runs are in the output, under which numbers."""
    for place, path in enumerate(paths):
        taken = [run.number for run in planned if run.taken.file == place]
        parts = []
        if taken:
            runs = "run" if len(taken) == 1 else "runs"
            parts.append(f"{len(taken)} {runs}, now {write_ranges(taken)}")
        for run in planned:
            if any(state.file == place for state in run.other):
                where = paths[run.taken.file]
                parts.append(
                    f"an earlier state of run {run.number}, which is taken from {where}"
                )
        same = sum(
            state.file == place for run in planned for state in run.same
        )
        if same:
            runs = "run" if same == 1 else "runs"
            parts.append(f"{same} {runs} of files before")
        yield f"{path}: {'; '.join(parts) or 'no runs'}"


def write_ranges(numbers: Sequence[int]) -> str:
    """Return rising numbers as ranges: 1 to 5, 7."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and ranges[-1][-1] == number - 1:
            ranges[-1] = [ranges[-1][0], number]
        else:
            ranges.append([number])
    return ", ".join(" to ".join(map(str, one)) for one in ranges)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = OneLineParser(
        prog=name_program("merge"),
        description="Join results files into one: every run once and numbered anew.",
    )
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="results file; it is only read",
    )
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        type=Path,
        metavar="FILE",
        help="results file to be made; one that exists must be one of those that are joined",
    )
    arguments = parser.parse_args(argv)
    refuse_nul(parser, arguments)
    return arguments


if __name__ == "__main__":
    sys.exit(main())
