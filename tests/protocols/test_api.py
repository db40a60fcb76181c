"""api.py: both protocols on recorded bytes, cut at every position; hosts; what servers may get wrong."""

import json
import sys
import time
import unicodedata
from pathlib import Path

import pytest

from ollama_bench.protocols import api
from ollama_bench.load import attempt

STREAMS = Path(__file__).parents[1] / "fixtures" / "streams"


def body_of(name):
    """The de-chunked body of a recorded answer."""
    head, _, rest = (STREAMS / name).read_bytes().partition(b"\r\n\r\n")
    if b"chunked" not in head.lower():
        return rest
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        body, rest = body + rest[:length], rest[length + 2 :]
    return body


def read(stream, *pieces):
    kinds = b"".join([*map(stream.feed, pieces), stream.close()])
    return kinds, stream


def said(stream):
    return stream.answer, stream.reasoning, stream.final


RECORDED = [  # name, stream, text chunks, of these reasoning, done, output tokens
    ("llama-server-reasoning.http", api.OpenAIStream, 12, 12, True, 12),
    ("llama-server-answer.http", api.OpenAIStream, 12, 12, True, 12),  # <think> inside the content
    ("sim-ollama-thinking.http", api.OllamaStream, 12, None, True, 12),
    ("sim-ollama-answer.http", api.OllamaStream, 12, 0, True, 12),
    ("sim-ollama-no_done.http", api.OllamaStream, 12, None, False, None),
    ("sim-ollama-error_last.http", api.OllamaStream, 12, None, False, None),
]


@pytest.mark.parametrize("name, kind, count, reasoning, done, tokens", RECORDED)
def test_a_recorded_stream_says_the_same_wherever_it_is_cut(
    name, kind, count, reasoning, done, tokens
):
    body = body_of(name)
    whole, stream = read(kind(), body)
    assert (len(whole), stream.final.done, stream.final.output_tokens) == (count, done, tokens)
    if reasoning is not None:
        assert sum(whole) == reasoning
    for cut in range(len(body) + 1):
        kinds, again = read(kind(), body[:cut], body[cut:])
        assert (kinds, *said(again)) == (whole, *said(stream))
    bytewise, again = read(kind(), *(body[i : i + 1] for i in range(len(body))))
    assert (bytewise, *said(again)) == (whole, *said(stream))


def test_an_error_inside_a_stream_is_kept_with_its_words():
    _, stream = read(api.OllamaStream(), body_of("sim-ollama-error_last.http"))
    assert stream.final.error and not stream.final.done


def test_llama_servers_own_timings_are_read():
    _, stream = read(api.OpenAIStream(), body_of("llama-server-reasoning.http"))
    assert stream.final.server_prefill_ns > 0 and stream.final.server_decode_ns > 0
    assert stream.final.prompt_tokens > 0 and stream.final.done_reason == "length"


def lines(*objects):
    return b"".join(json.dumps(o).encode() + b"\n" for o in objects)


def test_ollama_final_counters_and_what_is_missing():
    full = {
        "response": "",
        "done": True,
        "done_reason": "stop",
        "total_duration": 10,
        "load_duration": 1,
        "prompt_eval_count": 26,
        "prompt_eval_duration": 3,
        "eval_count": 259,
        "eval_duration": 5,
    }
    _, stream = read(api.OllamaStream(), lines({"response": "x", "done": False}, full))
    assert stream.final == api.Final(True, "stop", None, 259, 26, None, 10, 1, 3, 5)
    _, stream = read(api.OllamaStream(), lines({"response": "x", "done": True}))
    assert (
        stream.final == api.Final(done=True) and stream.answer == "x"
    )  # text in the last line counts


@pytest.mark.parametrize(
    "value", ["12", -1, float("nan"), float("inf"), True, None, [], {}, 2**63, 10**14 + 1, -0.5]
)
def test_counters_that_are_no_counts_are_unknown(value):
    _, stream = read(
        api.OllamaStream(), lines({"response": "x"}, {"done": True, "eval_count": value})
    )
    assert stream.final.done and stream.final.output_tokens is None


