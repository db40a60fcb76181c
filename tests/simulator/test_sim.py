"""The simulator against a reader of its own: it is the witness, so nothing here trusts our client."""

import json
import os
import plistlib
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import types
import zlib

import pytest

from tests.conftest import HERE

MODEL = "deepseek-r1:7b"
PATIENCE_S = 10  # a bound for what should come at once


# A reader of its own, byte by byte from the socket.


def request_bytes(path, body=None, headers=()):
    data = json.dumps(body).encode() if body is not None else b""
    method = "GET" if body is None else "POST"
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: sim",
        f"Content-Length: {len(data)}",
        *headers,
        "",
        "",
    ]
    return "\r\n".join(lines).encode() + data


def connect(sim):
    return socket.create_connection(("127.0.0.1", sim.port), timeout=PATIENCE_S)


def fetch(sim, path, body=None, headers=(), until_s=PATIENCE_S):
    with connect(sim) as sock:
        sock.sendall(request_bytes(path, body, headers))
        return receive(sock, until_s)


def receive(sock, until_s=PATIENCE_S):
    """Read one answer: its raw bytes, the instants of the reads, and how it ended: whole, eof, reset or silence."""
    raw, reads, how, stop = bytearray(), [], None, time.monotonic() + until_s
    while how is None:
        sock.settimeout(max(0.01, stop - time.monotonic()))
        try:
            data = sock.recv(1 << 16)
        except ConnectionResetError:
            how = "reset"
            break
        except TimeoutError:
            how = "silence"
            break
        reads.append((time.perf_counter_ns(), len(raw) + len(data)))
        raw += data
        how = "eof" if not data else "whole" if is_whole(bytes(raw)) else None
    head, _, rest = bytes(raw).partition(b"\r\n\r\n")
    status = int(head.split()[1]) if head.count(b" ") > 1 else None
    headers = {
        k.lower(): v.strip()
        for k, _, v in (line.partition(":") for line in head.decode().split("\r\n")[1:])
    }
    body = b"".join(chunks(rest)) if headers.get("transfer-encoding") == "chunked" else rest
    return types.SimpleNamespace(
        raw=bytes(raw), status=status, headers=headers, body=body, how=how, reads=reads
    )


def is_whole(raw):
    head, blank, rest = raw.partition(b"\r\n\r\n")
    if b"chunked" in head:
        return rest.endswith(b"0\r\n\r\n") and (len(rest) == 5 or rest.endswith(b"\r\n0\r\n\r\n"))
    length = re.search(rb"Content-Length: (\d+)", head)
    return bool(blank and length) and len(rest) >= int(length[1])


def chunks(rest):
    while rest:
        size, line_end, rest = rest.partition(b"\r\n")
        if not line_end or not size or int(size, 16) == 0:
            return
        yield rest[: int(size, 16)]
        rest = rest[int(size, 16) + 2 :]


def lines_of(body):
    return [json.loads(line) for line in body.split(b"\n") if line.strip()]


def events_of(body):
    return [
        event.removeprefix(b"data: ")
        for event in body.split(b"\n\n")
        if event.startswith(b"data: ")
    ]


def generate(sim, prompt="one two three", headers=(), until_s=PATIENCE_S, **more):
    return fetch(sim, "/api/generate", {"model": MODEL, "prompt": prompt, **more}, headers, until_s)


def chat(sim, headers=(), until_s=PATIENCE_S, **more):
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "one two three"}],
        "stream": True,
        **more,
    }
    return fetch(sim, "/v1/chat/completions", body, headers, until_s)


def at_once(n, action):
    """Run action(0..n-1) in threads started in that order; their results."""
    results = [None] * n

    def work(i):
        results[i] = action(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S * 2)
    return results


def log_of(sim, rows):
    """The send log, once it has that many rows."""
    stop = time.monotonic() + PATIENCE_S
    while time.monotonic() < stop:
        found = sim.log()
        if len(found) >= rows:
            return found
        time.sleep(0.02)
    raise AssertionError(f"{len(found)} rows in the log, not {rows}")


@pytest.fixture(scope="module")
def quick(module_sim):
    """An exact server, ready at once, 6 tokens."""
    return module_sim("--profile", "exact", "--ttft", "20", "--itl", "2", "--tokens", "6")


# The protocols.


