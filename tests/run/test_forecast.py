"""How long a level and a run still take: said where something is known, and only there."""

import re
import time
from types import SimpleNamespace

import pytest

import bench
from ollama_bench.run.forecast import (
    Forecast,
    Measured,
    predict_s,
    read_measured,
)
from ollama_bench.run.plan import Level
from ollama_bench.storage.writer import Writer
from tests.support.beginnings import QUICK
from tests.terminal.made_up import exchange

LOAD = SimpleNamespace(
    kind="burst",
    requests=None,
    duration_s=None,
    rate_per_s=None,
    deadline_s=None,
    cooldown_s=10.0,
)
KIND = ("m", "cold", None, None)


def level(concurrency, model="m", cache="cold"):
    return Level(model, concurrency, 1, cache)


def forecast(
    measured=(), rest=None, ceiling=None, warmup=8, at=4, **settings
):
    load = SimpleNamespace(**{**vars(LOAD), **settings})
    return Forecast(
        load, level(at), {KIND: measured}, rest, ceiling, warmup
    )


def shown(reads=(), ended=0, planned=None, passed_s=10.0):
    """Return a level that runs: so many reads of each request in flight, and ended ones."""
    now_ns = time.perf_counter_ns()
    start_ns = now_ns - int(passed_s * 1e9)
    flying = [
        exchange(number, start_ns, range(1, count + 2))
        for number, count in enumerate(reads, 1)
    ]
    over = [exchange(99, start_ns, (1, 2), now_ns) for _ in range(ended)]
    return SimpleNamespace(
        exchanges=flying + over,
        is_burst=True,
        planned=planned or len(flying) + ended,
        workers=len(flying),
        started_ns=start_ns,
        until_s=None,
    )


# -- a level, before it begins


@pytest.mark.parametrize(
    ("concurrency", "sizes", "is_burst", "seconds"),
    [
        (4, {4: 7.0}, True, 7.0),
        (8, {4: 7.0}, True, None),
        (8, {}, True, None),
        (3, {2: 10.0, 4: 14.0}, True, 12.0),
        (8, {2: 10.0, 4: 14.0}, True, 22.0),
        (8, {2: 1.0, 4: 14.0}, True, 28.0),  # at most in proportion
        (8, {2: 15.0, 4: 14.0}, True, 14.0),  # and at least as long
        (8, {2: 40.0, 4: 30.0}, False, 15.0),  # a closed loop gets faster
        (8, {2: 40.0, 4: 22.0}, False, 11.0),
    ],
)
def test_a_level_is_predicted_by_the_two_nearest(
    concurrency, sizes, is_burst, seconds
):
    measured = [Measured(*pair) for pair in sizes.items()]
    assert predict_s(concurrency, measured, is_burst) == seconds


def test_repeats_of_a_level_are_averaged():
    assert predict_s(4, [Measured(4, 6.0), Measured(4, 8.0)], True) == 7.0


# -- a level that runs


def test_nothing_is_said_where_nothing_is_known():
    assert forecast().describe_left(shown([50] * 4)) == ""


def test_a_ceiling_tells_how_far_a_reply_is():
    left = forecast(ceiling=100, rest=[]).describe_left(shown([50] * 4))
    assert left == "about 10 s left in this level"


def test_so_do_the_replies_of_levels_before():
    known = [Measured(2, 30.0, 100.0)]
    left = forecast(known).estimate_left_s(shown([25] * 4))
    assert left == pytest.approx(30, rel=0.05)


def test_replies_that_ended_early_count_whole():
    found = shown([50] * 2, ended=2)
    left = forecast(ceiling=100).estimate_left_s(found)
    assert left == pytest.approx(10 / 3, rel=0.05)


def test_a_closed_loop_is_as_far_as_its_requests():
    found = shown([], ended=25, planned=100)
    left = forecast(kind="closed", requests=100).estimate_left_s(found)
    assert left == pytest.approx(30, rel=0.05)


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "closed", "duration_s": 60.0},
        {"kind": "open", "rate_per_s": 2.0, "requests": 120},
    ],
)
def test_an_end_in_seconds_is_known_from_the_beginning(settings):
    left = forecast(**settings).estimate_left_s(shown([1] * 4))
    assert left == pytest.approx(50, rel=0.05)


