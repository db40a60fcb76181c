"""verdict.py: the law against exact data, the sentences and warnings against made-up runs."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import analyze
from ollama_bench.terminal import console
from ollama_bench.storage import db
from tests.support import made_up_results
from ollama_bench.analysis import selection
from ollama_bench.analysis import verdict

LEVELS = (1, 2, 4, 8, 16, 32, 64)
SLO = {"ttft": 10.0, "tokens_per_s": 10.0}


def points(alone, contention, crosstalk, levels=LEVELS):
    return [(n, alone * n / (1 + contention * (n - 1) + crosstalk * n * (n - 1))) for n in levels]


@settings(deadline=None)  # a busy machine is no failure
@given(st.floats(1, 1000), st.floats(0, 0.9), st.floats(0, 0.01))
def test_the_law_is_found_again_in_exact_data(alone, contention, crosstalk):
    law = verdict.fit_law(points(alone, contention, crosstalk))
    assert (law.alone, law.contention, law.crosstalk) == (
        pytest.approx(alone, rel=1e-4),
        pytest.approx(contention, abs=1e-4),
        pytest.approx(crosstalk, abs=1e-5),
    )
    assert law.error_ratio < 1e-4


def test_the_peak_is_where_the_law_says():
    law = verdict.fit_law(points(40, 0.05, 0.002))
    assert law.peak == pytest.approx((0.95 / 0.002) ** 0.5)
    assert law.at(round(law.peak)) >= max(law.at(round(law.peak) - 5), law.at(round(law.peak) + 5))
    assert verdict.fit_law(points(40, 0.1, 0)).peak is None


def test_no_law_where_the_data_cannot_carry_one():
    assert verdict.fit_law(points(40, 0.05, 0.002, (1, 2, 4))) is None
    assert verdict.fit_law([(1, 40.0), (2, 5.0), (4, 300.0), (8, 1.0), (16, 500.0)]) is None
    assert verdict.fit_law([(1, 0.0), (2, 0.0), (4, 0.0), (8, 0.0)]) is None


def test_parameters_are_never_negative():
    law = verdict.fit_law([(n, 40.0 * n**1.05) for n in LEVELS])  # faster than linear
    assert law is None or (law.contention >= 0 and law.crosstalk >= 0)


@pytest.fixture
def results(tmp_path):
    return tmp_path / "results.db"


def read(path, *changes):
    """The only study of a file after some changes, and its answers."""
    database = db.connect(path)
    for sql in changes:
        database.execute(sql)
    study = selection.choose(database, [], [])[0]
    services = analyze.within(database, study, SLO)
    database.close()
    return study, " ".join(verdict.answers(study, SLO, services))


def test_the_answers_carry_the_numbers(results):
    made_up_results.write(results, levels=(1, 2, 4, 8, 16, 32), slots=4, rate=41.0)
    _, said = read(results)
    assert "One request alone gets 4" in said and "waits 200 ms." in said
    assert (
        "Up to 2 at once are served within 10 s to the first token and at 10 tokens/s or more; at 4, only "
        in said
    )  # 41 / 4 with its spread falls below 10
    assert (
        "From 1 to 32 at once, all together go from" in said
        and "The mean wait is 200 ms at 1 and at 4, jumps to" in said
    )
    assert "asked for 32 at once it answered 4 at a time" in said


def test_nobody_is_served_when_the_first_level_is_too_slow(results):
    made_up_results.write(results, levels=(1, 2), rate=5.0)
    assert "Nobody is served" in read(results)[1]


def test_requests_that_come_at_a_rate_are_judged_by_the_rate(results):
    """The level's number is then the most that could be in flight: nobody was served 16 at once."""
    made_up_results.write(results, levels=(16,), slots=16, rate=16 * 12.0)
    _, said = read(
        results, "UPDATE level SET load = 'open', rate_per_s = 0.8, pool_waits = 3, never_sent = 2"
    )
    assert (
        said.startswith("At 0.8 requests/s each gets 12")
        and "16 of 16 were served within 10 s to the first token and at 10 tokens/s or more" in said
    )
    assert (
        "; 3 were due while all 16 places were taken, and the wait of those sent counts; 2 that were due were never sent, for the level ended."
        in said
        and "at once are served" not in said
    )


