"""compare.py: what changed, what is noise, and when the exit code says no."""
import argparse
import math
import random

import pytest

import analyze
import compare
import db
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


def lines(results, capsys, *more):
    """What --compare before after prints."""
    run(results, "--compare", "before", "after", *more)
    return capsys.readouterr().out.splitlines()


def row(lines, at, what):
    return next((line for line in lines if line.startswith(f"{at:>7}  {what} ")), "")


# Change or noise.

def test_one_burst_is_never_judged_by_itself(results, capsys):
    said = lines(results, capsys)
    assert row(said, 8, "tokens/s each").endswith("unknown") and "-3" in row(said, 8, "tokens/s each")
    assert row(said, 2, "wait").endswith("unknown") and not row(said, "all", "wait")
    assert "--repeat 3 tells" in said[-1] and row(said, 2, "wait (s)") == row(said, 2, "wait")
    assert max(map(len, said)) < 80 and "only in to: 16 at once" in said and not row(said, 16, "wait")


@pytest.mark.parametrize("rate, verdict, code", [(81.0, "changed", 1), (90.0, "noise", 0)])
def test_levels_that_agree_tell_a_change_without_repeats(write, capsys, rate, verdict, code):
    write("before", rate=90.0, levels=LEVELS + (16, 32))
    results = write("after", rate=rate, levels=LEVELS + (16, 32), seed=2)
    assert row(lines(results, capsys), "all", "tokens/s each").endswith(verdict)
    assert run(results, "--compare", "before", "after", "--fail-if", "tokens_per_s<-5%") == code


def test_levels_that_disagree_are_noise(write, capsys):
    """One level that lost half does not speak for all."""
    changes = [compare.Change(n, "ttft", 1, 1, ratio) for n, ratio in ((1, 0.7), (2, 0.0), (4, -0.01), (8, 0.01))]
    found = compare.over_levels("ttft", changes)
    compare.judge([found])
    assert found.verdict == "noise"


def test_a_shift_of_a_whole_run_by_a_little_is_no_change():
    found = compare.over_levels("ttft", [compare.Change(n, "ttft", 1, 1, 0.02 + n / 1e6) for n in LEVELS])
    compare.judge([found])
    assert found.interval[0] > 0.019 and found.verdict == "under 3%"


def test_repeats_tell_a_change_at_each_level(write, capsys):
    write("before", rate=80.0, levels=(4, 4, 4))
    results = write("after", rate=60.0, levels=(4, 4, 4), seed=5)
    said = lines(results, capsys)
    assert "% to -" in row(said, 4, "tokens/s all") and row(said, 4, "tokens/s all").endswith("changed")
    assert row(said, 4, "wait").endswith("noise") and not any("unknown" in line for line in said)
    assert max(map(len, said)) < 80


def test_a_slower_queue_shows_though_half_of_the_level_did_not_queue(write, capsys):
    write("before", rate=100.0, levels=(8, 8, 8), slots=4)
    said = lines(write("after", rate=90.0, levels=(8, 8, 8), slots=4, seed=5), capsys)
    assert row(said, 8, "wait").endswith("changed") and "+1" in row(said, 8, "wait")


def test_equal_runs_have_no_change(write, capsys):
    for seed in range(0, 60, 3):
        write(f"run {seed}", levels=LEVELS * 3, seed=seed)
        results = write(f"run {seed + 1}", levels=LEVELS * 3, seed=seed + 1)
        assert run(results, "--compare", f"run {seed}", f"run {seed + 1}", "--fail-if", "ttft>0%", "--fail-if", "tokens_per_s<0%") == 0
    assert "changed" not in capsys.readouterr().out


def test_a_sure_change_too_small_for_a_word_is_called_so():
    change = compare.at_level(4, "ttft", *([{"ttft_mean_s": value} for value in values] for values in ((1.0, 1.0001, 1.0002), (0.999, 0.9991, 0.9992))))
    compare.judge([change])
    assert change.interval[1] < 0 and change.verdict == "under 1%"


def test_the_interval_is_welchs():
    """Worked out by hand: both variances 1 of 3 values, so 4 degrees of freedom, t = 2.776 and a half width of 2.776 * sqrt(2/3)."""
    old, new = [math.exp(x) for x in (0, 1, 2)], [math.exp(x) for x in (1, 2, 3)]
    low, high = compare.interval(1.0, (compare.mean_variance(old), compare.mean_variance(new)), 0.05)
    half = 2.776445 * (2 / 3) ** 0.5
    assert low == pytest.approx(math.exp(1 - half) - 1, rel=1e-5) and high == pytest.approx(math.exp(1 + half) - 1, rel=1e-5)


