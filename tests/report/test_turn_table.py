"""The table of conversations by turn."""

import pytest

from ollama_bench.report import terminal_report, turn_table
from tests.support import made_up_results
from tests.support.studies import read

TURN = {
    "run_id": 1,
    "concurrency": 4,
    "repeat": 1,
    "cache": "cold",
    "turn": 2,
    "requests": 12,
    "completed": 11,
    "errors": 1,
    "ttft_p50_s": 0.25,
    "prompt_tokens_mean": 148.6,
    "cached_ratio": 0.825,
    "cached_source": "server",
    "prefill_s": 0.125,
    "prefill_tokens_per_s": 208.4,
}
# two turns of level 4: 40 tokens in 0.4 s, then 100 in 0.1 s
CHAT = """
UPDATE request SET turn = 1 + number % 2, cached_tokens = NULL,
  prompt_tokens = CASE number % 2 WHEN 0 THEN 40 ELSE 100 END,
  server_prefill_ns = CASE number % 2 WHEN 0 THEN 400000000 ELSE 100000000 END
WHERE level_id IN (SELECT id FROM level WHERE concurrency = 4)"""
COLD = "UPDATE level SET cache = 'cold'"


def test_a_turn_on_the_terminal():
    heading, line = turn_table.format_turns([TURN], 80)
    assert line.split() == [
        *("4", "2", "11/12", "250", "ms"),
        *("149", "82", "%", "125", "ms", "208"),
    ]
    assert len(heading.splitlines()[1]) == len(line)
    assert turn_table.describe_estimates([TURN]) is None


def test_an_estimate_is_marked_and_explained():
    turn = TURN | {"cached_source": "prefill time"}
    assert "~82 %" in turn_table.format_turn(turn, 80)
    assert "<td>~82 %</td>" in turn_table.write_turns([turn])
    assert turn_table.NOTE in turn_table.write_turns([turn])


def test_what_is_unknown_has_a_dash_or_no_column():
    names = ("cached_ratio", "cached_source", "prefill_s")
    turn = TURN | dict.fromkeys([*names, "prefill_tokens_per_s"])
    assert turn_table.format_turn(turn, 80).split()[-3:] == ["-"] * 3
    page = turn_table.write_turns([turn])
    assert "cached" not in page and "<th>turn</th>" in page


@pytest.mark.parametrize(
    "changes, shown", [([CHAT, COLD], True), ([], False)]
)
def test_only_conversations_are_told_by_turn(
    tmp_path, capsys, changes, shown
):
    path = tmp_path / "results.db"
    made_up_results.write(path, levels=(1, 4))
    study, _ = read(path, *changes)
    assert bool(turn_table.write_turns(study.turns)) == shown
    terminal_report.print_turns(study, 80)
    said = capsys.readouterr().out
    assert ("TURN" in said) == shown
    if shown:
        assert [turn["concurrency"] for turn in study.turns] == [4, 4]
        assert "~90 %" in said and "estimated from the prefill" in said
