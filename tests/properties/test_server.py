"""What a server says of itself, its errors, its command line."""

import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ollama_bench.monitor import command_line, parallel_advice
from ollama_bench.protocols.errors import error_text
from ollama_bench.protocols.json_values import MAX_COUNT
from ollama_bench.protocols.protocol import ModelListError, ProtocolError
from ollama_bench.protocols.registry import PROTOCOLS
from ollama_bench.protocols.slot_memory import estimate_slot_bytes
from ollama_bench.protocols.text import MAX_ERROR_CHARS
from tests.properties.values import (
    NUMBERS,
    VALUES,
    can_be_stored,
    one_line,
)


@given(VALUES)
@example("<" * 65_536)
@example("<a" * 32_768)
@example("\ud800")
@example({"error": {"message": "a\u2028b"}})
def test_error_text(body):
    text = error_text(body)
    assert (
        len(text) <= MAX_ERROR_CHARS
        and len(text.splitlines()) <= 1
        and can_be_stored(text)
    )


ANSWERS = VALUES | st.fixed_dictionaries(
    {},
    optional={
        "version": VALUES,
        "models": VALUES
        | st.lists(
            VALUES
            | st.fixed_dictionaries(
                {
                    "name": VALUES | st.just("m"),
                    "size": VALUES,
                    "digest": VALUES,
                }
            ),
            max_size=2,
        ),
        "data": VALUES
        | st.lists(
            VALUES
            | st.fixed_dictionaries(
                {
                    "id": VALUES | st.just("m"),
                    "owned_by": VALUES | st.just("vllm"),
                    "meta": VALUES
                    | st.fixed_dictionaries(
                        {
                            "size": VALUES,
                            "n_params": NUMBERS,
                            "ftype": VALUES,
                        }
                    ),
                }
            ),
            max_size=2,
        ),
        "details": VALUES
        | st.fixed_dictionaries(
            {"family": VALUES, "parameter_size": VALUES}
        ),
        "capabilities": VALUES,
        "total_slots": VALUES,
        "build_info": VALUES,
        "default_generation_settings": VALUES
        | st.fixed_dictionaries({"n_ctx": VALUES}),
    },
)


@pytest.mark.parametrize("name", list(PROTOCOLS))
@given(data=st.data())
def test_what_a_server_says_of_itself(name, data):
    def get(path, body=None):
        return data.draw(st.sampled_from([200, 401, 404, 500])), data.draw(
            ANSWERS
        )

    server = PROTOCOLS[name]
    own_name = server.fetch_own_name(get)
    assert own_name is None or can_be_stored(own_name)
    with contextlib.suppress(ModelListError):
        names = server.fetch_models(get)
        assert all(isinstance(model, str) for model in names)
    try:
        target = server.fetch_target(get, "m")
    except ProtocolError as error:
        assert one_line(error)
    else:
        assert all(
            value is None or can_be_stored(value)
            for value in vars(target).values()
        )


@given(
    st.lists(
        st.text(max_size=10)
        | st.sampled_from(
            ["-np", "--parallel", "-np=3", "--parallel=" + "9" * 5000]
        )
    )
)
@example(["-np", "9" * 5000])
@example(["-np", "9" * 19])
@example(["-np", "٣"])
def test_slots_in_a_command_line(words):
    assert (
        found := command_line.read_slots(words)
    ) is None or 0 < found < 2**63


@given(
    st.text() | st.sampled_from(["q8_0", "0.32.15", "qwen35"]),
    st.none() | st.integers(0, MAX_COUNT),
    st.none() | st.integers(0, MAX_COUNT),
    st.none() | st.integers(1, 9999),
)
def test_advice(text, slot_bytes, size_bytes, slots):
    target = {
        "api": "ollama",
        "slots": slots,
        "family": text,
        "server_version": text,
        "kv_cache_type": text,
        "slot_bytes": slot_bytes,
        "size_bytes": size_bytes,
        "vram_bytes": slot_bytes,
    }
    parallel_advice.complete(target)
    advice = parallel_advice.warn_of(target)
    assert advice is None or one_line(advice)


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "m.block_count",
                "m.attention.head_count",
                "m.attention.head_count_kv",
                "m.attention.sliding_window",
                "m.attention.key_length",
                "m.attention.value_length",
            ]
        ),
        VALUES | st.integers(0, MAX_COUNT),
    ),
    st.none() | st.integers(0, MAX_COUNT),
)
def test_slot_memory(model_info, context_tokens):
    found = estimate_slot_bytes(
        {"general.architecture": "m", **model_info}, context_tokens
    )
    assert found is None or 0 <= found <= MAX_COUNT