def test_ollama_describes_itself(quick):
    assert fetch(quick, "/").body == b"Ollama is running"
    assert "version" in lines_of(fetch(quick, "/api/version").body)[0]
    assert lines_of(fetch(quick, "/api/tags").body)[0]["models"][0]["name"] == MODEL
    assert (
        "thinking" in lines_of(fetch(quick, "/api/show", {"model": MODEL}).body)[0]["capabilities"]
    )
    generate(quick)
    loaded = lines_of(fetch(quick, "/api/ps").body)[0]["models"][0]
    assert loaded["name"] == MODEL and loaded["size_vram"] == loaded["size"] > 0
    assert fetch(quick, "/nothing").status == 404
    assert fetch(quick, "/api/generate").status == 405


@pytest.mark.parametrize("path", ["/", "/api/tags", "/nothing", "/v1/models"])
def test_every_answer_says_that_it_is_simulated(quick, path):
    assert fetch(quick, path).headers["server"] == "ollama-bench-sim"


def test_ollama_stream(quick):
    answer = generate(quick, think=True)
    *tokens, last = lines_of(answer.body)
    assert answer.status == 200 and answer.headers["content-type"] == "application/x-ndjson"
    assert [bool(line.get("thinking")) for line in tokens] == [
        True,
        True,
        False,
        False,
        False,
        False,
    ]
    assert all(
        line["thinking" if i < 2 else "response"] and not line["done"]
        for i, line in enumerate(tokens)
    )
    assert (last["done"], last["done_reason"], last["response"]) == (True, "stop", "")
    assert (last["eval_count"], last["prompt_eval_count"]) == (6, 3)
    parts = last["prompt_eval_duration"] + last["eval_duration"] + last.get("load_duration", 0)
    assert 0 < last["eval_duration"] < parts <= last["total_duration"]
    assert len(list(chunks(answer.raw.partition(b"\r\n\r\n")[2]))) == 7


def test_num_predict_cuts_and_thinking_can_be_off(quick):
    *tokens, last = lines_of(generate(quick, think=False, options={"num_predict": 4}).body)
    assert len(tokens) == last["eval_count"] == 4 and last["done_reason"] == "length"
    assert not any("thinking" in line for line in tokens)


def test_ollama_without_stream(quick):
    answer = generate(quick, stream=False)
    whole = json.loads(answer.body)
    assert whole["done"] and len(whole["response"].split()) + len(whole["thinking"].split()) == 6
    assert int(answer.headers["content-length"]) == len(answer.body)


def test_empty_prompt_loads_and_unloads(quick):
    assert lines_of(generate(quick, prompt="").body)[0]["done_reason"] == "load"
    assert lines_of(generate(quick, prompt="", keep_alive=0).body)[0]["done_reason"] == "unload"
    assert lines_of(fetch(quick, "/api/ps").body)[0]["models"] == []


@pytest.mark.parametrize(
    "body, status",
    [
        ({"model": "absent", "prompt": "x"}, 404),
        ([], 400),
        ({}, 404),
        ({"model": MODEL, "prompt": "x", "options": {"num_predict": []}}, 200),
        ({"model": MODEL, "prompt": "x", "options": {"num_predict": {"a": 1}}}, 400),
    ],
)
def test_ollama_errors(quick, body, status):
    answer = fetch(quick, "/api/generate", body)
    assert answer.status == status and (status == 200 or json.loads(answer.body)["error"])


def test_pull(quick):
    assert lines_of(fetch(quick, "/api/pull", {"model": "new"}).body)[-1] == {"status": "success"}
    assert fetch(quick, "/api/generate", {"model": "new", "prompt": "x"}).status == 200


def test_openai_stream(quick):
    answer = chat(quick, stream_options={"include_usage": True})
    *events, done = events_of(answer.body)
    events = [json.loads(event) for event in events]
    assert answer.headers["content-type"] == "text/event-stream" and done == b"[DONE]"
    deltas = [event["choices"][0]["delta"] for event in events[:-1]]
    assert deltas[0] == {"role": "assistant", "content": None} and deltas[-1] == {}
    assert [*map(list, deltas[1:-1])] == [["reasoning_content"]] * 2 + [["content"]] * 4
    assert events[-2]["choices"][0]["finish_reason"] == "stop"
    assert events[-1]["choices"] == [] and events[-1]["usage"] == {
        "prompt_tokens": 3,
        "completion_tokens": 6,
        "total_tokens": 9,
    }
    assert events[-1]["timings"]["predicted_n"] == 6


