"""Run analyze.py --compare and find the lines of its table."""

from __future__ import annotations

import analyze
from ollama_bench.analysis.conditions import COLUMNS
from ollama_bench.analysis.study import Study


def run(results, *more):
    return analyze.main(["--db", str(results), "--charts", "none", *more])


def lines(results, capsys, *more):
    """What --compare before after prints."""
    run(results, "--compare", "before", "after", *more)
    return capsys.readouterr().out.splitlines()


def row(lines, at, what):
    return next(
        (line for line in lines if line.startswith(f"{at:>7}  {what} ")),
        "",
    )


def side(*runs, errors=0, requests=20):
    """A study of runs, each {concurrency: the value of all metrics in each repeat}."""
    levels = [
        level(number, n, factor, errors, requests)
        for number, run_levels in enumerate(runs, 1)
        for n, factors in run_levels.items()
        for factor in factors
    ]
    return Study("tiny:7b", [], levels, [], None, [], [], [], {})


def level(run_id, n, factor, errors, requests):
    row = dict.fromkeys(COLUMNS.values(), factor)
    return row | {
        "gpu_joules_per_output_token": None,
        "run_id": run_id,
        "concurrency": n,
        "status": "finished",
        "slept_s": None,
        "errors": errors,
        "completed": requests - errors,
        "judged_completed": requests - errors,
    }


def verdicts(found, metric="ttft"):
    """The verdict of a metric at each level; None: over all."""
    return {
        change.at: change.verdict
        for change in found.changes
        if change.metric == metric
    }
