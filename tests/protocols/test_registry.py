"""The protocols and their names."""

from ollama_bench.protocols.names import NAMES
from ollama_bench.protocols.registry import PROTOCOLS


def test_each_protocol_has_one_of_the_names():
    assert tuple(PROTOCOLS) == NAMES
