"""Streams of both protocols, whole, cut anywhere, and with anything in them."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ollama_bench.protocols import ollama_stream, openai_stream
from ollama_bench.protocols.chunks import ANSWER
from ollama_bench.protocols.json_values import MAX_COUNT
from ollama_bench.protocols.line_stream import MAX_LINE_BYTES
from ollama_bench.protocols.ollama_stream import OllamaStream
from ollama_bench.protocols.openai_stream import OpenAIStream
from tests.properties.lines import OLLAMA, OPENAI, RAW
from tests.properties.values import DEEP, can_be_stored, one_line

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
    check_stream(
        kind,
        whole,
        data.draw(st.lists(st.integers(0, len(whole)), max_size=4)),
    )


TOKEN = st.text(alphabet='ab \u00e9\u2028\\"\n\r', max_size=4)
BESIDE = st.sampled_from(
    [
        "id: 1",
        "retry: 9",
        ": data: no",
        "event: chunk",
        "data",
        "data:",
        "unknown: x",
        "error",
    ]
)


@st.composite
def events(draw):
    """(bytes of some events, the text in them).

    The JSON is on one line or many, with any line ends and other fields anywhere.
    """
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
        # with a line feed that would be one end, not two
        joins = not line and body.endswith("\r")
        body += line + draw(
            st.sampled_from(
                ["\r", "\r\n"] if joins else ["\n", "\r", "\r\n"]
            )
        )
    return body.encode(), texts


@given(events(), st.lists(st.integers(0, 999), max_size=4))
def test_server_sent_events(made, cuts):
    body, texts = made
    check_stream(OpenAIStream, body, [min(cut, len(body)) for cut in cuts])
    kinds, stream = read(OpenAIStream, [body])
    assert (
        stream.reasoning + stream.answer,
        len(kinds),
        stream.summary.error,
    ) == (
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
        line.replace(
            b'"response": ', b'"choices": [{"delta": {"content": '
        ).replace(b"}", b"}}]}")
        if b"response" in line
        else line
    )
    check_stream(OpenAIStream, b"data: " + content, [])


def said(kinds, stream):
    # as text: NaN is no other NaN
    calls = repr(stream.tool_calls)
    return kinds, stream.answer, stream.reasoning, calls, stream.summary


def check_stream(kind, whole, cuts):
    kinds, stream = read(kind, [whole])
    ends = [0, *sorted(cuts), len(whole)]
    assert said(
        *read(kind, [whole[a:b] for a, b in zip(ends, ends[1:])])
    ) == said(kinds, stream)  # wherever it is cut
    assert set(kinds) <= {0, 1} and (0 in kinds, 1 in kinds) == (
        bool(stream.answer or stream.tool_calls),
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
    b'{"model":"m","message":{"role":"assistant","content":" is","thinking":""},"done":false}',
    b'{"choices":[{"finish_reason":null,"index":0,"delta":{"content":" is"}}],'
    b'"id":"x","object":"chat.completion.chunk"}',
    b'{"id":"x","choices":[{"index":0,"delta":{"reasoning_content":"hm","content":null},'
    b'"logprobs":null,"finish_reason":null}],"usage":null}',
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
    b'"message":{"content":"c"},',
    b'"message":"m",',
    b'"tool_calls":[],',
    b'"tool_calls":[{"function":{"name":"f"}}],',
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
        start, end = sorted(
            draw(
                st.tuples(
                    st.integers(0, len(line)), st.integers(0, len(line))
                )
            )
        )
        new = draw(
            st.sampled_from(ODD)
            | st.binary(max_size=2)
            | st.just(b"")
            | st.just(line[start:end] * 2)
        )
        line = (
            line[:start]
            + new
            + line[
                min(end, start + draw(st.sampled_from([0, 0, 1, 999]))) :
            ]
        )
    return line


@given(st.lists(mutated() | OLLAMA | OPENAI | RAW, min_size=1, max_size=4))
@example(
    [b'{"response":"x","n":1%s,"done":false}' % (b"0" * 5000)]
)  # more digits than Python converts
@example([b'{"response":"x","n":"\xff","done":false}'])
@example([b'{"response":"x","n":"\xed\xa0\x80","done":false}'])
@example(
    [b'{"response":"x","n":%s%s,"done":false}' % (b"[" * 480, b"]" * 480)]
)
@example(
    [
        b'{"response":"\\ud800","done":false}',
        b'{"response":"y","done":false}',
    ]
)
@example([b'{"choices":[{"delta":{"content":"x"}}],"choices":[]}'])
@example(
    [b'{"choices":[{"delta":{"content":"x"}},{"delta":{"content":"y"}}]}']
)
def test_what_is_read_quickly_is_read_as_slowly(lines):
    for kind, data in [
        (OllamaStream, b"\n".join(lines) + b"\n"),
        (
            OpenAIStream,
            b"".join(
                b"data: %s\n\n" % line for line in [USUAL[3], *lines]
            ),
        ),
    ]:
        pieces = (
            data.splitlines(keepends=True)
            if kind is OllamaStream
            else data.split(b"\n\n")
        )
        pieces = (
            pieces
            if kind is OllamaStream
            else [piece + b"\n\n" for piece in pieces]
        )
        found = said(*read(kind, pieces))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ollama_stream, "MAX_USUAL_LINE_BYTES", -1)
            patch.setattr(openai_stream, "MAX_USUAL_LINE_BYTES", -1)
            assert said(*read(kind, pieces)) == found


def test_a_line_without_end_is_cut_off_and_the_next_one_read():
    stream = OllamaStream()
    for _ in range(4 * MAX_LINE_BYTES // 2**20):
        assert stream.feed(b"x" * 2**20) == b""
    assert stream.buffered_bytes <= MAX_LINE_BYTES + 2**20
    assert (
        stream.feed(b'\n{"response": "y"}\n') == ANSWER
        and stream.answer == "y"
    )
    assert "longer than" in stream.summary.error


def test_a_million_blanks_before_the_first_word_take_seconds_at_most():
    stream = OllamaStream()
    blanks = b'{"response":"\\n"}\n' * 1000
    for _ in range(200):
        stream.feed(blanks)
    stream.feed(b'{"response":"<think>a</think>b"}\n')
    assert stream.answer == "b" and len(stream.reasoning) >= 200_000
