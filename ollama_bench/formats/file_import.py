"""Read JSON files of other tools into a results file, one transaction for each run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ollama_bench.formats import guidellm_import, vllm_import
from ollama_bench.formats.json_file import (
    ImportFileError,
    Record,
    make_visible,
    read_records,
)
from ollama_bench.formats.measured import (
    MeasuredLevel,
    MeasuredRun,
    check_instants,
)
from ollama_bench.formats.storing import LACKS, read_known_keys, store

READERS = (
    (vllm_import.is_vllm, vllm_import.read),
    (guidellm_import.is_guidellm, guidellm_import.read),
)
DEPTHS = ("", "*/", "*/*/", "*/*/*/")  # below a folder
EXPECTED = (
    "expected what vllm bench serve --save-detailed or GuideLLM writes"
)


def find_files(path: Path) -> list[Path]:
    """Return the file, or the JSON files below a folder; none where it has none."""
    if not path.is_dir():
        return [path]
    return [
        file
        for depth in DEPTHS
        for file in sorted(path.glob(f"{depth}*.json"))
        if file.is_file()
    ]


def import_files(
    top: Path, files: list[Path], database: str, is_dry: bool
) -> None:
    """Read and store what the files tell, and report it; a folder's files that fail are left out.

    Raises ImportFileError where nothing could be read, OSError and sqlite3.Error.
    """
    label = top.resolve().name if top.is_dir() else top.stem
    known = read_known_keys(database)
    count = 0
    for file in files:
        try:
            runs = read_runs(file, label or "imported")
        except (ImportFileError, OSError) as error:
            if not top.is_dir():
                raise
            print(make_visible(f"left out: {error}"))
            continue
        for run in runs:
            report(file, run, run.key in known)
            if run.key not in known and not is_dry:
                store(database, run)
            known.add(run.key)
            count += 1
    if not count:
        raise ImportFileError(f"nothing to read in {top}: {EXPECTED}")
    print(f"not in such files: {LACKS}")


def read_runs(file: Path, label: str) -> list[MeasuredRun]:
    """Return the runs that a file tells. Raises ImportFileError, OSError."""
    found = [
        replace(read_run(file, record, label), key=f"json {digest}")
        for record, digest in read_records(file)
    ]
    if not found:
        raise ImportFileError(f"{file} is empty")
    return found


def read_run(file: Path, record: Record, label: str) -> MeasuredRun:
    """Return what an object of a file tells. Raises ImportFileError."""
    for is_of_tool, read in READERS:
        if is_of_tool(record):
            try:
                run = read(record, label)
                check_instants(run)
            except ImportFileError as error:
                raise ImportFileError(f"{file}: {error}") from None
            return run
    raise ImportFileError(f"{file}: {EXPECTED}")


def report(file: Path, run: MeasuredRun, is_stored: bool) -> None:
    """Print what was read of a file."""
    stored = " (stored before)" if is_stored else ""
    print(
        make_visible(f"{file.name}: {run.tool}, {run.model}, {run.label}")
        + stored
    )
    for level in run.levels:
        print(f"  {describe(level)}")
    for text in run.left_out:
        print(f"  left out: {text}")


def describe(level: MeasuredLevel) -> str:
    failed = sum(not request.is_completed for request in level.requests)
    rate = f" of {level.rate_per_s:g}/s" if level.rate_per_s else ""
    return (
        f"level {level.concurrency}, {level.load} load{rate}: "
        f"{len(level.requests):,} requests, {failed:,} failed"
    )
