"""Where the processes are that send the load, and what is refused before Dask loads."""

import subprocess
import sys
from pathlib import Path

import pytest

from ollama_bench.inputs import command_line
from ollama_bench.inputs.fleet_settings import FleetAddress, is_exposed

ROOT = Path(__file__).resolve().parents[2]


def parse(*words):
    return command_line.parse(["8", "--host", "127.0.0.1:1", *words])


def test_without_it_this_process_sends():
    assert parse().fleet is None


def test_processes_of_this_machine_and_a_scheduler_are_told_apart():
    assert parse("--fleet", "local:3").fleet.address == FleetAddress(3)
    far = parse("--fleet", "tls://[fe80::1]:8786").fleet
    assert far.address.scheduler == "tls://[fe80::1]:8786"
    assert not far.address.is_local


@pytest.mark.parametrize(
    "text",
    [
        "local",
        "local:0",
        "local:-1",
        "local:257",
        "local:²",
        "tcp://",
        "tcp://host",
        "tcp://host:port",
        "tcp://host:8786/path",
        "http://host:8786",
        "host:8786",
        "tls://:8786",
    ],
)
def test_another_text_is_one_line(text, capsys):
    with pytest.raises(SystemExit) as exit_:
        parse("--fleet", text)
    said = capsys.readouterr().err
    assert exit_.value.code == 2 and said.count("\n") == 1
    assert f"invalid --fleet {text!r}: expected local:" in said


def test_a_plain_link_to_another_machine_needs_a_word(capsys):
    with pytest.raises(SystemExit):
        parse("--fleet", "tcp://192.168.1.5:8786")
    assert "expected tls://" in capsys.readouterr().err
    settings = parse(
        "--fleet", "tcp://192.168.1.5:8786", "--fleet-insecure"
    )
    assert settings.fleet.admits_plain


@pytest.mark.parametrize(
    "link", ["tcp://127.0.0.1:1", "tcp://[::1]:1", "tcp://localhost:1"]
)
def test_a_plain_link_within_this_machine_does_not(link):
    assert not is_exposed(link)
    assert parse("--fleet", link).fleet is not None


@pytest.mark.parametrize(
    "words",
    [(), ("--fleet", "local:2"), ("--fleet", "tls://10.0.0.1:8786")],
)
def test_the_word_alone_means_nothing(capsys, words):
    with pytest.raises(SystemExit):
        parse("--fleet-insecure", *words)
    assert "--fleet-insecure needs --fleet" in capsys.readouterr().err


@pytest.mark.parametrize("search", ["--find-capacity", "--find-rate"])
def test_a_search_is_not_split(search, capsys):
    with pytest.raises(SystemExit):
        parse("--fleet", "local:2", search)
    assert (
        f"--fleet and {search} exclude each other"
        in capsys.readouterr().err
    )


def test_the_fleet_is_no_part_of_what_is_measured():
    """A run is resumed with whatever workers there are."""
    assert parse("--fleet", "local:2").identity == parse().identity


def test_dask_is_not_loaded_without_it():
    code = "import sys, bench; sys.exit('distributed' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, timeout=60
    )
    assert done.returncode == 0


def test_a_worker_is_named_for_the_machine_of_a_server():
    settings = parse(
        *("--fleet", "local:2", "--host", "10.0.0.7"),
        *("--watch", "mac=10.0.0.7"),
    )
    assert settings.fleet.watched == (("http://10.0.0.7:11434", "mac"),)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--watch", "mac"],
            "invalid --watch 'mac': expected WORKER=HOST",
        ),
        (["--watch", "=a"], "invalid --watch '=a': expected WORKER=HOST"),
        (
            ["--watch", "mac=10.0.0.7"],
            "invalid --watch 'mac=http://10.0.0.7:11434': "
            "expected a server of --host, one of http://127.0.0.1:1",
        ),
        (
            ["--watch", "mac=127.0.0.1:1", "--watch", "pc=127.0.0.1:1"],
            "--watch names two workers for http://127.0.0.1:1",
        ),
        (
            ["--watch", "mac=127.0.0.1:1", "--no-monitor"],
            "--watch and --no-monitor exclude each other",
        ),
    ],
)
def test_a_watch_that_means_nothing_is_one_line(words, said, capsys):
    with pytest.raises(SystemExit) as exit_:
        parse("--fleet", "local:2", *words)
    told = capsys.readouterr().err
    assert exit_.value.code == 2 and told.count("\n") == 1
    assert said in told


def test_a_watch_needs_a_fleet(capsys):
    with pytest.raises(SystemExit):
        parse("--watch", "mac=127.0.0.1:1")
    assert "--watch needs --fleet" in capsys.readouterr().err