def test_repeats_that_differ_are_a_range(results):
    made_up_results.write(results, levels=(1,), rate=40.0)
    made_up_results.write(results, levels=(1,), rate=80.0, started_unix=1.9e9)
    study, said = read(results, "UPDATE run SET source = 'import'")
    rates = sorted(level["tokens_per_s_mean"] for level in study.levels)
    assert (
        f"{verdict.digits(rates[0])} to {verdict.digits(rates[1])} tokens/s" in said
        and "(2 measurements)" in said
    )


THROUGHPUT = {  # of the published study, 7B and 1.5B: at once, tokens/s of all
    "7b": {
        1: 50.9,
        2: 60.8,
        4: 71.6,
        8: 90.5,
        16: 115.2,
        19: 124.4,
        32: 102.7,
        38: 124.5,
        57: 120.2,
        64: 111.4,
        128: 112.0,
        256: 114.6,
    },
    "1.5b": {
        1: 137.4,
        4: 171.0,
        8: 216.3,
        16: 280.2,
        19: 269.9,
        32: 298.9,
        39: 247.9,
        57: 271.0,
        64: 280.5,
        78: 254.8,
        128: 265.7,
        256: 282.1,
    },
}


def made_of(rates=None, waits=None, **columns):
    """A study with a level for each concurrency, of these figures only."""
    levels = [
        {
            "concurrency": n,
            "repeat": 1,
            "errors": 0,
            "requests": n,
            "output_tokens_per_s": (rates or {}).get(n),
            "ttft_mean_s": (waits or {}).get(n),
        }
        | {column: values.get(n) for column, values in columns.items()}
        for n in (rates or waits)
    ]
    return selection.Study("tiny:7b", [], levels, [], {"cpu_cores": 8}, [], [], [], {})


@pytest.mark.parametrize(
    "rates, said",
    [
        (
            THROUGHPUT["7b"],
            "best at 38 at once (124 tokens/s), first within 10 % of that at 16, then 82 to 100 % of it.",
        ),
        (
            THROUGHPUT["1.5b"],
            "best at 32 at once (299 tokens/s), first within 10 % of that at 16, then 83 to 100 % of it.",
        ),
        (
            {1: 40.0, 4: 80.0, 8: 95.0, 16: 100.0, 32: 93.0},
            "best at 16 at once (100 tokens/s) and within 10 % of that from 8 on.",
        ),
        ({1: 40.0, 4: 100.0, 8: 50.0}, "best at 4 at once (100 tokens/s)."),
    ],
)
def test_near_the_best_is_said_only_of_levels_that_stay_there(rates, said):
    assert verdict.knee(made_of(rates)) == f"Throughput is {said}"


def test_a_best_level_with_failures_is_named_with_them():
    said = verdict.knee(made_of({1: 77.1, 19: 305.4, 48: 308.1}, errors={1: 0, 19: 0, 48: 9}))
    assert (
        said
        == "Throughput is best at 48 at once (308 tokens/s, 9 of 48 failed) and within 10 % of that from 19 on. Where none failed it is best at 19 (305 tokens/s)."
    )


def test_the_throughput_is_told_up_to_where_it_turns():
    assert verdict.movement(made_of(THROUGHPUT["7b"])) == (
        "From 1 to 16 at once, all together go from 50.9 to 115 tokens/s, and from there to 256 they get 103 to 124."
    )
    assert (
        verdict.movement(made_of({1: 40.0, 2: 80.0}))
        == "From 1 to 2 at once, all together go from 40 to 80 tokens/s."
    )


