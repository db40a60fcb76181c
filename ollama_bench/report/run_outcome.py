"""Show what a run of bench.py measured: each level, the whole run, and the judgment at its end."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sqlite_utils import Database

from ollama_bench.analysis import gate, selection
from ollama_bench.analysis.caveats import CACHED_RATIO
from ollama_bench.analysis.conditions import parse_condition
from ollama_bench.analysis.crowd import noun
from ollama_bench.analysis.headline import headline
from ollama_bench.analysis.hosts import (
    describe_imbalance,
    describe_lost,
)
from ollama_bench.analysis.offered import (
    describe_gone,
    describe_pool_waits,
    describe_saturation,
)
from ollama_bench.analysis.prompt_lengths import (
    group_by_model,
    list_lengths,
)
from ollama_bench.analysis.study import Row
from ollama_bench.analysis.verdict import Verdict
from ollama_bench.analysis.verdict import judge as judge_study
from ollama_bench.analysis.wasted import describe_wasted
from ollama_bench.analysis.wording import count
from ollama_bench.inputs.objectives import find_reach
from ollama_bench.report.answer_text import (
    format_answer,
    format_curve,
    format_name,
)
from ollama_bench.report.host_table import format_hosts
from ollama_bench.report.length_table import format_length_table
from ollama_bench.report.terminal_report import (
    print_lengths,
    print_verdict,
)
from ollama_bench.run.plan import count_levels, plan_levels
from ollama_bench.storage.connection import connect
from ollama_bench.storage.damage import refuse_damage
from ollama_bench.storage.results_file import ResultsError
from ollama_bench.terminal.command_line import (
    join_arguments,
    name_browser,
    name_command_here,
    name_resuming_command,
    quote_path,
)
from ollama_bench.terminal.output import COMMAND_INDENT, break_lines
from ollama_bench.terminal.rows import (
    format_cache_effect,
    format_lengths,
    format_steady,
)
from ollama_bench.terminal.screen import Console

if TYPE_CHECKING:
    from ollama_bench.inputs.settings import Settings
    from ollama_bench.run.record import RunRecord
    from ollama_bench.run.server import Server

INDENT = " " * 8
CHARTS_FOLDER = Path("data")

FAILURES = (
    "SELECT * FROM outcomes WHERE level_id = ? AND status != 'completed'"
)
SHOWN_FAILURES = """
SELECT DISTINCT http_status, example FROM outcomes
WHERE run_id = ? AND status != 'completed' AND level_id IN (
  SELECT id FROM level WHERE run_id = ? AND status = 'finished' AND id < ?)"""
HOSTS_OF_LEVEL = (
    "SELECT * FROM host_summary WHERE level_id = ? ORDER BY host"
)
DEMANDS = "SELECT * FROM demand_summary WHERE level_id = ?"
STEADY = "SELECT * FROM steady_summary WHERE level_id = ?"
CACHE_EFFECT = """
SELECT * FROM cache_effect WHERE run_id = ? AND NOT EXISTS (
  SELECT 1 FROM level WHERE id IN (cold_level_id, warm_level_id) AND slept_s > 0)"""
KEPT = """
SELECT count(DISTINCT CASE
    WHEN level.status = 'finished' AND NOT coalesce(is_control, 0)
    THEN level.id END) AS levels,
  count(request.id) AS requests
FROM level LEFT JOIN request ON level_id = level.id AND sent_ns IS NOT NULL
WHERE run_id = ?"""


def show_level(
    settings: Settings,
    record: RunRecord,
    level_id: int,
    screen: Console,
    servers: Sequence[Server],
) -> float | None:
    """Show a level's line and what went wrong in it.

    Returns how far it reached what is demanded, as find_reach does. Raises ResultsError if another
    program has deleted the level.
    """
    level = record.level(level_id)
    if level is None:
        raise ResultsError(
            f"run {record.id} is no longer in {settings.output.db}: another program has deleted it"
        )
    screen.level_finished(level)
    show_failures(record, level_id, screen, servers)
    if level["errors"] and level["wasted_tokens"]:
        screen.warn(f"{INDENT}{describe_wasted(level)}")
    show_cuts(level, screen)
    show_never_begun(settings, level, screen)
    show_waits(level, screen)
    show_hosts(level, record.rows(HOSTS_OF_LEVEL, [level_id]), screen)
    for row in record.rows(STEADY, [level_id]):
        screen.say(format_steady(row))
    return find_reach(record.rows(DEMANDS, [level_id]))


def show_failures(
    record: RunRecord,
    level_id: int,
    screen: Console,
    servers: Sequence[Server],
) -> None:
    """Show a line for requests that ended alike, and what may help, once a run."""
    failures = record.rows(FAILURES, [level_id])
    if not failures:
        return
    shown = record.rows(SHOWN_FAILURES, [record.id, record.id, level_id])
    given = {text for row in shown for text in advise(row, servers)}
    for row in failures:
        code = (
            f" {row['http_status']}"
            if row["http_status"] not in (None, 200)
            else ""
        )
        example = row["example"] or ""
        screen.warn(
            f"{INDENT}{row['requests']} {row['status']}{code}: {example}"
        )
        for text in sorted(advise(row, servers) - given):
            screen.warn(f"{INDENT}{text.removeprefix('; ')}")
            given.add(text)


def advise(failure: Row, servers: Sequence[Server]) -> set[str]:
    advice = {
        server.advice(failure["http_status"], failure["example"])
        for server in servers
    }
    return advice - {""}


def show_cuts(level: Row, screen: Console) -> None:
    """Show how many prompts and replies of a level the server's context has cut."""
    if level["prompts_cut"]:
        screen.warn(
            f"{INDENT}the server cut {count(level['prompts_cut'], 'prompt')}: it counted "
            f"{level['prompt_tokens_mean']:,.0f} tokens on average; not counted as served"
        )
    if level["replies_cut"]:
        screen.warn(
            f"{INDENT}{count(level['replies_cut'], 'reply')} ended at the end of the context; "
            "not counted as served"
        )


