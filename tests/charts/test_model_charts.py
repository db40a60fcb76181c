"""Several models side by side."""

from __future__ import annotations

from ollama_bench.analysis import selection
from ollama_bench.charts.model_charts import compare_models
from ollama_bench.storage.connection import connect
from tests.support import made_up_results


def test_models_are_compared_when_there_are_two(tmp_path):
    made_up_results.write(
        tmp_path / "results.db", levels=(1, 2), chunks=False
    )
    database = connect(tmp_path / "results.db")
    assert compare_models(selection.choose(database, [], [])) == {}
    database.close()
    made_up_results.write(
        tmp_path / "results.db",
        levels=(1, 2),
        chunks=False,
        model="other:1b",
    )
    database = connect(tmp_path / "results.db")
    assert list(compare_models(selection.choose(database, [], []))) == [
        "comparative_throughput",
        "comparative_wait",
        "comparative_efficiency",
    ]
    database.close()
