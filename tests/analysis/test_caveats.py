"""Each caveat, and that a good run has none."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from ollama_bench.analysis import selection
from ollama_bench.analysis.caveats import (
    cache_hits,
    failures,
    find_caveats,
    other_programs,
    spills,
    unfinished,
    unseen_server,
)
from ollama_bench.analysis.energy_caveats import uncovered_energy
from ollama_bench.statistics.capacity_search import Trial
from ollama_bench.storage.connection import connect
from tests.support import made_up_results
from tests.support.studies import GPU_ALONE, read


def test_every_host_whose_model_spills_is_named(results):
    made_up_results.write(results, levels=(1,))
    study, _ = read(
        results,
        "INSERT INTO target (run_id, host, api, model, size_bytes, vram_bytes) SELECT run_id, "
        "'http://b:1', api, model, 100, 100 FROM target",
        "INSERT INTO target (run_id, host, api, model, size_bytes, vram_bytes) SELECT run_id, "
        "'http://c:1', api, model, 100, 40 FROM target WHERE id = 1",
    )
    assert [caveat.seen for caveat in spills(study)] == [
        "80 % of the model is in GPU memory at http://127.0.0.1:11434",
        "40 % of the model is in GPU memory at http://c:1",
    ]


def test_gpu_samples_that_cover_too_little_are_warned_of(results):
    made_up_results.write(results, levels=(1,))
    study, _ = read(
        results,
        GPU_ALONE,
        "DELETE FROM power_sample WHERE end_ns = (SELECT max(end_ns) FROM power_sample JOIN "
        "level WHERE end_ns < ended_ns)",
    )
    assert (
        uncovered_energy(study)[0].seen
        == "power samples cover too little of the time at 1 at once"
    )


@pytest.mark.parametrize(
    "change, seen",
    [
        (
            "UPDATE request SET status = 'stalled', error = 'no byte for 60 s' WHERE id = 1",
            "1 request at 1 at once failed (stalled: no byte for 60 s)",
        ),
        (
            "UPDATE request SET prompt_cut = 1, prompt_tokens = 2050 WHERE id = 1",
            "the server cut 1 prompt at 1 at once (it counted 2,050 tokens)",
        ),
        (
            "UPDATE request SET reply_cut = 1 WHERE level_id IN (1, 2)",
            "3 replies ended at the end of the context at 1 and 2 at once",
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
            "UPDATE level SET client_limited = 1, client_limited_why = '97 % of a core' WHERE "
            "concurrency = 8",
            "at 8 at once this client was the bottleneck (97 % of a core)",
        ),
        (
            "UPDATE level SET client_limited = 1, client_limited_why = 'requests were sent up "
            "to ' || concurrency || ' ms late'",
            "at 1, 2, 4 and 8 at once this client was the bottleneck (at 8 at once: requests "
            "were sent up to 8 ms late)",
        ),
        (
            "UPDATE level SET clock_uncertainty_s = 0.0024 WHERE concurrency = 8",
            "at 8 at once the clocks of the workers agree to 2.4 ms only",
        ),
        (
            "UPDATE level SET slept_s = 30.2, client_limited = 1, client_limited_why = 'x' "
            "WHERE concurrency = 8",
            "the machine slept for 30.2 s in the level at 8 at once",
        ),
        (
            "UPDATE request SET reply_model = 'smollm2' WHERE level_id = 2",
            "replies at 2 at once name the model 'smollm2', not 'tiny:7b'",
        ),
        (
            "UPDATE target SET vram_bytes = size_bytes / 4",
            "25 % of the model is in GPU memory at http://127.0.0.1:11434",
        ),
        (
            "UPDATE system_sample SET cpu_ratio = 0.97; UPDATE run SET simulated = 0",
            "other programs kept 92 % of the processor busy at 1, 2, 4 and 8 at once",
        ),
        (
            "UPDATE system_sample SET cpu_ratio = 0.97; DELETE FROM process_sample; "
            "UPDATE run SET simulated = 0",
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
        (
            "UPDATE request SET cached_tokens = 25",
            "a part of the prompts came from the cache at 1, 2, 4 and 8 at once",
        ),
        (
            "UPDATE request SET done_reason = 'length' WHERE id = 3",
            "some replies, not all, were cut at the token limit at 2 at once",
        ),
        (
            "UPDATE request SET output_tokens = 7 WHERE id = 1",
            "replies have 7 to 60 tokens",
        ),
        (
            "UPDATE run SET source = 'import', tool_version = 'original Go tool'",
            "tokens are a count of words",
        ),
        (
            "UPDATE run SET source = 'import', tool_version = 'guidellm 0.8.1'",
            "measured by guidellm 0.8.1 and imported",
        ),
        (
            "UPDATE power_sample SET energy_j = NULL, gpu_energy_j = NULL "
            "WHERE end_ns > 6000000000",
            "power samples cover too little",
        ),
        (
            "UPDATE level SET load = 'open', rate_per_s = 4, saturated = 1, "
            "queue_growth_per_s = 0.8, queue_growth_low_per_s = 0.6, "
            "queue_growth_high_per_s = 1 WHERE concurrency = 8; "
            "UPDATE request SET due_ns = sent_ns",
            "the queue grew by 0.8 requests/s (95 %: 0.6 to 1): "
            "the server cannot keep up with 4 requests/s",
        ),
        (
            "UPDATE run SET simulated = 0",
            "the server answered at most 4 at a time at 8 at once",
        ),
        (
            "UPDATE run SET simulated = 0",
            "fewer than 20 requests completed at 1, 2, 4 and 8 at once",
        ),
    ],
)
def test_each_caveat_says_what_was_seen(results, change, seen):
    made_up_results.write(results, levels=(1, 2, 4, 8))
    study, _ = read(results, *change.split("; "))
    found = [
        caveat for caveat in find_caveats(study) if seen in caveat.seen
    ]
    assert len(found) == 1 and found[0].meaning and found[0].remedy


def test_what_is_left_of_a_run_that_did_not_end(results):
    made_up_results.write(results, levels=(1, 2))
    study, _ = read(
        results,
        "UPDATE run SET status = 'interrupted'",
        "UPDATE level SET status = 'interrupted' WHERE id > 1",
    )
    (caveat,) = unfinished(study)
    assert caveat.meaning == "The levels it finished are shown"
    # on the page of a run that has none
    (caveat,) = unfinished(replace(study, levels=[]))
    assert caveat.meaning == "It finished no level"


OVERLOADED = (
    "UPDATE level SET load = 'open', rate_per_s = 4, saturated = 1, "
    "queue_growth_per_s = 0.8, queue_growth_low_per_s = 0.6, "
    "queue_growth_high_per_s = 1 WHERE concurrency = 8",
    "UPDATE request SET due_ns = sent_ns",
    "UPDATE request SET status = 'cancelled', sent_ns = NULL, "
    "error = 'due and not sent when the level ended: every place was taken' "
    "WHERE level_id = 4 AND number = 8",
    "UPDATE request SET status = 'cancelled', "
    "error = 'not awaited: the level was saturated' "
    "WHERE level_id = 4 AND number = 7",
)


def test_a_search_is_not_warned_of_what_it_looks_for(results):
    made_up_results.write(results, levels=(1, 2, 4, 8))
    words = "keep up with", "every place was taken", "not awaited"
    study, _ = read(results, *OVERLOADED)
    said = str([*map(str, find_caveats(study))])
    assert all(one in said for one in words)
    trial = json.dumps(asdict(Trial(8, "saturated")))
    study, _ = read(
        results, f"UPDATE level SET trial = '{trial}' WHERE id = 4"
    )
    said = str([*map(str, find_caveats(study))])
    assert not any(one in said for one in words)


def test_a_quick_run_is_not_warned_of_what_makes_it_quick(results):
    made_up_results.write(results, levels=(1, 2, 4, 8))
    few, cut = "fewer than 20 requests", "some replies, not all, were cut"
    study, _ = read(
        results,
        "UPDATE run SET simulated = 0",
        "UPDATE request SET done_reason = 'length' WHERE id = 3",
    )
    assert all(
        one in str([*map(str, find_caveats(study))]) for one in (few, cut)
    )
    study, _ = read(
        results, "UPDATE run SET arguments = '{\"budget\": 60}'"
    )
    said = str([*map(str, find_caveats(study))])
    assert few not in said and cut not in said


def test_an_interrupted_quick_run_is_not_to_be_resumed(results):
    made_up_results.write(results, levels=(1,))
    cut = "UPDATE request SET status = 'cancelled', error = 'interrupted'"
    study, _ = read(results, "UPDATE run SET status = 'interrupted'", cut)
    said = str([*map(str, find_caveats(study))])
    assert said.count("--resume") == 2
    study, _ = read(
        results, "UPDATE run SET arguments = '{\"budget\": 60}'"
    )
    said = str([*map(str, find_caveats(study))])
    assert said.count("start it again") == 2 and "--resume" not in said


def test_a_quick_run_cuts_at_the_end_of_its_budget(results):
    """Without LEVELS there is no --deadline to raise."""
    made_up_results.write(results, levels=(1,))
    study, _ = read(
        results,
        "UPDATE run SET arguments = '{\"budget\": 60}'",
        "UPDATE request SET status = 'cancelled', error = 'deadline of 9 s'",
    )
    (caveat,) = failures(study)
    assert caveat.remedy == "Raise --budget, or name lower LEVELS"


def test_what_was_cut_before_and_within_a_reply_is_one_caveat(results):
    made_up_results.write(results, levels=(2,))
    study, _ = read(
        results,
        "UPDATE request SET status = 'cancelled', error = 'interrupted'",
        "UPDATE request SET http_status = NULL WHERE id = 1",
        "UPDATE request SET http_status = 200 WHERE id = 2",
    )
    (caveat,) = failures(study)
    assert caveat.seen.startswith("2 requests at 2 at once failed")


def test_what_has_one_remedy_is_one_caveat(results):
    made_up_results.write(results, levels=(4,))
    study, _ = read(
        results,
        "UPDATE request SET status = 'http_error', http_status = 500,"
        " error = 'out of memory' WHERE number < 4",
        "UPDATE request SET http_status = 503 WHERE number = 2",
        "UPDATE request SET http_status = 400 WHERE number = 3",
    )
    broken, refused = sorted(caveat.seen for caveat in failures(study))
    assert refused == (
        "2 requests at 4 at once failed (http error 500 and 503: out of memory)"
    )
    assert (
        broken
        == "1 request at 4 at once failed (http error: out of memory)"
    )


def test_a_simulated_server_does_not_mind_other_programs(results):
    made_up_results.write(results, levels=(1,))
    study, _ = read(results, "UPDATE system_sample SET cpu_ratio = 0.97")
    assert other_programs(study) == unseen_server(study) == []


def test_a_machine_without_a_gpu_leaves_nothing_outside_it(results):
    made_up_results.write(results, levels=(1,))
    alone = "UPDATE target SET vram_bytes = 0"
    study, _ = read(results, alone, "UPDATE machine SET gpu = NULL")
    assert spills(study) == []
    # another machine may have one
    study, _ = read(
        results, "UPDATE target SET host = 'http://10.0.0.7:1'"
    )
    assert spills(study)[0].seen.startswith("0 % of the model")


@pytest.mark.parametrize(
    "cache, remedy",
    [
        ("cold", "Longer prompts make that part small"),
        (
            "NULL",
            "Use --cache cold to give each prompt a prefix of its own",
        ),
        ("'warm'", None),
    ],
)
def test_cold_prompts_are_not_told_to_be_cold(results, cache, remedy):
    made_up_results.write(results, levels=(1,))
    value = f"'{cache}'" if cache == "cold" else cache
    study, _ = read(
        results,
        "UPDATE request SET cached_tokens = 25",
        f"UPDATE level SET cache = {value}",
    )
    found = [caveat.remedy for caveat in cache_hits(study)]
    assert found == ([remedy] if remedy else [])


def test_failures_of_a_levels_repeats_are_one_caveat(results):
    made_up_results.write(results, levels=(4, 2, 3))
    study, _ = read(
        results,
        "UPDATE level SET concurrency = 4, repeat = 2 WHERE concurrency = 3",
        "UPDATE request SET status = 'stalled' WHERE number = 1",
    )
    assert [caveat.seen for caveat in failures(study)] == [
        "1 request at 2 at once failed (stalled)",
        "2 requests at 4 at once failed (stalled)",
    ]


def test_a_good_run_has_no_caveat(results):
    made_up_results.write(results, levels=(32,), slots=32)
    assert (
        find_caveats(
            read(results, "UPDATE target SET vram_bytes = size_bytes")[0]
        )
        == []
    )


def test_what_was_never_sent_needs_a_lower_rate(results):
    made_up_results.write(results, levels=(4,))
    study, _ = read(
        results,
        "UPDATE request SET status = 'cancelled', due_ns = sent_ns, sent_ns = NULL, "
        "first_text_ns = NULL, last_text_ns = NULL, ended_ns = NULL WHERE number > 2",
    )
    (caveat,) = failures(study)
    assert caveat.seen.startswith(
        "2 requests at 4 at once failed (not sent"
    )
    assert caveat.remedy.startswith("Lower --rate")


@pytest.mark.parametrize(
    ("ending", "remedy"),
    [
        ("'http_error', http_status = 400", "Change what is asked"),
        ("'http_error', http_status = 429", "Lower the level, or look"),
        ("'http_error', http_status = 500", "Lower the level, or look"),
        ("'reset', http_status = 200", "Lower the level, or look"),
        ("'stalled'", "Lower the level, raise --stall"),
        (
            "'cancelled', error = 'deadline of 1 s'",
            "Lower the level, or raise --deadline",
        ),
        (
            "'cancelled', error = 'interrupted'",
            "bench.py --resume sends that level again",
        ),
        (
            "'cancelled', error = 'not awaited: the level was saturated'",
            "Lower --rate",
        ),
    ],
)
def test_what_helps_follows_from_how_a_request_ended(
    results, ending, remedy
):
    made_up_results.write(results, levels=(4,))
    study, _ = read(
        results, f"UPDATE request SET status = {ending} WHERE number = 1"
    )
    (caveat,) = failures(study)
    assert caveat.remedy.startswith(remedy)


def test_what_failed_at_a_rate_is_named_by_that_rate(results):
    """All loads of a search for the rate have as many places."""
    made_up_results.write(results, levels=(256, 256), runs=1)
    study, _ = read(
        results,
        "UPDATE level SET load = 'open', rate_per_s = 1.5 * id",
        "UPDATE request SET status = 'http_error', error = 'busy' "
        "WHERE number = 1 AND level_id = 2",
    )
    (caveat,) = failures(study)
    assert caveat.seen.startswith("1 request at 3 requests/s failed")


def see_other_runs(results, *changes, run_id=1):
    """Add a run of another process at the same time; return what is said of it."""
    for started_unix in (1.76e9, 1.77e9):
        made_up_results.write(
            results, levels=(1,), started_unix=started_unix
        )
    begin = (
        "UPDATE run SET pid = id, machine_id = 1, started_unix = 1.76e9"
    )
    database = connect(results)
    for sql in (begin, *changes):
        database.execute(sql)
    study = selection.choose(database, [], [run_id])[0]
    database.close()
    return [one.seen for one in find_caveats(study) if "same" in one.seen]


@pytest.mark.parametrize("run_id, other", [(1, 2), (2, 1)])
def test_a_run_that_loaded_the_same_server_is_told(results, run_id, other):
    (seen,) = see_other_runs(
        results,
        "UPDATE run SET started_unix = 1760000000 + id - 1",
        "UPDATE level SET started_ns = 0, ended_ns = 5000000000",
        run_id=run_id,
    )
    assert seen == (
        f"run {other} loaded the same server from 08:53:21 to 08:53:25 UTC"
    )


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE run SET started_unix = started_unix + 1000 WHERE id = 2",
        "UPDATE target SET host = 'http://b:1' WHERE run_id = 2",
        # read from another tool's file
        "UPDATE run SET pid = NULL WHERE id = 2",
    ],
)
def test_a_run_elsewhere_or_at_another_time_is_not(results, change):
    assert see_other_runs(results, change) == []


@pytest.mark.parametrize("seen_after_s, is_told", [(1, 0), (99, 1)])
@pytest.mark.parametrize("status", ["running", "interrupted"])
def test_a_killed_run_counts_while_it_lived(
    results, seen_after_s, is_told, status
):
    ended = seen_after_s * 1_000_000_000
    seen = see_other_runs(
        results,
        "UPDATE level SET started_ns = 5000000000, ended_ns = 9000000000",
        "UPDATE level SET started_ns = 0 WHERE run_id = 2",
        f"UPDATE level SET status = '{status}', ended_ns = NULL WHERE run_id = 2",
        f"UPDATE run SET status = '{status}', "
        f"seen_unix = 1760000000 + {seen_after_s} WHERE id = 2",
        f"UPDATE request SET ended_ns = {ended} WHERE level_id = 2",
    )
    assert len(seen) == is_told
