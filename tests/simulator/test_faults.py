"""The faults: each row is a fault, and what one answer must show."""

import itertools
import json
import zlib

import pytest

from ollama_bench.simulator.faults import registry
from tests.simulator.reader import (
    PATIENCE_S,
    chat,
    events_of,
    generate,
    lines_of,
)


def done_lines(answer):
    return [line for line in lines_of(answer.body) if line.get("done")]


def strictly_falls(values):
    return len(values) > 1 and all(
        earlier > later for earlier, later in itertools.pairwise(values)
    )


def is_dripping(reads, gap_ns):
    """Tell whether bytes came one by one; a busy machine may read the next ones together."""
    began_ns = reads[0][0]
    return len(reads) > 1 and all(
        count <= 2 + (at_ns - began_ns) / gap_ns for at_ns, count in reads
    )


FAULTS = {
    "accept_silence": lambda a: a.how == "silence" and a.raw == b"",
    "reset_before_headers": lambda a: a.how == "reset" and a.raw == b"",
    "reset_after_headers": lambda a: (
        a.how == "reset"
        and a.raw.endswith(b"\r\n\r\n")
        and a.status == 200
    ),
    "reset_mid_line": lambda a: (
        a.how == "reset"
        and a.raw.count(b'"done":false}\n') == 3
        and not a.raw.endswith(b"\n")
    ),
    "reset_mid_utf8:2": lambda a: (
        a.how == "reset" and a.raw.endswith(" nã".encode()[:-1])
    ),
    "half_close": lambda a: (
        a.how == "eof" and a.raw.count(b'"done":false}') == 3
    ),
    "stall:2": lambda a: (
        a.how == "silence" and a.raw.count(b'"done":false}') == 2
    ),
    "slow_drip:0.1": lambda a: (
        a.how == "silence"
        and 0 < len(a.raw) <= 10
        and is_dripping(a.reads, gap_ns=1e8)
    ),
    "empty_chunks:5000": lambda a: (
        a.body.count(b'"response":""') == 5003 and len(done_lines(a)) == 1
    ),
    "pings:4": lambda a: (
        a.body.count(b"\n\n\n\n") >= 6 and len(lines_of(a.body)) == 7
    ),
    "until_eof": lambda a: (
        a.how == "eof"
        and "transfer-encoding" not in a.headers
        and len(done_lines(a)) == 1
    ),
    "content_length": lambda a: (
        int(a.headers["content-length"]) == len(a.body)
        and len(lines_of(a.body)) == 7
    ),
    "wrong_content_length:long": lambda a: (
        a.how == "eof"
        and int(a.headers["content-length"]) == len(a.body) + 10
    ),
    "wrong_content_length:short": lambda a: (
        int(a.headers["content-length"]) == len(a.body) - 10
    ),
    "gzip": lambda a: (
        a.headers["content-encoding"] == "gzip"
        and len(lines_of(zlib.decompress(a.body, wbits=31))) == 7
    ),
    "garbage": lambda a: b"\xff\xfe<<<" in a.body and a.how == "whole",
    "huge_line": lambda a: (
        max(map(len, a.body.split(b"\n"))) > 5_000_000
        and len(done_lines(a)) == 1
    ),
    "merged_tokens": lambda a: (
        len(lines_of(a.body)) == 4 and done_lines(a)[0]["eval_count"] == 6
    ),
    "inline_think": lambda a: (
        [line["response"] for line in lines_of(a.body)][0:3:2]
        == ["<think>", "</think>"]
        and len(lines_of(a.body)) == 7
    ),
    "other_model:x:1b": lambda a: all(
        line["model"] == "x:1b" for line in lines_of(a.body)
    ),
    # Ollama has no such counters
    "draft": lambda a: done_lines(a)[0]["eval_count"] == 6,
    "no_text": lambda a: len(lines_of(a.body)) == 1 == len(done_lines(a)),
    "escape_codes": lambda a: (
        all("\x1b" in line["model"] for line in lines_of(a.body))
        and len(done_lines(a)) == 1
    ),
    "escape_codes:error": lambda a: (
        "\x1b" in lines_of(a.body)[-1]["error"]
    ),
    "cut_prompt:2": lambda a: done_lines(a)[0]["prompt_eval_count"] == 2,
    "context:3": lambda a: (
        # truncate is on where a request does not say
        done_lines(a)[0]["prompt_eval_count"] == 1
        and done_lines(a)[0]["eval_count"] == 2
    ),
    "context:7": lambda a: (
        len(lines_of(a.body)) == 5
        and done_lines(a)[0]["eval_count"] == 4
        and done_lines(a)[0]["done_reason"] == "length"
    ),
    "error_first": lambda a: (
        a.status == 200 and [*lines_of(a.body)[0]] == ["error"]
    ),
    "error_last": lambda a: (
        len(lines_of(a.body)) == 7 and [*lines_of(a.body)[-1]] == ["error"]
    ),
    "no_done": lambda a: (
        a.how == "eof" and len(lines_of(a.body)) == 6 and not done_lines(a)
    ),
    "no_done_stop": lambda a: (
        a.how == "whole"
        and len(lines_of(a.body)) == 6
        and not done_lines(a)
    ),
    "done_twice": lambda a: len(done_lines(a)) == 2,
    "text_after_done": lambda a: (
        len(done_lines(a)) == 1
        and lines_of(a.body)[-1]["response"] == " late"
    ),
    "created_at_backwards": lambda a: strictly_falls(
        [line["created_at"] for line in lines_of(a.body)]
    ),
    "missing_counters": lambda a: (
        not any(
            "duration" in key or "count" in key for key in done_lines(a)[0]
        )
    ),
    "missing_usage": lambda a: (
        "eval_count" not in done_lines(a)[0]
        and "eval_duration" in done_lines(a)[0]
    ),
    "counters_as_strings": lambda a: done_lines(a)[0]["eval_count"] == "6",
    "counters_negative": lambda a: done_lines(a)[0]["eval_count"] == -7,
    "counters_nan": lambda a: b'"eval_count":NaN' in a.body,
    "counters_huge": lambda a: b'"eval_count":1e400' in a.body,
    "html_502": lambda a: (
        a.status == 502
        and b"<html>" in a.body
        and a.headers["content-type"] == "text/html"
    ),
    "redirect": lambda a: (
        a.status == 302 and a.headers["location"] == "/elsewhere"
    ),
    "401": lambda a: a.status == 401,
    "403_empty": lambda a: a.status == 403 and a.body == b"",
    "404_style1": lambda a: (
        a.status == 404 and "'x'" in json.loads(a.body)["error"]
    ),
    "404_style2": lambda a: (
        a.status == 404 and '"x"' in json.loads(a.body)["error"]
    ),
    "404_text": lambda a: (
        a.status == 404 and a.body == b"404 page not found"
    ),
    "429": lambda a: a.status == 429 and a.headers["retry-after"] == "7",
    "500": lambda a: a.status == 500,
    "503": lambda a: a.status == 503 and a.headers["retry-after"] == "7",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault(quick, fault):
    patience_s = (
        0.4
        if fault.split(":")[0] in ("accept_silence", "stall", "slow_drip")
        else PATIENCE_S
    )
    answer = generate(
        quick, headers=[f"X-Sim-Fault: {fault}"], until_s=patience_s
    )
    assert FAULTS[fault](answer), (answer.how, answer.raw[:2000])
    assert lines_of(generate(quick).body)[-1]["done"], (
        "the fault outlived its request"
    )


def test_every_fault_is_tested_and_listed():
    listed = registry.list_faults()
    assert {line.split()[0] for line in listed.splitlines()} == {
        name.split(":")[0] for name in FAULTS
    } | {"crash"}


def test_a_prompt_that_exceeds_the_context_is_refused_without_truncate(
    quick,
):
    answer = generate(
        quick, headers=["X-Sim-Fault: context:3"], truncate=False
    )
    error = json.loads(json.loads(answer.body)["error"])["error"]
    assert answer.status == 400
    assert (error["n_prompt_tokens"], error["n_ctx"]) == (3, 3)


OPENAI_FAULTS = {
    "context:3": lambda a: (
        a.status == 400 and json.loads(a.body)["error"]["n_ctx"] == 3
    ),
    "context:5": lambda a: b'"finish_reason":"length"' in a.body,
    "pings:2": lambda a: (
        a.body.startswith(b":\n\n")
        and a.body.count(b":\n\n") == 13
        and a.body.count(b"data: ") == 10
    ),
    "missing_usage": lambda a: (
        b"usage" not in a.body and b"[DONE]" in a.body
    ),
    "missing_counters": lambda a: b'"usage":{}' in a.body,
    "counters_as_strings": lambda a: b'"completion_tokens":"6"' in a.body,
    "error_last": lambda a: (
        b"error" in events_of(a.body)[-1] and b"[DONE]" not in a.body
    ),
    "no_done_stop": lambda a: b"[DONE]" not in a.body and a.how == "whole",
    "empty_chunks:2000": lambda a: (
        a.body.count(b'"content":""') == 2000
        and a.body.count(b'"role"') == 1
    ),
    "no_text": lambda a: (
        a.body.count(b"content") == 1 and b"[DONE]" in a.body
    ),
    "reset_mid_line": lambda a: (
        a.how == "reset" and not a.raw.endswith(b"\n")
    ),
}


@pytest.mark.parametrize("fault", OPENAI_FAULTS)
def test_fault_of_an_openai_stream(quick, fault):
    answer = chat(
        quick,
        headers=[f"X-Sim-Fault: {fault}"],
        stream_options={"include_usage": True},
    )
    assert OPENAI_FAULTS[fault](answer), (answer.how, answer.raw[:2000])


def test_crash_and_faults_of_the_command_line(sim):
    server = sim(
        "--profile", "exact", "--fault", "crash:2", "--tokens", "9"
    )
    answer = generate(server)
    assert answer.raw.count(b'"done":false}') == 2 and answer.how in (
        "eof",
        "reset",
    )
    assert server.process.wait(PATIENCE_S) == 70


def test_an_unknown_fault_is_a_400(quick):
    assert generate(quick, headers=["X-Sim-Fault: frogs"]).status == 400
