import pytest

from ollama_bench.protocols.target import is_same_model


@pytest.mark.parametrize(
    "name, model, is_same",
    [
        ("deepseek-r1:latest", "deepseek-r1", True),
        ("DeepSeek-R1", "deepseek-r1:latest", True),
        ("deepseek-r1:7b", "deepseek-r1", False),
        (7, "deepseek-r1", False),
    ],
)
def test_default_tag_and_case_do_not_matter(name, model, is_same):
    assert is_same_model(name, model) is is_same
