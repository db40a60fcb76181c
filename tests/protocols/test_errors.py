import json

from ollama_bench.protocols.errors import error_text
from ollama_bench.protocols.text import MAX_ERROR_CHARS


def test_error_body_becomes_one_line():
    page = "<html><body><h1>502 Bad Gateway</h1></body></html>"
    assert (
        error_text({"error": "model 'x' not found"})
        == "model 'x' not found"
    )
    assert error_text({"error": {"message": "bad\nthing"}}) == "bad thing"
    assert error_text(page) == "502 Bad Gateway"
    assert len(error_text("x" * 9999)) == MAX_ERROR_CHARS


def test_a_prompt_that_is_too_long_is_said_in_figures():
    """As llama-server 0.5.0 and Ollama 0.32.15 say it."""
    error = {
        "error": {
            "code": 400,
            "message": "request (6009 tokens) exceeds the available context size "
            "(4096 tokens), try increasing it",
            "type": "exceed_context_size_error",
            "n_prompt_tokens": 6009,
            "n_ctx": 4096,
        }
    }
    said = "prompt of 6,009 tokens exceeds the context of 4,096"
    assert error_text(error) == said
    assert error_text({"error": json.dumps(error)}) == said
    assert error_text({"error": "{not JSON"}) == "{not JSON"
