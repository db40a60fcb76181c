"""Every parser, with anything at all: a result that can be stored, or an error of one line.

pytest tests/test_properties.py                      a hundred examples each
EXAMPLES=20000 pytest tests/test_properties.py       some minutes of fuzzing
make fuzz                                            ten minutes each, guided by coverage; hours
"""

import http.client
import io
import json
import math
import os
import plistlib
import re
import sqlite3
from contextlib import closing

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ollama_bench.monitor.command_line import read_slots
from ollama_bench.monitor import powermetrics_log
from ollama_bench.monitor import parallel_advice
from ollama_bench.analysis import conditions
from ollama_bench.inputs import objectives, options, prompts
from ollama_bench.monitor import machine, monitor
from ollama_bench.power.macmon import parse_macmon
from ollama_bench.power.powermetrics_plist import parse_plist
from ollama_bench.power.powermetrics_text import parse_text
from ollama_bench.protocols import ollama_stream, openai_stream
from ollama_bench.protocols.addresses import host_url
from ollama_bench.protocols.chunks import ANSWER
from ollama_bench.protocols.errors import error_text
from ollama_bench.protocols.json_values import MAX_COUNT
from ollama_bench.protocols.line_stream import MAX_LINE_BYTES
from ollama_bench.protocols.ollama_stream import OllamaStream
from ollama_bench.protocols.openai_stream import OpenAIStream
from ollama_bench.protocols.protocol import ProtocolError
from ollama_bench.protocols.registry import PROTOCOLS
from ollama_bench.protocols.text import MAX_ERROR_CHARS
from ollama_bench.storage.connection import connect
from ollama_bench.study_csv.columns import COLUMNS
from ollama_bench.study_csv.importer import main
from ollama_bench.transport.framing import Framing
from ollama_bench.transport.recorder import Recorder

