"""A server that does everything wrong: a row of the right status for each request."""

import os
import subprocess
import threading
import time

import psutil
import pytest

from ollama_bench.load import load
from ollama_bench.simulator import child
from tests.system.faults import (
    CHUNKED,
    DEADLINE_S,
    MIB,
    PATIENT,
    SHORT,
    STALL_S,
    check,
    fire,
    nothing_left,
    raw_server,
    saying,
)

pytestmark = pytest.mark.faults

SIMULATED = [  # fault, statuses that are right, HTTP status
    ("accept_silence", {"stalled"}, None),
    ("reset_before_headers", {"reset"}, None),
    ("reset_after_headers", {"reset"}, 200),
    ("reset_mid_line", {"reset"}, 200),
    ("reset_mid_utf8", {"reset"}, 200),
    ("half_close", {"reset"}, 200),
    ("stall", {"stalled"}, 200),
    ("garbage", {"stream_error"}, 200),
    ("html_502", {"http_error"}, 502),
    ("error_first", {"stream_error"}, 200),
    ("error_last", {"stream_error"}, 200),
    ("no_done", {"reset"}, 200),
    ("no_done_stop", {"truncated"}, 200),
    ("done_twice", {"completed"}, 200),
    ("text_after_done", {"completed"}, 200),
    ("no_text", {"empty"}, 200),
    ("huge_line:500000", {"completed"}, 200),
    ("empty_chunks:16000", {"completed"}, 200),
    ("pings", {"completed"}, 200),
    ("wrong_content_length:long", {"reset", "completed"}, 200),
    (
        "wrong_content_length:short",
        {"truncated", "stream_error", "completed"},
        200,
    ),
    ("content_length", {"completed"}, 200),
    ("until_eof", {"completed"}, 200),
    ("gzip", {"completed"}, 200),
    ("redirect", {"http_error"}, 302),
    ("401", {"http_error"}, 401),
    ("403_empty", {"http_error"}, 403),
    ("404_style1", {"http_error"}, 404),
    ("404_style2", {"http_error"}, 404),
    ("404_text", {"http_error"}, 404),
    ("429", {"http_error"}, 429),
    ("500", {"http_error"}, 500),
    ("503", {"http_error"}, 503),
    ("created_at_backwards", {"completed"}, 200),
    ("counters_as_strings", {"completed"}, 200),
    ("counters_negative", {"completed"}, 200),
    ("counters_nan", {"completed"}, 200),
    ("counters_huge", {"completed"}, 200),
    ("missing_counters", {"completed"}, 200),
    ("merged_tokens", {"completed"}, 200),
    ("inline_think", {"completed"}, 200),
    ("escape_codes", {"completed"}, 200),
]


@pytest.mark.parametrize("count", [1, 64])
@pytest.mark.parametrize(
    "fault, statuses, http_status",
    SIMULATED,
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_each_fault_at_each_level(
    short, fault, statuses, http_status, count
):
    limits = SHORT if "stalled" in statuses else PATIENT
    with nothing_left():
        level = fire(short.url, count, fault=fault, limits=limits)
    check(level, count, statuses, http_status)
    if fault.startswith(("counters", "missing")):
        assert {
            outcome.to_figures(0)["output_tokens_source"]
            for outcome in level.outcomes
        } == {"chunks"}
        assert {
            outcome.to_figures(0)["server_total_ns"]
            for outcome in level.outcomes
        } == {None}


def test_a_stream_that_breaks_off_is_told_in_plain_words(short):
    assert (
        fire(short.url, 1, fault="no_done").outcomes[0].error
        == "connection closed in mid-stream"
    )
    with raw_server(saying(CHUNKED + b"zz\r\nhello\r\n")) as url:
        assert fire(url, 1).outcomes[0].error == "invalid chunk size 'zz'"


@pytest.mark.parametrize(
    "fault",
    [
        "reset_mid_line",
        "error_last",
        "no_done_stop",
        "done_twice",
        "counters_huge",
        "gzip",
        "404_text",
    ],
)
def test_the_other_protocol_fares_alike(short, fault):
    statuses = next(
        statuses for name, statuses, _ in SIMULATED if name == fault
    )
    with nothing_left():
        level = fire(short.url, 64, "openai", fault=fault)
    check(level, 64, statuses)


@pytest.mark.parametrize(
    "fault",
    [
        "reset_mid_line",
        "429",
        "html_502",
        "no_done",
        "error_first",
        "garbage",
    ],
)
def test_a_closed_loop_goes_on_past_failures(short, fault):
    with nothing_left():
        level = fire(short.url, 8, fault=fault, planned=100)
    check(
        level,
        100,
        next(statuses for name, statuses, _ in SIMULATED if name == fault),
    )


def test_a_slow_drip_is_cut_at_the_deadline(short):
    for count in (1, 64):
        with nothing_left():
            level = fire(
                short.url,
                count,
                fault="slow_drip:1",
                limits=load.Limits(stall_s=STALL_S, deadline_s=DEADLINE_S),
            )
        check(level, count, {"cancelled"})


def test_a_line_of_5_mb_and_a_million_empty_chunks(short):
    before = psutil.Process().memory_info().rss
    with nothing_left():
        check(
            fire(short.url, 64, fault="huge_line"),
            64,
            {"completed"},
        )
        level = fire(short.url, 1, fault="empty_chunks")
    check(level, 1, {"completed"})
    assert len(level.outcomes[0].chunk_ns) == 10
    assert psutil.Process().memory_info().rss - before < 500 * MIB


def test_a_server_that_dies_and_comes_back_within_a_level(sim):
    dying = sim(
        "--profile", "exact", "--ttft", "5", "--itl", "1", "--tokens", "10"
    )
    again = []

    def restart():
        dying.process.kill()
        dying.process.wait()
        time.sleep(0.3)
        again.append(
            subprocess.Popen(
                child.command(
                    "--port",
                    str(dying.port),
                    "--profile",
                    "exact",
                    "--ttft",
                    "5",
                    "--itl",
                    "1",
                    "--tokens",
                    "10",
                    "--parent-pid",
                    str(os.getpid()),
                ),
                stdout=subprocess.DEVNULL,
            )
        )

    timer = threading.Timer(1.0, restart)
    timer.start()
    with nothing_left():
        level = fire(dying.url, 64, until_s=6)
        timer.join()
    try:
        statuses = [outcome.status for outcome in level.outcomes]
        assert [outcome.task.number for outcome in level.outcomes] == list(
            range(1, len(statuses) + 1)
        )
        assert {"completed", "refused"} <= set(statuses) <= {
            "completed",
            "reset",
            "refused",
        } and statuses[-1] == "completed"
    finally:
        again[0].kill()
        again[0].wait()
