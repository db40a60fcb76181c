"""Options within the text of a page."""

import pytest

from ollama_bench.report.option_text import keep_options


@pytest.mark.parametrize(
    "text, options",
    [
        (
            "use --repeat 3 and --think-time 30",
            ["--repeat", "--think-time"],
        ),
        ("python bench.py 4 -m x --slo ttft=2", ["-m", "--slo"]),
        ("first-token waits of 3-5 s -- and so on - as said", []),
        ("it is 'a--b' <--x>", ["--x"]),
    ],
)
def test_an_option_is_not_broken(text, options):
    found = keep_options(text)
    for option in options:
        assert f'<span class="option">{option}</span>' in found
    assert found.count("<span") == len(options)
    assert "<--" not in found