settings.register_profile(
    "here",
    max_examples=int(os.environ.get("EXAMPLES", 100)),
    deadline=None,  # a shared machine is slow at times
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("here")

NUMBERS = st.integers() | st.floats() | st.sampled_from([10**400, 2**63, 2**63 - 1, -1, 0, True])
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
DEEP = "[" * 2000 + "]" * 2000


def one_line(error):
    text = str(error)
    return bool(text) and len(text.splitlines()) == 1


def or_value_error(parse, *arguments):
    """What it gives; None after a ValueError of one line. Any other exception fails the test."""
    try:
        return parse(*arguments)
    except ValueError as error:
        assert one_line(error), error
        return None


def can_be_stored(value):
    """SQLite takes it: an int of 64 bits, text without half a surrogate pair."""
    with closing(sqlite3.connect(":memory:")) as connection:
        return connection.execute("SELECT ? IS NOT NULL", [value]).fetchone() is not None


# -- what is typed


@given(st.text(alphabet="0123456789,-x: \n", max_size=30) | st.text())
@example("1-4096")
@example("x2:٣")
@example("1" * 5000)
def test_levels(text):
    found = or_value_error(options.levels, text)
    if found is not None:
        levels, dropped = found
        assert levels and all(1 <= level <= options.DEEPEST_LEVEL for level in levels)
        assert len(set(levels)) == len(levels) and set(dropped) <= set(levels)


@given(st.text(alphabet="aZ09.:/[]%@?#\\ \t\n\x1b\x00é", max_size=30) | st.text())
@example("[")
@example("http://[::1")
@example("\x1b[2J")
@example("x\x00y")
@example("host?q")
@example("host/a#b")
@example("a℀b")  # has a slash in it when normalised
@example("host:٣")
def test_host_url(text):
    url = or_value_error(host_url, text)
    if url is not None:
        assert re.fullmatch(
            r"https?://[^\s/?#\x00-\x1f\x7f]+:\d{1,5}(/[^?#\s\x00-\x1f\x7f]*)?", url
        )
        assert host_url(url) == url  # what it gives, it takes


@given(st.text(alphabet='=a[]{}",:0-9eNI ', max_size=20) | st.text())
@example(f"a={DEEP}")
@example("a=NaN")
@example("a=1e400")
@example("a=-Infinity")
def test_option(text):
    found = or_value_error(options.option, text)
    if found is not None:
        assert found[0].strip() == found[0] != ""
        json.dumps(found[1], allow_nan=False)  # it can be sent


@given(st.text(alphabet="ttfe2po=,.0123456789einfa_- ", max_size=30) | st.text())
@example("ttft=1e400")
@example("ttft=nan")
@example("ttft=-0")
@example("ttft=1,,e2e=2")
def test_objectives(text):
    for name, bound in (or_value_error(objectives.parse, text) or {}).items():
        assert name in objectives.COLUMNS and 0 < bound < math.inf


@given(st.text(alphabet="acefrtio_p9s<>=%.0123e- ", max_size=30) | st.text())
@example("ttft>1e400")
@example("ttft>%")
@example("ttft>٣")
def test_condition(text):
    try:
        found = conditions.parse_condition(text)
    except conditions.ConditionError as error:
        assert one_line(error)
    else:
        assert math.isfinite(found.limit) and found.metric


DESTINATIONS = [action.dest for action in options.make_parser()._actions if action.dest != "config"]
SWITCHES = [
    action.option_strings[0]
    for action in options.make_parser()._actions
    if action.option_strings and action.dest not in ("config", "help")
]
TYPED = (
    st.text()
    | st.integers().map(str)
    | st.floats().map(str)
    | st.sampled_from(
        [
            "1,2,4",
            "1-4",
            "m",
            "ttft=1",
            "a=1",
            "on",
            "cold",
            "openai",
            "ttft>1",
            "http://[::1]:1",
            "9" * 30,
            "1e-320",
            "-0.0",
            "٣",
            "1_0",
            " 1",
            "\ud800",
        ]
    )
)


def parsed(capsys, *argv):
    """What a command line means to bench.py, None where it is refused with one line and the code 2."""
    try:
        return options.parse(list(argv))
    except SystemExit as exit:
        out, err = capsys.readouterr()
        assert exit.code == 2 and len(err.splitlines()) == 1 and not out
        return None


@given(
    st.lists(
        TYPED
        | st.sampled_from(SWITCHES)
        | st.tuples(st.sampled_from(SWITCHES), TYPED).map("=".join),
        max_size=6,
    ).filter(lambda argv: not {"--help", "-h"} & set(argv))
)
def test_a_command_line(capsys, argv):
    if found := parsed(capsys, *argv):
        assert all(1 <= level <= options.DEEPEST_LEVEL for level in found.levels)


@given(
    st.binary()
    | st.lists(
        st.tuples(
            st.sampled_from([*DESTINATIONS, "prompt-tokens"]) | st.text(max_size=5),
            VALUES.map(json.dumps) | TYPED | TYPED.map(json.dumps),
        ).map(" = ".join),
        max_size=5,
    )
    .map("\n".join)
    .map(lambda text: text.encode("utf-8", "replace"))
)
@example(b"levels = 1\nrate = nan")
@example(b"levels = 1\nrate = inf")
@example(b"levels = 1\na = %s" % DEEP.encode())
@example(b"levels = 1\nlevels = 2")
@example(b"levels = 1\nrequests = 0x%s" % (b"f" * 9999))
@example(b"levels = [[1]]\nslo = 0001-01-01T00:00:00+23:59")
def test_config(capsys, tmp_path, data):
    path = tmp_path / "bench.toml"
    path.write_bytes(data)
    parsed(capsys, "1", "--config", str(path))


# -- what the machine says


@given(
    st.lists(
        st.text(max_size=10)
        | st.sampled_from(["-np", "--parallel", "-np=3", "--parallel=" + "9" * 5000])
    )
)
@example(["-np", "9" * 5000])
@example(["-np", "9" * 19])
@example(["-np", "٣"])
def test_slots_in_a_command_line(words):
    assert (found := read_slots(words)) is None or 0 < found < 2**63


@given(
    st.text(alphabet="0123456789KMBTkmbtinfae.-+ ", max_size=12) | st.text(),
    st.integers(0, MAX_COUNT),
    st.integers(0, MAX_COUNT),
    st.integers(1, 9999),
)
@example("nanB", 4096, 1, 1)
@example("infB", 4096, 1, 1)
@example("1e400B", 4096, 1, 1)
@example("0.000001K", 1, 0, 1)
def test_advice(parameter_size, context_tokens, size_bytes, slots):
    target = {
        "api": "ollama",
        "slots": slots,
        "parameter_size": parameter_size,
        "context_tokens": context_tokens,
        "size_bytes": size_bytes,
    }
    advice = parallel_advice.advise({"gpu_cores": 19, "memory_bytes": 32 << 30}, target)
    assert advice is None or one_line(advice)


# -- what a file of prompts holds

ENTRIES = VALUES | st.fixed_dictionaries(
    {},
    optional={
        "prompt": VALUES,
        "system": VALUES,
        "tokens": VALUES,
        "expected_tokens": VALUES,
        "options": VALUES,
        "turns": VALUES | st.lists(st.text()),
        "messages": st.lists(
            VALUES
            | st.fixed_dictionaries(
                {"role": st.sampled_from(["user", "assistant"]), "content": VALUES}
            ),
            max_size=3,
        ),
        "conversations": st.lists(
            VALUES | st.fixed_dictionaries({"from": VALUES | st.just("human"), "value": VALUES}),
            max_size=3,
        ),
    },
)


def dumped(value):
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")


@given(
    st.binary()
    | st.lists(ENTRIES.map(dumped) | st.binary(max_size=20), max_size=4).map(b"\n".join)
    | st.lists(ENTRIES, max_size=3).map(dumped)
)
@example(b'{"prompt": "x", "options": {"temperature": NaN}}')
@example(b'{"prompt": "x", "options": {"temperature": 1e400}}')
@example(b'{"prompt": "x", "tokens": %s}' % DEEP.encode())
@example(b'{"prompt": "x", "tokens": "%s"}' % (b"long" * 9999))
@example(b'{"prompt": "\\ud800"}')
@example(b'{"messages": [{"role": [], "content": "x"}]}')
@example(b'{"conversations": [{"from": {}, "value": "x"}]}')
def test_prompts(tmp_path, data):
    path = tmp_path / "prompts.jsonl"
    path.write_bytes(data)
    for prompt in or_value_error(prompts.read, str(path)) or ():
        assert prompt.turns and all(isinstance(turn, str) and turn for turn in prompt.turns)
        assert prompt.tokens is None or prompt.tokens > 0
        json.dumps(
            [prompt.turns, prompt.system, prompt.options], allow_nan=False, ensure_ascii=False
        ).encode()


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="no endless file here")
def test_an_endless_file_of_prompts_ends(monkeypatch):
    monkeypatch.setattr(prompts, "FILE_BYTES", 1 << 20)
    with pytest.raises(ValueError, match="larger than"):
        prompts.read("/dev/zero")


