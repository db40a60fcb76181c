import pytest

from ollama_bench.protocols.registry import PROTOCOLS
from tests.protocols.helpers import read_summary


def test_protocols_are_registered_under_their_names():
    assert list(PROTOCOLS) == ["ollama", "openai"]
    assert all(
        protocol.name == name for name, protocol in PROTOCOLS.items()
    )


@pytest.mark.parametrize(
    "name, line, is_last",
    [
        ("openai", b"data: [DONE]", True),
        ("openai", b"data:[DONE]", True),
        ("openai", b"data:  [DONE] \r", True),
        ("openai", b": data: [DONE]", False),
        ("openai", b"[DONE]", False),
        ("openai", b'data: "[DONE]"', False),
        (
            "openai",
            b'data: {"choices":[{"delta":{"content":"data: [DONE]"}}]}',
            False,
        ),
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
def test_last_line_is_recognized_without_the_lines_before(
    name, line, is_last
):
    protocol = PROTOCOLS[name]
    assert protocol.is_last_line(line) is is_last
    assert not is_last or any(
        mark in line for mark in protocol.last_line_marks
    )
    assert read_summary(protocol.create_stream(), line).done is is_last
