"""A trace that is replayed: what is sent when, what is stored and said of it."""

import itertools
import json

import pytest

from ollama_bench.inputs import trace
from ollama_bench.inputs.calibration import Calibration
from ollama_bench.run.error import RunError
from ollama_bench.run.plan import Level
from ollama_bench.run.replay import Replay
from tests.run.programs import QUICK, rows, run

LEVEL = Level("m", 8, 1, "cold")
# a word and its blank: 1.25 tokens on average
CALIBRATION = Calibration(20.0, 10.0, 0.5, 0.125)
HEAD = (
    "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type"
)


def write_burstgpt(path, *lines):
    """Write (seconds, prompt tokens, reply tokens) in BurstGPT's form."""
    rest = (f"{at},ChatGPT,{i},{o},{i + o},API log" for at, i, o in lines)
    path.write_text("\n".join([HEAD, *rest]) + "\n")
    return path


def write_mooncake(path, *lines):
    """Write (milliseconds, prompt tokens, reply tokens, blocks) in Mooncake's form."""
    names = ("timestamp", "input_length", "output_length", "hash_ids")
    entries = (dict(zip(names, line, strict=True)) for line in lines)
    path.write_text("".join(f"{json.dumps(entry)}\n" for entry in entries))
    return path


def replay_of(path, **limits):
    asked = {
        "context_tokens": None,
        "most_tokens": None,
        "seed": 1,
    } | limits
    return Replay(trace.read(str(path)), **asked)


def text_of(replay, number, calibration=CALIBRATION):
    prompt, _ = replay.prompt(number, LEVEL, calibration)
    return prompt.turns[0][0]["content"]


def count_tokens(text):
    words = map(CALIBRATION.count_word, text.split())
    return CALIBRATION.overhead + CALIBRATION.per_prefix + sum(words)


@pytest.mark.parametrize("tokens", [60, 500, 7000])
def test_prompts_have_the_length_of_the_trace(tmp_path, tokens):
    path = write_burstgpt(tmp_path / "t", (0, tokens, 9), (1, tokens, 9))
    replay = replay_of(path)
    first, second = text_of(replay, 1), text_of(replay, 2)
    assert count_tokens(first) == pytest.approx(tokens, abs=2)
    assert first != second and first == text_of(replay_of(path), 1)
    prompt, line = replay.prompt(2, LEVEL, CALIBRATION)
    assert (prompt.tokens, prompt.made_tokens, line) == (9, tokens, 2)


def test_a_block_is_the_same_text_wherever_it_is(tmp_path):
    path = write_mooncake(
        tmp_path / "t",
        (0, 1200, 9, [0, 1, 2]),
        (5, 1324, 9, [0, 1, 3]),
        (9, 1024, 9, [4, 5]),
    )
    replay = replay_of(path)
    first, second, third = (text_of(replay, n).split() for n in (1, 2, 3))
    alike = itertools.takewhile(
        lambda pair: pair[0] == pair[1], zip(first, second, strict=False)
    )
    shared = " ".join(word for word, _ in alike)
    # and the first words of what follows, by chance
    assert count_tokens(shared) == pytest.approx(1024, abs=6)
    assert third[:20] != first[:20]
    for words, tokens in ((first, 1200), (second, 1324), (third, 1024)):
        assert count_tokens(" ".join(words)) == pytest.approx(
            tokens, abs=6
        )


def test_what_is_too_long_for_the_context_is_left_out(tmp_path):
    path = write_burstgpt(
        tmp_path / "t", (0, 90, 9), (1, 92, 9), (2, 50, 9)
    )
    replay = replay_of(path, context_tokens=100)
    assert (len(replay), replay.too_long) == (2, 1)
    assert [*replay.due_times()] == [0, 2] and replay.rate_per_s == 0.5
    assert replay.prompt(2, LEVEL, None)[1] == 3
    # a reply that --tokens limits needs less
    assert replay_of(path, context_tokens=100, most_tokens=8).too_long == 0
    with pytest.raises(RunError, match="none of its 3 requests fits"):
        replay_of(path, context_tokens=50)


