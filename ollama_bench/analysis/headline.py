"""The answer of one run in short."""

from __future__ import annotations

import sqlite3

from sqlite_utils import Database

from ollama_bench.analysis import selection
from ollama_bench.analysis.answers import summarize
from ollama_bench.analysis.service import (
    Objectives,
    judged_part,
    measure_service,
)
from ollama_bench.analysis.study import Study
from ollama_bench.storage.connection import connect
from ollama_bench.storage.results_file import ResultsError


def headline(path: str, run_id: int, objectives: Objectives) -> list[str]:
    """Return in sentences what one gets alone and how many can be served; none if nothing finished.

    Raises ResultsError if the file cannot be read.
    """
    database = connect(path, readonly=True)
    try:
        studies = selection.choose(database, [], [run_id])
        return [
            sentence
            for study in studies
            for sentence in headline_of(
                database, study, objectives, len(studies) > 1
            )
        ]
    except ResultsError:  # no level was finished
        return []
    except sqlite3.Error as error:
        raise ResultsError(f"{path}: {error}") from None
    finally:
        database.conn.close()


def headline_of(
    database: Database, study: Study, objectives: Objectives, is_named: bool
) -> list[str]:
    services = measure_service(database, study, objectives)
    name = [f"{study.model}:"] if is_named else []
    return name + summarize(
        judged_part(study, services), objectives, services
    )
