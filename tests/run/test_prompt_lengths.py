"""Levels of several prompt lengths, and mixtures of them."""

from __future__ import annotations

import pytest

from tests.run.programs import QUICK, rows, run
from tests.support.studies import change

LEVELS = """
SELECT concurrency AS n, asked_prompt_tokens AS tokens, prompt_mix AS mix
FROM level WHERE NOT coalesce(is_control, 0) ORDER BY id"""


def ask(sim, folder, *words):
    return run(*words, "--host", sim.url, *QUICK, cwd=folder)


@pytest.mark.faults
def test_levels_of_each_length_and_a_mixture(fast, tmp_path):
    words = ("2,4", "--prompt-tokens", "40,200", "--mix", "40*3,200*1")
    code, out, err = ask(fast, tmp_path, *words)
    assert (code, err) == (0, "")
    assert [tuple(row.values()) for row in rows(tmp_path, LEVELS)] == [
        (2, 40, None),
        (4, 40, None),
        (2, 200, None),
        (4, 200, None),
        (2, None, "40*3,200*1"),
        (4, None, "40*3,200*1"),
    ]
    counted = rows(
        tmp_path,
        "SELECT level.asked_prompt_tokens AS level, request.asked_prompt_tokens"
        " AS asked, prompt_tokens AS counted FROM request "
        "JOIN level ON level.id = level_id",
    )
    assert all(row["asked"] == row["counted"] for row in counted)
    assert all(
        row["asked"] == row["level"] for row in counted if row["level"]
    )
    mixed = rows(
        tmp_path,
        "SELECT request.asked_prompt_tokens AS asked FROM request "
        "JOIN level ON level.id = level_id "
        "WHERE prompt_mix IS NOT NULL AND concurrency = 4 ORDER BY asked",
    )
    assert [row["asked"] for row in mixed] == [40, 40, 40, 200]
    said = " ".join(out.split())
    assert "level 3 of 6, 2 at once, prompts of 200 tokens" in said
    assert "control, 2 at once, as at first" in said
    names = ("prompts of 40 tokens", "mix 40*3,200*1")
    assert all(
        f"{name} LEVEL" not in said and name in said for name in names
    )


@pytest.mark.faults
def test_a_length_that_was_interrupted_is_resumed_alone(fast, tmp_path):
    words = ("1,2", "--prompt-tokens", "20,80")
    assert ask(fast, tmp_path, *words)[0] == 0
    change(
        tmp_path / "results.db",
        "UPDATE level SET status = 'interrupted' "
        "WHERE asked_prompt_tokens = 80 AND concurrency = 1",
        "UPDATE run SET status = 'interrupted'",
    )
    before = len(rows(tmp_path, LEVELS))
    code, out, _ = ask(fast, tmp_path, *words, "--resume")
    assert code == 0 and "3 of 4 levels are measured" in out
    new = rows(tmp_path, LEVELS)[before:]
    assert [(row["n"], row["tokens"]) for row in new] == [(1, 80)]


def test_the_longest_must_fit_whatever_stands_first(fast, tmp_path):
    words = ("1", "--prompt-tokens", "9000,20")
    code, _, err = ask(fast, tmp_path, *words)
    assert code == 1
    assert (
        "--prompt-tokens 9000 exceeds the context of 4,096 tokens" in err
    )
    code, _, err = ask(fast, tmp_path, "1", "--mix", "20*9,9000*1")
    assert code == 1
    assert "--mix: a length of 9000 exceeds the context of 4,096" in err
    assert rows(tmp_path, "SELECT * FROM level") == []


@pytest.mark.faults
def test_the_capacity_is_searched_for_each_length(fast, tmp_path):
    words = ("2", "--find-capacity", "--prompt-tokens", "20,80")
    code, out, _ = ask(fast, tmp_path, *words)
    said = " ".join(out.split())
    assert code == 0
    assert said.count("At least 2 at once get at least 10 tokens/s") == 2
    found = {tuple(row.values())[:2] for row in rows(tmp_path, LEVELS)}
    assert found == {(2, 20), (2, 80)}
