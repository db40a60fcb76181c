"""Who has no first token in time leaves, thinks and asks again."""

import gzip
import itertools

import pytest

from ollama_bench.load.people import People
from ollama_bench.load.request import Limits
from ollama_bench.statistics.think_time import ThinkTime
from tests.load.levels import fire
from tests.load.played_server import (
    ANSWER,
    CHUNKED,
    END,
    EVENT,
    LAST,
    LINE,
    Played,
    chunk,
)

THINKS_S, PATIENCE_S = 0.2, 0.3
WAITS = Limits(stall_s=None, patience_s=PATIENCE_S)
EMPTY_LINE = b'{"response": "", "done": false}\n'
EMPTY_EVENT = b'data: {"choices": [{"delta": {"role": "assistant"}}]}\n\n'
SILENT = [2.0, CHUNKED + chunk(LINE), chunk(LAST) + END]
ONLY_HEADERS = [CHUNKED, 2.0, chunk(LINE), chunk(LAST) + END]
NO_TEXT = [CHUNKED + chunk(EMPTY_LINE), 2.0, chunk(LAST) + END]
NO_TEXT_EVENT = [CHUNKED + chunk(EMPTY_EVENT), 2.0, chunk(EVENT) + END]
SLOW = [CHUNKED + chunk(LINE), 0.6, chunk(LAST) + END]
SLOW_EVENT = [
    CHUNKED + chunk(EMPTY_EVENT) + chunk(EVENT),
    0.6,
    chunk(b"data: [DONE]\n\n") + END,
]


def live(answer, people=2, until_s=1.4, api_name="ollama"):
    crowd = People(people, ThinkTime(THINKS_S, "fixed"), "1")
    with Played(answer) as server:
        return fire(
            server.url,
            people,
            api_name,
            WAITS,
            people=crowd,
            until_s=until_s,
        )


@pytest.mark.parametrize(
    "answer, api_name",
    [
        (SILENT, "ollama"),
        (ONLY_HEADERS, "ollama"),
        (NO_TEXT, "ollama"),
        (NO_TEXT_EVENT, "openai"),
    ],
    ids=["silent", "headers", "no text", "role only"],
)
def test_who_has_no_first_token_leaves_in_time(answer, api_name):
    level = live(answer, api_name=api_name)
    assert {o.status for o in level.seen} == {"abandoned"}
    waited_s = [(o.ended_ns - o.due_ns) / 1e9 for o in level.seen]
    # the others may be late: where the machine is busy
    assert PATIENCE_S <= min(waited_s) < 2 * PATIENCE_S
    for outcome in level.seen:
        assert outcome.error == "no first token within 0.3 s"
        figures = outcome.to_figures(0)
        assert (figures["status"], figures["abandoned"]) == (
            "cancelled",
            1,
        )
    lives = sorted(level.seen, key=lambda o: (o.person, o.due_ns))
    pairs = [
        (before, after)
        for before, after in itertools.pairwise(lives)
        if before.person == after.person
    ]
    assert len(pairs) >= 2
    for before, after in pairs:
        assert (after.due_ns - before.ended_ns) / 1e9 == pytest.approx(
            THINKS_S, abs=1e-5
        )


@pytest.mark.parametrize(
    "answer, api_name", [(SLOW, "ollama"), (SLOW_EVENT, "openai")]
)
def test_who_has_a_first_token_reads_to_the_end(answer, api_name):
    level = live(answer, api_name=api_name)
    assert {o.status for o in level.seen} == {"completed"}
    for outcome in level.seen:
        assert outcome.ended_ns - outcome.sent_ns > 0.6e9
        assert outcome.to_figures(0)["abandoned"] == 0


def test_of_a_compressed_reply_any_byte_is_a_beginning():
    body = gzip.compress(LINE + LAST)
    head = CHUNKED[:-2] + b"Content-Encoding: gzip\r\n\r\n"
    level = live([head + chunk(body[:9]), 0.6, chunk(body[9:]) + END])
    assert {o.status for o in level.seen} == {"completed"}


def test_nobody_leaves_whose_reply_is_in_time():
    level = live(ANSWER, until_s=0.8)
    assert {o.status for o in level.seen} == {"completed"}