def test_openai_thinks_unless_told_not_to(quick):
    assert b"reasoning_content" in chat(quick).body
    assert (
        b"reasoning_content"
        not in chat(quick, chat_template_kwargs={"enable_thinking": False}).body
    )


def test_openai_without_usage_and_without_stream(quick):
    assert b'"usage"' not in chat(quick).body
    whole = json.loads(chat(quick, stream=False).body)
    assert whole["usage"]["completion_tokens"] == 6 and whole["choices"][0]["message"]["content"]


def test_openai_wants_its_key(sim):
    server = sim("--profile", "exact", "--api-key", "sesame")
    assert chat(server).status == fetch(server, "/v1/models").status == 401
    models = fetch(server, "/v1/models", headers=["Authorization: Bearer sesame"])
    assert json.loads(models.body)["data"][0]["id"] == MODEL


def test_a_connection_serves_many_requests(quick):
    body = {"model": MODEL, "prompt": "x"}
    with connect(quick) as sock:
        for _ in range(3):
            sock.sendall(request_bytes("/api/generate", body))
            assert receive(sock).how == "whole"
        sock.sendall(request_bytes("/api/version") + request_bytes("/api/version"))  # pipelined
        time.sleep(0.2)
        assert sock.recv(1 << 16).count(b"200 OK") == 2
        sock.sendall(request_bytes("/api/generate", body, ["Connection: close"]))
        assert receive(sock).how == "eof"
    with connect(quick) as sock:
        sock.sendall(
            request_bytes("/api/generate", {**body, "stream": False}, ["Connection: close"])
        )
        assert receive(sock).how == "whole" and sock.recv(1) == b""


def test_a_request_may_come_byte_by_byte(quick):
    with connect(quick) as sock:
        for byte in request_bytes("/api/show", {"model": MODEL}):
            sock.send(bytes([byte]))
        assert receive(sock).status == 200


def test_nothing_is_sent_before_the_first_token(sim):
    server = sim("--profile", "exact", "--ttft", "400", "--tokens", "3")
    with connect(server) as sock:
        sock.sendall(request_bytes("/api/generate", {"model": MODEL, "prompt": "x"}))
        sent_ns = time.perf_counter_ns()
        answer = receive(sock)
    first_ns, first_end = answer.reads[0]
    assert first_ns - sent_ns > 0.3e9
    assert b'"thinking":' in answer.raw[:first_end], "the headers came without the first token"


