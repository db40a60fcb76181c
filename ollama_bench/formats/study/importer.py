"""Read a tree of the original tool's CSV files, <model>/test_results_<level>/, into results.db.

It fills run, target, level, request, power_source, power_sample, process, process_sample and event
(what was left out, and why). A tree that is read twice is stored once, and so is a level that
several folders hold: where their files differ, it is taken from the folder with most samples of it.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path

from ollama_bench.formats.storing import read_known_keys
from ollama_bench.formats.study.levels import (
    Level,
    make_import_key,
    read_model,
    split_into_runs,
)
from ollama_bench.formats.study.storing import describe_outcome, store
from ollama_bench.formats.study.tree import (
    LEVEL_PREFIX,
    Notes,
    find_models,
    make_visible,
    split_copies,
)

LINE_WIDTH = 79


def import_tree(top: Path, path: str, is_dry: bool) -> None:
    """Read every model of a tree. Raises ImportTreeError, OSError, sqlite3.Error."""
    models, copies = split_copies(find_models(top))
    report_copies(copies)
    for model, folders in models.items():
        import_model(model, folders, path, is_dry)


def import_model(
    model: str, folders: list[Path], path: str, is_dry: bool
) -> None:
    """Read one model, report it, and store the runs that the file does not have."""
    notes = Notes()
    runs = split_into_runs(read_model(folders, notes))
    keys = [make_import_key(model, run) for run in runs]
    known = read_known_keys(path)
    keyed = list(zip(runs, keys, strict=True))
    report_files(model, notes.read)
    for run, key in keyed:
        report_run(run, is_stored=key in known)
    for line in notes.lines():
        say(f"  left out: {line}")
    say(
        "  tokens are the tool's count of words (output_tokens_source = 'words')"
    )
    if not is_dry:
        store(
            path,
            model,
            [(run, key) for run, key in keyed if key not in known],
            notes,
        )


def report_copies(copies: list[Path]) -> None:
    if not copies:
        return
    first = "/".join(copies[0].parts[-3:]).replace(LEVEL_PREFIX, "")
    more = " ..." if len(copies) > 1 else ""
    say(f"copies, taken once: {len(copies)} level folders ({first}{more})")


def report_files(model: str, read: Counter[str]) -> None:
    counts = ", ".join(
        f"{count:,} lines of {name}"
        for name, count in sorted(read.items())
    )
    say(f"{model}: read {counts}")


def report_run(run: list[Level], is_stored: bool) -> None:
    started = format_utc(run[0].started_unix)
    stored = " (stored before)" if is_stored else ""
    levels = " ".join(str(level.concurrency) for level in run)
    requests = [line for level in run for line in level.requests]
    failed = sum(
        describe_outcome(line, 0)["status"] != "completed"
        for line in requests
    )
    power_samples = sum(len(level.power_samples) for level in run)
    process_samples = sum(
        len(samples)
        for level in run
        for samples in level.process_samples.values()
    )
    say(
        f"  run of {started}{stored}: levels {levels}: "
        f"{len(requests):,} requests, {failed:,} failed; "
        f"{power_samples:,} GPU samples, {process_samples:,} process samples"
    )


def say(text: str) -> None:
    """Print within 79 columns, what runs over indented below."""
    filled = textwrap.fill(
        make_visible(text),
        LINE_WIDTH,
        subsequent_indent="    ",
        break_on_hyphens=False,
        drop_whitespace=True,
    )
    print(filled)


def format_utc(unix: float) -> str:
    return datetime.fromtimestamp(unix, timezone.utc).strftime(
        "%Y-%m-%d %H:%M UTC"
    )
