"""What a run takes where nobody names a server or a model, and what it says of that."""

import contextlib

import pytest

import bench
from ollama_bench.inputs import command_line
from ollama_bench.privilege.variables import NOTHING_DROPPED
from ollama_bench.protocols.registry import PROTOCOLS
from ollama_bench.run import discovery, finding
from ollama_bench.run.server import Server, ServerError
from ollama_bench.terminal.screen import Console
from tests.run.described_server import describing, ollama, openai

NOTHING = """\
no server answers on this computer
looked for Ollama on 11434, llama-server or MLX on 8080, vLLM on 8000, LM
Studio on 1234, SGLang on 30000, KoboldCpp on 5001, Jan on 1337
{start}
or name a server (--api openai for all but Ollama):
  python bench.py --host URL
or measure a simulated one:
  python bench.py --demo"""


@pytest.fixture
def here(monkeypatch):
    """here(answers, ...) runs servers on the usual ports; their addresses."""
    monkeypatch.delenv("OLLAMA_HOST", raising=False)
    with contextlib.ExitStack() as stack:

        def start(*described):
            started = [
                stack.enter_context(describing(**answers))
                for answers in described
            ]
            ports = {one.server_address[1]: "Other" for one in started}
            monkeypatch.setattr(discovery, "USUAL_PORTS", ports)
            return [f"http://127.0.0.1:{port}" for port in ports]

        yield start


@pytest.fixture
def settle(capsys):
    """settle(words) returns the settings with what was taken, and the lines that were said."""

    def settle(*words):
        settings = finding.settle_server(
            command_line.parse(words), NOTHING_DROPPED, Console()
        )
        return settings, capsys.readouterr().out.splitlines()

    return settle


def taken(settings):
    (server,) = settings.request.servers
    return server.url, server.protocol, *settings.request.models


def test_the_only_server_and_its_loaded_model(here, settle):
    (url,) = here(ollama("a:1b", "b:1b", loaded=["b:1b"]))
    settings, said = settle()
    assert taken(settings) == (url, "ollama", "b:1b")
    assert (
        said[0] == f"server: {url} (Ollama 0.32.15; another: --host URL)"
    )
    assert said[1].startswith("model: b:1b (loaded; another: --host ")
    # what --resume compares, and what names it again
    assert settings.identity["host"] == [url]
    assert settings.identity["model"] == ["b:1b"]
    assert settings.words[-2:] == ("--model", "b:1b")


def test_of_two_servers_the_one_with_a_loaded_model_is_taken(here, settle):
    idle, busy = here(ollama("a:1b", "b:1b"), openai("tiny", owner="vllm"))
    settings, said = settle()
    assert taken(settings) == (busy, "openai", "tiny")
    assert said == [
        f"server: {busy} (vLLM; another: --host URL)",
        f"also found: Ollama 0.32.15 (a:1b, b:1b): --host {idle}",
        "model: tiny (loaded)",
    ]
    named = ("--host", busy, "--api", "openai", "--model", "tiny")
    assert settings.words == named


def test_the_studys_model_comes_first_with_levels_only(here, settle):
    study, busy = here(ollama("a:1b", "deepseek-r1:7b"), openai("tiny"))
    assert taken(settle("1,2")[0]) == (study, "ollama", "deepseek-r1:7b")
    assert taken(settle()[0]) == (busy, "openai", "tiny")


def test_what_the_environment_names_comes_first(here, settle, monkeypatch):
    named, _ = here(ollama("a:1b", "b:1b"), openai("tiny"))
    monkeypatch.setenv("OLLAMA_HOST", named)
    settings, said = settle()
    assert taken(settings)[0] == named
    assert said[0] == f"server: {named} (OLLAMA_HOST)"


INSTALLING = """\
install Ollama and a small model:
  curl -fsSL https://ollama.com/install.sh | sh
  ollama pull llama3.2:1b"""
STARTING = """\
Ollama is installed; start it:
  ollama serve"""