def test_a_number_too_large_for_a_float_is_unknown():
    _, stream = read(api.OllamaStream(), b'{"done":true,"eval_count":1e400,"eval_duration":12.0}')
    assert stream.final.output_tokens is None and stream.final.server_decode_ns == 12


@pytest.mark.parametrize(
    "pieces, reasoning, answer",
    [
        (["<think>", "a", "b", "</think>", "c"], "<think>ab</think>", "c"),
        (["<th", "ink>a", "</thi", "nk>b"], "<think>a</think>", "b"),
        (["\n<think>a</think>b"], "\n<think>a</think>", "b"),
        (["no tags", "<think>here"], "", "no tags<think>here"),
        (["<thin", "g"], "<thin", "g"),
    ],
)
def test_reasoning_in_tags_is_told_from_the_answer(pieces, reasoning, answer):
    _, stream = read(api.OllamaStream(), lines(*({"response": piece} for piece in pieces)))
    assert (stream.reasoning, stream.answer) == (reasoning, answer)


def test_line_separators_of_unicode_do_not_end_a_line():
    text = "a\u0085b\u2028c"
    raw = json.dumps({"response": text}, ensure_ascii=False).encode() + b"\n"
    kinds, stream = read(api.OllamaStream(), raw)
    assert kinds == api.ANSWER and stream.answer == text


def event(**fields):
    return b"data: " + json.dumps(fields).encode() + b"\r\n\r\n"


def delta(**fields):
    return event(choices=[{"index": 0, "delta": fields}])


def test_openai_events_pings_roles_and_usage():
    raw = (
        b": ping\n\n"
        + delta(role="assistant", content=None)
        + delta(content="")
        + delta(reasoning_content="hm")
        + delta(reasoning="so")
        + b"event: x\r\n"
        + delta(content="time")
        + event(choices=[{"delta": {}, "finish_reason": "stop"}])
        + event(
            choices=[],
            usage={
                "completion_tokens": 3,
                "prompt_tokens": 9,
                "prompt_tokens_details": {"cached_tokens": 4},
            },
        )
        + b"data: [DONE]\n\n"
    )
    kinds, stream = read(api.OpenAIStream(), raw)
    assert (kinds, stream.reasoning, stream.answer) == (b"\1\1\0", "hmso", "time")
    assert stream.final == api.Final(True, "stop", None, 3, 9, 4)


def test_openai_without_usage_knows_no_tokens():
    _, stream = read(
        api.OpenAIStream(),
        delta(content="x") + event(choices=[{"delta": {}, "finish_reason": "length"}]),
    )
    assert stream.final.done and stream.final.output_tokens is None


TEXT = b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n'
DONE = b"data: [DONE]\n\n"
ERRORS = [  # each way in which a server was seen to say an error in a stream that began with 200
    b'error: {"code":500,"message":"out of memory","type":"server_error"}\n\n',  # llama-server until 2025
    b"error: out of memory\n\n",
    b'data: {"error":{"code":500,"message":"out of memory"}}\n\n',
    b'data: {"error":"out of memory"}\n\n',
    b'data: {"object":"error","message":"out of memory","type":"x","code":400}\n\n',  # vLLM until 2025
    b'data: {"detail":"out of memory"}\n\n',  # FastAPI
    b'data: {"choices":[{"delta":{},"error":{"message":"out of memory"},"finish_reason":"error"}]}\n\n',
    b'event: error\ndata: {"error":{"message":"out of memory"}}\n\n',
    b'event: error\ndata: {"message":"out of memory"}\n\n',
    b"event:error\ndata: out of memory\n\n",
    b"event: error\ndata: out of\ndata: memory\n\n",
    b'event: error\ndata: "out of memory"\n\n',
    b'data: {"message":"out of memory"}\nevent: error\n\n',
    b'{"error":{"message":"out of memory"}}\n',
    b'{"object":"error","message":"out of memory"}\n',
    b'{"detail":"out of memory"}\n',
]


