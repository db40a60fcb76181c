"""What a run says before it begins."""

import types

import pytest

from ollama_bench.inputs import command_line
from ollama_bench.run import notices


@pytest.mark.parametrize(("api", "warned"), [("openai", 1), ("ollama", 0)])
def test_num_ctx_is_told_where_the_server_ignores_it(api, warned):
    settings = command_line.parse(
        ["1", "--api", api, "--option", "num_ctx=8192"]
    )
    said = []
    notices.warn_of_settings(
        settings, None, types.SimpleNamespace(warn=said.append)
    )
    assert len(said) == warned
    assert all(
        "num_ctx has no effect with --api openai" in text for text in said
    )
