"""Which runs count, and what is told when there is none."""

from __future__ import annotations

import contextlib
import sqlite3

import pytest
from sqlite_utils import Database

from ollama_bench.analysis import selection
from ollama_bench.storage.connection import connect
from ollama_bench.storage.results_file import ResultsError
from tests.support import made_up_results, prompt_lengths
from tests.support.selections import chosen
from tests.support.studies import change


def test_the_newest_finished_run_of_each_model(results):
    made_up_results.write(results, levels=(1,), started_unix=2e9)
    made_up_results.write(results, levels=(1, 2), started_unix=1e9)
    made_up_results.write(
        results, levels=(1,), started_unix=3e9, model="other:1b"
    )
    change(results, "UPDATE run SET status = 'failed' WHERE id = 3")
    assert [
        (study.model, [run["run_id"] for run in study.runs])
        for study in chosen(results)
    ] == [
        ("other:1b", [3]),
        ("tiny:7b", [1]),
    ]


def test_a_finished_run_goes_before_a_newer_one_that_is_not(results):
    made_up_results.write(results, levels=(1,), started_unix=1e9)
    made_up_results.write(results, levels=(1,), started_unix=2e9)
    change(results, "UPDATE run SET status = 'interrupted' WHERE id = 2")
    assert [run["run_id"] for run in chosen(results)[0].runs] == [1]


def test_imported_runs_of_a_model_go_together(results):
    made_up_results.write(results, levels=(1,), runs=3)
    change(results, "UPDATE run SET source = 'import' WHERE id < 3")
    assert [run["run_id"] for run in chosen(results)[0].runs] == [3]
    change(results, "UPDATE run SET source = 'import'")
    study = chosen(results)[0]
    assert [run["run_id"] for run in study.runs] == [1, 2, 3]
    assert {n: len(levels) for n, levels in study.by_size().items()} == {
        1: 3
    }


def test_runs_by_number_and_models_by_name_or_folder(results):
    made_up_results.write(results, levels=(1,), runs=2)
    assert [
        run["run_id"] for run in chosen(results, run_ids=[1])[0].runs
    ] == [1]
    assert chosen(results, ["tiny-7b"])[0].model == "tiny:7b"


def test_an_interrupted_level_that_was_fired_again_is_left_out(results):
    made_up_results.write(results, levels=(1, 4, 4), failures=2)
    change(results, "UPDATE level SET status = 'interrupted' WHERE id = 2")
    study = chosen(results)[0]
    assert [level["level_id"] for level in study.levels] == [1, 3]
    assert {outcome["level_id"] for outcome in study.outcomes} == {3}
    change(results, "UPDATE level SET status = 'interrupted'")
    assert chosen(results, run_ids=[1])[0].by_size().keys() == {
        1,
        4,
    }  # what is not there again is not left out


@pytest.mark.parametrize(
    "models, run_ids, said",
    [
        (["nothing:1b"], [], "no model nothing:1b"),
        ([], [9], "no run 9 with levels in this file: it has 1"),
        ([], [10**30], "no run 10+ with"),
        ([], [-(10**30)], "no run -10+ with"),
    ],
)
def test_what_is_absent_is_one_line(results, models, run_ids, said):
    made_up_results.write(results, levels=(1,))
    with pytest.raises(ResultsError, match=said) as error:
        chosen(results, models, run_ids)
    assert "\n" not in str(error.value)


def test_an_empty_file_says_what_to_do(results):
    connect(results).close()
    with pytest.raises(ResultsError, match="run bench.py first"):
        chosen(results)


def test_each_length_of_prompts_is_a_study_of_its_own(results):
    prompt_lengths.write(results)
    made_up_results.write(results, model="other:1b", levels=(1,))
    assert [
        (study.name, study.folder, sorted(study.by_size()))
        for study in chosen(results)
    ] == [
        ("other:1b", "other-1b", [1]),
        ("tiny:7b, prompts of 500 tokens", "tiny-7b~500", [1, 4]),
        ("tiny:7b, prompts of 4,000 tokens", "tiny-7b~4000", [1, 4]),
    ]


def test_runs_of_two_lengths_are_not_repeats_of_each_other(results):
    made_up_results.write(results, levels=(1,), runs=3)
    change(
        results,
        "UPDATE level SET asked_prompt_tokens = 500 WHERE run_id = 1",
        "UPDATE level SET prompt_mix = '5*1,8*1' WHERE run_id = 2",
    )
    studies = chosen(results, run_ids=[1, 2, 3])
    assert [
        (
            study.prompts,
            [run["run_id"] for run in study.runs],
            study.folder,
        )
        for study in studies
    ] == [
        ("other prompts", [3], "tiny-7b~other"),
        ("prompts of 500 tokens", [1], "tiny-7b~500"),
        ("mix 5*1,8*1", [2], "tiny-7b~mix-5x1-8x1"),
    ]
    assert all(len(study.levels) == 1 for study in studies)


def test_one_length_alone_needs_no_name(results):
    made_up_results.write(results, levels=(1, 2))
    change(results, "UPDATE level SET asked_prompt_tokens = 500")
    (study,) = chosen(results)
    assert (study.name, study.folder) == ("tiny:7b", "tiny-7b")
    assert study.asked_prompt_tokens == 500


def test_warm_twins_and_levels_measured_again_are_of_the_same_length(
    results,
):
    prompt_lengths.write(results, levels=(1, 2))
    change(
        results,
        "UPDATE level SET cache = 'warm' WHERE asked_prompt_tokens = 4000",
        "UPDATE level SET status = 'interrupted' WHERE concurrency = 2 "
        "AND asked_prompt_tokens = 500",
    )
    short, long = chosen(results)
    assert not short.cache_effect and len(long.levels) == 2
    assert [level["superseded"] for level in short.levels] == [0, 0]


def test_what_is_left_out_is_known_without_a_look_at_requests(results):
    """A file may hold millions: which levels count stands in their own rows."""
    made_up_results.write(results, levels=(1, 2, 2, 4, 4, 8))
    change(
        results,
        "UPDATE level SET cache = 'warm' WHERE id = 3",
        "UPDATE level SET status = 'interrupted' WHERE id = 4",
        "UPDATE level SET is_control = 1 WHERE id = 6",
    )
    with contextlib.closing(connect(results).conn) as connection:
        connection.set_authorizer(
            lambda _action, table, *_: (
                sqlite3.SQLITE_DENY
                if table == "request"
                else sqlite3.SQLITE_OK
            )
        )
        selection.make_selection_tables(
            Database(connection), [(1, "tiny:7b", 1)]
        )
        aside = connection.execute("SELECT level_id FROM aside")
        assert sorted(aside) == [(3,), (4,), (6,)]