@pytest.mark.parametrize(
    "waits, said",
    [
        (
            {1: 1.88, 19: 0.724, 32: 84.1, 256: 1534.8},
            "goes from 1.88 s at 1 to 724 ms at 19, jumps to 1:24 at 32, reaches 25:35 at 256.",
        ),
        (
            {1: 0.31, 19: 0.329, 32: 2.75},
            "goes from 310 ms at 1 to 329 ms at 19, jumps to 2.75 s at 32.",
        ),
        ({1: 0.2, 2: 4.0, 4: 8.0}, "jumps from 200 ms at 1 to 4 s at 2, reaches 8 s at 4."),
        (
            {1: 0.01, 2: 0.09, 4: 0.1},
            "goes from 10 ms at 1 to 100 ms at 4.",
        ),  # nine times more, and nobody notices
        ({1: 1.0, 2: 2.0, 4: 4.0}, "goes from 1 s at 1 to 4 s at 4."),
    ],
)
def test_where_the_wait_jumps(waits, said):
    assert verdict.waits(made_of(waits=waits)) == f"The mean wait {said}"


def test_the_law_is_told_with_its_error_or_not_at_all():
    said = verdict.law_sentence(made_of(THROUGHPUT["7b"]))
    assert (
        "tokens/s alone (measured 50.9)" in said
        and "it misses by 9.3 % (rms), by 19 % at 4." in said
    )
    assert (
        verdict.law_sentence(made_of({1: 78.0, 4: 136.9, 19: 296.0, 48: 315.1})) == ""
    )  # would say 72.2 alone


@pytest.mark.parametrize(
    "busy, said",
    [
        (
            {1: 0.5, 4: 0.8, 8: 0.97, 16: 0.99},
            "The GPU limits the throughput: 97 % busy at 8 at once, where it stops rising.",
        ),
        (
            {1: 0.96, 4: 0.97, 8: 0.97, 16: 0.99},
            "The GPU was 97 % busy at 8 at once, where throughput stops rising, but 96 % at 1 already, "
            "where it still rose: this does not show that it limits.",
        ),
        ({1: 0.5, 4: 0.8, 8: 0.9, 16: 0.99}, ""),
        ({}, ""),
    ],
)
def test_the_gpu_limits_only_where_it_is_busy_when_throughput_stops(busy, said):
    assert (
        verdict.gpu_limit(made_of({1: 40.0, 4: 80.0, 8: 98.0, 16: 100.0}, mean_gpu_busy_ratio=busy))
        == said
    )


def test_no_limit_is_seen_while_throughput_rises():
    assert (
        verdict.gpu_limit(
            made_of({1: 40.0, 4: 80.0, 8: 98.0}, mean_gpu_busy_ratio={1: 0.5, 4: 0.8, 8: 0.99})
        )
        == ""
    )


def test_the_processor_limits_only_if_the_server_keeps_it_busy(results):
    made_up_results.write(results, levels=(1, 4))
    assert (
        "processor" not in read(results, "UPDATE system_sample SET cpu_ratio = 0.97")[1]
    )  # the server: half a core of 12
    study, said = read(results, "UPDATE process_sample SET cpu_ratio = 9.6")
    assert "The processor limits: 97 % busy at 4 at once, 80 % by the server." in said
    assert not [warning for warning in verdict.warnings(study) if "processor" in warning.seen]
    study, _ = read(
        results, "UPDATE process_sample SET cpu_ratio = 1", "UPDATE level SET client_cpu_ratio = 9"
    )  # bench.py itself is no other program
    assert not [warning for warning in verdict.warnings(study) if "processor" in warning.seen]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE level SET load = 'open'",
        "UPDATE request SET status = 'reset', first_text_ns = NULL WHERE number > 4",
    ],
)
def test_slots_are_not_blamed_for_what_never_came(results, change):
    made_up_results.write(results, levels=(8,))
    assert not verdict.short_of_slots(read(results, change)[0].levels[0])