def show_never_begun(
    settings: Settings, level: Row, screen: Console
) -> None:
    """Show how many requests of a closed loop the deadline has left out."""
    load = settings.load
    if load.kind != "closed" or not load.requests or not load.deadline_s:
        return
    if (missing := load.requests - level["requests"]) > 0:
        screen.warn(
            f"{INDENT}{missing} of {load.requests} requests were never begun:"
            f" the deadline of {load.deadline_s:g} s came first"
        )


def show_waits(level: Row, screen: Console) -> None:
    """Show what an open loop offered beyond what was answered, and which requests are undecided."""
    if gone := describe_gone(level):
        screen.warn(f"{INDENT}{gone}")
    if level["saturated"]:
        screen.warn(f"{INDENT}{describe_saturation(level)}")
    if level["load"] == "open" and level["pool_waits"]:
        screen.warn(f"{INDENT}{describe_pool_waits(level)}")
    if level["undecided_requests"]:
        screen.warn(
            f"{INDENT}cut before it showed whether they meet the objectives: "
            f"{count(level['undecided_requests'], 'request')}"
        )


def show_hosts(level: Row, hosts: Sequence[Row], screen: Console) -> None:
    """Show which of several hosts were lost in a level, and how unlike the others were."""
    if len(hosts) < 2:
        return
    if lost := describe_lost(hosts):
        screen.warn(f"{INDENT}{lost}")
    elif said := describe_imbalance(level, hosts):
        screen.say(f"{INDENT}{said}")


def show(
    settings: Settings,
    record: RunRecord,
    status: str,
    screen: Console,
    servers: Sequence[Server],
    sharper: str = "",
) -> None:
    """Show the answer, the table, the curve and the caveats of a run, and what to type next.

    sharper: the LEVELS that would tell more than those of a quick run.
    """
    path = settings.output.db
    found = headline(path, record.id, settings.judging.objectives)
    # the judgment at the end says all of this
    is_judged = status != "interrupted" and bool(
        settings.judging.report or settings.judging.fail_if
    )
    levels = record.levels()
    crowd = noun(levels)
    screen.say("")
    if not is_judged:
        is_quick = settings.load.budget_s is not None
        show_verdicts(found, levels, is_quick, screen)
    if lengths := format_lengths(levels):
        screen.say(lengths)
    if settings.request.cache == "both":
        for row in record.rows(CACHE_EFFECT, [record.id]):
            screen.say(
                format_cache_effect(row, crowd) + describe_misses(row)
            )
    for verdict in found if not is_judged else ():
        show_host_table(verdict, screen)
    if record.writer.rejected:
        screen.warn(
            f"rows that were rejected and are not in {path}: {record.writer.rejected}"
        )
    if not is_judged:
        show_caveats(found, screen)
    if status == "interrupted":
        screen.say(describe_kept(settings, record))
    commands: dict[str, str] = {}
    if found:
        commands[name_analysis(path, record.id, status)] = (
            "all sentences, charts and a page"
        )
    screen.say(describe_next(path, record.id, commands, screen.width))
    if sharper:
        screen.say(describe_sharper(settings, sharper))


def show_verdicts(
    verdicts: Sequence[Verdict],
    levels: list[Row],
    is_quick: bool,
    screen: Console,
) -> None:
    """Show the answers, the table of the levels and, of a single study, its curve."""
    show_lengths(verdicts, screen)
    for verdict in verdicts:
        show_answer(verdict, screen)
    if any(map(tells_anything, levels)):
        screen.table(levels, in_any_order=is_quick)
    # of several nobody would know which is whose
    for verdict in verdicts if len(verdicts) == 1 else ():
        for text in format_curve(verdict.study, screen.width):
            screen.say(text)
    screen.say("")


def show_host_table(verdict: Verdict, screen: Console) -> None:
    """Show each level by host, if there were several."""
    lines = format_hosts(verdict.study, screen.width)
    if lines:
        screen.say("")
    for line in lines:
        screen.say(line)


def show_lengths(verdicts: Sequence[Verdict], screen: Console) -> None:
    """Show what longer prompts cost each model that was asked several lengths."""
    for group in group_by_model(verdicts):
        heading, *lines = format_length_table(
            list_lengths(group), screen.width
        )
        screen.say(heading, "bold")
        for line in lines:
            screen.say(line)
        screen.say("")