# -- what a server says

COUNTERS = [
    "eval_count",
    "prompt_eval_count",
    "prompt_eval_cached_count",
    "total_duration",
    "load_duration",
    "prompt_eval_duration",
    "eval_duration",
]
OLLAMA = (
    st.fixed_dictionaries(
        {},
        optional={
            "response": st.text() | VALUES,
            "thinking": st.text() | VALUES,
            "done": VALUES,
            "error": VALUES,
            "done_reason": VALUES,
            **dict.fromkeys(COUNTERS, VALUES),
        },
    )
    .map(json.dumps)
    .map(str.encode)
)
DELTA = st.fixed_dictionaries(
    {}, optional={"content": st.text() | VALUES, "reasoning_content": VALUES, "reasoning": VALUES}
)
OPENAI = (
    st.fixed_dictionaries(
        {},
        optional={
            "choices": VALUES
            | st.lists(
                VALUES
                | st.fixed_dictionaries(
                    {}, optional={"delta": DELTA | VALUES, "finish_reason": VALUES}
                ),
                max_size=3,
            ),
            "error": VALUES | st.fixed_dictionaries({"message": VALUES}),
            "usage": VALUES
            | st.fixed_dictionaries(
                {},
                optional={
                    "completion_tokens": VALUES,
                    "prompt_tokens": VALUES,
                    "prompt_tokens_details": VALUES,
                },
            ),
            "timings": VALUES
            | st.fixed_dictionaries(
                {},
                optional=dict.fromkeys(
                    ["prompt_ms", "predicted_ms", "cache_n", "prompt_n", "predicted_n"], VALUES
                ),
            ),
        },
    )
    .map(json.dumps)
    .map(str.encode)
)
RAW = st.binary(max_size=40) | VALUES.map(json.dumps).map(str.encode)
STREAMS = [
    (OllamaStream, OLLAMA | RAW),
    (
        OpenAIStream,
        OPENAI.map(lambda data: b"data: " + data)
        | OPENAI
        | RAW
        | st.sampled_from(
            [
                b"data: [DONE]",
                b"",
                b"\r",
                b"event: error",
                b"error: x",
                b"data: {",
                b"data: }",
                b"data",
                b"\xef\xbb\xbf",
            ]
        ),
    ),
]


def read(kind, pieces):
    stream = kind()
    return b"".join([*map(stream.feed, pieces), stream.close()]), stream


@pytest.mark.parametrize("kind, line", STREAMS)
@given(data=st.data())
def test_streams(kind, line, data):
    lines = data.draw(st.lists(line, max_size=6))
    whole = b"\n".join(lines)
    check_stream(kind, whole, data.draw(st.lists(st.integers(0, len(whole)), max_size=4)))


TOKEN = st.text(alphabet='ab \u00e9\u2028\\"\n\r', max_size=4)
BESIDE = st.sampled_from(
    ["id: 1", "retry: 9", ": data: no", "event: chunk", "data", "data:", "unknown: x", "error"]
)


@st.composite
def events(draw):
    """(bytes of some events, the text in them): JSON on one line or many, any line ends, other fields anywhere."""
    lines, texts = [], draw(st.lists(TOKEN, max_size=4))
    for text in texts:
        made = json.dumps(
            {"choices": [{"delta": {"content": text}}]},
            indent=draw(st.sampled_from([None, 0, 2])),
            ensure_ascii=draw(st.booleans()),
        )
        data = [
            draw(st.sampled_from(["data:", "data: ", "data:  "])) + line
            for line in made.split("\n")
        ]
        for other in draw(st.lists(BESIDE, max_size=2)):
            data.insert(draw(st.integers(0, len(data))), other)
        lines += [*data, *[""] * draw(st.integers(1, 2))]
    body = draw(st.sampled_from(["", "\ufeff"]))
    for line in lines:
        joins = not line and body.endswith("\r")  # with a line feed that would be one end, not two
        body += line + draw(st.sampled_from(["\r", "\r\n"] if joins else ["\n", "\r", "\r\n"]))
    return body.encode(), texts


@given(events(), st.lists(st.integers(0, 999), max_size=4))
def test_server_sent_events(made, cuts):
    body, texts = made
    check_stream(OpenAIStream, body, [min(cut, len(body)) for cut in cuts])
    kinds, stream = read(OpenAIStream, [body])
    assert (stream.reasoning + stream.answer, len(kinds), stream.summary.error) == (
        "".join(texts),
        sum(map(bool, texts)),
        None,
    )


