"""Start the export as a user does, and read what it wrote."""

import json

import analyze
from tests.support import made_up_results


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
