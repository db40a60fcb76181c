"""What a page makes anew from its instants is what SQL made of the rows."""

import math

import pytest

from ollama_bench.analysis import selection
from ollama_bench.analysis.verdict import judge
from ollama_bench.report import instant_rows, instants
from ollama_bench.report.page import add_good
from ollama_bench.report.recomputed import FIGURES, Recomputed
from ollama_bench.storage.connection import connect
from tests.support import made_up_results, random_results


def judge_file(path):
    database = connect(path, readonly=True)
    studies = selection.choose(database, [], [])
    return database, [judge(database, study) for study in studies]


def carry(rows):
    """The rows as a reader of the page has them."""
    packed = instants.pack(instants.write_instants(rows))
    return instants.parse_instants(instants.unpack(packed))


def agrees(one, other):
    if isinstance(one, float) and isinstance(other, float | int):
        return math.isclose(one, other, rel_tol=1e-12, abs_tol=1e-15)
    return one == other


@pytest.mark.parametrize("seed", range(3))
def test_every_figure_of_every_level_is_that_of_the_views(
    tmp_path, monkeypatch, seed
):
    random_results.write(tmp_path / "results.db", seed)
    database, verdicts = judge_file(tmp_path / "results.db")
    levels = [level for verdict in verdicts for level in add_good(verdict)]
    known = {
        name
        for level in levels
        for name in FIGURES
        if level[name] is not None
    }
    assert known == {*FIGURES}
    for most_chunks in (500_000, 50):
        monkeypatch.setattr(instant_rows, "MOST_CHUNKS", most_chunks)
        rows = carry(instant_rows.read_instants(database, verdicts))
        assert (rows["every"] > 1) == (most_chunks == 50)
        found = Recomputed(rows)
        assert not list(list_other_figures(levels, found))
        for level in levels:
            level_id = level["level_id"]
            service = verdicts[0].services.get(level_id)
            assert (found.find("most_served", [level_id]) > 0) == bool(
                service and service.is_served
            )


def list_other_figures(levels, found):
    for level in levels:
        for name in FIGURES:
            value = found.find(name, [level["level_id"]])
            if not agrees(level[name], value):
                yield level["concurrency"], name, level[name], value


def test_runs_count_alike_and_repeats_of_a_run_share_its_weight(tmp_path):
    made_up_results.write(tmp_path / "results.db", levels=(2,), runs=2)
    database = connect(tmp_path / "results.db", readonly=True)
    studies = selection.choose(database, [], [1, 2])
    verdicts = [judge(database, study) for study in studies]
    found = Recomputed(instant_rows.read_instants(database, verdicts))
    ids = [level["level_id"] for level in verdicts[0].study.levels]
    one, other = (found.find("ttft_mean_s", [one]) for one in ids)
    assert found.find("ttft_mean_s", ids) == pytest.approx(
        (one + other) / 2
    )


def test_too_many_requests_are_not_carried(tmp_path, monkeypatch):
    monkeypatch.setattr(instant_rows, "MOST_REQUESTS", 6)
    made_up_results.write(tmp_path / "results.db", levels=(1, 2, 4))
    assert (
        instant_rows.read_instants(*judge_file(tmp_path / "results.db"))
        is None
    )