@pytest.mark.parametrize(
    "line",
    [
        b'{"response": "\\ud800"}',
        b'{"error": "\\udfff"}',
        b'{"done": true, "done_reason": "\\ud800"}',
        b'{"done": true, "eval_count": 1%s}' % (b"0" * 400),
        b'{"done": true, "eval_count": 1%s}' % (b"0" * 5000),
        b'{"error": %s}' % (b'{"error":' * 900 + b"1" + b"}" * 900),
        b'{"timings": {"cache_n": 9223372036854775807, "prompt_n": 9223372036854775807}}',
        b'{"timings": {"cache_n": 1e14, "prompt_n": 1e14, "predicted_ms": 1e308}}',
        b'{"error": {"message": ""}}',
        b'{"error": %s}' % DEEP.encode(),
        b'{"response": %s}' % DEEP.encode(),
        b'{"error": "a\\r\\u2028b"}',
        b'{"a": \xff}',
    ],
)
def test_lines_that_are_hard_to_keep(line):
    check_stream(OllamaStream, line, [])
    check_stream(OpenAIStream, b"data: " + line, [])
    content = (
        line.replace(b'"response": ', b'"choices": [{"delta": {"content": ').replace(b"}", b"}}]}")
        if b"response" in line
        else line
    )
    check_stream(OpenAIStream, b"data: " + content, [])


def said(kinds, stream):
    return kinds, stream.answer, stream.reasoning, stream.summary


def check_stream(kind, whole, cuts):
    kinds, stream = read(kind, [whole])
    ends = [0, *sorted(cuts), len(whole)]
    assert said(*read(kind, [whole[a:b] for a, b in zip(ends, ends[1:])])) == said(
        kinds, stream
    )  # wherever it is cut
    assert set(kinds) <= {0, 1} and (0 in kinds, 1 in kinds) == (
        stream.answer != "",
        stream.reasoning != "",
    )
    assert can_be_stored(stream.answer) and can_be_stored(stream.reasoning)
    for name, value in vars(stream.summary).items():
        assert value is None or can_be_stored(value)
        assert not isinstance(value, int) or 0 <= value <= MAX_COUNT, name
    assert stream.summary.error is None or one_line(stream.summary.error)


USUAL = [
    b'{"model":"m","created_at":"2026","response":" time","done":false}',
    b'{"model":"m","thinking":"a\\n\xc3\xa9","done":false}',
    b'{"choices":[{"finish_reason":null,"index":0,"delta":{"content":" is"}}],"id":"x","object":"chat.completion.chunk"}',
    b'{"id":"x","choices":[{"index":0,"delta":{"reasoning_content":"hm","content":null},"logprobs":null,"finish_reason":null}],"usage":null}',
]
ODD = [
    b"\\ud800",
    b"\xff",
    b"\xed\xa0\x80",
    b"NaN",
    b"1e999",
    b"1" * 40,
    b"1" * 5000,
    b"[" * 2000,
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b"\x0b",
    b"\x0c",
    b'"done":true,',
    b'"error":"x",',
    b'"error":0,',
    b'"error":false,',
    b'"object":"error",',
    b'"detail":"x",',
    b'"choices":[],',
    b'"choices":[{}],',
    b'"response":7,',
    b'"response":"y",',
    b'"thinking":["z"],',
    b'"delta":{},',
    b'"delta":null,',
    b'"content":[],',
    b'"content":"c",',
    b'"usage":{},',
    b'"finish_reason":"",',
    b'"finish_reason":"stop",',
    b'"done":1,',
    b'"\\u0065rror":"x",',
    b"\xef\xbb\xbf",
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b",",
    b"\\",
    b"\xc3\xa9",
]


@st.composite
def mutated(draw):
    """A usual line in which something is put, taken out or doubled."""
    line = draw(st.sampled_from(USUAL))
    for _ in range(draw(st.integers(0, 3))):
        start, end = sorted(draw(st.tuples(st.integers(0, len(line)), st.integers(0, len(line)))))
        new = draw(
            st.sampled_from(ODD)
            | st.binary(max_size=2)
            | st.just(b"")
            | st.just(line[start:end] * 2)
        )
        line = line[:start] + new + line[min(end, start + draw(st.sampled_from([0, 0, 1, 999]))) :]
    return line


@given(st.lists(mutated() | OLLAMA | OPENAI | RAW, min_size=1, max_size=4))
@example(
    [b'{"response":"x","n":1%s,"done":false}' % (b"0" * 5000)]
)  # more digits than Python converts
@example([b'{"response":"x","n":"\xff","done":false}'])
@example([b'{"response":"x","n":"\xed\xa0\x80","done":false}'])
@example([b'{"response":"x","n":%s%s,"done":false}' % (b"[" * 480, b"]" * 480)])
@example([b'{"response":"\\ud800","done":false}', b'{"response":"y","done":false}'])
@example([b'{"choices":[{"delta":{"content":"x"}}],"choices":[]}'])
@example([b'{"choices":[{"delta":{"content":"x"}},{"delta":{"content":"y"}}]}'])
def test_what_is_read_quickly_is_read_as_slowly(lines):
    for kind, data in [
        (OllamaStream, b"\n".join(lines) + b"\n"),
        (OpenAIStream, b"".join(b"data: %s\n\n" % line for line in [USUAL[2], *lines])),
    ]:
        pieces = data.splitlines(keepends=True) if kind is OllamaStream else data.split(b"\n\n")
        pieces = pieces if kind is OllamaStream else [piece + b"\n\n" for piece in pieces]
        found = said(*read(kind, pieces))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ollama_stream, "MAX_USUAL_LINE_BYTES", -1)
            patch.setattr(openai_stream, "MAX_USUAL_LINE_BYTES", -1)
            assert said(*read(kind, pieces)) == found