@pytest.mark.parametrize(
    "after",
    [b"", DONE, TEXT + b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n' + DONE],
    ids=["end", "done", "text"],
)
@pytest.mark.parametrize("before", [b"", TEXT * 2], ids=["first", "later"])
@pytest.mark.parametrize("raw", ERRORS, ids=range(len(ERRORS)))
def test_an_error_in_events_is_an_error_whatever_follows(raw, before, after):
    for piece in (raw, raw.replace(b"\n", b"\r\n"), raw.rstrip(b"\n") if not after else raw):
        kinds, stream = read(api.OpenAIStream(), before + piece + after)
        assert (stream.final.error, stream.final.error_is_said) == ("out of memory", True)
        assert stream.answer == "x" * len(kinds)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"error":"out of memory"}',
        b'{"error":{"message":"out of memory"}}',
        b'{"object":"error","message":"out of memory"}',
        b'{"detail":"out of memory"}',
    ],
)
def test_an_error_in_ollamas_lines_is_an_error_whatever_follows(raw):
    _, stream = read(
        api.OllamaStream(), b'{"response":"x"}\n' * 2 + raw + b'\n{"response":"x","done":true}\n'
    )
    assert (
        stream.final.error == "out of memory"
        and stream.final.error_is_said
        and stream.answer == "xxx"
    )


def test_a_server_that_says_an_error_and_then_nothing_has_said_an_error():
    outcome = attempt.Outcome(attempt.Task(1, None, "", {}), http_status=200)
    outcome.final = read(api.OpenAIStream(), TEXT + ERRORS[0])[1].final
    assert attempt.judge(outcome, "stalled: nothing for 300 s", None) == (
        "stream_error",
        "out of memory",
    )
    outcome.final = read(api.OpenAIStream(), TEXT + b"data: {")[1].final  # cut by ourselves
    assert attempt.judge(outcome, "stalled: nothing for 300 s", None) == (
        "stalled",
        "nothing for 300 s",
    )


def test_an_error_without_words_is_one_and_the_first_of_two_is_kept():
    for raw in (b"event: error\n\n", b"event: error\ndata\n\n", b'event: error\ndata: ""\n\n'):
        assert (
            read(api.OpenAIStream(), TEXT + raw + DONE)[1].final.error == "an error without words"
        )
    _, stream = read(
        api.OpenAIStream(), b"data: rubbish\n\n" + ERRORS[3] + b'data: {"error":"later"}\n\n'
    )
    assert stream.final.error == "out of memory"  # the server's words go before ours


@pytest.mark.parametrize(
    "raw",
    [
        b"error:\n\n",
        b"error: null\n\n",
        b'data: {"error":null,"choices":[]}\n\n',
        b'data: {"error":{},"detail":"","choices":[]}\n\n',
        b"event: message\n" + TEXT,
        b": error: x\n\n",
        b"errors: x\n\n",
        b'data: {"object":"chat.completion.chunk","detail":"x","choices":[]}\n\n',
    ],
)
def test_what_is_no_error(raw):
    assert read(api.OpenAIStream(), TEXT + raw + DONE)[1].final.error is None


HALF, REST = b'data: {"choices":[{"delta":', b'data:{"content":"x"}}]}'


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
@pytest.mark.parametrize(
    "lines",
    [
        [HALF, REST, b""],
        [HALF, b": comment", REST, b"id: 1", b"retry: 5", b"unknown", b""],
        [b"\xef\xbb\xbf" + TEXT.strip(), b""],
        [b"data", b"data:", TEXT.strip(), b""],
        [b"event: x", TEXT.strip(), b""],
        [HALF, b"data", REST, b"", b"", b""],
        [HALF, REST],
        [TEXT.strip()],
    ],
)
def test_events_as_the_specification_has_them(lines, end):
    body = end.join([*lines, b""])
    for cut in range(len(body) + 1):
        kinds, stream = read(api.OpenAIStream(), body[:cut], body[cut:])
        assert (kinds, stream.answer, stream.final) == (api.ANSWER, "x", api.Final())