@pytest.mark.parametrize(
    "service, said",
    [
        (
            verdict.Service(
                24, 24, 5, {"ttft": 24, "tokens_per_s": 5}, {"ttft": 6.4, "tokens_per_s": 9.2}
            ),
            "only 5 of 24 got 10 tokens/s (slowest 9.2)",
        ),
        (
            verdict.Service(
                32, 32, 26, {"ttft": 26, "tokens_per_s": 32}, {"ttft": 84.1, "tokens_per_s": 20.0}
            ),
            "only 26 of 32 had the first token within 10 s (longest 1:24)",
        ),
        (
            verdict.Service(
                48, 39, 39, {"ttft": 39, "tokens_per_s": 39}, {"ttft": 4.1, "tokens_per_s": 19.0}
            ),
            "9 of 48 failed",
        ),
        (
            verdict.Service(
                48, 39, 8, {"ttft": 39, "tokens_per_s": 8}, {"ttft": 4.1, "tokens_per_s": 9.0}
            ),
            "9 of 48 failed and only 8 of 39 got 10 tokens/s (slowest 9)",
        ),
        (
            verdict.Service(
                4, 0, 0, {"ttft": 0, "tokens_per_s": 0}, {"ttft": None, "tokens_per_s": None}
            ),
            "4 of 4 failed",
        ),
        (
            verdict.Service(
                100, 100, 93, {"ttft": 96, "tokens_per_s": 97}, {"ttft": 11.0, "tokens_per_s": 9.0}
            ),
            "only 93 of 100 met all of it",
        ),
    ],
)
def test_what_was_missed_is_told_with_the_worst(service, said):
    assert verdict.shortfall(service, SLO) == said


def test_every_host_whose_model_spills_is_named(results):
    made_up_results.write(results, levels=(1,))
    study, _ = read(
        results,
        "INSERT INTO target (run_id, host, api, model, size_bytes, vram_bytes) SELECT run_id, 'http://b:1', api, model, 100, 100 FROM target",
        "INSERT INTO target (run_id, host, api, model, size_bytes, vram_bytes) SELECT run_id, 'http://c:1', api, model, 100, 40 FROM target WHERE id = 1",
    )
    assert [warning.seen for warning in verdict.spills(study)] == [
        "80 % of the model is in GPU memory at http://127.0.0.1:11434",
        "40 % of the model is in GPU memory at http://c:1",
    ]


def test_watts_are_told_with_the_idle_ones_and_what_they_include(results):
    made_up_results.write(results, levels=(1, 2), watts=(5.0, 20.0))
    study, said = read(results)
    assert "at 20 W, 5 W of them idle. The watts are of powermetrics soc: CPU, GPU and ANE." in said
    assert verdict.cost(study, 0.3, "EUR").endswith(" at once, counting CPU, GPU and ANE.")


GPU_ALONE = "UPDATE power_sample SET energy_j = NULL, cpu_energy_j = NULL, gpu_energy_j = 16.0"


def test_watts_of_the_gpu_alone_are_told_as_such(results, capsys):
    made_up_results.write(results, levels=(1, 2))
    study, said = read(results, GPU_ALONE)
    best = min(study.levels, key=lambda level: level["gpu_joules_per_output_token"])
    n = best["concurrency"]
    assert best["mean_w"] is None and best["gpu_power_w"] == pytest.approx(16.0)
    speed = verdict.digits(1 / best["gpu_joules_per_output_token"])
    assert (
        f"Most tokens for the energy of the GPU alone at {n} at once: {speed} tokens per joule at 16 W of the GPU. What the CPU took besides is not known (powermetrics soc)."
        in said
    )
    assert "The watts are of" not in said  # the source's scope is the whole chip
    euro = verdict.digits(best["gpu_joules_per_output_token"] / 3.6 * 0.36)
    assert verdict.cost(study, 0.36, "EUR") == (
        f"At 0.36 EUR/kWh the GPU's energy alone for a million output tokens costs {euro} EUR at {n} at once; "
        "what the CPU took besides is not known."
    )
    assert [warning.seen for warning in verdict.gpu_alone(study)] == [
        "watts and joules are of the GPU alone at 1 and 2 at once"
    ]
    assert not verdict.uncovered_energy(study)
    assert analyze.main(["--db", str(results), "--no-charts"]) == 0
    out = capsys.readouterr().out
    assert " 16.0g " in out and out.count(console.GPU_NOTE) == 1