SIZES = st.integers(-70, 70).map(lambda size: f"{size:x}".encode()) | st.sampled_from(
    [b"0", b"+5", b"0x5", b"1_0", b" 5", b"", b"F" * 40, b"5;a=b", b"5 "]
)
BODIES = st.lists(
    st.tuples(
        SIZES,
        st.sampled_from([b"\r\n", b"\n", b""]),
        st.binary(max_size=6) | st.just(b"\r\n"),
        st.sampled_from([b"\r\n", b""]),
    ),
    max_size=8,
)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@given(
    BODIES.map(lambda parts: b"".join(b"".join(part) for part in parts)),
    st.lists(st.integers(1, 9), max_size=40),
)
@example(b"-6\r\n\r\n", [])
@example(b"-7\r\n\r\n", [])
@example(b"3\n\r\nabc\r\n0\r\n\r\n", [])
@example(b"3;a\nb\r\nabc\r\n0\r\n\r\n", [])
def test_a_chunked_body(body, cuts):
    """However it is cut its end is looked for in bounded time, and what leaves its line http.client reads the same."""
    recorder, raw = recorded(CHUNKED + body, cuts)
    if recorder.leaves_line:
        answer = http.client.HTTPResponse(FakeSocket(raw))
        answer.begin()
        assert answer.read() == b"".join(data for _, data in recorder.chunks())


def recorded(raw, cuts=()):
    """A recorder that has got these bytes in reads of so many, and those that it took."""
    recorder, place = Recorder((), lambda _: False), 0
    for cut in [*cuts, len(raw)]:
        if place < len(raw) and recorder.note(memoryview(raw)[place : place + cut], 1 + place):
            place = min(len(raw), place + cut)
            break
        place = min(len(raw), place + cut)
    else:
        recorder.note(memoryview(b""), 1 + place)
    recorder.settle(0)
    left = recorder.head_end
    while left > 0:
        left -= recorder.read(bytearray(left))[0]
    return recorder, raw[:place]


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=20),
    st.lists(st.integers(1, 60), max_size=40),
)
def test_a_whole_chunked_body_is_seen_as_whole(payloads, cuts):
    """Each chunk carries the instant of the read in which its last byte came."""
    raw = (
        CHUNKED
        + b"".join(b"%x\r\n%s\r\n" % (len(payload), payload) for payload in payloads)
        + b"0\r\n\r\n"
    )
    recorder, _ = recorded(raw, cuts)
    assert recorder.leaves_line
    starts, place = [], 0
    for cut in [*cuts, len(raw)]:
        starts.append(place)
        place += cut
    end = len(CHUNKED)
    for at, data in recorder.chunks():
        end += len(b"%x" % len(data)) + 2 + len(data)
        assert at == 1 + max(start for start in starts if start < end)
        end += 2
        payload, *payloads = payloads
        assert data == payload
    assert not payloads


STATUS_LINES = st.one_of(
    st.builds(
        b"HTTP/1.%d %b %b\r\n".__mod__,
        st.tuples(
            st.integers(0, 1),
            st.sampled_from([b"200", b"204", b"304", b"500", b"101"]),
            st.just(b"OK"),
        ),
    ),
    st.sampled_from(
        [
            b"HTTP/1.1 200\r\n",
            b"HTTP/1.1 200 OK\n",
            b"HTTP/1.1  200  OK\r\n",
            b"HTTP/1.1 2OO OK\r\n",
            b"HTTP/1.1\r\n",
            b"\r\n",
            b"HTTP/2 200 OK\r\n",
            b"http/1.1 200 OK\r\n",
            b"HTTP/1.1 99 x\r\n",
            b"HTTP/1.1 1000 x\r\n",
            b"HTTP/0.9 200 OK\r\n",
            b"ICY 200 OK\r\n",
            b"HTTP/1.1 -200 x\r\n",
            b"HTTP/1.1 +200 x\r\n",
        ]
    ),
)
HEADER_LINES = st.one_of(
    st.builds(
        b"%b:%b%b%b".__mod__,
        st.tuples(
            st.sampled_from(
                [
                    b"Content-Length",
                    b"content-length",
                    b"Transfer-Encoding",
                    b"transfer-encoding",
                    b"Connection",
                    b"X-Y",
                    b"Content-Length ",
                    b"Keep-Alive",
                ]
            ),
            st.sampled_from([b"", b" ", b"\t ", b"  "]),
            st.sampled_from(
                [
                    b"5",
                    b"0",
                    b"-1",
                    b"+5",
                    b"1_0",
                    b"5 ",
                    b"x",
                    b"",
                    b"chunked",
                    b"Chunked",
                    b"chunked ",
                    b"gzip, chunked",
                    b"close",
                    b"keep-alive",
                    b"Keep-Alive, x",
                    b"7, 7",
                ]
            ),
            st.sampled_from([b"\r\n", b"\n"]),
        ),
    ),
    st.sampled_from(
        [
            b" folded\r\n",
            b"\tfolded\n",
            b"no colon\r\n",
            b": empty\r\n",
            b"From x\r\n",
            b"X-Y: a\r\n b\r\n",
            b"Content-Length:5\r\r\n",
            b"\xff: x\r\n",
            b"A: \x85b\r\n",
            b"A: \x0bContent-Length: 3\r\n",
        ]
    ),
)


