"""compare.py: what changed, what is noise, and when the exit code says no."""
import argparse

import pytest

import analyze
import compare
import made_up_results

LEVELS = (1, 2, 4, 8)


@pytest.fixture
def results(tmp_path):
    path = tmp_path / "results.db"
    made_up_results.write(path, label="before", rate=90.0, levels=(2, 8))
    made_up_results.write(path, label="after", rate=60.0, levels=(2, 8, 16), started_unix=1.9e9)
    return path


@pytest.fixture
def write(tmp_path):
    """write(label, ...) adds a run and gives the file."""
    def add(label, **more):
        made_up_results.write(tmp_path / "results.db", label=label, started_unix=1e9 + add.runs, chunks=False, **more)
        add.runs += 1
        return tmp_path / "results.db"
    add.runs = 0
    return add


def run(results, *more):
    return analyze.main(["--db", str(results), "--no-charts", *more])


def test_a_change_beyond_noise_is_told_from_one_within(results, capsys):
    assert run(results, "--compare", "before", "after") == 0
    lines = capsys.readouterr().out.splitlines()
    rate = next(line for line in lines if line.startswith("      8  tokens/s each"))
    assert "-3" in rate and rate.endswith("changed")
    assert next(line for line in lines if line.startswith("      2  wait")).endswith("noise")
    assert next(line for line in lines if line.startswith("      8  tokens/s all")).endswith("one value")
    assert max(map(len, lines)) < 80 and not any(line.startswith("     16") for line in lines)


@pytest.mark.parametrize("condition, code", [
    ("output_tokens_per_s<-5%", 1), ("output_tokens_per_s<-60%", 0), ("tokens_per_s<-5%", 1), ("tokens_per_s>5%", 0),
    ("joules_per_token>5%", 1), ("ttft>5%", 0)])  # 8: the wait grew by half, but so few waits spread too far to say
def test_fail_if(results, condition, code):
    assert run(results, "--compare", "1", "2", "--fail-if", condition) == code


@pytest.mark.parametrize("condition, code", [("error_ratio>0", 0), ("tokens_per_s<1000", 1), ("ttft>1000", 0)])
def test_fail_if_without_a_comparison_bounds_values(results, condition, code):
    assert run(results, "--fail-if", condition) == code


def test_a_bound_that_cannot_be_told_fails(results, tmp_path, capsys):
    made_up_results.write(tmp_path / "dark.db", levels=(1,))
    database = compare.db.connect(tmp_path / "dark.db")
    database.execute("DELETE FROM power_sample")
    database.close()
    assert run(tmp_path / "dark.db", "--fail-if", "joules_per_token>1") == 1
    assert "cannot tell" in capsys.readouterr().out


def test_the_interval_is_the_same_every_time_and_covers_the_change():
    old, new = [10.0, 11.0, 9.0, 10.5, 9.5] * 4, [12.0, 13.0, 11.0, 12.5, 11.5] * 4
    low, high = compare.bootstrap(old, new)
    assert (low, high) == compare.bootstrap(old, new)
    assert 0.1 < low < 0.2 < high < 0.3


def test_the_interval_of_the_same_values_holds_zero():
    low, high = compare.bootstrap([1.0, 2.0, 3.0, 4.0] * 5, [1.0, 2.0, 3.0, 4.0] * 5)
    assert low < 0 < high


def test_repeats_give_throughput_an_interval(tmp_path, capsys):
    path = tmp_path / "results.db"
    for rate, label in ((80.0, "a"), (40.0, "b")):
        made_up_results.write(path, label=label, rate=rate, levels=(4, 4, 4), started_unix=1e9 + rate)
    database = compare.db.connect(path)
    database.execute("DELETE FROM event")
    database.close()
    run(path, "--compare", "a", "b")
    line = next(line for line in capsys.readouterr().out.splitlines() if "tokens/s all" in line)
    assert "% to -" in line and line.endswith("changed")


@pytest.mark.parametrize("text", ["", "tokens_per_s", "speed>1", "ttft>x", "ttft=3", "error_ratio>5%"])
def test_a_wrong_condition_is_told(text):
    with pytest.raises(argparse.ArgumentTypeError):
        compare.condition(text)


@pytest.mark.parametrize("wishes, said", [(("1", "99"), "no run 99"), (("before", "nobody"), "no model nobody")])
def test_what_is_absent_is_one_line(results, capsys, wishes, said):
    assert run(results, "--compare", *wishes) == 1
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_no_level_in_common_is_told(results, capsys):
    made_up_results.write(results, label="other", levels=(5,), started_unix=2e9)
    assert run(results, "--compare", "before", "other") == 1
    assert "share no level" in capsys.readouterr().err


def test_runs_of_several_models_are_compared_one_model_at_a_time(write, capsys):
    for label in ("before", "after"):
        write(label, model="alpha:7b", levels=LEVELS)
        results = write(label, model="beta:7b", levels=LEVELS)
    database = compare.db.connect(results)
    database.execute("UPDATE level SET run_id = run_id - 1 WHERE model = 'beta:7b'")
    database.close()
    assert run(results, "--compare", "1", "3") == 1
    assert "1 holds several models (alpha:7b, beta:7b): name one, as in analyze.py alpha:7b --compare" in capsys.readouterr().err
    assert run(results, "beta:7b", "--compare", "1", "3") == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[:4] for line in said[:2]] == [["from", "beta:7b:", "run", "1"], ["to", "beta:7b:", "run", "3"]]
    assert run(results, "gamma:7b", "--compare", "1", "3") == 1
    assert "no model gamma:7b" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["a", "b", "--compare", "1", "2"], ["--run", "1", "--compare", "1", "2"]])
def test_wrong_usage_is_2(results, arguments):
    with pytest.raises(SystemExit) as error:
        run(results, *arguments)
    assert error.value.code == 2
