"""The answer of analyze.py does not wait for what only drawing and writing need."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import made_up_results

ROOT = Path(__file__).resolve().parents[2]
SLOW = {"altair", "pandas", "rich", "scipy", "vl_convert"}


@pytest.fixture
def results(tmp_path):
    """Enough levels for a law."""
    levels = (1, 2, 4, 8, 16, 32, 64)
    made_up_results.write(
        tmp_path / "results.db", levels=levels, chunks=False
    )
    return tmp_path / "results.db"


def run(code, *arguments):
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_what_takes_long_to_load_is_not_loaded(results):
    """The law, below the table, is the first that needs SciPy."""
    code = (
        "import sys, analyze; from ollama_bench.report import terminal_report\n"
        "def look(*_): print(sorted({slow} & set(sys.modules)))\n"
        "terminal_report.print_intervals = look; analyze.main(sys.argv[1:])"
    ).replace("{slow}", str(SLOW))
    done = run(code, "--db", results, "--charts", "none")
    assert done.stderr == ""
    answer, _, rest = done.stdout.partition("\n[]\n")
    assert (
        "at once get at least 10 tokens/s" in answer
        and "contention" in rest
    )


@pytest.mark.faults
def test_it_is_there_before_anything_is_drawn(results):
    code = (
        "import os, sys, analyze; from ollama_bench.report import drawing; "
        "drawing.draw = lambda *_: os._exit(0); analyze.main(sys.argv[1:])"
    )
    done = run(code, "--db", results)
    assert "One request alone gets" in done.stdout and done.stderr == ""
