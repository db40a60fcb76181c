"""The options of analyze.py, as frozen Settings."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ollama_bench import __version__
from ollama_bench.analysis.conditions import Condition, parse_condition
from ollama_bench.analysis.verdict import EnergyPrice
from ollama_bench.charts import names
from ollama_bench.formats.export import FORMS
from ollama_bench.inputs import objectives
from ollama_bench.report.level_formats import FORMATS
from ollama_bench.terminal.command_line import (
    OneLineParser,
    add_choice_of_runs,
    add_version,
    name_program,
    refuse_nul,
)

MOST_MONEY = 1e12
RESULTS = "results.db"
Value = TypeVar("Value")
Add = Callable[..., Any]  # a parser's add_argument


@dataclass(frozen=True)
class Settings:
    """Everything one start of analyze.py was told."""

    models: tuple[str, ...]  # empty: all
    # numbers or labels; empty: the newest finished one of each model and machine
    runs: tuple[str, ...]
    db: str
    is_db_named: bool  # on the command line
    objectives: (
        dict[str, objectives.Objective] | None
    )  # None: those of the run
    price: EnergyPrice | None
    compared: tuple[str, str] | None  # numbers, labels or models
    conditions: tuple[Condition, ...]
    export: tuple[str, Path] | None  # a form that other tools read, folder
    format: str | None  # of the level table; None: sentences
    out: Path  # the folder of charts, page and card
    charts: tuple[str, ...]  # names
    is_shared: bool  # a card is made
    page: Path | None  # one that is verified, and nothing else is done

    @property
    def folders(self) -> list[Path]:
        """The folders that are written."""
        has_output = self.charts or self.is_shared
        shown = [self.out] if has_output else []
        return [*shown, self.export[1]] if self.export else shown


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
    if arguments.compare and (arguments.format or arguments.export):
        parser.error(
            "--compare has no table of levels for --format or --export"
        )
    if arguments.export and arguments.export[0] not in FORMS:
        parser.error(
            f"invalid --export {arguments.export[0]!r}: "
            f"expected {join_choices(FORMS)}, and then a folder"
        )
    if arguments.compare and arguments.share:
        parser.error("--compare has no card: omit --share")
    if arguments.verify is not None and (
        arguments.models
        or arguments.run
        or arguments.compare
        or arguments.format
        or arguments.export
        or arguments.share
    ):
        parser.error(
            "--verify takes one page, and nothing but --db beside"
        )
    is_db_named = arguments.db is not None
    price = None
    if arguments.price is not None:
        price = EnergyPrice(arguments.price, arguments.currency)
    charts = arguments.charts
    if charts is None:
        is_table = arguments.compare or arguments.format
        charts = () if is_table else names.ALL
    return Settings(
        models=tuple(arguments.models),
        runs=tuple(arguments.run),
        db=arguments.db if is_db_named else RESULTS,
        is_db_named=is_db_named,
        objectives=arguments.slo,
        price=price,
        compared=tuple(arguments.compare) if arguments.compare else None,
        conditions=tuple(arguments.fail_if),
        export=(arguments.export[0], Path(arguments.export[1]))
        if arguments.export
        else None,
        format=arguments.format,
        out=Path(arguments.out),
        charts=charts,
        is_shared=arguments.share,
        page=None if arguments.verify is None else Path(arguments.verify),
    )


def make_parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog=name_program("analyze"),
        description="The answer, the charts and the report from results.db.",
    )
    add_version(parser, __version__)
    add_files(parser.add_argument)
    # which tells whether it is named
    parser.set_defaults(db=None)
    add_judging(parser.add_argument)
    add_answers(parser.add_argument)
    return parser


def add_files(add: Add) -> None:
    """Add what is read, and the folder that is written."""
    add_choice_of_runs(add)
    add(
        "--out",
        default="data",
        help="folder for charts and report (default: data)",
    )


def add_judging(add: Add) -> None:
    """Add what the runs are measured by: objectives, another run, conditions."""
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


def add_answers(add: Add) -> None:
    """Add what else is answered, or left out."""
    add(
        "--format",
        choices=tuple(FORMATS),
        help="print only the table of the levels, for programs or to paste; no charts",
    )
    add(
        "--export",
        nargs=2,
        metavar=("FORM", "DIR"),
        help=f"write files below DIR for other tools: {join_choices(FORMS)}",
    )
    add(
        "--export-csv",
        nargs="?",
        action=Renamed,
        help=argparse.SUPPRESS,
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
    add(
        "--charts",
        type=as_argument(names.parse),
        metavar="NAMES",
        help="the charts to draw, such as timeline,energy; none prints the answer only "
        "(default: all; with --compare and --format none)",
    )
    add(
        "--share",
        action="store_true",
        help="write a card to show elsewhere: card.png and card.md beside the charts",
    )
    add(
        "--verify",
        metavar="PAGE",
        help="only say whether a report.html is as it was written, and whether --db, or a "
        "results.db that has its levels, is what it was made from; exit 1 if not, 2 if it is no "
        "such page",
    )


class Renamed(argparse.Action):
    """An option of former versions: it ends with the line that names its new form."""

    def __call__(
        self, parser: argparse.ArgumentParser, *_: object
    ) -> None:
        parser.error("--export-csv DIR is now: --export study DIR")


def join_choices(choices: Iterable[str]) -> str:
    """Return names as in "a, b or c"."""
    *most, last = choices
    return f"{', '.join(most)} or {last}"


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