@pytest.mark.parametrize("p, freedom, t", [
    (0.975, 1, 12.7062), (0.975, 2, 4.30265), (0.975, 4, 2.77645), (0.995, 10, 3.16927), (0.975, 100, 1.98397), (0.975, 1e6, 1.95996)])
def test_students_t_is_that_of_the_tables(p, freedom, t):
    assert compare.t_quantile(p, freedom) == pytest.approx(t, rel=1e-5)


def test_more_levels_find_no_more_by_chance():
    """Of 60 comparisons of 24 figures each, all noise of 10 %, 5 % may find anything; one interval in 20 would in 70 %."""
    chance = random.Random(3)
    found = 0
    for _ in range(60):
        changes = [compare.at_level(n, "ttft", *([{"ttft_mean_s": math.exp(chance.gauss(0, 0.1))} for _ in range(3)] for _ in range(2))) for n in range(24)]
        compare.judge(changes)
        found += any(change.verdict == "changed" for change in changes)
    assert found <= 6


def test_a_level_needs_less_evidence_where_all_levels_moved():
    def wait(n, by):
        return compare.at_level(n, "ttft", *([{"ttft_mean_s": factor * value} for value in (1.0, 1.03, 0.97)] for factor in (1.0, by)))
    lone = [wait(1, 1.1), wait(2, 1.0), wait(4, 0.95)]
    all_moved = [wait(1, 1.1), wait(2, 1.1), wait(4, 1.1)]
    for changes in (lone, all_moved):
        compare.judge(changes + [over := compare.over_levels("ttft", changes)])
    assert lone[0].ratio == pytest.approx(all_moved[0].ratio)
    assert (lone[0].verdict, all_moved[0].verdict, over.verdict) == ("noise", "changed", "changed")


# Failures.

def test_a_level_that_died_is_shown_and_trips_every_bound(write, capsys):
    write("before", levels=LEVELS)
    results = write("after", levels=LEVELS, failures=8)
    said = lines(results, capsys)
    assert row(said, 8, "failed").split() == ["8", "failed", "0/8", "8/8"] and row(said, 8, "wait").endswith("gone")
    assert not row(said, 4, "failed") and max(map(len, said)) < 80
    for condition in ("ttft>900%", "output_tokens_per_s<-99%", "joules_per_token>900%", "error_ratio>0.01", "error_ratio>1"):
        assert run(results, "--compare", "before", "after", "--fail-if", condition) == 1
        said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("failed: ")]
        assert said == [f"failed: {condition} at 8 at once: had replies, now none"]


def test_a_level_that_is_not_there_any_more_trips_too(write, capsys):
    write("before", levels=LEVELS)
    results = write("after", levels=LEVELS[:3])
    assert "only in from: 8 at once" in lines(results, capsys)
    assert run(results, "--compare", "before", "after", "--fail-if", "ttft>900%") == 1
    assert "failed: ttft>900% at 8 at once: had replies, now not measured" in capsys.readouterr().out
    assert run(results, "--compare", "after", "before", "--fail-if", "ttft>900%") == 0


def test_a_metric_that_is_gone_trips_its_own_bounds(write, capsys):
    write("before", levels=LEVELS)
    results = write("after", levels=LEVELS)
    database = compare.db.connect(results)
    database.execute("DELETE FROM power_sample WHERE source_id IN (SELECT id FROM power_source WHERE run_id = 2)")
    database.close()
    assert run(results, "--compare", "before", "after", "--fail-if", "joules_per_token>900%") == 1
    assert "had values, now none" in capsys.readouterr().out
    assert run(results, "--compare", "before", "after", "--fail-if", "ttft>900%") == 0


@pytest.mark.parametrize("condition, code", [("error_ratio>0.01", 1), ("error_ratio>0.24", 1), ("error_ratio>0.25", 0), ("error_ratio<-0.1", 0)])
def test_an_error_ratio_is_bound_by_its_difference(write, capsys, condition, code):
    write("before", levels=LEVELS)
    results = write("after", levels=LEVELS, failures=2)
    assert row(lines(results, capsys), 8, "failed").split() == ["8", "failed", "0/8", "2/8"]
    assert run(results, "--compare", "before", "after", "--fail-if", condition) == code


