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