def test_a_deadline_is_the_latest_end():
    found = shown([200] * 4)
    assert forecast(ceiling=1000, deadline_s=15.0).estimate_left_s(
        found
    ) == pytest.approx(5, rel=0.1)


def test_a_level_longer_than_predicted_says_nothing():
    known = [Measured(4, 5.0)]
    assert forecast(known).describe_left(shown([0] * 4)) == ""


# -- the run


def test_the_run_is_the_rest_of_the_levels_with_their_pauses():
    known = [Measured(2, 10.0, 100.0), Measured(4, 14.0, 100.0)]
    found = shown([50] * 4)
    left = forecast(known, [level(8)]).describe_left(found)
    assert left == "about 10 s left in this level, 40 s in the run"


@pytest.mark.parametrize(
    "rest", [None, [level(8, "other")], [level(8, cache="warm")]]
)
def test_nothing_is_said_of_a_run_with_a_level_that_is_unknown(rest):
    known = [Measured(2, 10.0, 100.0), Measured(4, 14.0, 100.0)]
    left = forecast(known, rest).describe_left(shown([50] * 4))
    assert left == "about 10 s left in this level"


def test_what_was_measured_is_read_from_the_file(tmp_path):
    from ollama_bench.run.record import RunRecord

    path = tmp_path / "results.db"
    columns = {"model": "m", "cache": "cold", "started_ns": 10**9}
    with Writer(path) as writer:
        run = {"source": "bench", "started_unix": 1.0, "status": "running"}
        run_id = writer.insert(
            "run", run | {"tool_version": "0", "arguments": "{}"}
        )
        done = columns | {"run_id": run_id, "concurrency": 2}
        level_id = writer.insert(
            "level", done | {"ended_ns": 3 * 10**9, "status": "finished"}
        )
        writer.insert("level", done | {"status": "interrupted"})
        for number, (status, tokens) in enumerate(
            [("completed", 10), ("completed", 20), ("reset", 500)], 1
        ):
            request = {"level_id": level_id, "number": number}
            figures = {"status": status, "output_tokens": tokens}
            writer.insert("request", request | figures)
        record = RunRecord(run_id, writer, str(path), 0, 1.0)
        assert read_measured(record) == {KIND: [Measured(2, 2.0, 15.0)]}


@pytest.mark.faults
def test_a_run_says_it_once_two_levels_are_known(sim, tmp_path, capsys):
    times = ["--ttft", "20", "--itl", "15", "--tokens", "60"]
    host = sim("--profile", "exact", *times).url
    path = str(tmp_path / "results.db")
    assert bench.main(["1,2,4", "--host", host, "--db", path, *QUICK]) == 0
    out = capsys.readouterr().out
    before, _, after = out.partition("level 3 of 3")
    words = r"about \d+ s left in this level, \d+ s in the run"
    assert re.search(words, after) and not re.search(words, before)


# -- replies without an end


@pytest.mark.parametrize(
    ("reads", "passed_s", "options", "is_said"),
    [
        (81, 31, {}, True),  # ten times the eight of the warm-up
        (81, 29, {}, False),
        (79, 31, {}, False),
        (81, 31, {"ceiling": 4096}, False),
        (81, 31, {"measured": [Measured(2, 9.0, 100.0)]}, False),
        (1001, 31, {"measured": [Measured(2, 9.0, 100.0)]}, True),
        (81, 31, {"warmup": None}, False),
        (10, 301, {}, True),
        (10, 301, {"warmup": None}, True),
        (10, 301, {"ceiling": 4096}, False),
    ],
)
def test_a_reply_that_does_not_end_is_said_where_it_has_no_ceiling(
    reads, passed_s, options, is_said
):
    found = shown([2, reads], passed_s=passed_s)
    warning = forecast(**options).find_long_reply(found)
    assert bool(warning) is is_said
    assert not is_said or warning == (
        f"a reply has {reads:,} tokens after {passed_s} s and goes on;"
        " --tokens N gives replies a ceiling"
    )


def test_levels_of_another_prompt_length_tell_nothing():
    long = level(4)._replace(asked_prompt_tokens=4000)
    found = forecast([Measured(4, 20.0)], rest=[long])
    assert found.estimate_rest_s() is None
    assert forecast([Measured(4, 20.0)], rest=[level(4)]).estimate_rest_s()
