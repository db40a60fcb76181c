"""Say whether a page is as it was written, and whether a results file is what it was made from.

code = verify(Path("data/report.html"), "results.db", is_named=True)  # prints what it found
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path

from sqlite_utils import Database

from ollama_bench.analysis.study import Row
from ollama_bench.analysis.wording import join
from ollama_bench.report import proof
from ollama_bench.report.instant_rows import carry_level, find_level_id
from ollama_bench.report.instants import (
    Asked,
    count_instants,
    list_asked,
)
from ollama_bench.storage.connection import connect
from ollama_bench.storage.damage import refuse_damage
from ollama_bench.terminal.output import clean

UNCHANGED, CHANGED = 0, 1
LONGEST_PAGE = 256 << 20  # bytes
MOST_PROBLEMS = 20  # that are printed


def verify(path: Path, results: str, is_named: bool) -> int:
    """Print what became of a page and return 0, or 1 where anything is not as it was.

    results: the results file that it is compared with. One that nobody named need not be there
    nor have levels of the page.

    Raises proof.NoProofError where the file is no page that can be verified, ResultsError where
    the results file cannot be read, and OSError.
    """
    found = proof.inspect(read_page(path))
    problems = list(found.problems)
    if problems:
        print(f"{path} is not as it was written:")
    else:
        print(f"{path} is as it was written")
        print(describe_figures(found))
        print(f"digest of the page: {clean(found.digest)}")
        if found.rows is not None:
            problems = compare_with(found.rows, results, is_named)
        elif is_named:
            problems = [f"it cannot be compared with {results}"]
    for problem in problems[:MOST_PROBLEMS]:
        print(f"  {clean(problem)}")
    if len(problems) > MOST_PROBLEMS:
        print(f"  and {len(problems) - MOST_PROBLEMS:,} more")
    return CHANGED if problems else UNCHANGED


def read_page(path: Path) -> str:
    """Return the text of a page. Raises proof.NoProofError and OSError."""
    if os.path.getsize(path) > LONGEST_PAGE:
        raise proof.NoProofError("it is too large for a page")
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError:
        raise proof.NoProofError("it is not a page") from None


def describe_figures(found: proof.Inspection) -> str:
    if found.rows is None:
        return "it carries no instants: its figures were not recomputed"
    return (
        f"recomputed from {count_instants(found.rows):,} instants: "
        f"all {found.figures:,} figures agree"
    )


def compare_with(rows: Row, results: str, is_named: bool) -> list[str]:
    """Print whether the rows are those of a results file; return what differs."""
    if not is_named and not os.path.exists(results):
        print(f"not compared with {results}, which is not there")
        return []
    database = connect(results, readonly=True)
    try:
        refuse_damage(database)
        pairs = [
            (level, find_level_id(database, study["model"], level))
            for study in rows["studies"]
            for level in study["levels"]
        ]
        if all(level_id is None for _, level_id in pairs):
            if is_named:
                return [f"{results} has none of its levels"]
            print(
                f"not compared with {results}, which has none of its levels"
            )
            return []
        problems = [
            f"run {level['run']}, level {level['concurrency']}: {problem}"
            for level, level_id in pairs
            for problem in list_other_rows(
                database, level, level_id, rows["every"]
            )
        ]
    except proof.UNREADABLE:
        problems = ["the instants cannot be read"]
    finally:
        database.close()
    print(
        f"{results} has other rows:"
        if problems
        else f"its rows are those of {results}"
    )
    return problems


def list_other_rows(
    database: Database, level: Row, level_id: int | None, every: int
) -> Iterator[str]:
    """Yield what of a level is other than in a results file, where it has this number."""
    if level_id is None:
        yield "it is not there"
        return
    there = carry_level(database, level_id, every)
    # numbers of another file, as merged ones have
    there |= {name: level[name] for name in ("id", "run")}
    for name in there.keys() - {"requests", "chunks", "inside"}:
        if there[name] != level.get(name):
            yield f"{name} is {there[name]}"
    requests = list_asked(level), list_asked(there)
    if len(requests[0]) != len(requests[1]):
        yield f"it has {len(requests[1]):,} requests"
        return
    chunks = [one.get("chunks", repeat(None)) for one in (level, there)]
    for number, (ours, theirs, *parts) in enumerate(
        zip(*requests, *chunks, strict=False), 1
    ):
        if ours != theirs:
            names = [
                name
                for name, one, other in zip(
                    Asked._fields, ours, theirs, strict=True
                )
                if one != other
            ]
            yield f"request {number}: another {join(names)}"
        elif parts[0] != parts[1]:
            yield f"request {number}: other chunks"
    if level.get("inside") != there.get("inside"):
        yield "other counts of chunks at full load"