def test_requests_leave_when_the_trace_says(fast, tmp_path):
    path = write_burstgpt(
        tmp_path / "burst.csv",
        (7, 40, 5), (7, 300, 4), (8, 70, 0), (9, 90, 100),
        (14, 200_000, 5), (15, 80, 6), (27, 1, 1),
    )  # fmt: skip
    code, out, err = run(
        "--trace", path, "--trace-speed", "10", "--duration", "1.9",
        "--host", fast.url, "--no-monitor", "--cooldown", "0", "--plain",
        cwd=tmp_path,
    )  # fmt: skip
    assert (code, err) == (0, "")
    for said in (
        "burst.csv: skipping 1 of 6 requests that have no prompt or no reply",
        "deepseek-r1:7b: leaving out 1 of 5 requests of the trace, longer "
        "than the context of 4,096 tokens",
    ):
        assert said in out
    came = "4 requests as in burst.csv (BurstGPT, 3.75 a second on average, at 10 x speed)"
    assert came in out
    (level,) = rows(
        tmp_path,
        "SELECT load, trace, trace_kind, trace_speed, trace_too_long, "
        "rate_per_s, concurrency, completed FROM level_summary",
    )
    assert [*level.values()] == [
        "open", "burst.csv", "BurstGPT", 10.0, 1, 3.75, 256, 4,
    ]  # fmt: skip
    asked = rows(
        tmp_path,
        "SELECT prompt_number, request.asked_prompt_tokens, asked_output_tokens, "
        "(due_ns - started_ns) / 1000000 AS due_ms, output_tokens, "
        "sent_ns >= due_ns AS is_due, prompt_tokens FROM request "
        "JOIN level ON level.id = level_id ORDER BY due_ns, number",
    )
    assert [[*row.values()][:4] for row in asked] == [
        [1, 40, 5, 0],
        [2, 300, 4, 0],
        [4, 90, 100, 200],
        [6, 80, 6, 800],
    ]
    # replies end at their ceiling, or where the model ends them
    assert [row["output_tokens"] for row in asked] == [5, 4, 30, 6]
    assert all(row["is_due"] for row in asked)
    for row in asked:
        assert row["prompt_tokens"] == pytest.approx(
            row["asked_prompt_tokens"], rel=0.03, abs=1
        )


@pytest.mark.faults
def test_shared_blocks_have_one_prefix_and_others_one_each(fast, tmp_path):
    shared = write_mooncake(
        tmp_path / "shared", (0, 600, 2, [0, 1]), (9, 700, 2, [0, 2])
    )
    alone = write_burstgpt(tmp_path / "alone", (0, 60, 2), (0, 70, 2))
    for path in (shared, alone):
        words = ["4", "--trace", path, "--host", fast.url, *QUICK]
        assert run(*words, cwd=tmp_path)[0] == 0
    assert rows(
        tmp_path,
        "SELECT trace, cache, count(DISTINCT prefix) AS prefixes FROM request "
        "JOIN level ON level.id = level_id GROUP BY trace",
    ) == [
        {"trace": "alone", "cache": "cold", "prefixes": 2},
        {"trace": "shared", "cache": "cold", "prefixes": 1},
    ]


@pytest.mark.faults
def test_a_trace_that_was_edited_is_another_run(fast, tmp_path):
    path = write_burstgpt(tmp_path / "t.csv", (0, 60, 2), (0, 70, 2))
    words = ["1", "--trace", path, "--host", fast.url, *QUICK]
    assert run(*words, cwd=tmp_path)[0] == 0
    (before,) = rows(tmp_path, "SELECT arguments FROM run")
    write_burstgpt(path, (0, 60, 2), (0, 71, 2))
    assert run(*words, cwd=tmp_path)[0] == 0
    (_, after) = rows(tmp_path, "SELECT arguments FROM run")
    was, now = (json.loads(row["arguments"]) for row in (before, after))
    assert was.pop("trace_sha256") != now.pop("trace_sha256")
    assert was == now
