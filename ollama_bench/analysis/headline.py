"""The answer of one run in short."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from ollama_bench.analysis import selection
from ollama_bench.analysis.answers import summarize
from ollama_bench.analysis.caveats import find_caveats
from ollama_bench.analysis.service import (
    Objectives,
    judged_part,
    measure_service,
)
from ollama_bench.analysis.study import Study
from ollama_bench.storage.connection import connect
from ollama_bench.storage.database import Database
from ollama_bench.storage.results_file import ResultsError


class Headline(NamedTuple):
    """What one gets alone and how many can be served; and what to know before trusting it."""

    sentences: list[str]
    caveats: list[str]


def headline(path: str, run_id: int, objectives: Objectives) -> Headline:
    """Return the answer in short and every caveat; nothing if no level finished.

    Raises ResultsError if the file cannot be read.
    """
    database = connect(path, readonly=True)
    found = Headline([], [])
    try:
        studies = selection.choose(database, [], [run_id])
        for study in studies:
            name = f"{study.model}: " if len(studies) > 1 else ""
            found.sentences.extend(
                headline_of(database, study, objectives, bool(name))
            )
            found.caveats.extend(
                f"{name}{caveat}" for caveat in find_caveats(study)
            )
        return found
    except ResultsError:  # no level was finished
        return found
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