@pytest.mark.parametrize(
    "program, start", [(None, INSTALLING), ("/usr/bin/ollama", STARTING)]
)
def test_a_machine_with_nothing(settle, monkeypatch, program, start):
    monkeypatch.setattr("shutil.which", lambda name: program)
    monkeypatch.setattr(finding.sys, "platform", "linux")
    monkeypatch.setattr(finding, "discover_servers", lambda named_url: [])
    monkeypatch.setattr(Console, "width", 74)
    monkeypatch.delenv("OLLAMA_HOST", raising=False)
    with pytest.raises(ServerError) as caught:
        settle()
    assert str(caught.value) == NOTHING.format(start=start)


@pytest.mark.parametrize("words", [(), ("1,2",)])
def test_an_ollama_without_a_model(here, settle, words):
    (url,) = here(ollama())
    with pytest.raises(ServerError) as caught:
        settle(*words)
    assert (
        str(caught.value)
        == f"{url} has no model: run ollama pull llama3.2:1b"
    )


@pytest.fixture
def choose(here, capsys):
    """choose(answers, ...) returns the model of such Ollamas, and the lines that were said."""

    def choose(*described):
        with contextlib.ExitStack() as stack:
            servers = [
                stack.enter_context(Server(url, PROTOCOLS["ollama"], None))
                for url in here(*described)
            ]
            found = finding.choose_installed(servers, True, Console())
        return found, capsys.readouterr().out.splitlines()

    return choose


def test_several_ollamas_are_asked_for_a_model_that_all_have(choose):
    model, said = choose(
        ollama("deepseek-r1:7b", "llama3.2:1b"),
        ollama("llama3.2:1b", "smollm2:135m"),
    )
    assert model == "llama3.2:1b"
    assert said == [
        "model: llama3.2:1b (the only one; another: --model NAME)"
    ]


def test_several_ollamas_without_a_model_in_common(choose):
    with pytest.raises(
        ServerError,
        match="^http.* and http.* have no model in common: run ",
    ):
        choose(ollama("deepseek-r1:7b"), ollama("llama3.2:1b"))


def test_an_ollama_that_only_embeds(here, settle):
    (url,) = here(ollama("nomic-embed-text:latest", "gpt-oss:20b-cloud"))
    with pytest.raises(ServerError) as caught:
        settle()
    assert str(caught.value) == (
        f"{url} has no model that generates text here, only "
        "nomic-embed-text:latest, gpt-oss:20b-cloud: run ollama pull llama3.2:1b"
    )


def test_a_server_that_still_loads(here, settle):
    loading = {"error": {"message": "Loading model", "code": 503}}
    (url,) = here({"v1_models": (503, loading)})
    with pytest.raises(ServerError) as caught:
        settle()
    assert str(caught.value) == (
        f"llama-server at {url} still loads its model: try again when it has"
    )


def test_a_model_larger_than_the_memory_is_told(here, settle, monkeypatch):
    monkeypatch.setattr(finding, "read_memory_bytes", lambda: 16 * 10**9)
    here(ollama("large:70b", size=42 * 10**9))
    assert settle()[1][-1] == (
        "large:70b has 42.0 GB, this computer 16.0 GB of memory: it may not load"
    )
    here(ollama("fits:7b", size=5 * 10**9))
    assert settle()[1][-1] == "model: fits:7b (the only one)"


def test_a_server_that_needs_a_key_is_named_with_it(here, settle):
    (url,) = here({"v1_models": (401, {})})
    with pytest.raises(ServerError) as caught:
        settle()
    assert str(caught.value) == (
        f"Other at {url} needs an API key: put it into OPENAI_API_KEY and name "
        f"the server: --host {url} --api openai --model NAME"
    )


def test_without_a_name_a_named_ollama_is_asked_which_it_has(
    sim, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    exact = ["--profile", "exact", "--ttft", "5", "--itl", "1"]
    server = sim(*exact, "--tokens", "5", "--model", "mine:1b")
    quiet = ["--plain", "--no-monitor", "--cooldown", "0", "--idle", "0"]
    assert bench.main(["1", "--host", server.url, *quiet]) == 0
    assert (
        "model: mine:1b (the only one; another:" in capsys.readouterr().out
    )