def tells_anything(level: Row) -> bool:
    """Whether a level has a row worth looking at: it finished, or something in it did."""
    return level["status"] == "finished" or bool(level["completed"])


def show_answer(verdict: Verdict, screen: Console) -> None:
    """Show the answer on one model."""
    for text in format_name(verdict.study, screen.width):
        screen.say(text, "bold")
    screen.say("")
    for line in format_answer(verdict.answer, screen.width):
        screen.say(line.text, "bold" if line.is_bold else None)


def show_caveats(verdicts: Sequence[Verdict], screen: Console) -> None:
    """Show each caveat once, with whose it is where it is not everyone's."""
    whose: dict[str, dict[str, None]] = {}
    for verdict in verdicts:
        for caveat in verdict.caveats:
            names = whose.setdefault(str(caveat), {})
            names[verdict.study.name] = None
    for text, names in whose.items():
        is_shared = len(names) == len(verdicts)
        name = "" if is_shared else f"{'; '.join(names)}: "
        screen.sentence(f"! {name}{text}")


def describe_misses(row: Row) -> str:
    """Return what a row of cache_effect adds if the server's count shows no hits when warm."""
    cold, warm = row["cold_cached_ratio"] or 0.0, row["warm_cached_ratio"]
    if warm is None or warm - cold >= CACHED_RATIO:
        return ""
    return f", no hits: {warm:.0%} of the prompt tokens came from it"


def describe_kept(settings: Settings, record: RunRecord) -> str:
    """Return what an interrupted run has kept, and what to type to go on with it."""
    kept = record.rows(KEPT, [record.id])[0]
    levels = count(kept["levels"], "level")
    is_quick = settings.load.budget_s is not None
    is_search = settings.judging.search_budget_s is not None
    if not (is_search or is_quick):
        planned = count_levels(plan_levels(settings))
        levels = f"{kept['levels']} of {count(planned, 'level')}"
    requests = count(kept["requests"], "request")
    text = f"\ninterrupted; kept: {levels}, {requests}."
    if is_quick:  # it is not resumed
        return text
    return f"{text} To go on:\n  {name_resuming_command()}"


def describe_sharper(settings: Settings, levels: str) -> str:
    """Return what to type to measure these levels as this run was told to, only longer."""
    left, kept = list(settings.words), []
    while left:
        word = left.pop(0)
        if word == "--budget":
            left.pop(0)
        elif word not in ("--resume", "--plain") and not (
            word.startswith("--budget=")
        ):
            kept.append(word)
    more = join_arguments([levels, "--repeat", "3", *kept])
    whole = "" if settings.request.tokens else "whole replies and "
    return (
        f"\nSharper, with {whole}each level three times:\n"
        f"  {name_command_here('bench')} {more}"
    )


def name_analysis(path: str, run_id: int, status: str) -> str:
    """Return the command that tells all of a run."""
    options = "" if path == "results.db" else f" --db {quote_path(path)}"
    if status != "finished":  # by default analyze.py takes a finished run
        options += f" --run {run_id}"
    return f"{name_command_here('analyze')}{options}"


def describe_next(
    path: str, run_id: int, commands: Mapping[str, str], width: int
) -> str:
    """Return what to type next: these commands, with what each does, and what suits every run.

    What a command does stands below it where a line of this width has no room for both.
    """
    offered = {
        **commands,
        name_browser(path): "browse runs, levels and requests",
    }
    lines = [f"\nrun {run_id} is in {path}. Next:"]
    for command, use in offered.items():
        line = f"{COMMAND_INDENT}{command}     {use}"
        if len(line) >= width:
            line = f"{COMMAND_INDENT}{command}\n{COMMAND_INDENT * 2}{use}"
        lines.append(line)
    return break_lines("\n".join(lines), width)


def judge(settings: Settings, run_id: int) -> int:
    """Print the verdict, draw with --report, check --fail-if; return the exit code.

    Raises ResultsError.
    """
    if not (settings.judging.report or settings.judging.fail_if):
        return 0
    path = settings.output.db
    database = connect(path, readonly=True)
    try:
        refuse_damage(database)
        return judge_run(settings, database, run_id)
    except sqlite3.Error as error:
        raise ResultsError(f"{path}: {error}") from None
    except OSError as error:  # a chart cannot be written
        raise ResultsError(str(error)) from None
    finally:
        database.close()


def judge_run(settings: Settings, database: Database, run_id: int) -> int:
    studies = selection.choose(database, [], [run_id])
    verdicts = [judge_study(database, study) for study in studies]
    print_lengths(verdicts)
    for verdict in verdicts:
        print_verdict(verdict)
    if settings.judging.report:
        # Altair takes two seconds to load
        from ollama_bench.report import drawing

        drawing.draw(database, verdicts, CHARTS_FOLDER)
    conditions = [
        parse_condition(text) for text in settings.judging.fail_if
    ]
    lines = gate.check_values(studies, conditions)
    for line in lines:
        print(line.text)
    return gate.exit_code(lines)