@given(
    st.integers(0, 2),
    STATUS_LINES,
    st.lists(HEADER_LINES, max_size=5),
    st.sampled_from([b"\r\n", b"\n"]),
)
@example(0, b"HTTP/0.9 200 OK\r\n", [b"Content-Length:5\r\r\n"], b"\r\n")
@example(0, b"HTTP/0.9 200 OK\r\n", [b"Content-Length: 5\r\n"], b"\r\n")
def test_a_head_means_to_us_what_it_means_to_http_client(informational, status, headers, blank):
    """Else a stream would be waited for that http.client takes for ended, or the other way round."""
    before, raw = (
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * informational,
        status + b"".join(headers) + blank,
    )
    answer, framing = http.client.HTTPResponse(FakeSocket(raw)), Framing()
    is_over = framing.ends(bytearray(before + raw))
    try:
        answer.begin()
    except (http.client.HTTPException, ValueError):
        assert is_over and not framing.complete
        return
    assert framing.head_start == len(before) and framing.head_end > 0
    if answer.status in (
        101,
        204,
        304,
    ):  # http.client would read chunks of an answer that has no body
        assert framing.body_end == framing.head_end
        return
    assert framing.is_chunked == bool(answer.chunked)
    if not answer.chunked:
        length = framing.body_end if framing.body_end < 0 else framing.body_end - framing.head_end
        assert length == (-1 if answer.length is None else answer.length)
        if answer.length is not None:
            assert framing.keeps <= (not answer.will_close)
    else:
        assert framing.keeps <= (not answer.will_close)


class FakeSocket:
    """What http.client needs of one."""

    def __init__(self, data):
        self.data = data

    def makefile(self, *_):
        return io.BytesIO(self.data)


@given(VALUES)
@example("<" * 65_536)
@example("<a" * 32_768)
@example("\ud800")
@example({"error": {"message": "a\u2028b"}})
def test_error_text(body):
    text = error_text(body)
    assert len(text) <= MAX_ERROR_CHARS and len(text.splitlines()) <= 1 and can_be_stored(text)