def test_a_study_whose_sums_are_known_says_nothing_of_the_gpu_alone(results, capsys):
    made_up_results.write(results, levels=(1, 2))
    study, said = read(results)
    assert "GPU alone" not in said and not verdict.gpu_alone(study)
    analyze.main(["--db", str(results), "--no-charts"])
    assert console.GPU_NOTE not in capsys.readouterr().out


def test_gpu_samples_that_cover_too_little_are_warned_of(results):
    made_up_results.write(results, levels=(1,))
    study, _ = read(
        results,
        GPU_ALONE,
        "DELETE FROM power_sample WHERE end_ns = (SELECT max(end_ns) FROM power_sample JOIN level WHERE end_ns < ended_ns)",
    )
    assert (
        verdict.uncovered_energy(study)[0].seen
        == "power samples cover too little of the levels at 1 at once"
    )


def test_cost_follows_from_the_energy(results):
    made_up_results.write(results, levels=(1,), tokens=61, rate=60.0)
    study, _ = read(
        results,
        "UPDATE power_sample SET energy_j = 36.0",
        "UPDATE level SET ended_ns = started_ns + 2000000000",
        "UPDATE request SET output_tokens = 72",
    )
    assert study.levels[0]["output_tokens_per_joule"] == pytest.approx(
        1.0
    )  # 72 tokens for 72 joules
    assert verdict.cost(study, 0.36, "EUR").startswith(
        "At 0.36 EUR/kWh a million output tokens cost 0.1 EUR at 1 at once"
    )
    study, _ = read(results, "DELETE FROM power_sample")
    assert (
        verdict.cost(study, 0.36, "EUR")
        == "What a million output tokens cost is not known: no level has its energy and tokens."
    )


def test_replies_that_count_no_tokens_have_no_cost(results):
    made_up_results.write(results, levels=(1, 2))
    study, _ = read(results, "UPDATE request SET output_tokens = 0")
    assert study.levels[0]["output_tokens_per_joule"] == 0 and "is not known" in verdict.cost(
        study, 0.3, "EUR"
    )


@pytest.mark.parametrize(
    "change, seen",
    [
        (
            "UPDATE request SET status = 'stalled', error = 'no byte for 60 s' WHERE id = 1",
            "1 of the requests at 1 at once ended stalled: no byte for 60 s",
        ),
        (
            "UPDATE level SET on_battery = 1 WHERE concurrency IN (2, 4)",
            "this machine ran on battery at 2 and 4 at once",
        ),
        (
            "UPDATE level SET low_power_mode = 1, on_battery = 0 WHERE concurrency = 8",
            "this machine ran in low power mode at 8 at once",
        ),
        ("UPDATE run SET status = 'interrupted'", "run 1 is interrupted"),
        (
            "UPDATE level SET client_limited = 1, client_limited_why = '97 % of a core' WHERE concurrency = 8",
            "at 8 at once this client was the bottleneck (97 % of a core)",
        ),
        (
            "UPDATE level SET slept_s = 30.2, client_limited = 1, client_limited_why = 'x' WHERE concurrency = 8",
            "the machine slept for 30.2 s in the level at 8 at once",
        ),
        (
            "UPDATE target SET vram_bytes = size_bytes / 4",
            "25 % of the model is in GPU memory at http://127.0.0.1:11434",
        ),
        (
            "UPDATE system_sample SET cpu_ratio = 0.97",
            "other programs kept 92 % of the processor busy at 1, 2, 4 and 8 at once",
        ),
        (
            "UPDATE system_sample SET cpu_ratio = 0.97; DELETE FROM process_sample",
            "the processor was busy (97 %) at 1, 2, 4 and 8 at once",
        ),
        (
            "UPDATE request SET server_load_ns = 2500000000 WHERE id = 2",
            "waited 2.5 s for the model to load at 2 at once",
        ),
        (
            "UPDATE power_sample SET thermal = 'Heavy' WHERE end_ns > 6000000000",
            "the system reported thermal pressure at 1, 2, 4 and 8 at once",
        ),
        ("UPDATE request SET cached_tokens = 25", "prompt tokens came from the cache"),
        (
            "UPDATE request SET done_reason = 'length' WHERE id = 3",
            "some replies, not all, were cut at the limit of tokens at 2 at once",
        ),
        ("UPDATE request SET output_tokens = 7 WHERE id = 1", "replies have 7 to 60 tokens"),
        ("UPDATE run SET source = 'import'", "tokens are a count of words"),
        (
            "UPDATE power_sample SET energy_j = NULL WHERE end_ns > 6000000000",
            "power samples cover too little",
        ),
        ("UPDATE run SET simulated = 0", "the server answered at most 4 at a time at 8 at once"),
        (
            "UPDATE run SET simulated = 0",
            "fewer than 20 requests completed at 1, 2, 4 and 8 at once",
        ),
    ],
)
def test_each_warning_says_what_was_seen(results, change, seen):
    made_up_results.write(results, levels=(1, 2, 4, 8))
    study, _ = read(results, *change.split("; "))
    found = [warning for warning in verdict.warnings(study) if seen in warning.seen]
    assert len(found) == 1 and found[0].cause and found[0].option


