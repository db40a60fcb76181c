"""Write chosen runs in the forms that other tools read.

analyze.py --export vllm DIR     ollama-bench export vllm DIR
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from sqlite_utils import Database

from ollama_bench.analysis.study import Study
from ollama_bench.formats import (
    benchstat_export,
    llm_d_export,
    parquet_export,
    vllm_export,
)
from ollama_bench.formats.study import export as study_export

Write = Callable[[Database, Iterable[Study], Path], int]
# name: what writes its files and counts them, and the folder they are in
FORMS: dict[str, tuple[Write, str]] = {
    "study": (study_export.write, study_export.FOLDER),
    "vllm": (vllm_export.write, vllm_export.FOLDER),
    "llm-d": (llm_d_export.write, llm_d_export.FOLDER),
    "benchstat": (benchstat_export.write, benchstat_export.FOLDER),
    "parquet": (parquet_export.write, parquet_export.FOLDER),
}
# for a warehouse: of all runs, where none is named
WHOLE = {"parquet": parquet_export.write_every_run}


def export(
    database: Database,
    studies: Iterable[Study],
    form: str,
    top: Path,
    is_whole: bool,
) -> str:
    """Write the studies below a folder and return a line that says what was written.

    is_whole: no run and no model is named.
    Raises OutputError where a file stands that no export wrote, and OSError.
    """
    write, folder = FORMS[form]
    if is_whole and form in WHOLE:
        count = WHOLE[form](database, top)
    else:
        count = write(database, studies, top)
    files = "1 file" if count == 1 else f"{count} files"
    return f"{files} in {top / folder}"