# Conditions.

@pytest.mark.parametrize("condition, code", [
    ("output_tokens_per_s<-5%", 1), ("output_tokens_per_s<-60%", 0), ("tokens_per_s<-5%", 1), ("tokens_per_s>5%", 0),
    ("joules_per_token>5%", 1), ("ttft>5%", 0)])  # at 8 the wait grew by 40 %, at the others not at all
def test_fail_if(write, condition, code):
    write("before", rate=90.0, levels=LEVELS)
    results = write("after", rate=60.0, levels=LEVELS, seed=3)
    assert run(results, "--compare", "1", "2", "--fail-if", condition) == code


def test_a_bound_passed_where_nothing_tells_the_noise_cannot_be_told(results, capsys):
    assert run(results, "--compare", "1", "2", "--fail-if", "tokens_per_s<-5%") == 1
    assert "cannot tell tokens_per_s<-5% at 8 at once (-33" in capsys.readouterr().out
    assert run(results, "--compare", "1", "2", "--fail-if", "tokens_per_s<-60%") == 0


@pytest.mark.parametrize("condition, code", [("error_ratio>0", 0), ("tokens_per_s<1000", 1), ("ttft>1000", 0)])
def test_fail_if_without_a_comparison_bounds_values(results, condition, code):
    assert run(results, "--fail-if", condition) == code


def test_a_bound_that_cannot_be_told_fails(results, tmp_path, capsys):
    made_up_results.write(tmp_path / "dark.db", levels=(1,))
    database = compare.db.connect(tmp_path / "dark.db")
    database.execute("DELETE FROM power_sample")
    database.close()
    assert run(tmp_path / "dark.db", "--fail-if", "joules_per_token>1") == 1
    assert run(tmp_path / "dark.db", "--compare", "1", "1", "--fail-if", "joules_per_token>1%") == 1
    assert capsys.readouterr().out.count("cannot tell") == 2


def change(path, *statements):
    database = compare.db.connect(path)
    for sql in statements:
        database.execute(sql)
    database.close()


@pytest.mark.parametrize("before, after, said", [
    ("on_battery = 1", "on_battery = 0", "! from ran on battery, to ran on mains: a change may come from that"),
    ("low_power_mode = 0", "low_power_mode = 1", "! from ran without low power mode, to ran in low power mode: a change may come"),
    ("on_battery = concurrency = 2", "on_battery = 1", "! from ran partly on battery, to ran on battery: a change may come from that"),
    ("on_battery = 1", "on_battery = 1", ""), ("on_battery = 1", "on_battery = NULL", "")])
def test_what_ran_under_other_conditions_is_told(results, capsys, before, after, said):
    change(results, *(f"UPDATE level SET {what} WHERE run_id = {number}" for number, what in ((1, before), (2, after))))
    told = [line for line in lines(results, capsys) if " ran " in line]
    assert told == [said] * bool(said)


def test_joules_of_the_gpu_alone_are_compared_under_their_name_where_no_more_is_known(results, capsys):
    assert not row(lines(results, capsys), 8, "GPU J/token")
    assert row(lines(results, capsys, "--fail-if", "gpu_joules_per_token>900%"), 8, "GPU J/token")  # it is named
    change(results, "UPDATE power_sample SET energy_j = NULL WHERE source_id = 2")
    said = lines(results, capsys)
    assert row(said, 8, "GPU J/token") and row(said, 8, "J/token").endswith("gone")
    assert run(results, "--run", "2", "--fail-if", "gpu_joules_per_token>0") == 1


@pytest.mark.parametrize("text", ["", "tokens_per_s", "speed>1", "ttft>x", "ttft=3", "error_ratio>5%", "e2e>5%"])
def test_a_wrong_condition_is_told(text):
    with pytest.raises(argparse.ArgumentTypeError) as error:
        compare.condition(text)
    assert str(error.value).endswith("with % for a change: ttft, tokens_per_s, output_tokens_per_s, joules_per_token, gpu_joules_per_token")


@pytest.mark.parametrize("arguments", [
    ["a", "b", "--compare", "1", "2"], ["--run", "1", "--compare", "1", "2"], ["--compare", "1", "2", "--fail-if", "ttft>5%", "--fail-if", "ttft>5"]])
