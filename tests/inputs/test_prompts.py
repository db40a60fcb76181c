"""prompts.py: every form of a file of prompts, what is skipped, and how much of it is in memory."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ollama_bench.inputs import prompt_file, prompts, resolve

ROOT = Path(__file__).resolve().parents[2]


def read(tmp_path, *entries, array=False):
    path = tmp_path / "prompts.jsonl"
    path.write_text(
        json.dumps(entries, indent=1)
        if array
        else "\n".join(map(json.dumps, entries)),
        encoding="utf-8",
    )
    return prompts.read(str(path))


def texts(prompt):
    """What the user says, turn by turn."""
    return tuple(turn[-1]["content"] for turn in prompt.turns)


@pytest.mark.parametrize(
    "entry, turns, system",
    [
        ("why?", ("why?",), None),
        ({"prompt": "why?", "system": "be kind"}, ("why?",), "be kind"),
        ({"turns": ["a", "b"]}, ("a", "b"), None),
        (
            {
                "messages": [
                    {"role": "system", "content": "be kind"},
                    {"role": "user", "content": "a"},
                    {"role": "assistant", "content": "x"},
                    {"role": "user", "content": "b"},
                ]
            },
            ("a", "b"),
            "be kind",
        ),
        (
            {
                "messages": [
                    {"role": "developer", "content": "be kind"},
                    {"role": "user", "content": "a"},
                ]
            },
            ("a",),
            "be kind",
        ),
        (
            {
                "conversations": [
                    {"from": "system", "value": "be kind"},
                    {"from": "human", "value": "a"},
                    {"from": "gpt", "value": "x"},
                ]
            },
            ("a",),
            "be kind",
        ),
        (
            {
                "conversations": [
                    {"from": "system", "value": "one"},
                    {"from": "system", "value": "two"},
                    {"from": "human", "value": "a"},
                ]
            },
            ("a",),
            "one\n\ntwo",
        ),
        (
            {
                "conversations": [
                    {"from": "system", "value": "one"},
                    {"from": "human", "value": "a"},
                ],
                "system": "mine",
            },
            ("a",),
            "mine",
        ),
        (
            {
                "messages": [
                    {"role": "system", "content": None},
                    {"role": "user", "content": "a"},
                ],
                "system": None,
            },
            ("a",),
            None,
        ),
    ],
)
@pytest.mark.parametrize("array", [False, True])
def test_every_form(tmp_path, entry, turns, system, array):
    (found,) = read(tmp_path, entry, array=array)
    assert (texts(found), found.system) == (turns, system)
    assert found.is_chat == (entry != "why?" and "prompt" not in entry)


QUESTION = {"role": "user", "content": "a"}
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "c", "function": {"name": "f"}}],
}
RESULT = {"role": "tool", "tool_call_id": "c", "content": "7"}
ANSWER = {"role": "assistant", "content": "x"}
NEXT = {"role": "user", "content": "b", "images": ["aGk="], "name": "eve"}


@pytest.mark.parametrize(
    "messages, turns",
    [
        ([QUESTION, ANSWER, NEXT], [[QUESTION], [NEXT]]),
        ([QUESTION, NEXT], [[QUESTION], [NEXT]]),
        (
            [QUESTION, CALL, RESULT, ANSWER, NEXT],
            [[QUESTION], [CALL, RESULT], [NEXT]],
        ),
        ([QUESTION, CALL, RESULT], [[QUESTION], [CALL, RESULT]]),
        (
            [QUESTION, CALL, RESULT, NEXT],
            [[QUESTION], [CALL, RESULT, NEXT]],
        ),
        (
            [QUESTION, CALL, RESULT, RESULT, CALL, RESULT],
            [[QUESTION], [CALL, RESULT, RESULT], [CALL, RESULT]],
        ),
        ([QUESTION, CALL, NEXT], [[QUESTION], [NEXT]]),
        ([QUESTION, CALL], [[QUESTION]]),
        ([ANSWER, QUESTION], [[QUESTION]]),
    ],
)
def test_a_chat_is_sent_as_the_file_has_it(tmp_path, messages, turns):
    (found,) = read(tmp_path, {"messages": messages, "tools": [{"f": 1}]})
    assert found.turns == tuple(map(tuple, turns))
    assert found.tools == ({"f": 1},)


@pytest.mark.parametrize(
    "entry, said",
    [
        ({"prompt": "a", "tools": [{}]}, "tools need turns or messages"),
        (
            {"turns": ["a"], "tools": {"f": 1}},
            "invalid tools: expected a list",
        ),
    ],
)
def test_tools_that_cannot_be_sent(tmp_path, entry, said):
    with pytest.raises(ValueError, match=said):
        read(tmp_path, entry)


EMPTY = [
    {"id": "x", "conversations": []},
    {"conversations": [{"from": "gpt", "value": "x"}]},
    {"conversations": [{"from": "human", "value": ""}]},
    {
        "conversations": [
            {"from": "human", "value": None},
            {"from": "human", "value": "a"},
        ]
    },
]


@pytest.mark.parametrize("array", [False, True])
def test_conversations_without_a_question_are_skipped_and_counted_once(
    tmp_path, capsys, array
):
    found = read(
        tmp_path,
        *EMPTY,
        {"conversations": [{"from": "human", "value": "a"}]},
        array=array,
    )
    assert [texts(prompt) for prompt in found] == [("a",)]
    assert prompts.read(str(tmp_path / "prompts.jsonl")) == found
    said = capsys.readouterr().err
    assert (
        "skipping 4 of 5 conversations without a question" in said
        and len(said.splitlines()) == 1
    )


def test_a_file_of_nothing_else_is_refused(tmp_path):
    with pytest.raises(ValueError, match="contains no prompt"):
        read(tmp_path, *EMPTY)


@pytest.mark.parametrize(
    "entry",
    [
        {"messages": []},
        {"turns": []},
        {"prompt": ""},
        {"prompt": "a", "options": {"t": float("nan")}},
        {"prompt": "\ud800"},
        7,
        None,
        [],
        {},
    ],
)
@pytest.mark.parametrize("array", [False, True])
def test_anything_else_is_refused_with_its_place(tmp_path, entry, array):
    with pytest.raises(
        ValueError, match="prompts.jsonl, (line|entry) 2"
    ) as caught:
        read(tmp_path, "fine", entry, array=array)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "entry, said",
    [
        ({"promt": "why?"}, "invalid key 'promt': did you mean prompt?"),
        (
            {"conversation": [{"from": "human", "value": "why?"}]},
            "invalid key 'conversation': did you mean conversations?",
        ),
        (
            {"prompt": "why?", "sytem": "be brief"},
            "invalid key 'sytem': did you mean system?",
        ),
        (
            {"turns": ["why?"], "token": 20},
            "invalid key 'token': did you mean tokens?",
        ),
    ],
)
def test_a_misspelt_key_is_named(tmp_path, entry, said):
    with pytest.raises(ValueError) as caught:
        read(tmp_path, "fine", entry)
    assert str(caught.value).endswith(f"prompts.jsonl, line 2: {said}")


@pytest.mark.parametrize(
    "entry",
    [
        {"prompt": "why?", "id": 1, "n_tokens": 3, "turn": 2},
        {"prompt": "why?", "tokens": 20, "token": "a"},
        {"messages": [{"role": "user", "content": "why?"}], "prompts": 1},
    ],
)
def test_keys_of_other_tools_do_not_matter(tmp_path, entry):
    assert len(read(tmp_path, entry)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "[",
        '["a"',
        '["a",',
        '["a",]',
        '["a" "b"]',
        '["a"] x',
        '["a"]]',
        "[,]",
        '[{"prompt": "a"',
        "[" * 5000,
        "{",
        '{"prompt": "a"} x',
    ],
)
def test_what_is_no_json(tmp_path, text):
    (tmp_path / "prompts.jsonl").write_text(text)
    with pytest.raises(ValueError, match="is not JSON"):
        prompts.read(str(tmp_path / "prompts.jsonl"))


@pytest.mark.parametrize("piece", [1, 2, 7, 64])
def test_an_array_is_read_the_same_wherever_it_is_cut(
    tmp_path, monkeypatch, piece
):
    entries = [
        "é – 时间 \U0001f600",
        {"prompt": 'a "quoted" ] , [ b', "tokens": 12},
        {"conversations": [{"from": "human", "value": "x" * 100}]},
    ] * 3
    monkeypatch.setattr(prompt_file, "PIECE_BYTES", piece)
    path = tmp_path / "prompts.json"
    path.write_bytes(
        b"\xef\xbb\xbf \r\n"
        + json.dumps(entries, ensure_ascii=False, indent=2).encode()
        + b"\n \n"
    )
    assert [
        texts(prompt)[0][:1] for prompt in prompts.read(str(path))
    ] == [
        "é",
        "a",
        "x",
    ] * 3


def test_a_changed_file_is_read_again(tmp_path):
    assert texts(read(tmp_path, "one")[0]) == ("one",)
    assert texts(read(tmp_path, "another")[0]) == ("another",)


@pytest.mark.skipif(
    not hasattr(os, "mkfifo"), reason="no named pipes here"
)
def test_a_pipe_that_gives_its_text_once_is_enough(tmp_path):
    path = str(tmp_path / "pipe")
    os.mkfifo(path)
    writer = threading.Thread(
        target=Path(path).write_text, args=['{"prompt": "once"}\n']
    )
    writer.start()
    assert [texts(prompts.read(path)[0]) for _ in range(3)] == [
        ("once",)
    ] * 3
    writer.join()


MEASURE = """
import resource, sys
from ollama_bench.inputs import prompt_file, prompts, resolve
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = prompts.read(sys.argv[1])
print(len(found), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(
    not sys.platform.startswith("linux"),
    reason="ru_maxrss is kilobytes on Linux",
)
def test_a_large_file_is_never_in_memory_as_a_whole(tmp_path):
    path = tmp_path / "sharegpt.json"
    entry = json.dumps(
        {
            "conversations": [
                {"from": "human", "value": "why?"},
                {"from": "gpt", "value": "because " * 10_000},
            ]
        }
    )
    with open(path, "w") as file:
        file.write("[" + ",\n".join([entry] * 1000) + "]")
    assert path.stat().st_size > 80e6
    found = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert int(found[0]) == 1000 and int(found[1]) < 40_000


def test_sharegpts_own_file_is_not_too_large():
    assert prompt_file.FILE_BYTES > 700e6


def test_an_option_of_an_entry_that_ollama_does_not_know_is_refused(
    tmp_path,
):
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "why?", "options": {"tempretur": 0}}\n')
    with pytest.raises(ValueError, match="did you mean temperature"):
        resolve.resolve({"levels": "1", "prompts": str(path)}, {}, {})
    texts = {"levels": "1", "prompts": str(path), "api": ["openai"]}
    assert resolve.resolve(texts, {}, {})