@pytest.mark.parametrize("line", [b"\xef\xbb\xbf", b" ", b"x"])
def test_a_field_of_another_name_says_nothing(line):
    kinds, stream = read(api.OpenAIStream(), TEXT + line + TEXT + DONE)
    assert (kinds, stream.final) == (api.ANSWER, api.Final(done=True))


def test_a_blank_after_the_colon_is_one_and_a_text_on_two_lines_no_object():
    _, stream = read(api.OpenAIStream(), b"data:  a\ndata: b\n\n" + TEXT + DONE)
    assert stream.final.error == "not a JSON object: a b" and stream.answer == "x"


def test_an_event_without_end_does_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(api, "LONGEST_LINE", 1 << 20)
    stream = api.OpenAIStream()
    for _ in range(200):
        stream.feed(b"data: x\n" * 1000)
    assert sum(map(len, stream._parts)) < 1 << 20 and "longer than" in stream.final.error
    assert stream.feed(b"\n" + TEXT) == api.ANSWER


@pytest.mark.parametrize(
    "usage",
    [
        {},
        {"completion_tokens": None, "prompt_tokens": None, "prompt_tokens_details": None},
        {"prompt_tokens_details": {"cached_tokens": None}},
        {"prompt_tokens_details": {}},
        None,
        {"completion_tokens": "x"},
    ],
)
def test_a_usage_that_says_nothing_wipes_nothing(usage):
    known = event(
        choices=[],
        usage={
            "completion_tokens": 3,
            "prompt_tokens": 9,
            "prompt_tokens_details": {"cached_tokens": 4},
        },
    )
    _, stream = read(api.OpenAIStream(), known + event(choices=[], usage=usage) + DONE)
    assert stream.final == api.Final(True, None, None, 3, 9, 4)


def test_a_usage_in_each_event_counts_as_the_last_says():
    raw = b"".join(
        event(
            choices=[{"delta": {"content": "x"}}],
            usage={"completion_tokens": n, "prompt_tokens": 9},
        )
        for n in (1, 2, 3)
    )
    kinds, stream = read(
        api.OpenAIStream(), raw + event(choices=[], usage={"completion_tokens": 4}) + DONE
    )
    assert (len(kinds), stream.final.output_tokens, stream.final.prompt_tokens) == (3, 4, 9)


def test_a_content_in_parts():
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "h"}]},
        {"type": "reasoning", "text": "m"},
        {"type": "reasoning", "reasoning": "!"},
        {"type": "text", "text": "ti"},
        "me",
        {"type": "image_url", "image_url": {}},
        {"type": "text", "text": None},
        7,
        None,
    ]
    kinds, stream = read(
        api.OpenAIStream(),
        delta(content=parts)
        + delta(content=[])
        + delta(reasoning_content=[{"type": "text", "text": "?"}]),
    )
    assert (kinds, stream.reasoning, stream.answer) == (b"\1\1\1\0\0\1", "hm!?", "time")


@pytest.mark.parametrize(
    "raw", [b"\xff\xfe\n", b"[1,2]\n", b'"x"\n', b"{\n", b"[" * 100_000 + b"\n"]
)
def test_garbage_is_an_error_of_the_stream(raw):
    kinds, stream = read(api.OllamaStream(), raw)
    assert (
        kinds == b""
        and stream.final.error.startswith("not a JSON object")
        and len(stream.final.error) < 600
    )


