"""Run analyze.py --compare and find the lines of its table."""

from __future__ import annotations

import analyze


def run(results, *more):
    return analyze.main(["--db", str(results), "--no-charts", *more])


def lines(results, capsys, *more):
    """What --compare before after prints."""
    run(results, "--compare", "before", "after", *more)
    return capsys.readouterr().out.splitlines()


def row(lines, at, what):
    return next(
        (line for line in lines if line.startswith(f"{at:>7}  {what} ")), ""
    )