def test_failures_of_a_levels_repeats_are_one_warning(results):
    made_up_results.write(results, levels=(4, 2, 3))
    study, _ = read(
        results,
        "UPDATE level SET concurrency = 4, repeat = 2 WHERE concurrency = 3",
        "UPDATE request SET status = 'stalled' WHERE number = 1",
    )
    assert [warning.seen for warning in verdict.failures(study)] == [
        "1 of the requests at 2 at once ended stalled",
        "2 of the requests at 4 at once ended stalled",
    ]


def test_a_good_run_has_no_warning(results):
    made_up_results.write(results, levels=(32,), slots=32)
    assert verdict.warnings(read(results, "UPDATE target SET vram_bytes = size_bytes")[0]) == []


@pytest.mark.parametrize(
    "value, text",
    [
        (None, "-"),
        (0, "0"),
        (53.14, "53.1"),
        (1234.5, "1,234"),
        (0.0004567, "0.00046"),
        (100.4, "100"),
        (7.0, "7"),
    ],
)
def test_digits(value, text):
    assert verdict.digits(value) == text


def test_durations_are_written_as_in_the_table():
    assert verdict.seconds is console.short_time


@pytest.mark.parametrize(
    "values, written, text",
    [
        ([0.825, 1.0], verdict.percent, "82 to 100 %"),
        ([0.0911, 0.0922], verdict.seconds, "91 to 92 ms"),
        ([0.3101, 0.3102], verdict.seconds, "310 ms"),
        ([0.729, 3.97], verdict.seconds, "729 ms to 3.97 s"),
        ([84.1, 1535.0], verdict.seconds, "1:24 to 25:35"),
        ([53.14, 55.0], verdict.digits, "53.1 to 55"),
    ],
)
def test_a_span_has_its_unit_once(values, written, text):
    assert verdict.span(values, written) == text


def test_the_warm_twin_of_a_level_is_no_repeat_of_it(results):
    made_up_results.write(results, levels=(4,))
    study, said = read(
        results,
        "INSERT INTO level (run_id, model, concurrency, cache, status, started_ns, ended_ns) SELECT run_id, model, concurrency, 'warm', status, started_ns, ended_ns FROM level",
        "INSERT INTO request (level_id, number, status, sent_ns, first_text_ns, last_text_ns, ended_ns, output_tokens)"
        " SELECT 2, number, status, sent_ns, sent_ns + 100000000, last_text_ns, ended_ns, output_tokens FROM request",
    )
    assert [level["cache"] for level in study.levels] == ["cold"]
    assert "With a warm prompt cache a request waits 100 ms instead of 200 ms at 4 at once" in said
