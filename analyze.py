"""analyze.py - how many can be served at once, how fast, and for how many joules?

    python analyze.py                                 every model: its newest finished run
    python analyze.py qwen3:8b --run 7                one model, one run
    python analyze.py --slo ttft=2,tokens_per_s=15    other wishes than 10 s and 10 tokens/s
    python analyze.py --compare 6 7 --fail-if 'output_tokens_per_s<-5%'
    python analyze.py --price 0.30 --currency EUR     what a million tokens cost
    python analyze.py --export-csv .                  the original tool's files

Reads results.db, prints the answer, and leaves data/<model>/*.png and data/report.html.
"""
from __future__ import annotations

import os
import sys

if "SUDO_UID" in os.environ and hasattr(os, "geteuid") and os.geteuid() == 0:
    sys.dont_write_bytecode = True  # a __pycache__ of root's in your clone would be in your way

import argparse
import importlib
import shutil
import sqlite3
import textwrap
from dataclasses import replace
from pathlib import Path

try:
    import standard  # first: it says so where Python is too old or lacks the packages
except ModuleNotFoundError as error:
    sys.exit(f"{error}: start it without PYTHONSAFEPATH, -P and -I, which hide this tool's own files")
import compare
import console
import db
import export_csv
import objectives
import privilege
import selection
import verdict
from selection import Study
from verdict import Verdict

DEFAULT_SLO = objectives.parse(objectives.DEFAULT)
WAITED = {"ttft": "coalesce(first_text_ns, request.ended_ns)", "ttfat": "coalesce(first_answer_ns, request.ended_ns)",
          "e2e": "request.ended_ns"}  # until when a request that was cut had waited


