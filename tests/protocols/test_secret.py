import sys
import time
import unicodedata

import pytest

from ollama_bench.protocols.errors import (
    QUOTED_BYTES,
    error_text,
    quote_line,
)
from ollama_bench.protocols.json_values import read_word
from ollama_bench.protocols.ollama_stream import OllamaStream
from ollama_bench.protocols.openai_stream import OpenAIStream
from ollama_bench.protocols.secret import INVISIBLE_RUN, Secret
from tests.protocols.helpers import (
    ERROR_EVENTS,
    delta,
    event,
    json_lines,
    read,
    read_summary,
)

KEY = "sk-secret-4711-never-to-be-seen"
SECRET = Secret(KEY)
DISGUISES = [
    KEY,
    "\u200b".join(KEY),
    "\u00ad".join(KEY),
    "\ufeff".join(KEY),
    "\0".join(KEY),
    "\n".join(KEY),
    "  ".join(KEY),
    "\x1b".join(KEY),
    "\U000e0041".join(KEY),
    "".join(f"\\u{ord(letter):04x}" for letter in KEY),
    "".join(f"\\x{ord(letter):02X}" for letter in KEY),
    "\\u200b".join(KEY),
    "\\\\u200B".join(KEY),
    r"\n".join(KEY),
    "\\U000e0041".join(KEY),
    "\u0332".join(KEY),
    "\ud800".join(KEY),
    "\ufffd".join(KEY),
    "\\ud800".join(KEY),
]


@pytest.mark.parametrize("disguised", DISGUISES, ids=range(len(DISGUISES)))
def test_key_is_masked_in_every_disguise(disguised):
    assert SECRET.mask(f"a {disguised} b {disguised}.") == "a *** b ***."
    value = {disguised: [disguised, 1, {"x": disguised}], "y": None}
    assert SECRET.mask_json(value) == {
        "***": ["***", 1, {"x": "***"}],
        "y": None,
    }
    for filler in range(60, 101):  # wherever the cut falls
        text = "x" * filler + disguised
        line = text.encode("utf-8", "surrogatepass")
        assert "sk-" not in read_word(text, SECRET)
        assert "sk-" not in quote_line(line, SECRET)
        assert "sk-" not in error_text("x" * 400 + text, SECRET)
        assert "sk-" not in error_text(
            {"error": [text + "x" * 500]}, SECRET
        )
    half = disguised[: len(disguised) // 2]
    assert SECRET.mask(f"a {half}", is_cut=True).rstrip() == "a ***"
    assert SECRET.mask(f"a {half}") == f"a {half}"


def test_every_invisible_character_of_unicode_is_known():
    invisible = [
        chr(code)
        for code in range(sys.maxunicode + 1)
        if unicodedata.category(chr(code))
        in ("Cc", "Cf", "Zs", "Zl", "Zp")
    ]
    assert [
        hex(ord(character))
        for character in invisible
        if not INVISIBLE_RUN.fullmatch(character)
    ] == []


@pytest.mark.parametrize(
    "key", [None, "", "EMPTY", "none", "ollama", "1234567"]
)
def test_dummy_key_masks_nothing(key):
    text = f"an {key} text"
    assert Secret(key).mask(text, is_cut=True) is text


@pytest.mark.parametrize(
    "pieces",
    [
        [KEY],
        list(KEY),
        [KEY[:9], KEY[9:]],
        ["a\u200b", *"\u200b".join(KEY)],
    ],
)
def test_key_in_an_answer_is_masked_however_it_is_split(pieces):
    for field in ("content", "reasoning_content"):
        last = event(choices=[{"finish_reason": f"x{KEY}"}])
        events = [delta(**{field: piece}) for piece in pieces]
        _, stream = read(OpenAIStream(SECRET), *events, last)
        assert_masked(stream, "x***")
    for field in ("response", "thinking"):
        last = {"done": True, "done_reason": "x" * 90 + KEY}
        lines = json_lines(*({field: piece} for piece in pieces), last)
        _, stream = read(OllamaStream(SECRET), lines)
        assert_masked(stream, "x" * 90 + "***")


def assert_masked(stream, done_reason):
    text = stream.answer + stream.reasoning
    assert "***" in text and "sk-" not in text
    assert stream.summary.done_reason == done_reason


@pytest.mark.parametrize(
    "error",
    [
        ERROR_EVENTS[0],
        ERROR_EVENTS[1],
        ERROR_EVENTS[4],
        ERROR_EVENTS[7],
        ERROR_EVENTS[9],
        b'data: {"error":[{"a":"out of memory"}]}\n\n',
        b"data: out of memory\n\n",
        b"{out of memory\n",
    ],
)
def test_key_in_an_error_is_masked_before_the_error_is_cut(error):
    for filler in (0, 60, 80, 85, 470, 490):
        message = b"x" * filler + KEY.encode() + b" y" * 300
        found = read_summary(
            OpenAIStream(SECRET), error.replace(b"out of memory", message)
        ).error
        assert "sk-" not in found and len(found) <= 500


def test_key_at_the_cut_of_a_quoted_line_is_masked():
    line = b"data: z" + b" " * (QUOTED_BYTES - 12) + b"z " + KEY.encode()
    assert "sk-" not in read_summary(OpenAIStream(SECRET), line).error


def test_half_a_key_at_the_end_of_a_broken_answer_is_masked():
    _, stream = read(
        OpenAIStream(SECRET),
        delta(content="it is ") + delta(content=KEY[:20]),
    )
    assert stream.answer == "it is ***"


@pytest.mark.parametrize(
    "text",
    [
        "s" * 400_000,
        "s" + "\0" * 400_000,
        KEY[:-1] * 12_000,
        "\\u0073" * 60_000,
        "s" + "\\" * 400_000,
        "".join(f"\\u{ord(letter):04x}" * 3 for letter in KEY[:-1]) * 600,
    ],
    ids=[
        "first letter",
        "invisible",
        "nearly the key",
        "escapes",
        "backslashes",
        "repeated",
    ],
)
def test_masking_time_is_linear_in_the_text(text):
    started = time.process_time()
    SECRET.mask(text, is_cut=True)
    assert time.process_time() - started < 5


def test_secret_is_not_shown():
    assert KEY not in repr(SECRET) + str(SECRET)
