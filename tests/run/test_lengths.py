"""What is said and stored of prompts and replies that the context cuts, from the outside."""

import json

import pytest

from tests.run.programs import QUICK, rows, run

LONG = " ".join(["word"] * 60)
CUT = "SELECT prompt_cut, reply_cut, prompt_tokens_expected FROM request"
GOOD = "SELECT good_ratio, prompts_cut, replies_cut FROM level_summary"


def ask(sim, folder, *more, prompt=LONG):
    return run(
        *("1", "--host", sim.url, "--prompt", prompt, *more, *QUICK),
        cwd=folder,
    )


def server(module_sim, fault):
    return module_sim(
        *("--profile", "exact", "--ttft", "5", "--itl", "1"),
        *("--tokens", "9", "--fault", fault),
    )


def test_a_prompt_that_was_cut_in_silence_is_not_served(
    module_sim, tmp_path
):
    code, out, err = ask(server(module_sim, "cut_prompt:30"), tmp_path)
    assert code == 0
    said = " ".join((out + err).split())
    assert (
        "the server cut 1 prompt: it counted 30 tokens on average" in said
    )
    assert "the context cut the prompt or the reply of 1 of 1" in said
    # the prefix is a word of its own
    assert [tuple(row.values()) for row in rows(tmp_path, CUT)] == [
        (1, 0, 61)
    ]
    assert [tuple(row.values()) for row in rows(tmp_path, GOOD)] == [
        (0.0, 1, 0)
    ]


def test_a_prompt_that_does_not_fit_fails_in_one_line(
    module_sim, tmp_path
):
    _, out, err = ask(
        server(module_sim, "context:40"), tmp_path, "--warmup", "0"
    )
    said = " ".join((out + err).split())
    assert (
        "1 http_error 400: prompt of 61 tokens exceeds the context of 40"
        in said
    )


def test_a_reply_that_ended_with_the_context_is_not_served(
    module_sim, tmp_path
):
    code, out, err = ask(
        server(module_sim, "context:65"), tmp_path, "--tokens", "9"
    )
    assert code == 0
    said = " ".join((out + err).split())
    assert "1 reply ended at the end of the context" in said
    assert [tuple(row.values()) for row in rows(tmp_path, CUT)] == [
        (0, 1, 61)
    ]
    assert [tuple(row.values()) for row in rows(tmp_path, GOOD)] == [
        (0.0, 0, 1)
    ]
    assert "prompts of 61 tokens, replies of 4 tokens" in said


def test_what_fits_is_neither(fast, tmp_path):
    turns = {"turns": ["one two", "three"], "system": "be brief"}
    (tmp_path / "prompts.jsonl").write_text(json.dumps(turns))
    code, _, err = run(
        *("1", "--host", fast.url, "--prompts", "prompts.jsonl", *QUICK),
        cwd=tmp_path,
    )
    assert (code, err) == (0, "")
    assert {
        (row["prompt_cut"], row["reply_cut"])
        for row in rows(tmp_path, CUT)
    } == {(0, 0)}


def test_made_up_prompts_have_the_length_by_the_servers_count(
    fast, tmp_path
):
    code, _, err = run(
        *("3", "--prompt-tokens", "200", "--cache", "both"),
        *("--host", fast.url, *QUICK),
        cwd=tmp_path,
    )
    assert (code, err) == (0, "")
    sql = (
        "SELECT DISTINCT asked_prompt_tokens, prompt_tokens, "
        "prompt_tokens_expected, prompt_cut FROM request"
    )
    assert [tuple(row.values()) for row in rows(tmp_path, sql)] == [
        (200, 200, 200, 0)
    ]
    sql = (
        "SELECT prompt_overhead_tokens, tokens_per_prefix, tokens_per_word, "
        "tokens_per_character FROM target"
    )
    assert [tuple(row.values()) for row in rows(tmp_path, sql)] == [
        (0.0, 1.0, 1.0, 0.0)
    ]


def test_lengths_are_estimates_where_nothing_counts_them(
    module_sim, tmp_path
):
    sim = server(module_sim, "missing_counters")
    made_up = ("1", "--host", sim.url, "--prompt-tokens", "90", *QUICK)
    _, out, _ = run(*made_up, cwd=tmp_path)
    assert "prompt lengths are estimates: the server's count" in out
    _, out, _ = run(*made_up, "--warmup", "0", cwd=tmp_path)
    assert "prompt lengths are estimates: --warmup 0" in out


@pytest.mark.faults
def test_made_up_prompts_that_cannot_fit_are_refused_before_the_level(
    fast, tmp_path
):
    code, _, err = run(
        *("1", "--host", fast.url, "--prompt-tokens", "8000", *QUICK),
        cwd=tmp_path,
    )
    assert code == 1
    assert (
        "--prompt-tokens 8000 exceeds the context of 4,096 tokens" in err
    )
    assert "--option num_ctx=N" in err
    assert rows(tmp_path, "SELECT * FROM level") == []
    _, out, _ = run(
        *("1", "--host", fast.url, "--prompt-tokens", "4000"),
        *("--tokens", "97", *QUICK),
        cwd=tmp_path,
    )
    assert "leave 96 of the context of 4,096 for the reply" in out
