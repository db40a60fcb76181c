"""Choose from a file, as analyze.py does."""

from __future__ import annotations

from ollama_bench.analysis import selection
from ollama_bench.storage.connection import connect


def chosen(path, models=(), run_ids=()):
    database = connect(path, readonly=True)
    try:
        return selection.choose(database, list(models), list(run_ids))
    finally:
        database.close()
