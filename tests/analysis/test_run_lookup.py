"""Which two runs --compare means."""

from __future__ import annotations

import pytest

from ollama_bench.storage.connection import connect
from tests.support import made_up_results
from tests.support.comparisons import run

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
        ["from", "beta:7b:", "run", "1"],
        ["to", "beta:7b:", "run", "3"],
    ]
    assert run(results, "gamma:7b", "--compare", "1", "3") == 1
    assert "no model gamma:7b" in capsys.readouterr().err
    assert run(results, "beta:7b", "--compare", "alpha:7b", "3") == 1
    assert "no model beta:7b" in capsys.readouterr().err
