import pytest

from ollama_bench.protocols.ollama_stream import OllamaStream
from tests.protocols.helpers import json_lines, read


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
def test_reasoning_in_tags_is_separated_from_the_answer(
    pieces, reasoning, answer
):
    _, stream = read(
        OllamaStream(),
        json_lines(*({"response": piece} for piece in pieces)),
    )
    assert (stream.reasoning, stream.answer) == (reasoning, answer)