def main(argv: list[str] | None = None) -> int:
    standard.prepare()
    arguments = parse_args(argv)
    try:
        draws = not (arguments.no_charts or arguments.compare)
        if draws and sys.flags.optimize > 1:  # Altair reads its own docstrings
            raise db.ResultsError(
                "no charts with -OO or PYTHONOPTIMIZE=2: start without it, or use --no-charts")
        if draws and privilege.user_of_sudo():
            importlib.import_module("report")  # root's packages may be out of the user's reach
        privilege.drop()
        database = db.connect(arguments.db, readonly=True)
        try:
            db.refuse_damage(database)
            return work(database, arguments)
        finally:
            database.close()
    except BrokenPipeError:  # the reader, head for instance, has seen enough
        sys.stdout = None
        return 1
    except (db.ResultsError, privilege.PrivilegeError, sqlite3.Error, OSError) as error:
        error = f"{arguments.db}: {error}" if isinstance(error, sqlite3.Error) else error
        print(standard.clean(f"analyze.py: {error}"), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def work(database, arguments: argparse.Namespace) -> int:
    if arguments.compare:
        return compare.report(database, *arguments.compare, arguments.models, arguments.fail_if)
    studies = selection.choose(database, arguments.models, arguments.run)
    verdicts = [judge(database, study, arguments) for study in studies]
    for judged in verdicts:
        print_verdict(judged)
        print_hosts(database, judged.study.model)
    if arguments.export_csv:
        print(f"{export_csv.write(database, studies, Path(arguments.export_csv))} CSV files in {Path(arguments.export_csv) / 'ollama'}")
    if not arguments.no_charts:
        draw(database, verdicts, Path(arguments.out))
    return compare.gate_absolute(studies, arguments.fail_if)


def judge(database, study: Study, arguments: argparse.Namespace) -> Verdict:
    wishes = arguments.slo or told(study) or DEFAULT_SLO
    shares = within(database, study, wishes)
    judged = judged_part(study, shares)
    sentences = verdict.answers(judged, wishes, shares)
    if arguments.price is not None:
        sentences.append(verdict.cost(judged, arguments.price, arguments.currency))
    return Verdict(study, wishes, sentences, verdict.warnings(study))


def told(study: Study) -> dict[str, float]:
    """The objectives that the newest run was started with (bench.py --slo), by their short names."""
    return {name: study.objectives[column] for name, (column, _) in objectives.COLUMNS.items() if column in study.objectives}


def headline(path: str, run_id: int, limits: dict[str, float]) -> list[str]:
    """The answer in short: what one gets alone, and how many can be served."""
    database = db.connect(path, readonly=True)
    try:
        said = []
        studies = selection.choose(database, [], [run_id])
        for study in studies:
            name = [f"{study.model}:"] if len(studies) > 1 else []
            services = within(database, study, limits)
            said += name + verdict.served(judged_part(study, services), limits, services)
        return said
    except db.ResultsError:  # nothing was finished
        return []
    except sqlite3.Error as error:
        raise db.ResultsError(f"{path}: {error}") from None
    finally:
        database.conn.close()


def judged_part(study: Study, services: dict[int, verdict.Service]) -> Study:
    """The study without the levels that tell nothing: cut by Ctrl-C, slept through, or cut before anything could be judged."""
    effects = [pair for pair in study.cache_effect if {pair["cold_level_id"], pair["warm_level_id"]} <= services.keys()]
    return replace(study, levels=[level for level in study.levels if level["level_id"] in services], cache_effect=effects)


def within(database, study: Study, limits: dict[str, float]) -> dict[int, verdict.Service]:
    """Each level_id's requests held against the objectives; failures never meet one.

    One that this client cut counts only when it had missed an objective by then, as in
    level_summary. A level in which nothing could be judged is not in it, nor one that was
    interrupted: who had ended by then were the fast ones; nor one in which the machine slept.
    """
    late = ["0", *(f"{WAITED[name]} - coalesce(due_ns, sent_ns) > :{name} * 1e9" for name in limits if name in WAITED)]
    columns = ["level_id", "count(*) AS asked", "sum(request.status = 'completed') AS completed"]
    tests = ["request.status = 'completed'"]
    for name in limits:
        column, less_is_better = objectives.COLUMNS[name]
        rateless = "output_tokens < 2 OR last_text_ns = first_text_ns, " if name in ("tpot", "tokens_per_s") else ""  # came at once: misses none
        tests.append(f"coalesce({column} {'<=' if less_is_better else '>='} :{name}, {rateless}0)")
        columns += [f"sum({tests[0]} AND {tests[-1]}) AS met_{name}",
                    f"{'max' if less_is_better else 'min'}(CASE WHEN {tests[0]} THEN {column} END) AS worst_{name}"]
    rows = database.query(f"""SELECT {', '.join(columns)}, sum({' AND '.join(tests)}) AS good FROM request
        JOIN level ON level.id = level_id JOIN chosen USING (run_id, model)
        WHERE level.model = :model AND level.status = 'finished' AND coalesce(level.slept_s, 0) = 0 AND request.status <> 'in_flight'
          AND (request.status <> 'cancelled' OR {' OR '.join(late)}) GROUP BY level_id""",
                          {**limits, "model": study.model})
    return {row["level_id"]: verdict.Service(row["asked"], row["completed"], row["good"], {name: row[f"met_{name}"] for name in limits},
                                             {name: row[f"worst_{name}"] for name in limits}) for row in rows}


# Saying.

def print_verdict(judged: Verdict) -> None:
    study = judged.study
    print(standard.brief(study.model) + ("   SIMULATED: no measurement of a real machine" if study.simulated else ""))
    for run in study.runs:
        print(f"  run {run['run_id']}, {standard.brief(str(run['label']))}, {run['started_utc']} UTC")
    print()
    print(console.heading(console.LEVEL_COLUMNS, width()))
    for level in study.levels:
        print(console.level_line(level, width()))
    if any(map(console.is_gpu_alone, study.levels)):
        print(console.GPU_NOTE)
    print()
    for sentence in judged.sentences:
        say(sentence)
    for warning in judged.warnings:
        say(f"! {warning}")
    print()


def print_hosts(database, model: str) -> None:
    """Each level by host, where there were several."""
    rows = list(database.query("SELECT host_summary.* FROM host_summary JOIN chosen USING (run_id, model) WHERE model = ? ORDER BY level_id, host", [model]))
    if len({row["host"] for row in rows}) > 1:
        for row in rows:
            print(console.host_line(row))
        print()


def width() -> int:
    """Cells of a line; of a file or a pipe always the same."""
    if not sys.stdout.isatty():
        return console.WIDTH
    return max(console.LEAST_WIDTH, min(console.WIDTH, shutil.get_terminal_size().columns))


def say(text: str) -> None:
    print(textwrap.fill(standard.clean(text), width() - 1, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False))


# Drawing.

def draw(database, verdicts: list[Verdict], out: Path) -> None:
    """The PNGs and the page, told as they come."""
    import charts  # two seconds to load: not for --compare or --no-charts
    import report
    absent: dict[str, list[str]] = {}
    drawn: dict[str, list[tuple[str, dict]]] = {judged.study.model: [] for judged in verdicts}
    todo = [(judged, chart) for judged in verdicts for chart in charts.CHARTS]
    written = 0
    for place, (judged, chart) in enumerate(todo, 1):
        study = judged.study
        progress(f"drawing {place} of {len(todo)}: {chart.name}")
        if spec := chart.draw(database, study, judged.objectives):
            if chart.says_more(study):  # the page shows no chart twice
                drawn[study.model].append((chart.title, spec))
            charts.save_png(spec, out / study.folder / f"{chart.name}.png", out)
            written += 1
        else:
            absent.setdefault(chart.needs, []).append(f"{study.folder}/{chart.name}.png")
    across = charts.comparisons([judged.study for judged in verdicts])
    for name, spec in across.items():
        charts.save_png(spec, out / f"{name}.png", out)
    progress("writing the report")
    page = report.write(out / "report.html", verdicts, drawn, across)
    progress("")
    for needs, names in absent.items():
        say(f"not drawn, no {needs} in this file: {', '.join(names)}")
    say(f"{written + len(across)} charts in {out}/, all of them live in {page}")


def progress(text: str) -> None:
    """One line that renews itself, on a terminal only."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


# The command line.

def wishes(text: str) -> dict[str, float]:
    try:
        return objectives.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def price(text: str) -> float:
    return compare.positive(text, "price")


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="analyze.py", description="The answer, the charts and the report from results.db.")
    parser.add_argument("models", nargs="*", metavar="MODEL", help="only these models (default: all)")
    parser.add_argument("--run", type=int, action="append", default=[], metavar="N",
                        help="these runs instead of the newest finished one of each model")
    parser.add_argument("--db", default="results.db", help="results file (default: results.db)")
    parser.add_argument("--out", default="data", help="folder for charts and report (default: data)")
    parser.add_argument("--slo", type=wishes, metavar="NAME=VALUE,...",
                        help=f"what counts as served: {', '.join(objectives.COLUMNS)} (default: as the run was told, else ttft=10,tokens_per_s=10)")
    parser.add_argument("--compare", nargs=2, metavar=("A", "B"), help="what changed from A to B: run numbers, labels or models")
    parser.add_argument("--fail-if", type=compare.condition, action="append", default=[], metavar="COND",
                        help="exit 1 when it is so: 'output_tokens_per_s<-5%%' or 'error_ratio>0.01' (a rise) with --compare, 'ttft>2' without")
    parser.add_argument("--export-csv", metavar="DIR", help="write the original tool's CSV tree below DIR")
    parser.add_argument("--price", type=price, metavar="X", help="price of a kilowatt hour")
    parser.add_argument("--currency", default="EUR", help="what the price is in (default: EUR)")
    parser.add_argument("--no-charts", action="store_true", help="print the answer only")
    arguments = parser.parse_args(argv)
    standard.refuse_nul(parser, arguments)
    for condition in arguments.fail_if:
        if condition.is_change != bool(arguments.compare and condition.metric != "error_ratio"):
            parser.error("--fail-if takes a change in % with --compare (error_ratio: a difference), a value without it")
    if arguments.compare and (len(arguments.models) > 1 or arguments.run):
        parser.error("--compare takes its runs as A and B, and at most one MODEL")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
