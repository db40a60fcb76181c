"""Lines of both protocols with anything in their fields."""

import json

from hypothesis import strategies as st

from tests.properties.values import VALUES

COUNTERS = [
    "eval_count",
    "prompt_eval_count",
    "prompt_eval_cached_count",
    "total_duration",
    "load_duration",
    "prompt_eval_duration",
    "eval_duration",
]
FUNCTION = st.fixed_dictionaries(
    {}, optional={"name": VALUES, "arguments": st.text() | VALUES}
)
CALL = st.fixed_dictionaries(
    {},
    optional={
        "index": st.integers(0, 2) | VALUES,
        "id": VALUES,
        "function": FUNCTION | VALUES,
    },
)
CALLS = st.lists(CALL | VALUES, max_size=3) | VALUES
MESSAGE = st.fixed_dictionaries(
    {},
    optional={
        "content": st.text() | VALUES,
        "thinking": st.text() | VALUES,
        "tool_calls": CALLS,
    },
)
OLLAMA = (
    st.fixed_dictionaries(
        {},
        optional={
            "response": st.text() | VALUES,
            "thinking": st.text() | VALUES,
            "message": MESSAGE | VALUES,
            "done": VALUES,
            "error": VALUES,
            "done_reason": VALUES,
            **dict.fromkeys(COUNTERS, VALUES),
        },
    )
    .map(json.dumps)
    .map(str.encode)
)
DELTA = st.fixed_dictionaries(
    {},
    optional={
        "content": st.text() | VALUES,
        "reasoning_content": VALUES,
        "reasoning": VALUES,
        "tool_calls": CALLS,
    },
)
OPENAI = (
    st.fixed_dictionaries(
        {},
        optional={
            "choices": VALUES
            | st.lists(
                VALUES
                | st.fixed_dictionaries(
                    {},
                    optional={
                        "delta": DELTA | VALUES,
                        "finish_reason": VALUES,
                    },
                ),
                max_size=3,
            ),
            "error": VALUES | st.fixed_dictionaries({"message": VALUES}),
            "usage": VALUES
            | st.fixed_dictionaries(
                {},
                optional={
                    "completion_tokens": VALUES,
                    "prompt_tokens": VALUES,
                    "prompt_tokens_details": VALUES,
                },
            ),
            "timings": VALUES
            | st.fixed_dictionaries(
                {},
                optional=dict.fromkeys(
                    [
                        "prompt_ms",
                        "predicted_ms",
                        "cache_n",
                        "prompt_n",
                        "predicted_n",
                    ],
                    VALUES,
                ),
            ),
        },
    )
    .map(json.dumps)
    .map(str.encode)
)
RAW = st.binary(max_size=40) | VALUES.map(json.dumps).map(str.encode)
