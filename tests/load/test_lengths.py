"""Which prompts and replies were cut, by the server's own counts."""

import pytest

from ollama_bench.load.lengths import Lengths
from ollama_bench.protocols.chunks import StreamSummary


@pytest.mark.parametrize(
    ("lengths", "counted", "is_cut"),
    [
        # Ollama 0.32.15: 8,022 asked at a context of 4,096
        (Lengths(8022, context=4096), 2050, True),
        (Lengths(8022), 2050, True),
        # older runners keep as much as fits
        (Lengths(4200, context=4096), 4096, True),
        (Lengths(1000), 901, False),
        (Lengths(1000), 899, True),
        # text in which a word has several tokens
        (Lengths(1000), 3000, False),
        (Lengths(1), 1, False),
        (Lengths(None), 2050, None),
        (Lengths(None, context=2050), 2050, True),
        (Lengths(1000), None, None),
    ],
)
def test_a_prompt_is_cut_where_the_server_counts_too_few(
    lengths, counted, is_cut
):
    summary = StreamSummary(prompt_tokens=counted)
    assert lengths.is_prompt_cut(summary) is is_cut


@pytest.mark.parametrize(
    ("lengths", "reason", "prompt", "output", "is_cut"),
    [
        # llama-server: 400 asked, 116 left of 4,096
        (Lengths(3950, 400, 4096), "length", 3980, 116, True),
        (Lengths(3950, 400), "length", 3980, 116, True),
        (Lengths(10, 400, 4096), "length", 40, 400, False),
        # a server that does not count the last token
        (Lengths(10, 400, 4096), "length", 40, 399, False),
        (Lengths(10, None, 4096), "length", 40, 4056, True),
        # mlx_lm.server's own limit of 512
        (Lengths(10, None, 4096), "length", 40, 512, False),
        (Lengths(10, None, None), "length", 40, 512, None),
        (Lengths(10, 400, 4096), "stop", 40, 300, False),
        (Lengths(10, 400, 4096), None, 40, 300, None),
        (Lengths(10, 400, 4096), "length", None, None, None),
    ],
)
def test_a_reply_is_cut_where_it_ends_before_its_limit(
    lengths, reason, prompt, output, is_cut
):
    summary = StreamSummary(
        done_reason=reason, prompt_tokens=prompt, output_tokens=output
    )
    assert lengths.is_reply_cut(summary) is is_cut
