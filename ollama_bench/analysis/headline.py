"""The answer of one run, for the end of the run."""

from __future__ import annotations

import sqlite3

from ollama_bench.analysis import selection
from ollama_bench.analysis.verdict import Verdict, judge
from ollama_bench.inputs.objectives import Objectives
from ollama_bench.storage.connection import connect
from ollama_bench.storage.results_file import ResultsError


def headline(
    path: str, run_id: int, objectives: Objectives
) -> list[Verdict]:
    """Return the verdict on each model of a run; none if no level finished.

    Raises ResultsError if the file cannot be read.
    """
    database = connect(path, readonly=True)
    try:
        studies = selection.choose(database, [], [run_id])
        return [judge(database, study, objectives) for study in studies]
    except ResultsError:  # no level was finished
        return []
    except sqlite3.Error as error:
        raise ResultsError(f"{path}: {error}") from None
    finally:
        database.conn.close()
