"""Start the export as a user does, and read what it wrote."""

import importlib.util
import json

import pytest

import analyze
from ollama_bench.formats.export import FORMS
from tests.support import made_up_results

# those whose packages are there
FORMS_HERE = [
    pytest.param(
        form,
        marks=pytest.mark.skipif(
            form == "parquet"
            and importlib.util.find_spec("duckdb") is None,
            reason="DuckDB is not installed",
        ),
    )
    for form in FORMS
]


def export(folder, form, *more, **made_up):
    """Write a made-up results file once, export it and return the folder."""
    path = folder / "results.db"
    if not path.exists():
        made_up_results.write(path, **made_up)
    options = ["--db", str(path), "--charts", "none"]
    assert (
        analyze.main([*options, "--export", form, str(folder), *more]) == 0
    )
    return folder


def read_vllm(folder, level):
    """The only file of a level of the made-up model."""
    [path] = (
        folder / "vllm" / "tiny-7b" / f"concurrency-{level}"
    ).iterdir()
    return json.loads(path.read_text("utf-8"))
