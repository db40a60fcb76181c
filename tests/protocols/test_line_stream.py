import itertools
import json

import pytest

from ollama_bench.protocols.chunks import ANSWER
from ollama_bench.protocols.ollama_stream import OllamaStream
from ollama_bench.protocols.openai_stream import OpenAIStream
from tests.protocols.helpers import read, read_recorded, result_of

# name, stream, text chunks, of these reasoning, done, output tokens
RECORDED = [
    ("llama-server-reasoning.http", OpenAIStream, 12, 12, True, 12),
    # <think> in the content
    ("llama-server-answer.http", OpenAIStream, 12, 12, True, 12),
    ("ollama-chat-answer.http", OllamaStream, 7, 0, True, 8),
    ("ollama-chat-thinking.http", OllamaStream, 11, 5, True, 18),
    # a tool call is one chunk
    ("ollama-chat-tool-call.http", OllamaStream, 1, 0, True, 31),
    ("ollama-openai-tool-call.http", OpenAIStream, 1, 0, True, 31),
    ("sim-ollama-thinking.http", OllamaStream, 12, None, True, 12),
    ("sim-ollama-answer.http", OllamaStream, 12, 0, True, 12),
    ("sim-ollama-no_done.http", OllamaStream, 12, None, False, None),
    ("sim-ollama-error_last.http", OllamaStream, 12, None, False, None),
]


@pytest.mark.parametrize(
    "name, stream_class, chunks, reasoning, done, tokens", RECORDED
)
def test_recorded_stream_reads_the_same_wherever_it_is_cut(
    name, stream_class, chunks, reasoning, done, tokens
):
    body = read_recorded(name)
    kinds, stream = read(stream_class(), body)
    summary = stream.summary
    assert (len(kinds), summary.done, summary.output_tokens) == (
        chunks,
        done,
        tokens,
    )
    if reasoning is not None:
        assert sum(kinds) == reasoning
    for cut in range(len(body) + 1):
        cut_kinds, cut_stream = read(
            stream_class(), body[:cut], body[cut:]
        )
        assert (cut_kinds, *result_of(cut_stream)) == (
            kinds,
            *result_of(stream),
        )
    single_bytes = (body[i : i + 1] for i in range(len(body)))
    cut_kinds, cut_stream = read(stream_class(), *single_bytes)
    assert (cut_kinds, *result_of(cut_stream)) == (
        kinds,
        *result_of(stream),
    )


@pytest.mark.parametrize(
    "name, stream_class", [case[:2] for case in RECORDED]
)
def test_the_characters_of_the_chunks_are_those_of_the_texts(
    name, stream_class
):
    kinds, texts = b"", []
    stream = stream_class()
    for byte in read_recorded(name):
        found = stream.feed(bytes([byte]))
        if found:
            kinds += found
            texts.append(len(stream.answer) + len(stream.reasoning))
    counts = stream.count_characters(kinds)
    assert list(itertools.accumulate(counts)) == texts
    assert len(counts) == len(kinds) > 0


def test_a_call_of_a_tool_is_a_chunk_without_characters():
    kinds, stream = read(
        OllamaStream(), read_recorded("ollama-chat-tool-call.http")
    )
    assert list(stream.count_characters(kinds)) == [0]


def test_unicode_line_separators_do_not_end_a_line():
    text = "a\u0085b\u2028c"
    line = (
        json.dumps({"response": text}, ensure_ascii=False).encode() + b"\n"
    )
    kinds, stream = read(OllamaStream(), line)
    assert (kinds, stream.answer) == (ANSWER, text)


@pytest.mark.parametrize(
    "line",
    [b"\xff\xfe\n", b"[1,2]\n", b'"x"\n', b"{\n", b"[" * 100_000 + b"\n"],
)
def test_garbage_is_an_error_of_the_stream(line):
    kinds, stream = read(OllamaStream(), line)
    assert kinds == b""
    assert stream.summary.error.startswith("not a JSON object")
    assert len(stream.summary.error) < 600
