"""What is typed, and what a file of settings or of prompts holds."""

import json
import math
import os
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ollama_bench.analysis import conditions
from ollama_bench.inputs import (
    command_line,
    objectives,
    options,
    prompt_file,
    prompts,
    values,
)
from ollama_bench.protocols.addresses import host_url
from tests.properties.values import DEEP, VALUES, one_line, or_value_error


@given(st.text(alphabet="0123456789,-x: \n", max_size=30) | st.text())
@example("1-4096")
@example("x2:٣")
@example("1" * 5000)
def test_levels(text):
    levels = or_value_error(values.levels, text)
    if levels is not None:
        assert levels and all(
            1 <= level <= values.HIGHEST_LEVEL for level in levels
        )


@given(
    st.text(alphabet="aZ09.:/[]%@?#\\ \t\n\x1b\x00é", max_size=30)
    | st.text()
)
@example("[")
@example("http://[::1")
@example("\x1b[2J")
@example("x\x00y")
@example("host?q")
@example("host/a#b")
@example("a℀b")  # has a slash in it when normalised
@example("host:٣")
def test_host_url(text):
    url = or_value_error(host_url, text)
    if url is not None:
        assert re.fullmatch(
            r"https?://[^\s/?#\x00-\x1f\x7f]+:\d{1,5}(/[^?#\s\x00-\x1f\x7f]*)?",
            url,
        )
        assert host_url(url) == url  # what it gives, it takes


@given(st.text(alphabet='=a[]{}",:0-9eNI ', max_size=20) | st.text())
@example(f"a={DEEP}")
@example("a=NaN")
@example("a=1e400")
@example("a=-Infinity")
def test_option(text):
    found = or_value_error(values.model_option, text)
    if found is not None:
        assert found[0].strip() == found[0] != ""
        json.dumps(found[1], allow_nan=False)  # it can be sent


@given(
    st.text(alphabet="ttfe2po=,.0123456789einfa_- ", max_size=30)
    | st.text()
)
@example("ttft=1e400")
@example("ttft=nan")
@example("ttft=-0")
@example("ttft=1,,e2e=2")
def test_objectives(text):
    for name, bound in (
        or_value_error(objectives.parse, text) or {}
    ).items():
        assert name in objectives.METRICS and 0 < bound < math.inf


@given(
    st.text(alphabet="acefrtio_p9s<>=%.0123e- ", max_size=30) | st.text()
)
@example("ttft>1e400")
@example("ttft>%")
@example("ttft>٣")
def test_condition(text):
    try:
        found = conditions.parse_condition(text)
    except conditions.ConditionError as error:
        assert one_line(error)
    else:
        assert math.isfinite(found.limit) and found.metric


KEYS = [option.name for option in options.ALL if option.name != "config"]
FLAGS = [
    option.flag
    for option in options.ALL
    if not option.is_positional and option.name != "config"
]
TYPED = (
    st.text()
    | st.integers().map(str)
    | st.floats().map(str)
    | st.sampled_from(
        [
            "1,2,4",
            "1-4",
            "m",
            "ttft=1",
            "a=1",
            "on",
            "cold",
            "openai",
            "ttft>1",
            "http://[::1]:1",
            "9" * 30,
            "1e-320",
            "-0.0",
            "٣",
            "1_0",
            " 1",
            "\ud800",
        ]
    )
)


def parsed(capsys, *argv):
    """What a command line means; None where it is refused with one line and the code 2."""
    try:
        return command_line.parse(list(argv))
    except SystemExit as exit:
        out, err = capsys.readouterr()
        assert exit.code == 2 and len(err.splitlines()) == 1 and not out
        return None


@given(
    st.lists(
        TYPED
        | st.sampled_from(FLAGS)
        | st.tuples(st.sampled_from(FLAGS), TYPED).map("=".join),
        max_size=6,
    ).filter(lambda argv: not {"--help", "-h"} & set(argv))
)
def test_a_command_line(capsys, argv):
    if found := parsed(capsys, *argv):
        levels = found.load.levels
        assert all(1 <= level <= values.HIGHEST_LEVEL for level in levels)
        assert len(set(levels)) == len(levels) and set(
            found.repeated_levels
        ) <= set(levels)


@given(
    st.binary()
    | st.lists(
        st.tuples(
            st.sampled_from([*KEYS, "prompt-tokens"])
            | st.text(max_size=5),
            VALUES.map(json.dumps) | TYPED | TYPED.map(json.dumps),
        ).map(" = ".join),
        max_size=5,
    )
    .map("\n".join)
    .map(lambda text: text.encode("utf-8", "replace"))
)
@example(b"levels = 1\nrate = nan")
@example(b"levels = 1\nrate = inf")
@example(b"levels = 1\na = %s" % DEEP.encode())
@example(b"levels = 1\nlevels = 2")
@example(b"levels = 1\nrequests = 0x%s" % (b"f" * 9999))
@example(b"levels = [[1]]\nslo = 0001-01-01T00:00:00+23:59")
def test_config(capsys, tmp_path, data):
    path = tmp_path / "bench.toml"
    path.write_bytes(data)
    parsed(capsys, "1", "--config", str(path))


ENTRIES = VALUES | st.fixed_dictionaries(
    {},
    optional={
        "prompt": VALUES,
        "system": VALUES,
        "tokens": VALUES,
        "expected_tokens": VALUES,
        "options": VALUES,
        "turns": VALUES | st.lists(st.text()),
        "messages": st.lists(
            VALUES
            | st.fixed_dictionaries(
                {
                    "role": st.sampled_from(["user", "assistant"]),
                    "content": VALUES,
                }
            ),
            max_size=3,
        ),
        "conversations": st.lists(
            VALUES
            | st.fixed_dictionaries(
                {"from": VALUES | st.just("human"), "value": VALUES}
            ),
            max_size=3,
        ),
    },
)


def dumped(value):
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")


@given(
    st.binary()
    | st.lists(
        ENTRIES.map(dumped) | st.binary(max_size=20), max_size=4
    ).map(b"\n".join)
    | st.lists(ENTRIES, max_size=3).map(dumped)
)
@example(b'{"prompt": "x", "options": {"temperature": NaN}}')
@example(b'{"prompt": "x", "options": {"temperature": 1e400}}')
@example(b'{"prompt": "x", "tokens": %s}' % DEEP.encode())
@example(b'{"prompt": "x", "tokens": "%s"}' % (b"long" * 9999))
@example(b'{"prompt": "\\ud800"}')
@example(b'{"messages": [{"role": [], "content": "x"}]}')
@example(b'{"conversations": [{"from": {}, "value": "x"}]}')
def test_prompts(tmp_path, data):
    path = tmp_path / "prompts.jsonl"
    path.write_bytes(data)
    for prompt in or_value_error(prompts.read, str(path)) or ():
        assert prompt.turns and all(
            message["content"] and isinstance(message["content"], str)
            for turn in prompt.turns
            for message in turn
            if message["role"] == "user"
        )
        assert prompt.tokens is None or prompt.tokens > 0
        json.dumps(
            [prompt.turns, prompt.system, prompt.options, prompt.tools],
            allow_nan=False,
            ensure_ascii=False,
        ).encode()


@pytest.mark.skipif(
    not os.path.exists("/dev/zero"), reason="no endless file here"
)
def test_an_endless_file_of_prompts_ends(monkeypatch):
    monkeypatch.setattr(prompt_file, "FILE_BYTES", 1 << 20)
    with pytest.raises(ValueError, match="larger than"):
        prompts.read("/dev/zero")
