"""What is stored is the model that answered, and a server's list of models may be broken."""

import json

import pytest

import bench
from ollama_bench.analysis.caveats import other_models
from tests.run.programs import rows
from tests.support.studies import change, read

QUICK = ["--cooldown", "0", "--idle", "0", "--plain", "--no-monitor"]
EXACT = [
    "--profile",
    "exact",
    "--ttft",
    "5",
    "--itl",
    "1",
    "--tokens",
    "5",
]
STORED = """
SELECT DISTINCT level.model, target.model AS target, reply_model, request.status
FROM request JOIN level ON level.id = level_id JOIN target ON target.id = target_id
ORDER BY reply_model"""


@pytest.fixture(scope="module")
def only(module_sim):
    return module_sim(*EXACT, "--model", "smollm2:135m")


@pytest.fixture(scope="module")
def llama(module_sim):
    """A llama-server: any name is answered, by its own."""
    return module_sim(*EXACT, "--answers-as", "smollm2")


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run bench.py in this process; its exit code and what it said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    def main(*words, servers):
        hosts = [word for one in servers for word in ("--host", one.url)]
        code = bench.main([*words, "--api", "openai", *hosts, *QUICK])
        return code, capsys.readouterr()

    return main


def stored(folder):
    return [tuple(row.values()) for row in rows(folder, STORED)]


def test_the_only_model_is_taken_and_said(run, only, tmp_path):
    code, said = run("2", servers=[only])
    assert code == 0
    assert "model: smollm2:135m (the only one of this server)" in said.out
    assert "deepseek" not in said.out
    assert stored(tmp_path) == [
        ("smollm2:135m", "smollm2:135m", "smollm2:135m", "completed")
    ]
    (row,) = rows(tmp_path, "SELECT arguments FROM run")
    assert json.loads(row["arguments"])["model"] == ["smollm2:135m"]


@pytest.mark.faults
def test_with_several_models_one_must_be_named(run, sim):
    several = sim(*EXACT, "--model", "a", "--model", "b:1b")
    code, said = run("1", servers=[several])
    assert code == 1
    assert said.err.splitlines() == [
        f"bench.py: {several.url} has 2 models: name one with --model; "
        "found: a:latest, b:1b"
    ]
    code, said = run("1", "--model", "b:1b", servers=[several])
    assert code == 0 and "b:1b" not in said.err


def test_a_server_that_answers_to_any_name_is_stored_by_its_own(
    run, llama, tmp_path
):
    code, said = run(
        *("1", "--model", "deepseek-r1:7b", "--model", "gpt-4"),
        servers=[llama],
    )
    assert code == 0
    for asked in ("deepseek-r1:7b", "gpt-4"):
        assert (
            said.out.count(
                f"model: smollm2, not {asked}: the server answers to any name"
            )
            == 1
        )
    assert stored(tmp_path) == [
        ("smollm2", "smollm2", "smollm2", "completed")
    ]
    assert rows(tmp_path, "SELECT count(*) AS n FROM level") == [{"n": 1}]


@pytest.mark.parametrize("named", ["smollm2", "SmolLM2:latest"])
def test_its_own_name_is_not_another(run, llama, tmp_path, named):
    code, said = run("1", "--model", named, servers=[llama])
    assert (code, "model:" in said.out, "replies name" in said.out) == (
        0,
        False,
        False,
    )
    assert stored(tmp_path)[0][0] == named


@pytest.mark.parametrize(
    "named", [["--model", "ma"], ["--model", "ma:latest"], []]
)
def test_ollamas_default_tag_makes_no_other_model(
    sim, tmp_path, monkeypatch, named
):
    monkeypatch.chdir(tmp_path)
    server = sim(*EXACT, "--model", "ma")
    assert bench.main(["1", "--host", server.url, *named, *QUICK]) == 0
    assert stored(tmp_path)[0][:2] == ("ma", "ma")


