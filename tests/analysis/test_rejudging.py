"""A study as other objectives than its run's judge it."""

import json

import pytest

from ollama_bench.analysis import gate, selection
from ollama_bench.analysis.capacity import find_search
from ollama_bench.analysis.conditions import parse_condition
from ollama_bench.analysis.verdict import judge
from ollama_bench.inputs.objectives import METRICS, parse
from ollama_bench.storage.connection import connect
from tests.support import made_up_results

DECIDED = (
    "good_requests",
    "good_ratio",
    "undecided_requests",
    "goodput_per_s",
)
SEARCHED = """
UPDATE level SET trial = json_object('size', concurrency, 'verdict', 'above',
  'evidence', json_array(4.0, -4.0), 'binding', json_array())"""


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "results.db"
    made_up_results.write(path, levels=(1, 4, 32), failures=2)
    opened = connect(path)
    yield opened
    opened.close()


def write_objectives(database, bounds):
    """Make them those that the run was started with."""
    database.execute("DELETE FROM objective")
    for name, (bound, share) in bounds.items():
        database["objective"].insert(
            {
                "run_id": 1,
                "metric": METRICS[name].column,
                "bound": bound,
                "share": share,
            }
        )


def judge_by(database, slo):
    (study,) = selection.choose(database, [], [])
    return judge(database, study, parse(slo) if slo else None)


@pytest.mark.parametrize(
    "slo", ["ttft=0.4", "ttft=0.000001", "tokens_per_s=12", "e2e=9@80"]
)
def test_good_requests_are_those_of_a_run_with_these_objectives(
    database, slo
):
    write_objectives(database, parse("ttft=10"))
    others = judge_by(database, slo).study.levels
    write_objectives(database, parse(slo))
    own = judge_by(database, None).study.levels
    for other, level in zip(others, own, strict=True):
        assert [other[name] for name in DECIDED] == pytest.approx(
            [level[name] for name in DECIDED]
        )
        # of the other objectives nobody has computed it
        assert other["good_ratio_low"] is None


def test_the_runs_own_objectives_change_nothing(database):
    write_objectives(database, parse("ttft=10,tokens_per_s=10"))
    named = judge_by(database, "tokens_per_s=10,ttft=10").study
    assert named == judge_by(database, None).study
    assert not named.is_rejudged


def test_a_bound_is_held_against_what_was_asked(database):
    write_objectives(database, parse("ttft=1000"))
    conditions = [parse_condition("good_ratio<0.5")]
    for slo, code in ((None, 0), ("ttft=0.000001", 1)):
        study = judge_by(database, slo).study
        assert (
            gate.exit_code(gate.check_values([study], conditions)) == code
        )


def test_a_search_for_other_objectives_has_found_nothing(database):
    write_objectives(database, parse("ttft=10"))
    database.execute(SEARCHED)
    own, other = judge_by(database, None), judge_by(database, "ttft=1e-6")
    assert find_search(own.study) is not None
    assert "At least 32 at once" in " ".join(own.answer.first)
    assert find_search(other.study) is None
    assert "Not even one at a time" in " ".join(other.answer.first)
    assert json.loads(other.study.levels[0]["trial"])["size"] == 1