@pytest.mark.parametrize(
    "text, url",
    [
        ("localhost", "http://localhost:11434"),
        ("1.2.3.4:80", "http://1.2.3.4:80"),
        (":8080", "http://127.0.0.1:8080"),
        ("http://x", "http://x:80"),
        ("https://x/v1", "https://x:443"),
        ("https://x:8/pre/fix/", "https://x:8/pre/fix"),
        ("[::1]:99", "http://[::1]:99"),
        ("::1", "http://[::1]:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("[::]:5", "http://[::1]:5"),
        (" '127.0.0.1:5' ", "http://127.0.0.1:5"),
        ("", "http://127.0.0.1:11434"),
    ],
)
def test_every_form_of_a_host(text, url):
    assert api.host_url(text) == url


@pytest.mark.parametrize(
    "text", ["ftp://x", "host:99999", "host:port", "a b", "user@host", "x<script>"]
)
def test_hosts_that_are_none(text):
    with pytest.raises(ValueError) as caught:
        api.host_url(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name, line, is_last",
    [
        ("openai", b"data: [DONE]", True),
        ("openai", b"data:[DONE]", True),
        ("openai", b"data:  [DONE] \r", True),
        ("openai", b": data: [DONE]", False),
        ("openai", b"[DONE]", False),
        ("openai", b'data: "[DONE]"', False),
        ("openai", b'data: {"choices":[{"delta":{"content":"data: [DONE]"}}]}', False),
        ("ollama", b'{"response":"","done":true}', True),
        ("ollama", b' {"done" :\ttrue, "eval_count": 3}\r', True),
        ("ollama", b'{"d\\u006fne":true}', True),
        ("ollama", b'{"done":false}', False),
        ("ollama", b'{"done":1}', False),
        ("ollama", b'{"response":"\\"done\\":true","done":false}', False),
        ("ollama", b'{"a":{"done":true}}', False),
        ("ollama", b'{"done":true,"done":false}', False),
        ("ollama", b'[{"done":true}]', False),
        ("ollama", b'{"done":true', False),
        ("ollama", b"", False),
        ("ollama", b"[" * 9999 + b"true", False),
    ],
)
def test_the_last_line_of_a_reply_is_known_by_itself(name, line, is_last):
    protocol = api.SERVERS[name]
    assert protocol.is_last(line) is is_last
    assert not is_last or any(mark in line for mark in protocol.last_marks)
    stream = read(protocol.stream(), line)[1]
    assert stream.final.done is is_last


def server_of(answers):
    return lambda path, body=None: answers.get(path, (404, None))


def test_what_ollama_says_of_a_model():
    get = server_of(
        {
            "/api/version": (200, {"version": "0.9.6"}),
            "/api/show": (
                200,
                {
                    "details": {
                        "family": "qwen2",
                        "parameter_size": "7.6B",
                        "quantization_level": "Q4_K_M",
                    },
                    "capabilities": ["completion", "thinking"],
                },
            ),
            "/api/tags": (
                200,
                {"models": [{"name": "deepseek-r1:latest", "digest": "abc"}, 7, {"name": "other"}]},
            ),
            "/api/ps": (
                200,
                {
                    "models": [
                        {
                            "name": "deepseek-r1:latest",
                            "size": 10,
                            "size_vram": 4,
                            "context_length": 4096,
                        }
                    ]
                },
            ),
        }
    )
    assert api.SERVERS["ollama"].models(get) == ["deepseek-r1:latest", "other"]
    assert api.SERVERS["ollama"].describe(get, "deepseek-r1") == api.Target(
        "ollama", "0.9.6", "qwen2", "7.6B", "Q4_K_M", "abc", True, 4096, 10, 4
    )


def test_an_old_ollama_that_says_little():
    get = server_of({"/api/version": (200, {"version": "0.1.33"}), "/api/tags": (200, None)})
    assert api.SERVERS["ollama"].describe(get, "m") == api.Target("ollama", "0.1.33")


def test_what_a_llama_server_says_of_a_model():
    get = server_of(
        {
            "/v1/models": (
                200,
                {
                    "data": [
                        {
                            "id": "x.gguf",
                            "owned_by": "llamacpp",
                            "meta": {"n_params": 7_600_000_000},
                        }
                    ]
                },
            ),
            "/props": (
                200,
                {
                    "total_slots": 4,
                    "build_info": "b1",
                    "default_generation_settings": {"n_ctx": 2048},
                },
            ),
        }
    )
    found = api.SERVERS["openai"].describe(get, "any name")
    assert (
        found.server,
        found.server_version,
        found.slots,
        found.context_tokens,
        found.parameter_size,
    ) == ("llama.cpp", "b1", 4, 2048, "7.6B")


def test_a_server_of_another_protocol_is_named():
    with pytest.raises(api.ProtocolError, match="404"):
        api.SERVERS["ollama"].version(server_of({}))
    with pytest.raises(api.ProtocolError, match="API key"):
        api.SERVERS["openai"].version(server_of({"/v1/models": (401, None)}))


def test_bodies():
    body = api.SERVERS["ollama"].body("m", "p", 9, True, {"seed": 1})
    assert body == {
        "model": "m",
        "prompt": "p",
        "stream": True,
        "options": {"seed": 1, "num_predict": 9},
        "think": True,
    }
    assert "options" not in api.SERVERS["ollama"].body("m", "p") and "think" not in api.SERVERS[
        "ollama"
    ].body("m", "p")
    body = api.SERVERS["openai"].body("m", "p", 9, None, {"seed": 1})
    assert (
        body["max_tokens"] == 9
        and body["seed"] == 1
        and body["stream_options"] == {"include_usage": True}
    )


def test_error_bodies_become_one_line():
    assert api.error_text({"error": "model 'x' not found"}) == "model 'x' not found"
    assert api.error_text({"error": {"message": "bad\nthing"}}) == "bad thing"
    assert api.error_text("<html><body><h1>502 Bad Gateway</h1></body></html>") == "502 Bad Gateway"
    assert len(api.error_text("x" * 9999)) == api.LONGEST_ERROR


@pytest.mark.parametrize(
    "value, kept",
    [("x" * 200, "x" * 100), (7, "7"), ("", None), (None, None), ([[]], None), ({"a": 1}, None)],
)
def test_what_a_server_calls_a_thing_is_a_short_text(value, kept):
    assert api.text_of(value) == kept


KEY = "sk-secret-4711-never-to-be-seen"
SECRET = api.Secret(KEY)


@pytest.mark.parametrize(
    "said",
    [
        KEY,
        "\u200b".join(KEY),
        "\u00ad".join(KEY),
        "\ufeff".join(KEY),
        "\0".join(KEY),
        "\n".join(KEY),
        "  ".join(KEY),
        "\x1b".join(KEY),
        "\U000e0041".join(KEY),
        "".join(f"\\u{ord(letter):04x}" for letter in KEY),
        "".join(f"\\x{ord(letter):02X}" for letter in KEY),
        "\\u200b".join(KEY),
        "\\\\u200B".join(KEY),
        r"\n".join(KEY),
        "\\U000e0041".join(KEY),
        "\u0332".join(KEY),
        "\ud800".join(KEY),
        "\ufffd".join(KEY),
        "\\ud800".join(KEY),
    ],
    ids=range(19),
)
def test_a_key_is_masked_in_every_disguise(said):
    assert SECRET.mask(f"a {said} b {said}.") == "a *** b ***."
    assert SECRET.mask_all({said: [said, 1, {"x": said}], "y": None}) == {
        "***": ["***", 1, {"x": "***"}],
        "y": None,
    }
    for filler in range(60, 101):  # wherever the cut falls
        text = "x" * filler + said
        assert "sk-" not in api.word(text, SECRET) and "sk-" not in api.beginning(
            text.encode("utf-8", "surrogatepass"), SECRET
        )
        assert "sk-" not in api.error_text(
            "x" * 400 + text, SECRET
        ) and "sk-" not in api.error_text({"error": [text + "x" * 500]}, SECRET)
    half = said[: len(said) // 2]
    assert (
        SECRET.mask(f"a {half}", is_cut=True).rstrip() == "a ***"
        and SECRET.mask(f"a {half}") == f"a {half}"
    )


def test_no_character_that_nobody_sees_is_unknown():
    unseen = [
        chr(code)
        for code in range(sys.maxunicode + 1)
        if unicodedata.category(chr(code)) in ("Cc", "Cf", "Zs", "Zl", "Zp")
    ]
    assert [hex(ord(letter)) for letter in unseen if not api.UNSEEN.fullmatch(letter)] == []


@pytest.mark.parametrize("key", [None, "", "EMPTY", "none", "ollama", "1234567"])
def test_no_key_and_a_dummy_mask_nothing(key):
    text = f"an {key} text"
    assert api.Secret(key).mask(text, is_cut=True) is text


@pytest.mark.parametrize(
    "pieces", [[KEY], list(KEY), [KEY[:9], KEY[9:]], ["a\u200b", *"\u200b".join(KEY)]]
)
def test_a_key_in_a_reply_is_masked_however_it_is_split(pieces):
    for field in ("content", "reasoning_content"):
        _, stream = read(
            api.OpenAIStream(SECRET),
            *(delta(**{field: piece}) for piece in pieces),
            event(choices=[{"finish_reason": f"x{KEY}"}]),
        )
        assert (
            "***" in stream.answer + stream.reasoning
            and "sk-" not in stream.answer + stream.reasoning
            and stream.final.done_reason == "x***"
        )
    for field in ("response", "thinking"):
        _, stream = read(
            api.OllamaStream(SECRET),
            lines(
                *({field: piece} for piece in pieces), {"done": True, "done_reason": "x" * 90 + KEY}
            ),
        )
        assert (
            "***" in stream.answer + stream.reasoning
            and "sk-" not in stream.answer + stream.reasoning
            and stream.final.done_reason == "x" * 90 + "***"
        )


@pytest.mark.parametrize(
    "raw",
    [
        ERRORS[0],
        ERRORS[1],
        ERRORS[4],
        ERRORS[7],
        ERRORS[9],
        b'data: {"error":[{"a":"out of memory"}]}\n\n',
        b"data: out of memory\n\n",
        b"{out of memory\n",
    ],
)
def test_a_key_in_an_error_of_a_stream_is_masked_before_it_is_cut(raw):
    for filler in (0, 60, 80, 85, 470, 490):
        _, stream = read(
            api.OpenAIStream(SECRET),
            raw.replace(b"out of memory", b"x" * filler + KEY.encode() + b" y" * 300),
        )
        assert "sk-" not in stream.final.error and len(stream.final.error) <= 500
    line = b"data: " + b" " * (api.REFUSED_BYTES - 12) + b"z " + KEY.encode()
    assert "sk-" not in read(api.OpenAIStream(SECRET), line[:6] + b"z" + line[6:])[1].final.error


def test_a_reply_that_was_cut_in_the_middle_of_the_key_has_no_half_of_it():
    _, stream = read(api.OpenAIStream(SECRET), delta(content="it is ") + delta(content=KEY[:20]))
    assert stream.answer == "it is ***"


@pytest.mark.parametrize(
    "text",
    [
        "s" * 400_000,
        "s" + "\0" * 400_000,
        KEY[:-1] * 12_000,
        "\\u0073" * 60_000,
        "s" + "\\" * 400_000,
        "".join(f"\\u{ord(c):04x}" * 3 for c in KEY[:-1]) * 600,
    ],
)
def test_masking_takes_no_time_that_grows_faster_than_the_text(text):
    began = time.process_time()
    SECRET.mask(text, is_cut=True)
    assert time.process_time() - began < 5


def test_what_a_secret_is_is_not_shown():
    assert KEY not in repr(SECRET) + str(SECRET) + repr(
        attempt.Task(1, None, "", {}, secret=SECRET)
    )
