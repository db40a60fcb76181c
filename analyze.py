"""analyze.py - how many can be served, how fast, and at what energy?

    python analyze.py                                 every model: its newest finished run
    python analyze.py qwen3:8b --run 7                one model, one run
    python analyze.py --slo ttft=2,tokens_per_s=15    other objectives than 10 s and 10 tokens/s
    python analyze.py --compare 6 7 --fail-if 'output_tokens_per_s<-5%'
    python analyze.py --price 0.30 --currency EUR     what a million tokens cost
    python analyze.py --format json                   the levels for a program; also markdown, csv
    python analyze.py --export vllm .                 files that other tools read
    python analyze.py --share                         a card to show, as a picture and as text
    python analyze.py --verify data/report.html       is the page as it was written?

Reads results.db, prints the answer, and leaves data/<model>/*.png and data/report.html.
"""

from __future__ import annotations

import os
import sys

if (
    "SUDO_UID" in os.environ
    and hasattr(os, "geteuid")
    and os.geteuid() == 0
):
    # a __pycache__ owned by root would be in the user's way
    sys.dont_write_bytecode = True

import sqlite3

try:
    from ollama_bench.terminal import interpreter
except ModuleNotFoundError as error:
    sys.exit(
        f"{error}: start without PYTHONSAFEPATH, -P and -I, which hide this tool's files"
    )
# Python's version and the packages, before anything needs them
interpreter.check()
from sqlite_utils import Database

from ollama_bench.analysis import gate, run_lookup, selection
from ollama_bench.analysis.verdict import judge
from ollama_bench.formats.export import export
from ollama_bench.privilege.sudo import (
    PrivilegeError,
    drop_root,
    find_sudo_user,
)
from ollama_bench.report import (
    comparison_report,
    terminal_report,
    verification,
)
from ollama_bench.report.level_formats import FORMATS
from ollama_bench.report.options import Settings, parse_args
from ollama_bench.report.proof import NoProofError
from ollama_bench.storage import files
from ollama_bench.storage.connection import connect
from ollama_bench.storage.damage import refuse_damage
from ollama_bench.storage.results_file import ResultsError
from ollama_bench.terminal.command_line import name_program
from ollama_bench.terminal.output import (
    prepare_streams,
    tell_error,
    word_error,
)


def main(argv: list[str] | None = None) -> int:
    """Run the program and return its exit code."""
    prepare_streams()
    settings = parse_args(argv)
    try:
        if settings.page is not None:
            drop_root()
            return verification.verify(
                settings.page, settings.db, settings.is_db_named
            )
        prepare_charts(settings)
        drop_root()
        database = connect(settings.db, readonly=True)
        try:
            refuse_damage(database)
            # of a run that goes on, every query sees the same rows
            database.execute("BEGIN")
            lines = analyze(database, settings)
            for line in lines:
                print(
                    line.text,
                    file=sys.stderr if settings.format else sys.stdout,
                )
            return gate.exit_code(lines)
        finally:
            database.close()
    except BrokenPipeError:  # the reader, such as head, has seen enough
        sys.stdout = None  # nothing more is written
        return 1
    except sqlite3.Error as error:
        return fail(f"{settings.db}: {error}")
    except NoProofError as error:
        fail(f"{settings.page} cannot be verified: {error}")
        return 2
    except (ResultsError, PrivilegeError, OSError) as error:
        return fail(word_error(error))
    except KeyboardInterrupt:
        return 130


def fail(message: str) -> int:
    tell_error(f"{name_program('analyze')}: {message}")
    return 1


def prepare_charts(settings: Settings) -> None:
    """Load what draws charts while root may still read it. Raises ResultsError."""
    if not (settings.charts or settings.is_shared):
        return
    if sys.flags.optimize > 1:  # Altair reads its own docstrings
        raise ResultsError(
            "cannot draw charts with -OO or PYTHONOPTIMIZE=2: start without, or use --charts none"
        )
    if find_sudo_user():
        from ollama_bench.report import drawing, sharing  # noqa: F401

        drawing.preload()


def analyze(database: Database, settings: Settings) -> list[gate.Line]:
    """Print the answer, draw the charts and return the lines of broken conditions."""
    if settings.compared:
        return comparison_report.compare(
            database,
            *settings.compared,
            settings.models,
            settings.conditions,
        )
    runs = run_lookup.find_runs(database, settings.runs)
    studies = selection.choose(database, settings.models, runs)
    verdicts = [
        judge(database, study, settings.objectives, settings.price)
        for study in studies
    ]
    # before anything is said in vain
    for folder in settings.folders:
        files.make_folder(folder)
    if settings.format:
        print(FORMATS[settings.format](database, verdicts), end="")
    else:
        terminal_report.print_lengths(verdicts)
        for verdict in verdicts:
            terminal_report.print_verdict(verdict)
        terminal_report.print_machines(verdicts)
    if settings.export is not None:
        is_whole = not (runs or settings.models)
        written = export(database, studies, *settings.export, is_whole)
        print(written, file=sys.stderr if settings.format else sys.stdout)
    if settings.charts:
        # the answer is first
        sys.stdout.flush()
        from ollama_bench.report import drawing

        drawing.draw(database, verdicts, settings.out, settings.charts)
    if settings.is_shared:
        sys.stdout.flush()
        from ollama_bench.report import sharing

        sharing.share(database, verdicts, settings.out)
    judged = [verdict.study for verdict in verdicts]
    return gate.check_values(judged, settings.conditions)


if __name__ == "__main__":
    sys.exit(main())
