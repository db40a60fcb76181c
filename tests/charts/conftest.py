"""Specs and files that the tests of the charts share."""

from __future__ import annotations

import altair as alt
import pytest

from ollama_bench.analysis import selection
from ollama_bench.charts import catalog, chart, model_charts
from ollama_bench.storage.connection import connect
from tests.support import made_up_results


@pytest.fixture(scope="session", autouse=True)
def validated():
    """Hold every spec that these tests draw against Vega-Lite's schema, as the product does not."""
    finish = chart.finish

    def finish_and_validate(*arguments, **more):
        spec = finish(*arguments, **more)
        alt.Root.validate(spec)
        return spec

    with pytest.MonkeyPatch.context() as patch:
        for module in (chart, model_charts):
            patch.setattr(module, "finish", finish_and_validate)
        yield


@pytest.fixture(scope="session")
def drawn(validated, tmp_path_factory):
    """Every chart of a made-up study with failures."""
    path = tmp_path_factory.mktemp("charts") / "results.db"
    made_up_results.write(path, failures=5)
    database = connect(path, readonly=True)
    study = selection.choose(database, [], [])[0]
    specs = {
        chart.name: chart.draw(database, study) for chart in catalog.CHARTS
    }
    database.close()
    return specs


@pytest.fixture
def file(tmp_path):
    """A results file that a test may change, and its study: call it for both."""
    opened = []

    def change(sql=(), **written):
        made_up_results.write(tmp_path / "results.db", **written)
        opened.append(connect(tmp_path / "results.db"))
        for statement in sql:
            opened[-1].execute(statement)
        return opened[-1], selection.choose(opened[-1], [], [])[0]

    yield change
    for database in opened:
        database.close()
