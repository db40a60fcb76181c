"""analyze.py - how many people can be served at once, how fast, and at what energy?

    python analyze.py                                 every model: its newest finished run
    python analyze.py qwen3:8b --run 7                one model, one run
    python analyze.py --slo ttft=2,tokens_per_s=15    other objectives than 10 s and 10 tokens/s
    python analyze.py --compare 6 7 --fail-if 'output_tokens_per_s<-5%'
    python analyze.py --price 0.30 --currency EUR     what a million tokens cost
    python analyze.py --export-csv .                  the original tool's files

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

import argparse
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

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
from ollama_bench.analysis.conditions import Condition, parse_condition
from ollama_bench.analysis.verdict import EnergyPrice, judge
from ollama_bench.inputs import objectives
from ollama_bench.privilege.sudo import (
    PrivilegeError,
    drop_root,
    find_sudo_user,
)
from ollama_bench.report import comparison_report, terminal_report
from ollama_bench.storage.connection import connect
from ollama_bench.storage.damage import refuse_damage
from ollama_bench.storage.results_file import ResultsError
from ollama_bench.study_csv.export import write
from ollama_bench.terminal.command_line import name_program, refuse_nul
from ollama_bench.terminal.output import clean, prepare_streams

MOST_MONEY = 1e12
Value = TypeVar("Value")


@dataclass(frozen=True)
class Settings:
    """Everything one start of analyze.py was told."""

    models: tuple[str, ...]  # empty: all
    runs: tuple[
        str, ...
    ]  # numbers or labels; empty: the newest finished one of each model
    db: str
    objectives: dict[str, float] | None  # None: those of the run
    price: EnergyPrice | None
    compared: tuple[str, str] | None  # numbers, labels or models
    conditions: tuple[Condition, ...]
    csv_folder: Path | None
    charts_folder: Path | None  # None: no charts


def main(argv: list[str] | None = None) -> int:
    """Run the program and return its exit code."""
    prepare_streams()
    settings = parse_args(argv)
    try:
        prepare_charts(settings)
        drop_root()
        database = connect(settings.db, readonly=True)
        try:
            refuse_damage(database)
            lines = analyze(database, settings)
            for line in lines:
                print(line.text)
            return gate.exit_code(lines)
        finally:
            database.close()
    except BrokenPipeError:  # the reader, such as head, has seen enough
        sys.stdout = None  # nothing more is written
        return 1
    except sqlite3.Error as error:
        return fail(f"{settings.db}: {error}")
    except (ResultsError, PrivilegeError, OSError) as error:
        return fail(str(error))
    except KeyboardInterrupt:
        return 130


def fail(message: str) -> int:
    print(clean(f"{name_program('analyze')}: {message}"), file=sys.stderr)
    return 1


def prepare_charts(settings: Settings) -> None:
    """Load what draws charts while root may still read it. Raises ResultsError."""
    if settings.charts_folder is None:
        return
    if sys.flags.optimize > 1:  # Altair reads its own docstrings
        raise ResultsError(
            "cannot draw charts with -OO or PYTHONOPTIMIZE=2: start without, or use --no-charts"
        )
    if find_sudo_user():
        from ollama_bench.report import drawing

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
    for verdict in verdicts:
        terminal_report.print_verdict(database, verdict)
    if settings.csv_folder is not None:
        count = write(database, studies, settings.csv_folder)
        print(f"{count} CSV files in {settings.csv_folder / 'ollama'}")
    if settings.charts_folder is not None:
        # it takes two seconds to load
        from ollama_bench.report import drawing

        drawing.draw(database, verdicts, settings.charts_folder)
    return gate.check_values(studies, settings.conditions)


def parse_args(argv: list[str] | None) -> Settings:
    """Parse the command line; end with code 2 and one line if it is wrong."""
    parser = make_parser()
    arguments = parser.parse_args(argv)
    refuse_nul(parser, arguments)
    for condition in arguments.fail_if:
        is_relative = bool(
            arguments.compare and condition.metric != "error_ratio"
        )
        if condition.is_change != is_relative:
            parser.error(
                "invalid --fail-if: expected a change in % with --compare "
                "(a difference for error_ratio), a value without"
            )
    if arguments.compare and (len(arguments.models) > 1 or arguments.run):
        parser.error(
            "--compare takes its runs as A and B, and at most one MODEL"
        )
    price = None
    if arguments.price is not None:
        price = EnergyPrice(arguments.price, arguments.currency)
    draws = not (arguments.no_charts or arguments.compare)
    return Settings(
        models=tuple(arguments.models),
        runs=tuple(arguments.run),
        db=arguments.db,
        objectives=arguments.slo,
        price=price,
        compared=tuple(arguments.compare) if arguments.compare else None,
        conditions=tuple(arguments.fail_if),
        csv_folder=Path(arguments.export_csv)
        if arguments.export_csv
        else None,
        charts_folder=Path(arguments.out) if draws else None,
    )


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=name_program("analyze"),
        description="The answer, the charts and the report from results.db.",
    )
    add = parser.add_argument
    add(
        "models",
        nargs="*",
        metavar="MODEL",
        help="only these models (default: all)",
    )
    add(
        "--run",
        action="append",
        default=[],
        metavar="RUN",
        help="these runs, by number or label, instead of the newest finished one of each model",
    )
    add(
        "--db",
        default="results.db",
        help="results file (default: results.db)",
    )
    add(
        "--out",
        default="data",
        help="folder for charts and report (default: data)",
    )
    add(
        "--slo",
        type=as_argument(objectives.parse),
        metavar="NAME=VALUE,...",
        help=f"what counts as served: {', '.join(objectives.METRICS)} "
        f"(default: those of the run, else {objectives.DEFAULT})",
    )
    add(
        "--compare",
        nargs=2,
        metavar=("A", "B"),
        help="what changed from A to B: run numbers, labels (all runs of each) or models",
    )
    add(
        "--fail-if",
        type=as_argument(parse_condition),
        action="append",
        default=[],
        metavar="COND",
        help="exit 1 if it holds, 3 if nobody can tell: with --compare "
        "'output_tokens_per_s<-5%%' or 'error_ratio>0.01' (a rise), without it 'ttft>2'",
    )
    add(
        "--export-csv",
        metavar="DIR",
        help="write the original tool's CSV tree below DIR",
    )
    add(
        "--price",
        type=as_argument(parse_price),
        metavar="X",
        help="price of a kilowatt hour",
    )
    add(
        "--currency",
        default="EUR",
        help="currency of the price (default: EUR)",
    )
    add("--no-charts", action="store_true", help="print the answer only")
    return parser


def as_argument(parse: Callable[[str], Value]) -> Callable[[str], Value]:
    """Return a parser whose ValueError argparse shows in its own words."""

    def convert(text: str) -> Value:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def parse_price(text: str) -> float:
    """Parse a number above 0. Raises ValueError."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < MOST_MONEY:
        raise ValueError(
            f"invalid price {text!r}: expected a number above 0"
        )
    return value


if __name__ == "__main__":
    sys.exit(main())