def test_https(sim, tmp_path):
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    try:
        subprocess.run(
            [
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-subj",
                "/CN=localhost",
                "-days",
                "2",
                "-keyout",
                key,
                "-out",
                cert,
            ],
            check=True,
            capture_output=True,
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no openssl to make a certificate")
    server = sim("--profile", "exact", "--tls", str(cert), str(key), "--tokens", "3")
    context = ssl.create_default_context(cafile=cert)
    with context.wrap_socket(connect(server), server_hostname="localhost") as sock:
        sock.sendall(request_bytes("/api/generate", {"model": MODEL, "prompt": "x"}))
        assert lines_of(receive(sock).body)[-1]["done"]


# The machine.


def test_first_come_first_served_and_never_more_than_the_slots(sim):
    server = sim(
        "--profile", "exact", "--slots", "3", "--itl", "5", "--ttft", "10", "--tokens", "10-30"
    )
    states, over = [], threading.Event()

    def watch():
        while not over.wait(0.02):
            states.append(server.state())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        assert all(
            lines_of(answer.body)[-1]["done"] for answer in at_once(12, lambda i: generate(server))
        )
    finally:
        over.set()
        watcher.join()
    rows = sorted(log_of(server, 12), key=lambda row: row["number"])
    admitted = [row["admitted_ns"] for row in rows]
    assert admitted == sorted(admitted), "someone jumped the queue"
    edges = sorted(
        [(row["admitted_ns"], 1) for row in rows] + [(row["end_ns"], -1) for row in rows]
    )
    busy = 0
    for _, change in edges:
        busy += change
        assert busy <= 3
    assert (
        max(state["active"] for state in states) == 3
        and max(state["queued"] for state in states) > 3
    )
    assert server.state()["active"] == server.state()["queued"] == 0


def test_queue_time_is_what_the_counters_leave_over(sim):
    server = sim(
        "--profile", "exact", "--slots", "1", "--itl", "10", "--ttft", "50", "--tokens", "20"
    )
    lasts = sorted(
        (lines_of(answer.body)[-1] for answer in at_once(2, lambda i: generate(server))),
        key=lambda last: last["total_duration"],
    )
    queues_ns = [
        last["total_duration"] - last["prompt_eval_duration"] - last["eval_duration"]
        for last in lasts
    ]
    assert queues_ns[1] - queues_ns[0] > 150e6 and min(queues_ns) >= 0


def test_a_full_queue_answers_503(sim):
    server = sim(
        "--profile", "exact", "--slots", "1", "--queue", "1", "--itl", "10", "--tokens", "20"
    )
    answers = at_once(4, lambda i: generate(server))
    assert sorted(answer.status for answer in answers) == [200, 200, 503, 503]
    refused = next(answer for answer in answers if answer.status == 503)
    assert json.loads(refused.body)["error"].startswith("server busy, please try again.  maximum")


@pytest.mark.parametrize("streams, rate", [(1, 53.1), (2, 30.7), (3, 25.3), (19, 9.1), (25, 9.1)])
def test_rates_are_the_profiles(sim, streams, rate):
    server = sim("--profile", "m2pro-7b", "--speed", "20", "--tokens", "80")
    generate(server, prompt="")
    at_once(streams, lambda i: generate(server))
    rows = log_of(server, streams)
    steps = sorted({due_ns for row in rows for due_ns in row["due_ns"]})
    gaps_ns = [late - early for early, late in zip(steps, steps[1:])]
    together = [gap_ns for gap_ns in gaps_ns if abs(gap_ns - 1e9 / rate / 20) < 2]
    assert len(together) > 15, "the step is not that of so many streams"
    assert all(write >= due for row in rows for write, due in zip(row["writes_ns"], row["due_ns"]))


def test_a_stream_that_leaves_frees_its_slot(sim):
    server = sim("--profile", "exact", "--slots", "1", "--itl", "20", "--tokens", "100000")
    with connect(server) as sock:
        sock.sendall(request_bytes("/api/generate", {"model": MODEL, "prompt": "x"}))
        sock.recv(100)
        assert server.state()["active"] == 1
    assert log_of(server, 1)[0]["outcome"] == "disconnected"
    assert lines_of(generate(server, options={"num_predict": 2}).body)[-1]["done"]


def test_lengths_follow_the_seed(sim):
    def lengths(*arguments):
        server = sim(
            "--profile", "exact", "--ttft", "1", "--itl", "0.1", "--tokens", "10-90", *arguments
        )
        return [lines_of(generate(server).body)[-1]["eval_count"] for _ in range(6)]

    first = lengths("--seed", "7")
    assert first == lengths("--seed", "7") != lengths("--seed", "8")
    assert len(set(first)) > 2 and all(10 <= n <= 90 for n in first)


def test_the_first_request_loads_the_model(sim):
    server = sim("--speed", "10", "--tokens", "3")
    loads_ns = [lines_of(generate(server).body)[-1]["load_duration"] for _ in range(2)]
    assert loads_ns[0] > 0.15e9 > loads_ns[1]


# The witness.


def test_the_log_agrees_with_the_socket(sim):
    server = sim("--profile", "exact", "--itl", "10", "--ttft", "50", "--tokens", "20")
    before_ns = time.perf_counter_ns()
    answer = generate(server, prompt="[k7] hello", headers=["X-Request-Id: r1"])
    (row,) = log_of(server, 1)
    assert (row["id"], row["prompt_prefix"], row["outcome"]) == ("r1", "[k7] hello", "done")
    token_ends = [match.end() for match in re.finditer(rb'"done":false}\n', answer.raw)]
    seen_ns = [
        next(at_ns for at_ns, end in answer.reads if end >= token_end) for token_end in token_ends
    ]
    assert len(seen_ns) == len(row["writes_ns"]) == len(row["due_ns"]) == 20
    assert (
        before_ns < row["read_ns"] < row["writes_ns"][0] and row["writes_ns"][-1] <= row["end_ns"]
    )
    assert all(seen > write for seen, write in zip(seen_ns, row["writes_ns"]))
    assert [due - row["read_ns"] for due in row["due_ns"]] == [
        50_000_000 + 10_000_000 * i for i in range(20)
    ]


def test_it_knows_its_own_error(sim):
    server = sim("--profile", "exact", "--itl", "2", "--tokens", "50", "--report")
    at_once(8, lambda i: generate(server))
    errors_ns = sorted(
        write - due
        for row in log_of(server, 8)
        for write, due in zip(row["writes_ns"], row["due_ns"])
    )
    said = server.state()["schedule_error_s"]
    assert said["n"] == len(errors_ns) == 400
    assert said["max"] * 1e9 == pytest.approx(errors_ns[-1], abs=1)
    assert said["p50"] * 1e9 == pytest.approx(errors_ns[199], abs=10_001)
    assert said["p99"] * 1e9 == pytest.approx(errors_ns[395], abs=10_001)


def test_energy_is_power_times_time(sim):
    server = sim("--profile", "exact", "--itl", "10", "--tokens", "30")
    first = server.state()
    time.sleep(0.2)
    idle = server.state()
    assert idle["busy_ns"] == 0
    assert idle["energy_j"] - first["energy_j"] == pytest.approx(
        0.15 * (idle["t_ns"] - first["t_ns"]) / 1e9
    )
    generate(server)
    (row,) = log_of(server, 1)
    after = server.state()
    assert after["busy_ns"] == pytest.approx(row["end_ns"] - row["admitted_ns"], rel=0.2)
    assert after["gpu_energy_j"] == pytest.approx(
        (20 * after["busy_ns"] + 0.05 * after["idle_ns"]) / 1e9
    )
    assert after["energy_j"] == pytest.approx(after["gpu_energy_j"] + after["cpu_energy_j"])
    assert after["power_w"] == pytest.approx(0.15)


# The faults. Each row: the fault, and what one Ollama answer must show.


def done_lines(answer):
    return [line for line in lines_of(answer.body) if line.get("done")]


def strictly_falls(values):
    return len(values) > 1 and all(earlier > later for earlier, later in zip(values, values[1:]))


FAULTS = {
    "accept_silence": lambda a: a.how == "silence" and a.raw == b"",
    "reset_before_headers": lambda a: a.how == "reset" and a.raw == b"",
    "reset_after_headers": lambda a: (
        a.how == "reset" and a.raw.endswith(b"\r\n\r\n") and a.status == 200
    ),
    "reset_mid_line": lambda a: (
        a.how == "reset" and a.raw.count(b'"done":false}\n') == 3 and not a.raw.endswith(b"\n")
    ),
    "reset_mid_utf8:2": lambda a: a.how == "reset" and a.raw.endswith(" nã".encode()[:-1]),
    "half_close": lambda a: a.how == "eof" and a.raw.count(b'"done":false}') == 3,
    "stall:2": lambda a: a.how == "silence" and a.raw.count(b'"done":false}') == 2,
    "slow_drip:0.1": lambda a: (
        a.how == "silence" and 0 < len(a.raw) <= 10 and len(a.reads) == len(a.raw)
    ),
    "empty_chunks:5000": lambda a: (
        a.body.count(b'"response":""') == 5003 and len(done_lines(a)) == 1
    ),
    "pings:4": lambda a: a.body.count(b"\n\n\n\n") >= 6 and len(lines_of(a.body)) == 7,
    "until_eof": lambda a: (
        a.how == "eof" and "transfer-encoding" not in a.headers and len(done_lines(a)) == 1
    ),
    "content_length": lambda a: (
        int(a.headers["content-length"]) == len(a.body) and len(lines_of(a.body)) == 7
    ),
    "wrong_content_length:long": lambda a: (
        a.how == "eof" and int(a.headers["content-length"]) == len(a.body) + 10
    ),
    "wrong_content_length:short": lambda a: int(a.headers["content-length"]) == len(a.body) - 10,
    "gzip": lambda a: (
        a.headers["content-encoding"] == "gzip"
        and len(lines_of(zlib.decompress(a.body, wbits=31))) == 7
    ),
    "garbage": lambda a: b"\xff\xfe<<<" in a.body and a.how == "whole",
    "huge_line": lambda a: (
        max(map(len, a.body.split(b"\n"))) > 5_000_000 and len(done_lines(a)) == 1
    ),
    "merged_tokens": lambda a: len(lines_of(a.body)) == 4 and done_lines(a)[0]["eval_count"] == 6,
    "inline_think": lambda a: (
        [line["response"] for line in lines_of(a.body)][0:3:2] == ["<think>", "</think>"]
        and len(lines_of(a.body)) == 7
    ),
    "no_text": lambda a: len(lines_of(a.body)) == 1 == len(done_lines(a)),
    "escape_codes": lambda a: (
        all("\x1b" in line["model"] for line in lines_of(a.body)) and len(done_lines(a)) == 1
    ),
    "escape_codes:error": lambda a: "\x1b" in lines_of(a.body)[-1]["error"],
    "error_first": lambda a: a.status == 200 and [*lines_of(a.body)[0]] == ["error"],
    "error_last": lambda a: len(lines_of(a.body)) == 7 and [*lines_of(a.body)[-1]] == ["error"],
    "no_done": lambda a: a.how == "eof" and len(lines_of(a.body)) == 6 and not done_lines(a),
    "no_done_stop": lambda a: a.how == "whole" and len(lines_of(a.body)) == 6 and not done_lines(a),
    "done_twice": lambda a: len(done_lines(a)) == 2,
    "text_after_done": lambda a: (
        len(done_lines(a)) == 1 and lines_of(a.body)[-1]["response"] == " late"
    ),
    "created_at_backwards": lambda a: strictly_falls(
        [line["created_at"] for line in lines_of(a.body)]
    ),
    "missing_counters": lambda a: (
        not any("duration" in key or "count" in key for key in done_lines(a)[0])
    ),
    "missing_usage": lambda a: (
        "eval_count" not in done_lines(a)[0] and "eval_duration" in done_lines(a)[0]
    ),
    "counters_as_strings": lambda a: done_lines(a)[0]["eval_count"] == "6",
    "counters_negative": lambda a: done_lines(a)[0]["eval_count"] == -7,
    "counters_nan": lambda a: b'"eval_count":NaN' in a.body,
    "counters_huge": lambda a: b'"eval_count":1e400' in a.body,
    "html_502": lambda a: (
        a.status == 502 and b"<html>" in a.body and a.headers["content-type"] == "text/html"
    ),
    "redirect": lambda a: a.status == 302 and a.headers["location"] == "/elsewhere",
    "401": lambda a: a.status == 401,
    "403_empty": lambda a: a.status == 403 and a.body == b"",
    "404_style1": lambda a: a.status == 404 and "'x'" in json.loads(a.body)["error"],
    "404_style2": lambda a: a.status == 404 and '"x"' in json.loads(a.body)["error"],
    "404_text": lambda a: a.status == 404 and a.body == b"404 page not found",
    "429": lambda a: a.status == 429 and a.headers["retry-after"] == "7",
    "500": lambda a: a.status == 500,
    "503": lambda a: a.status == 503 and a.headers["retry-after"] == "7",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault(quick, fault):
    patience_s = (
        0.4 if fault.split(":")[0] in ("accept_silence", "stall", "slow_drip") else PATIENCE_S
    )
    answer = generate(quick, headers=[f"X-Sim-Fault: {fault}"], until_s=patience_s)
    assert FAULTS[fault](answer), (answer.how, answer.raw[:2000])
    assert lines_of(generate(quick).body)[-1]["done"], "the fault outlived its request"


def test_every_fault_is_tested_and_listed():
    listed = run_sim("--fault", "help").stdout
    assert {line.split()[0] for line in listed.splitlines()} == {
        name.split(":")[0] for name in FAULTS
    } | {"crash"}


OPENAI_FAULTS = {
    "pings:2": lambda a: (
        a.body.startswith(b":\n\n")
        and a.body.count(b":\n\n") == 13
        and a.body.count(b"data: ") == 10
    ),
    "missing_usage": lambda a: b"usage" not in a.body and b"[DONE]" in a.body,
    "missing_counters": lambda a: b'"usage":{}' in a.body,
    "counters_as_strings": lambda a: b'"completion_tokens":"6"' in a.body,
    "error_last": lambda a: b"error" in events_of(a.body)[-1] and b"[DONE]" not in a.body,
    "no_done_stop": lambda a: b"[DONE]" not in a.body and a.how == "whole",
    "empty_chunks:2000": lambda a: (
        a.body.count(b'"content":""') == 2000 and a.body.count(b'"role"') == 1
    ),
    "no_text": lambda a: a.body.count(b"content") == 1 and b"[DONE]" in a.body,
    "reset_mid_line": lambda a: a.how == "reset" and not a.raw.endswith(b"\n"),
}


@pytest.mark.parametrize("fault", OPENAI_FAULTS)
def test_fault_of_an_openai_stream(quick, fault):
    answer = chat(quick, headers=[f"X-Sim-Fault: {fault}"], stream_options={"include_usage": True})
    assert OPENAI_FAULTS[fault](answer), (answer.how, answer.raw[:2000])


def test_crash_and_faults_of_the_command_line(sim):
    server = sim("--profile", "exact", "--fault", "crash:2", "--tokens", "9")
    answer = generate(server)
    assert answer.raw.count(b'"done":false}') == 2 and answer.how in ("eof", "reset")
    assert server.process.wait(PATIENCE_S) == 70


def test_an_unknown_fault_is_a_400(quick):
    assert generate(quick, headers=["X-Sim-Fault: frogs"]).status == 400


# The command line.


def run_sim(*arguments):
    command = [sys.executable, str(HERE / "ollama_bench/simulator/sim.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=20)


def test_errors_are_one_line(quick):
    taken = run_sim("--port", str(quick.port))
    assert (
        taken.returncode == 1 and taken.stderr.count("\n") == 1 and str(quick.port) in taken.stderr
    )
    for wrong in (["--tokens", "9-1"], ["--fault", "frogs"], ["--speed", "0"], ["--port", "70000"]):
        assert run_sim(*wrong).returncode == 2, wrong
    lost = run_sim("--port", "0", "--tls", "no.pem", "no.pem")
    assert lost.returncode == 1 and lost.stderr.count("\n") == 1


def test_it_ends_with_its_parent():
    parent = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    server = subprocess.Popen(
        [
            sys.executable,
            str(HERE / "ollama_bench/simulator/sim.py"),
            "--port",
            "0",
            "--parent-pid",
            str(parent.pid),
        ],
        stdout=subprocess.PIPE,
    )
    try:
        assert server.stdout.readline()
        parent.kill()
        parent.wait()
        server.wait(PATIENCE_S)
    finally:
        for process in (parent, server):
            process.kill()
            process.wait()
        server.stdout.close()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_ends_it_and_the_report_is_printed(number, code):
    server = subprocess.Popen(
        [sys.executable, str(HERE / "ollama_bench/simulator/sim.py"), "--port", "0", "--report"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    server.stdout.readline()
    server.send_signal(number)
    _, said = server.communicate(timeout=PATIENCE_S)
    assert (
        server.returncode == code
        and said.startswith("schedule error of 0 writes")
        and said.count("\n") == 1
    )


# powermetrics.


def powermetrics(*arguments):
    command = [
        sys.executable,
        str(HERE / "ollama_bench/simulator/sim.py"),
        "powermetrics",
        *arguments,
    ]
    done = subprocess.run(command, capture_output=True, timeout=20)
    return types.SimpleNamespace(code=done.returncode, out=done.stdout, err=done.stderr.decode())


def documents(out):
    return [plistlib.loads(document) for document in out.split(b"\0")]


def test_powermetrics_conserves_the_servers_energy(sim):
    server = sim("--profile", "exact", "--itl", "20", "--tokens", "20")
    load = threading.Timer(0.3, generate, [server])
    before = server.state()
    load.start()
    samples = documents(
        powermetrics("--port", str(server.port), "-f", "plist", "-i", "150", "-n", "8").out
    )
    after = server.state()
    load.join()
    elapsed_ns = sum(sample["elapsed_ns"] for sample in samples)
    idle_ns = sum(sample["gpu"]["idle_ns"] for sample in samples)
    gpu_mj = sum(sample["processor"]["gpu_energy"] for sample in samples)
    cpu_mj = sum(sample["processor"]["cpu_energy"] for sample in samples)
    assert gpu_mj == pytest.approx((20 * (elapsed_ns - idle_ns) + 0.05 * idle_ns) / 1e6, abs=1)
    whole_mj, outside_ns = (
        (after["energy_j"] - before["energy_j"]) * 1e3,
        after["t_ns"] - before["t_ns"] - elapsed_ns,
    )
    assert 0 <= outside_ns
    assert whole_mj - 21.5 * outside_ns / 1e6 - 2 <= gpu_mj + cpu_mj <= whole_mj + 2
    assert 0 < idle_ns < elapsed_ns and gpu_mj > 1000


def test_powermetrics_plist_is_shaped_like_apples():
    out = powermetrics(
        "--port",
        "9",
        "-f",
        "plist",
        "-b",
        "0",
        "-i",
        "20",
        "-n",
        "3",
        "--samplers",
        "cpu_power,gpu_power,thermal",
    ).out
    assert out.startswith(b"<?xml") and out.count(b"\0<?xml") == 2 and out.endswith(b"</plist>\n")
    sample = documents(out)[0]
    assert [*sample][:3] == ["is_delta", "elapsed_ns", "hw_model"] and sample[
        "elapsed_ns"
    ] >= 20_000_000
    processor = sample["processor"]
    assert processor["combined_power"] == pytest.approx(
        processor["cpu_power"] + processor["gpu_power"]
    )
    assert processor["gpu_power"] == pytest.approx(
        processor["gpu_energy"] * 1e9 / sample["elapsed_ns"]
    )
    assert {"freq_hz", "idle_ns", "idle_ratio", "dvfm_states", "gpu_energy"} == set(sample["gpu"])
    assert sample["gpu"]["idle_ratio"] == 1.0 and sample["thermal_pressure"] == "Nominal"
    gpu_alone = powermetrics(
        "--port", "9", "-f", "plist", "-i", "20", "-n", "1", "--samplers", "gpu_power"
    ).out
    assert "processor" not in documents(gpu_alone)[0]


def test_powermetrics_shows_the_busy_clock(sim):
    server = sim("--profile", "exact", "--itl", "20", "--tokens", "100000")
    with connect(server) as sock:
        sock.sendall(request_bytes("/api/generate", {"model": MODEL, "prompt": "x"}))
        sock.recv(100)
        (sample,) = documents(
            powermetrics("--port", str(server.port), "-f", "plist", "-i", "100", "-n", "1").out
        )
        text = powermetrics(
            "--port", str(server.port), "-f", "text", "-i", "100", "-n", "1"
        ).out.decode()
    gpu = sample["gpu"]
    assert gpu["freq_hz"] == 1396 and gpu["idle_ratio"] == 0
    assert sample["processor"]["gpu_power"] == pytest.approx(20e3, rel=0.01)
    assert sum(s["freq"] * s["used_ratio"] for s in gpu["dvfm_states"]) == pytest.approx(1396)
    assert (
        text.startswith("Machine model: Mac14,10\n") and "GPU HW active frequency: 1396 MHz" in text
    )
    assert re.search(r"\*\*\* Sampled system activity \(.+\) \(\d+\.\d\dms elapsed\) \*\*\*", text)
    assert abs(int(re.search(r"GPU Power: (\d+) mW", text)[1]) - 20000) < 200


def test_powermetrics_of_an_ultra_is_large():
    out = powermetrics("--port", "9", "--chip", "ultra", "-f", "plist", "-i", "20", "-n", "1").out
    assert 50_000 < len(out) < 80_000
    assert [c["name"] for c in documents(out)[0]["processor"]["clusters"]][::3] == [
        "E0-Cluster",
        "E1-Cluster",
    ]


POWERMETRICS_FAULTS = {
    "no_root": lambda p: (
        (p.code, p.out, p.err) == (1, b"", "powermetrics must be invoked as the superuser\n")
    ),
    "unrecognized": lambda p: (
        (p.code, p.out) == (64, b"") and p.err.startswith("powermetrics: unrecognized sampler: ")
    ),
    "silent": lambda p: (p.code, p.out) == (0, b""),
    "stall:2": lambda p: len(documents(p.out)) == 2,
    "die:1": lambda p: len(documents(p.out)) == 1,
    "truncated:2": lambda p: p.out.count(b"<plist") == 2 and p.out.count(b"</plist>") == 1,
    "zero_cpu": lambda p: [d["processor"]["cpu_energy"] for d in documents(p.out)] == [0] * 4,
    "split": lambda p: len(documents(p.out)) == 4,
    "duplicate_idle": lambda p: (
        len(documents(p.out)) == 4
        and all(
            document.partition(b"<key>gpu</key>")[2].count(b"<key>idle_ratio</key>") == 2
            for document in p.out.split(b"\0")
        )
    ),
}


@pytest.mark.parametrize("fault", POWERMETRICS_FAULTS)
def test_powermetrics_fault(fault):
    played = powermetrics("--port", "9", "-f", "plist", "-i", "20", "-n", "4", "--fault", fault)
    assert POWERMETRICS_FAULTS[fault](played), played


def test_powermetrics_refuses_what_the_real_one_refuses():
    unknown = powermetrics("--samplers", "smc", "-n", "1")
    assert unknown.code == 64 and unknown.err == "powermetrics: unrecognized sampler: smc\n"
    assert powermetrics("--json-print").code == 64