def test_wrong_usage_is_2(results, arguments):
    with pytest.raises(SystemExit) as error:
        run(results, *arguments)
    assert error.value.code == 2


# Which two.

@pytest.mark.parametrize("wishes, said", [(("1", "99"), "no run 99"), (("1", "9" * 30), "no model 999"), (("1", "9" * 5000), "no model 999"), (("1", "\u0663"), "no model"), (("before", "nobody"), "no model nobody")])
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
    assert run(results, "beta:7b", "--compare", "alpha:7b", "3") == 1
    assert "no model beta:7b" in capsys.readouterr().err


@pytest.mark.parametrize("simulated, said", [((1, 1), "! from and to simulated"), ((0, 1), "! to simulated"), ((1, 0), "! from simulated"), ((0, 0), None)])
def test_a_simulated_side_is_told_in_one_line(write, capsys, simulated, said):
    write("before", levels=LEVELS, simulated=simulated[0])
    doubts = [line for line in lines(write("after", levels=LEVELS, simulated=simulated[1]), capsys) if line.startswith("!")]
    assert doubts == ([f"{said}: no measurement of a real machine"] if said else [])


def test_words_against_tokens_are_told_in_one_line(write, capsys):
    write("before", levels=LEVELS, simulated=0)
    results = write("after", levels=LEVELS, simulated=0)
    database = compare.db.connect(results)
    database.execute("UPDATE request SET output_tokens_source = 'words' WHERE level_id IN (SELECT id FROM level WHERE run_id = 1)")
    database.close()
    assert [line for line in lines(results, capsys) if line.startswith("!")] == [
        "! from counts words, to counts tokens: tokens/s and J/token do not compare"]


@pytest.mark.parametrize("sides, said", [
    (("load = 'open', rate_per_s = 6", "load = 'open', rate_per_s = 20"),
     "! from fires open loops of 6 requests/s, to fires open loops of 20 requests/s: a change may come from that"),
    (("load = 'burst'", "load = 'closed'"), "! from fires bursts, to fires closed loops: a change may come from that"),
    (("load = 'open', rate_per_s = 6", "load = 'open', rate_per_s = 6"), ""), (("load = NULL", "load = 'burst'"), "")])
def test_loads_that_differ_are_told(write, capsys, sides, said):
    write("before", levels=LEVELS, simulated=0)
    results = write("after", levels=LEVELS, simulated=0)
    database = compare.db.connect(results)
    for run_id, columns in enumerate(sides, 1):
        database.execute(f"UPDATE level SET {columns} WHERE run_id = {run_id}")
    database.close()
    told = [line for line in lines(results, capsys) if line[:1] == "!" or line[:5] == " " * 5 and line[5:6].strip()]
    assert " ".join(" ".join(told).split()).startswith(said) and bool(told) == bool(said)


def test_a_label_is_printed_without_its_escape_codes(write, capsys):
    results = write("re\x1b[31md", levels=LEVELS)
    run(results, "--compare", "1", "1")
    assert "\x1b" not in capsys.readouterr().out


def test_errors_of_a_level_that_slept_are_none_of_the_servers(write, capsys):
    write("before", levels=LEVELS)
    path = write("after", levels=LEVELS, failures=2)  # at the highest level
    database = db.connect(path)
    with database.conn:
        database.execute("UPDATE level SET slept_s = 30 WHERE run_id = 2 AND repeat = 1 AND concurrency = ?", [LEVELS[-1]])
    database.conn.close()
    said = lines(path, capsys)
    assert not any(line.split()[1:2] == ["failed"] for line in said)


@pytest.mark.parametrize("label, word", [("before", "from"), ("after", "to")])
def test_a_level_that_slept_is_not_compared(write, capsys, label, word):
    write("before", rate=90.0, levels=LEVELS)
    path = write("after", rate=60.0, levels=LEVELS)
    database = db.connect(path)
    with database.conn:
        database.execute("UPDATE level SET slept_s = 30 WHERE concurrency = 4 AND run_id = (SELECT id FROM run WHERE label = ?)", [label])
    database.conn.close()
    said = lines(path, capsys)
    assert any(line.startswith(f"! the machine slept for 30 s in {word}, at 4 at once") for line in said)
    assert row(said, 8, "tokens/s each") and not any("%" in line for line in said if line.startswith(f"{4:>7}  "))
