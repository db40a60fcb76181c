"""Traces of other servers: each form, and the line that is wrong."""

import itertools

import pytest

from ollama_bench.inputs import trace

BURSTGPT = """Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,Conversation log
45,ChatGPT,1087,0,1087,Conversation log
118.5,GPT-4,417,276,693,API log
"""
BURSTGPT_3 = """Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,\
Total tokens,Log Type
19440110.0,1722ac82-0a46,43,GPT-4,906,446,1352,Conversation log
19440161.0,,2,ChatGPT,36,29,65,API log
"""
AZURE_2023 = """TIMESTAMP,ContextTokens,GeneratedTokens\r
2023-11-16 23:59:59.6805900,374,44\r
2023-11-17 00:00:01.9305900,396,109\r
"""
AZURE_2024 = """TIMESTAMP,ContextTokens,GeneratedTokens
2024-05-12 00:00:00+00:00,1452,3
2024-05-12 00:00:00.250000+00:00,584,3
"""
MOONCAKE = """{"timestamp": 0, "input_length": 600, "output_length": 5, "hash_ids": [0, 1]}
{"timestamp": 2750, "input_length": 1024, "output_length": 7, "hash_ids": [0, 2]}
"""


def read(tmp_path, text, **arguments):
    path = tmp_path / "trace"
    path.write_text(text, newline="")
    return trace.read(str(path), **arguments)


@pytest.mark.parametrize(
    ("text", "kind", "lines"),
    [
        (BURSTGPT, "BurstGPT", [(1, 0, 472, 18), (3, 113.5, 417, 276)]),
        (BURSTGPT_3, "BurstGPT", [(1, 0, 906, 446), (2, 51, 36, 29)]),
        (AZURE_2023, "Azure", [(1, 0, 374, 44), (2, 2.25, 396, 109)]),
        (AZURE_2024, "Azure", [(1, 0, 1452, 3), (2, 0.25, 584, 3)]),
        (
            "\ufeff" + AZURE_2024,
            "Azure",
            [(1, 0, 1452, 3), (2, 0.25, 584, 3)],
        ),
        (MOONCAKE, "Mooncake", [(1, 0, 600, 5), (2, 2.75, 1024, 7)]),
    ],
)
def test_the_form_is_told_by_the_first_line(tmp_path, text, kind, lines):
    found = read(tmp_path, text)
    assert (found.kind, found.name) == (kind, "trace")
    for line, expected in itertools.zip_longest(found.lines, lines):
        assert line[:4] == pytest.approx(expected, abs=1e-5)


def test_requests_that_failed_are_left_out_and_counted(tmp_path):
    assert read(tmp_path, BURSTGPT).failed == 1


def test_blocks_are_those_of_the_file(tmp_path):
    assert [line.blocks for line in read(tmp_path, MOONCAKE).lines] == [
        (0, 1),
        (0, 2),
    ]


def test_speed_divides_the_times_and_the_duration_is_of_the_replay(
    tmp_path,
):
    head, *rows = BURSTGPT_3.splitlines(keepends=True)
    late = "19440211.0,,2,GPT-4,7,7,14,API log\n"
    found = read(
        tmp_path, "".join([head, *rows, late]), speed=2, until_s=50
    )
    assert [line.due_s for line in found.lines] == [0, 25.5]
    most = read(tmp_path, "".join([head, *rows, late]), most=1)
    assert [line.prompt_tokens for line in most.lines] == [906]


def test_a_line_slightly_out_of_order_leaves_with_the_one_above(tmp_path):
    swapped = AZURE_2024.replace("00:00:00+", "00:00:01+")
    assert [line.due_s for line in read(tmp_path, swapped).lines] == [0, 0]


def test_no_more_is_read_than_the_time_asks_for(tmp_path):
    """What follows is never looked at: it would be refused."""
    late = "2024-05-12 00:01:00+00:00,5,5\nnonsense\n"
    found = read(tmp_path, AZURE_2024 + late, until_s=60.0)
    assert len(found.lines) == 2


def test_a_file_that_has_changed_is_read_again(tmp_path):
    assert len(read(tmp_path, AZURE_2024).lines) == 2
    longer = AZURE_2024 + "2024-05-12 00:00:01+00:00,5,5\n"
    assert len(read(tmp_path, longer).lines) == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no trace: expected one of BurstGPT or Azure"),
        ("a,b,c\n1,2,3\n", "is no trace: expected one of BurstGPT or Azure"),
        ("x" * 2_000_000, "is no trace: a line is longer than"),
        (BURSTGPT.replace("472", "4x2"), "line 2: invalid Request tokens '4x2'"),
        (BURSTGPT.replace("118.5", "nan"), "line 4: invalid Timestamp 'nan'"),
        (
            AZURE_2024.replace("00.25", "0.25"),
            "line 3: invalid TIMESTAMP '2024-05-12 00:00:0.250000+00:00': "
            "expected a date and a time in UTC",
        ),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\n1\n", "line 2: invalid TIMES"),
        (
            BURSTGPT.splitlines()[0],
            "contains no request with a prompt and a reply",
        ),
        (
            AZURE_2024.replace("00:00:00+", "00:00:02+"),
            "request 2 came before the one above it: sort the file by time",
        ),
        (
            AZURE_2024.replace("1452", "1000000000"),
            "'1000000000': expected an integer from 0 to 999,999,999",
        ),
        (MOONCAKE.replace(", 2]", "]"), "line 2: invalid hash_ids: expected 2"),
        (MOONCAKE.replace("2]", '"2"]'), "line 2: invalid hash_ids: expected a"),
        (MOONCAKE.replace("2750", '"x"'), "line 2: invalid timestamp 'x'"),
        (MOONCAKE.replace("1024", "-1"), "line 2: invalid input_length -1"),
        (MOONCAKE + "{\n", "line 3 is not JSON"),
        ('{"prompt": "why?"}\n', "line 1: invalid timestamp None"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(tmp_path, text, said):
    with pytest.raises(ValueError, match="trace") as caught:
        read(tmp_path, text)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_level_has_no_more_requests_than_ids(tmp_path, monkeypatch):
    monkeypatch.setattr(trace, "MOST_LINES", 1)
    with pytest.raises(ValueError, match="has more than 1 requests"):
        read(tmp_path, AZURE_2024)
