"""Which two runs --compare means."""

from __future__ import annotations

import pytest

from ollama_bench.analysis.run_lookup import find_history, find_side
from ollama_bench.storage.connection import connect
from tests.support import made_up_results
from tests.support.comparisons import run
from tests.support.studies import change

LEVELS = (1, 2, 4, 8)


@pytest.mark.parametrize(
    "wishes, said",
    [
        (("1", "99"), "no run 99"),
        (("1", "9" * 30), "no model 999"),
        (("1", "9" * 5000), "no model 999"),
        (("1", "\u0663"), "no model"),
        (("before", "nobody"), "no model nobody"),
    ],
)
def test_what_is_absent_is_one_line(pair, capsys, wishes, said):
    assert run(pair, "--compare", *wishes) == 1
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_no_level_in_common_is_told(pair, capsys):
    made_up_results.write(
        pair, label="other", levels=(5,), started_unix=2e9
    )
    assert run(pair, "--compare", "before", "other") == 1
    assert "share no level" in capsys.readouterr().err


def test_runs_of_several_models_are_compared_one_model_at_a_time(
    write, capsys
):
    for label in ("before", "after"):
        write(label, model="alpha:7b", levels=LEVELS)
        results = write(label, model="beta:7b", levels=LEVELS)
    database = connect(results)
    database.execute(
        "UPDATE level SET run_id = run_id - 1 WHERE model = 'beta:7b'"
    )
    database.close()
    assert run(results, "--compare", "1", "3") == 1
    assert (
        "1 has several models (alpha:7b, beta:7b): name one, as in analyze.py alpha:7b --compare"
        in capsys.readouterr().err
    )
    assert run(results, "beta:7b", "--compare", "1", "3") == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[:4] for line in said[:2]] == [
        ["before", "beta:7b:", "run", "1"],
        ["after", "beta:7b:", "run", "3"],
    ]
    assert run(results, "gamma:7b", "--compare", "1", "3") == 1
    assert "no model gamma:7b" in capsys.readouterr().err
    assert run(results, "beta:7b", "--compare", "alpha:7b", "3") == 1
    assert "no model beta:7b" in capsys.readouterr().err


def test_an_unknown_name_lists_the_labels(pair, capsys):
    for arguments in (("--run", "x"), ("--compare", "before", "x")):
        assert run(pair, *arguments) == 1
        error = capsys.readouterr().err
        assert (
            "labels are after, before" in error and error.count("\n") == 1
        )


def test_a_label_names_all_its_runs_wherever_a_run_is_named(write, capsys):
    for label in ("night", "night", "7"):
        results = write(label, levels=LEVELS)
    assert run(results, "--run", "night") == 0
    said = capsys.readouterr().out
    assert "run 1 (night)," in said and "run 2 (night)," in said
    assert run(results, "--run", "7") == 0
    assert "run 3 (7)," in capsys.readouterr().out
    assert run(results, "--compare", "night", "7") == 0
    said = capsys.readouterr().out
    assert "run 1 (night), run 2 (night)" in said and "run 3 (7)" in said


def test_history_is_of_the_same_machine_arguments_server_and_label(
    write, capsys
):
    for _ in range(7):
        results = write("night", levels=LEVELS)
    results = write("after", levels=LEVELS)
    change(
        results,
        "UPDATE run SET machine_id = 1",
        "UPDATE run SET machine_id = 2 WHERE id = 2",
        "UPDATE run SET arguments = '{}' WHERE id = 3",
        "UPDATE run SET label = 'other' WHERE id = 4",
        "UPDATE target SET server_version = '9' WHERE run_id = 5",
    )
    database = connect(results)
    sides = [find_side(database, name, [])[0] for name in ("1", "after")]
    (group,) = find_history(database, *sides)
    database.close()
    assert [row["run_id"] for row in group.runs] == [6, 7]


def test_what_earlier_runs_say_of_the_noise_is_told(write, capsys):
    for seed in range(6):
        results = write("night", levels=LEVELS, seed=seed)
    write("after", rate=37.0, levels=LEVELS)
    change(results, "UPDATE run SET machine_id = 1")
    bound = ("--fail-if", "output_tokens_per_s<-5%")
    assert run(results, "--compare", "1", "after", *bound) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "Between two runs: earlier runs of this machine vary by" in said


@pytest.mark.parametrize(
    "sides, said",
    [
        (("1", "1"), "both sides have run 1"),
        (("before", "1"), "both sides have run 1"),
        (("both", "both"), "both sides have runs 3 and 4"),
    ],
)
def test_a_run_is_not_compared_with_itself(four_runs, capsys, sides, said):
    assert run(four_runs, "--compare", *sides) == 1
    out, error = capsys.readouterr()
    assert error == f"analyze.py: invalid --compare: {said}\n" and not out


@pytest.fixture
def four_runs(write):
    for label in ("before", "after", "both", "both"):
        results = write(label, levels=(1, 2))
    return results


def test_two_models_of_one_run_are_compared(tmp_path, capsys):
    results = tmp_path / "results.db"
    for model in ("alpha:7b", "beta:7b"):
        made_up_results.write(results, model=model, levels=(1, 2))
    change(
        results,
        "UPDATE level SET run_id = 1",
        "UPDATE target SET run_id = 1",
    )
    assert run(results, "--compare", "alpha:7b", "beta:7b") == 0