@pytest.mark.parametrize("kind", ["none", "empty", "broken", "missing"])
def test_a_broken_list_is_a_warning_where_a_model_is_named(
    run, sim, tmp_path, kind
):
    server = sim(*EXACT, "--model-list", kind)
    code, said = run("1", servers=[server])
    assert code == 1
    (line,) = said.err.splitlines()
    assert line.endswith("to /v1/models: name the model with --model")
    code, said = run("1", "--model", "deepseek-r1:7b", servers=[server])
    assert code == 0
    assert said.out.count("asking it for deepseek-r1:7b all the same") == 1
    assert stored(tmp_path)[0][3] == "completed"


def test_replies_of_another_model_are_told_once_and_stored(
    run, sim, tmp_path
):
    server = sim(*EXACT, "--fault", "other_model:smollm2")
    code, said = run("1,2", servers=[server])
    assert code == 0
    told = (
        "deepseek-r1:7b was asked for, but replies name the model smollm2"
    )
    assert said.out.count(told) == 1
    assert stored(tmp_path) == [
        ("deepseek-r1:7b", "deepseek-r1:7b", "smollm2", "completed")
    ]
    study, _ = read(tmp_path / "results.db")
    assert [caveat.seen for caveat in other_models(study)] == [
        "replies at 1 and 2 at once name the model 'smollm2', not 'deepseek-r1:7b'"
    ]


def test_servers_of_different_models_need_a_name(
    run, only, llama, tmp_path
):
    code, said = run("2", servers=[only, llama])
    assert code == 1
    assert said.err.splitlines() == [
        "bench.py: the servers have different models: "
        f"'smollm2:135m' at {only.url}, 'smollm2' at {llama.url}; "
        "measure each by itself, or name one for all with --model"
    ]
    code, said = run("2", "--model", "smollm2:135m", servers=[only, llama])
    assert code == 0
    assert said.out.count("but replies name the model smollm2:") == 1
    assert stored(tmp_path) == [
        ("smollm2:135m", "smollm2:135m", "smollm2", "completed"),
        ("smollm2:135m", "smollm2:135m", "smollm2:135m", "completed"),
    ]


def test_servers_of_one_model_need_none(run, llama, sim, tmp_path):
    twin = sim(*EXACT, "--answers-as", "smollm2")
    code, said = run("2", servers=[llama, twin])
    assert code == 0
    assert "model: smollm2 (the only one of these servers)" in said.out
    assert {row[0] for row in stored(tmp_path)} == {"smollm2"}


@pytest.mark.faults
@pytest.mark.parametrize("again", [[], ["--model", "any"]])
def test_resume_knows_the_run_by_the_models_own_name(
    run, llama, tmp_path, again
):
    assert run("1,2", servers=[llama])[0] == 0
    change(
        tmp_path / "results.db",
        "UPDATE run SET status = 'interrupted'",
        "UPDATE level SET status = 'interrupted' WHERE id = 2",
    )
    code, said = run("1,2", *again, "--resume", servers=[llama])
    assert code == 0
    assert "resuming run 1: 1 of 2 levels are measured" in said.out
    assert stored(tmp_path) == [
        ("smollm2", "smollm2", "smollm2", "completed")
    ]


def test_another_model_on_the_same_port_is_another_run(
    run, llama, tmp_path
):
    assert run("1", servers=[llama])[0] == 0
    change(
        tmp_path / "results.db",
        """UPDATE run SET status = 'interrupted',
           arguments = replace(arguments, 'smollm2', 'qwen3')""",
        "UPDATE target SET model = 'qwen3'",
    )
    code, said = run("1", "--resume", servers=[llama])
    assert code == 2
    assert (
        "run 1 was measured with --model qwen3; now with --model smollm2:"
        in said.err
    )


def test_the_counts_of_a_draft_are_stored(run, sim, tmp_path):
    server = sim(*EXACT, "--fault", "draft:8")
    assert run("2", servers=[server])[0] == 0
    sql = "SELECT draft_tokens, draft_accepted_tokens FROM request"
    assert (
        rows(tmp_path, sql)
        == [{"draft_tokens": 8, "draft_accepted_tokens": 4}] * 2
    )
    sql = "SELECT draft_acceptance_ratio, tokens_per_chunk FROM level_summary"
    assert rows(tmp_path, sql) == [
        {"draft_acceptance_ratio": 0.5, "tokens_per_chunk": 1.0}
    ]
