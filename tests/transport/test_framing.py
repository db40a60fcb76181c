"""Where an answer ends: every framing, however its bytes are cut."""

import pytest

from ollama_bench.transport.framing import (
    Framing,
    parse_chunk_size,
    parse_length,
    parse_status,
)
from tests.transport.scripted_server import FRAMINGS


@pytest.mark.parametrize("name", FRAMINGS)
def test_the_end_is_found_wherever_the_bytes_are_cut(name):
    raw = FRAMINGS[name]
    for cut in range(1, len(raw)):
        framing, data = Framing(), bytearray(raw[:cut])
        assert not (
            data.endswith(framing.ending) and framing.ends(data)
        ), f"{name}: too early at {cut}"
        data += raw[cut:]
        assert (
            data.endswith(framing.ending)
            and framing.ends(data)
            and framing.complete
        ), f"{name}: missed after {cut}"


@pytest.mark.parametrize(
    ("parse", "value", "expected"),
    [
        (parse_chunk_size, b"1f", 31),
        (parse_chunk_size, b"1f;name=1", 31),
        (parse_chunk_size, b"-1", None),
        (parse_chunk_size, b"", None),
        (parse_chunk_size, b"1" * 16, None),
        (parse_length, "5", 5),
        (parse_length, "-5", None),
        (parse_length, None, None),
        (parse_length, "1" * 16, None),
        (parse_status, b"HTTP/1.1 200 OK", 200),
        (parse_status, b"HTTP/2 200 OK", None),
        (parse_status, b"HTTP/1.1 1000 x", None),
    ],
)
def test_numbers_are_read_as_http_client_reads_them(
    parse, value, expected
):
    assert parse(value) == expected