def test_a_line_without_end_is_cut_off_and_the_next_one_read():
    stream = OllamaStream()
    for _ in range(4 * MAX_LINE_BYTES // 2**20):
        assert stream.feed(b"x" * 2**20) == b""
    assert stream.buffered_bytes <= MAX_LINE_BYTES + 2**20
    assert stream.feed(b'\n{"response": "y"}\n') == ANSWER and stream.answer == "y"
    assert "longer than" in stream.summary.error


def test_a_million_blanks_before_the_first_word_take_seconds_at_most():
    stream = OllamaStream()
    blanks = b'{"response":"\\n"}\n' * 1000
    for _ in range(200):
        stream.feed(blanks)
    stream.feed(b'{"response":"<think>a</think>b"}\n')
    assert stream.answer == "b" and len(stream.reasoning) >= 200_000


ANSWERS = VALUES | st.fixed_dictionaries(
    {},
    optional={
        "version": VALUES,
        "models": VALUES
        | st.lists(
            VALUES
            | st.fixed_dictionaries(
                {"name": VALUES | st.just("m"), "size": VALUES, "digest": VALUES}
            ),
            max_size=2,
        ),
        "data": VALUES
        | st.lists(
            VALUES
            | st.fixed_dictionaries(
                {
                    "id": VALUES | st.just("m"),
                    "owned_by": VALUES | st.just("vllm"),
                    "meta": VALUES
                    | st.fixed_dictionaries({"size": VALUES, "n_params": NUMBERS, "ftype": VALUES}),
                }
            ),
            max_size=2,
        ),
        "details": VALUES | st.fixed_dictionaries({"family": VALUES, "parameter_size": VALUES}),
        "capabilities": VALUES,
        "total_slots": VALUES,
        "build_info": VALUES,
        "default_generation_settings": VALUES | st.fixed_dictionaries({"n_ctx": VALUES}),
    },
)


@pytest.mark.parametrize("name", list(PROTOCOLS))
@given(data=st.data())
def test_what_a_server_says_of_itself(name, data):
    def get(path, body=None):
        return data.draw(st.sampled_from([200, 401, 404, 500])), data.draw(ANSWERS)

    server = PROTOCOLS[name]
    assert all(isinstance(model, str) for model in server.models(get))
    try:
        target = server.describe(get, "m")
    except ProtocolError as error:
        assert one_line(error)
    else:
        assert all(value is None or can_be_stored(value) for value in vars(target).values())


# -- what a sampler prints

SAMPLE = [
    "energy_j",
    "gpu_energy_j",
    "cpu_energy_j",
    "gpu_busy_ratio",
    "gpu_mhz",
    "thermal",
    "elapsed_ns",
]


def check_sample(sample):
    for name, value in sample.items():
        assert value is None or can_be_stored(value), name
        assert not isinstance(value, (int, float)) or name == "at_unix" or 0 <= value < math.inf, (
            name
        )


RAILS = st.dictionaries(
    st.sampled_from(
        [
            "cpu_energy",
            "gpu_energy",
            "ane_energy",
            "cpu_power",
            "gpu_power",
            "package_joules",
            "idle_ratio",
            "freq_hz",
        ]
    ),
    st.integers(-(2**63), 2**63) | st.floats() | st.text(alphabet="abc"),
)
PLISTS = st.fixed_dictionaries(
    {},
    optional={
        "elapsed_ns": st.integers(-5, 2**64 - 1) | st.floats() | st.text(alphabet="abc"),
        "processor": RAILS,
        "gpu": RAILS,
        "thermal_pressure": st.text(alphabet="Nominal") | RAILS,
    },
).map(plistlib.dumps)


@given(
    st.binary()
    | PLISTS
    | st.tuples(PLISTS, st.integers(0, 2000)).map(lambda pair: pair[0][: pair[1]])
)
@example(b"</array>" * 3 + b"<array>")
@example(b"<plist><dict><key>a\nb</key></dict></plist>")
@example(plistlib.dumps({"elapsed_ns": 0.5}))
@example(plistlib.dumps({"elapsed_ns": 2**64 - 1, "gpu": {}}))
@example(
    plistlib.dumps(
        {"elapsed_ns": 1, "processor": {"cpu_energy": 1e308, "gpu_energy": 1e308}, "gpu": {}}
    )
)
@example(plistlib.dumps({"elapsed_ns": 10**9, "processor": {}, "gpu": {}}, fmt=plistlib.FMT_BINARY))
@example(plistlib.dumps({"elapsed_ns": 10**9, "thermal_pressure": {"a": 1}}))
def test_powermetrics_plist(document):
    sample = or_value_error(parse_plist, document)
    if sample is not None:
        assert sample["elapsed_ns"] > 0
        check_sample(sample)


HEADER = "*** Sampled system activity (%s) (%sms elapsed) ***\n"
STAMP = "Sat Nov  1 10:00:00 2025 +0100"
STAMPS = st.sampled_from(
    [
        STAMP,
        "Mon Jan  1 00:00:00 0001 +2359",
        "Fri Dec 31 23:59:59 9999 -2359",
        "Sat Nov 31 10:00:00 2025 +0100",
        "",
        "e",
    ]
)
FIGURES = (
    st.floats(0, 1e19).map(repr)
    | st.integers(0, 10**4).map(str)
    | st.text(alphabet="0123456789.e+", min_size=1, max_size=8)
    | st.sampled_from(
        ["9" * 17, "9" * 400, "1e999", "1.2.3", "e", ".", "0", ".97", "0.0000001", "Nominal"]
    )
)
ELAPSED = st.integers(1, 5000).map("{}.00".format) | FIGURES
WORDS = st.sampled_from(
    [
        "CPU Power: %s mW\n",
        "GPU Power: %s mW\n",
        "ANE Power: %s mW\n",
        "GPU idle residency: %s%%\n",
        "GPU HW active frequency: %s MHz\n",
        "package power (CPU): %sW\n",
        "Current pressure level: %s\n",
    ]
)
LINES = st.lists(st.tuples(WORDS, FIGURES).map(lambda pair: pair[0] % pair[1]), max_size=5).map(
    "".join
)
BLOCKS = st.tuples(st.tuples(STAMPS, ELAPSED).map(lambda pair: HEADER % pair), LINES).map("".join)
LOGS = st.text() | LINES | st.lists(BLOCKS, min_size=1, max_size=6).map("".join)


def header(elapsed_ms):
    return HEADER % (STAMP, elapsed_ms)


@given(LOGS)
@example(header("9" * 400))
@example(header("9" * 17))
@example(header("1") + "GPU Power: 1e999 mW\n")
@example(header("1.2.3"))
@example(header("1") + "CPU Power: e mW\n")
@example("GPU Power: 1.2.3 mW\n")
def test_powermetrics_text(log):
    for sample in parse_text(log):
        check_sample(sample)


@given(
    LOGS.map(lambda log: log.encode("utf-8", "replace"))
    | st.lists(PLISTS, max_size=4).map(b"\n\0".join)
)
@example((header("9" * 11) * 11).encode())
@example(b"\n\0".join([plistlib.dumps({"elapsed_ns": 9 * 10**17, "gpu": {}})] * 11))
@example(plistlib.dumps({"elapsed_ns": 2**63}))
def test_a_log_of_powermetrics_is_stored_or_refused_in_one_line(tmp_path_factory, log):
    top = tmp_path_factory.mktemp("log")
    (top / "log").write_bytes(log)
    try:
        powermetrics_log.import_log(str(top / "log"), str(top / "results.db"))
    except powermetrics_log.LogError as error:
        assert one_line(error)
        return
    with closing(connect(top / "results.db", readonly=True).conn) as connection:
        stored, promised, length = connection.execute(
            "SELECT count(*), max(samples), max(ended_ns) FROM run, power_source, power_sample"
        ).fetchone()
        assert (
            stored == promised > 0
            and connection.execute("SELECT max(end_ns) FROM power_sample").fetchone()[0] == length
        )
        assert connection.execute("SELECT count(*) FROM gpu_metrics").fetchone()


@given(
    st.binary()
    | st.dictionaries(
        st.sampled_from(["all_power", "gpu_power", "gpu_usage", "temp", "gpu_freq_mhz"]), VALUES
    )
    .map(json.dumps)
    .map(str.encode)
)
@example(DEEP.encode())
@example(b'{"gpu_usage": 7}')
@example(b'{"gpu_usage": [1]}')
@example(b'{"gpu_usage": {"a": 1}}')
@example(b'{"all_power": 1%s}' % (b"0" * 400))
def test_macmon(line):
    sample = or_value_error(parse_macmon, line)
    if sample is not None:
        check_sample(sample)


@given(
    st.text()
    | VALUES.map(json.dumps)
    | st.lists(
        VALUES | st.dictionaries(st.sampled_from(["sppci_model", "sppci_cores"]), VALUES),
        max_size=3,
    ).map(lambda cards: json.dumps({"SPDisplaysDataType": cards}))
)
@example('{"SPDisplaysDataType": [{"sppci_cores": "²"}]}')
@example('{"SPDisplaysDataType": [7, {"sppci_model": ["x"]}]}')
@example(DEEP)
def test_system_profiler(text):
    for gpu in machine.parse_displays(text):
        assert can_be_stored(gpu.name) and (gpu.cores is None or can_be_stored(gpu.cores))


# -- what a tree of CSV files holds

TIMES = st.sampled_from(
    [
        "2025-01-15T10:00:00+01:00",
        "2025-01-15T10:00:07+01:00",
        "2025-01-15T10:00:09Z",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "2025-02-30T00:00:00Z",
        "",
    ]
)
FIELDS = {
    "time": TIMES,
    "count": st.integers(0, 4).map(str) | st.sampled_from(["9" * 18, "٣", "-1", "200"]),
    "number": st.floats(0, 20).map("{:.3f}".format)
    | st.sampled_from(["9" * 15, "1e9", "NaN", "0.000"]),
    "maybe": st.sampled_from(["", "100.00", "12.5", "9" * 15]),
    "word": st.sampled_from(["Completed", "Error", "=1+1", "x" * 50]),
}


def csv_of(name):
    columns = COLUMNS["process" if name.startswith("process") else name]
    line = st.tuples(*(FIELDS[kind] for kind in columns.values())).map(",".join)
    return st.lists(line | st.text(max_size=20), max_size=5).map(
        lambda lines: "\n".join([",".join(columns), *lines, ""]).encode("utf-8", "replace")
    ) | st.binary(max_size=50)


TREES = st.fixed_dictionaries(
    {},
    optional={
        name: csv_of(name)
        for name in (
            "request_summary.csv",
            "duration_metrics.csv",
            "gpu_metrics.csv",
            "process_7_metrics.csv",
        )
    },
)
LAST_DAY = {
    "duration_metrics.csv": b"Timestamp,Concurrency,MaxDuration,MinDuration,AvgDuration,P99Duration\n%s,1,1,1,1,1\n",
    "request_summary.csv": b"RequestID,TTFB,TotalDuration,ResponseDuration,WaitingTime,TokenCount,StatusCode,Status\n1,%s,1,1,1,1,200,Completed\n",
}


def tree(time, ttfb):
    return {
        name: text % (time if name.startswith("d") else ttfb) for name, text in LAST_DAY.items()
    }


@given(TREES, st.sampled_from(["1", "4", "0", "9" * 30, "٣"]))
@example(tree(b"2025-01-15T10:00:00Z", b"999999999999999"), "1")
@example(tree(b"0001-01-01T00:00:00+23:59", b"1"), "1")
@example(tree(b"9999-12-31T23:59:59-23:59", b"1"), "1")
@example(tree(b"2025-01-15T10:00:00Z", b"1"), "0")
@example(tree(b"2025-01-15T10:00:00Z", b"1"), "9" * 30)
def test_import_csv(tmp_path_factory, capsys, files, level):
    top = tmp_path_factory.mktemp("tree")
    folder = top / "m" / f"test_results_{level}"
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    code = main([str(top), "--db", str(top / "results.db")])
    out, err = capsys.readouterr()
    assert (
        code in (0, 1)
        and len(err.splitlines()) == code
        and not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", out + err)
    )
    if code == 0:
        with closing(connect(top / "results.db", readonly=True).conn) as connection:
            assert (
                connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
                and not connection.execute("PRAGMA foreign_key_check").fetchall()
            )
            assert (
                connection.execute(
                    "SELECT count(*) FROM request WHERE ttft_s < 0 OR e2e_s < ttft_s"
                ).fetchone()[0]
                == 0
            )
