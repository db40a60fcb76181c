import pytest

from ollama_bench.protocols import event_stream
from ollama_bench.protocols.chunks import ANSWER, StreamSummary
from ollama_bench.protocols.openai_stream import OpenAIStream
from tests.protocols.helpers import (
    DONE_EVENT,
    ERROR_EVENTS,
    TEXT_EVENT,
    read,
    read_summary,
)

HALF_EVENT = b'data: {"choices":[{"delta":'
OTHER_HALF = b'data:{"content":"x"}}]}'
STOP_EVENT = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'


@pytest.mark.parametrize(
    "after",
    [b"", DONE_EVENT, TEXT_EVENT + STOP_EVENT + DONE_EVENT],
    ids=["end", "done", "text"],
)
@pytest.mark.parametrize(
    "before", [b"", TEXT_EVENT * 2], ids=["first", "later"]
)
@pytest.mark.parametrize(
    "error", ERROR_EVENTS, ids=range(len(ERROR_EVENTS))
)
def test_error_event_is_kept_whatever_follows(error, before, after):
    without_end = error if after else error.rstrip(b"\n")
    for variant in (error, error.replace(b"\n", b"\r\n"), without_end):
        kinds, stream = read(OpenAIStream(), before + variant + after)
        assert stream.summary.error == "out of memory"
        assert stream.summary.error_is_from_server
        assert stream.answer == "x" * len(kinds)


@pytest.mark.parametrize(
    "error",
    [
        b"event: error\n\n",
        b"event: error\ndata\n\n",
        b'event: error\ndata: ""\n\n',
    ],
)
def test_error_event_without_a_message_is_an_error(error):
    summary = read_summary(OpenAIStream(), TEXT_EVENT + error + DONE_EVENT)
    assert summary.error == "error without a message"


def test_first_error_of_the_server_replaces_our_own():
    events = (
        b"data: rubbish\n\n"
        + ERROR_EVENTS[3]
        + b'data: {"error":"later"}\n\n'
    )
    assert read_summary(OpenAIStream(), events).error == "out of memory"


@pytest.mark.parametrize(
    "harmless",
    [
        b"error:\n\n",
        b"error: null\n\n",
        b'data: {"error":null,"choices":[]}\n\n',
        b'data: {"error":{},"detail":"","choices":[]}\n\n',
        b"event: message\n" + TEXT_EVENT,
        b": error: x\n\n",
        b"errors: x\n\n",
        b'data: {"object":"chat.completion.chunk","detail":"x","choices":[]}\n\n',
    ],
)
def test_event_that_is_not_an_error(harmless):
    assert (
        read_summary(
            OpenAIStream(), TEXT_EVENT + harmless + DONE_EVENT
        ).error
        is None
    )


@pytest.mark.parametrize("line_end", [b"\n", b"\r", b"\r\n"])
@pytest.mark.parametrize(
    "lines",
    [
        [HALF_EVENT, OTHER_HALF, b""],
        [
            HALF_EVENT,
            b": comment",
            OTHER_HALF,
            b"id: 1",
            b"retry: 5",
            b"unknown",
            b"",
        ],
        [b"\xef\xbb\xbf" + TEXT_EVENT.strip(), b""],
        [b"data", b"data:", TEXT_EVENT.strip(), b""],
        [b"event: x", TEXT_EVENT.strip(), b""],
        [HALF_EVENT, b"data", OTHER_HALF, b"", b"", b""],
        [HALF_EVENT, OTHER_HALF],
        [TEXT_EVENT.strip()],
    ],
)
def test_event_is_read_as_specified_wherever_it_is_cut(lines, line_end):
    body = line_end.join([*lines, b""])
    for cut in range(len(body) + 1):
        kinds, stream = read(OpenAIStream(), body[:cut], body[cut:])
        assert (kinds, stream.answer, stream.summary) == (
            ANSWER,
            "x",
            StreamSummary(),
        )


@pytest.mark.parametrize("prefix", [b"\xef\xbb\xbf", b" ", b"x"])
def test_unknown_field_is_ignored(prefix):
    kinds, stream = read(
        OpenAIStream(), TEXT_EVENT + prefix + TEXT_EVENT + DONE_EVENT
    )
    assert (kinds, stream.summary) == (ANSWER, StreamSummary(done=True))


def test_data_on_two_lines_that_are_not_an_object_are_quoted_on_one():
    _, stream = read(
        OpenAIStream(), b"data:  a\ndata: b\n\n" + TEXT_EVENT + DONE_EVENT
    )
    assert stream.summary.error == "not a JSON object: a b"
    assert stream.answer == "x"


def test_event_without_end_does_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(event_stream, "MAX_LINE_BYTES", 1 << 20)
    stream = OpenAIStream()
    for _ in range(200):
        stream.feed(b"data: x\n" * 1000)
    assert stream.buffered_bytes <= 1 << 20
    assert stream.summary.error == "event longer than 1 MiB"
    assert stream.feed(b"\n" + TEXT_EVENT) == ANSWER
