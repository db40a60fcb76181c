"""Prompts, hosts and caches from the outside."""

import json
import time

import pytest

from tests.run.programs import (
    QUICK,
    rows,
    run,
)


@pytest.mark.faults
def test_prompts_from_a_file_and_conversations(fast, tmp_path):
    (tmp_path / "prompts.jsonl").write_text(
        json.dumps({"prompt": "one two three four", "tokens": 3})
        + "\n"
        + json.dumps({"turns": ["first", "second", "third"], "tokens": 4})
        + "\n"
    )
    assert (
        run(
            "2",
            "--prompts",
            "prompts.jsonl",
            "--think",
            "off",
            "--host",
            fast.url,
            *QUICK,
            cwd=tmp_path,
        )[0]
        == 0
    )
    found = rows(
        tmp_path,
        "SELECT prompt_number, turn, output_tokens, prompt_tokens "
        "FROM request ORDER BY prompt_number, turn",
    )
    assert [
        (r["prompt_number"], r["turn"], r["output_tokens"]) for r in found
    ] == [
        (1, 1, 3),
        (2, 1, 4),
        (2, 2, 4),
        (2, 3, 4),
    ]
    # a word is a token: the prefix and "first", then each reply of 4 and the next question
    assert [r["prompt_tokens"] for r in found[1:]] == [2, 7, 12]


@pytest.mark.faults
def test_made_up_prompts_have_about_the_length_and_are_unique(
    fast, tmp_path
):
    assert (
        run(
            "3",
            "--prompt-tokens",
            "200",
            "--host",
            fast.url,
            *QUICK,
            cwd=tmp_path,
        )[0]
        == 0
    )
    assert all(
        195 <= r["prompt_tokens"] <= 205
        for r in rows(tmp_path, "SELECT prompt_tokens FROM request")
    )


@pytest.mark.faults
def test_several_hosts_share_a_level(fast, module_sim, tmp_path):
    other = module_sim(
        "--profile",
        "exact",
        "--ttft",
        "10",
        "--itl",
        "2",
        "--tokens",
        "10",
    )
    code, out, _ = run(
        "6",
        "--host",
        fast.url,
        "--host",
        other.url,
        "--api",
        "ollama",
        "--api",
        "openai",
        *QUICK,
        cwd=tmp_path,
    )
    assert (
        code == 0
        and f"          6  {other.url.removeprefix('http://')}       3/3"
        in out
    )
    found = rows(
        tmp_path,
        "SELECT host, api, requests, completed, output_tokens FROM host_summary ORDER BY api",
    )
    assert [tuple(r.values()) for r in found] == [
        (fast.url, "ollama", 3, 3, 90),
        (other.url, "openai", 3, 3, 30),
    ]


@pytest.mark.faults
def test_cache_both_fires_each_level_cold_and_warm(fast, tmp_path):
    code, out, _ = run(
        "1,2", "--cache", "both", "--host", fast.url, *QUICK, cwd=tmp_path
    )
    assert code == 0 and "prompt cache saves" in out
    assert [
        tuple(r.values())
        for r in rows(
            tmp_path, "SELECT concurrency, cache FROM level ORDER BY id"
        )
    ] == [(1, "cold"), (1, "warm"), (2, "cold"), (2, "warm")]
    assert len(rows(tmp_path, "SELECT * FROM cache_effect")) == 2


def logged(server, count):
    """The simulator's log once it has so many entries."""
    until = time.monotonic() + 5
    while len(found := server.log()) < count and time.monotonic() < until:
        time.sleep(0.05)
    return found


@pytest.mark.parametrize(
    "arguments, fired, stored",
    [
        (["2", "--cache", "both"], 2 + 2 + 2, 4),
        (["2", "--cache", "warm", "--requests", "5"], 2 + 5, 5),
        (
            [
                "2",
                "--cache",
                "warm",
                "--requests",
                "5",
                "--prompt-tokens",
                "50",
            ],
            5 + 5,
            5,
        ),
    ],
)
@pytest.mark.faults
def test_a_warm_level_has_been_primed_with_its_own_bodies(
    sim, tmp_path, arguments, fired, stored
):
    server = sim(
        "--profile", "exact", "--ttft", "10", "--itl", "2", "--tokens", "5"
    )
    assert (
        run(
            *arguments,
            "--warmup",
            "0",
            "--host",
            server.url,
            *QUICK,
            cwd=tmp_path,
        )[0]
        == 0
    )
    log = logged(server, fired)
    assert len(log) == fired and rows(
        tmp_path, "SELECT count(*) AS n FROM request"
    ) == [{"n": stored}]
    asked = [entry["prompt_prefix"] for entry in log]
    measured = stored // 2 if "both" in arguments else stored
    assert set(asked[-measured:]) <= set(
        asked[-measured - (fired - stored) : -measured]
    )  # each warm one had been sent before


@pytest.mark.faults
def test_a_warm_level_that_did_not_hit_says_so(fast, tmp_path):
    """The simulator's OpenAI tells of no cached token."""
    code, out, _ = run(
        "1",
        "--cache",
        "both",
        "--api",
        "openai",
        "--host",
        fast.url,
        *QUICK,
        cwd=tmp_path,
    )
    assert code == 0 and "no hits: 0% of the prompt tokens" in out
    assert rows(
        tmp_path,
        "SELECT cold_cached_ratio, warm_cached_ratio FROM cache_effect",
    ) == [{"cold_cached_ratio": 0, "warm_cached_ratio": 0}]
