"""The doctor's checks: ok, a note, or what is wrong and the command that mends it."""

import importlib.metadata
import os
import socket
import sys

import psutil
import pytest

from ollama_bench import cli
from ollama_bench.doctor import (
    details,
    machine_checks,
    program,
    server_checks,
)
from ollama_bench.doctor.machine_checks import is_older
from ollama_bench.doctor.server_checks import ServerChecks
from ollama_bench.monitor.process_tree import Slots
from ollama_bench.power.source import Absent
from ollama_bench.run import discovery
from tests.doctor.made_up_server import LLAMA_SERVER, OLLAMA, serving


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    monkeypatch.setattr(discovery, "USUAL_PORTS", {9: "nobody"})
    monkeypatch.setattr(discovery, "NAMED_ANSWER_S", 0.5)
    monkeypatch.setattr(server_checks, "find_processes", lambda *_: [])
    monkeypatch.setattr("shutil.which", lambda _: "/ollama")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def check_servers(environment, slots=None):
    checks = ServerChecks(environment)
    return [str(finding) for finding in checks.check(slots or {})]


def check_answers(answers, slots=None):
    with serving(answers) as served:
        lines = check_servers({"OLLAMA_HOST": served.url}, slots)
    return [line.replace(served.url, "URL") for line in lines]


# -- servers


def test_a_server_says_what_it_is_and_is_only_looked_at():
    with serving(OLLAMA) as served:
        port = int(served.url.rpartition(":")[2])
        lines = check_servers(
            {"OLLAMA_HOST": served.url}, {port: Slots(4, "there")}
        )
    gigabytes = psutil.virtual_memory().total / 1e9
    assert lines == [
        f"ok     server: Ollama 0.32.15 at {served.url}",
        f"ok     model: small:1b: fits into {gigabytes:.1f} GB of memory",
        "ok     slots: 4 at a time (there)",
        f"ok     default: small:1b at {served.url} (the only one)"
        " is measured where none is named",
    ]
    assert set(served.asked) == {
        ("GET", "/api/version"),
        ("GET", "/api/tags"),
        ("GET", "/api/ps"),
        ("POST", "/api/show"),
    }


def test_without_a_server_the_command_that_starts_one_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens there
        host = f"127.0.0.1:{taken.getsockname()[1]}"
        assert check_servers({"OLLAMA_HOST": host}) == [
            f"wrong  server: nothing answers at http://{host} (OLLAMA_HOST);"
            " run: ollama serve"
        ]


def test_a_name_that_is_no_host_is_said():
    lines = check_servers({"OLLAMA_HOST": "a b"})
    assert lines[:1] == [
        "wrong  server: OLLAMA_HOST: invalid host 'a b': expected host:port;"
        " run: unset OLLAMA_HOST"
    ]


def test_a_server_that_accepts_and_says_nothing_is_not_waited_for():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        (line,) = check_servers({"OLLAMA_HOST": host})
    assert line.startswith("wrong  server: nothing answers at")


def test_a_server_without_a_model_gets_the_command_that_downloads_one():
    lines = check_answers(OLLAMA | {"/api/tags": {"models": []}})
    assert lines[1] == (
        "wrong  model: none that generates text is at URL;"
        " run: ollama pull llama3.2:1b"
    )


def test_a_model_that_is_larger_than_the_memory_is_named():
    size = psutil.virtual_memory().total + 10**9
    large = {"models": [{"name": "large:70b", "size": size}]}
    line = check_answers(OLLAMA | {"/api/tags": large})[1]
    assert line.startswith(
        f"note   model: large:70b of {size / 1e9:.1f} GB"
    )


@pytest.mark.parametrize(
    ("size", "on_gpu", "line"),
    [
        (
            4e9,
            4e9,
            "ok     memory: small:1b is loaded, 4.0 GB, all on the GPU",
        ),
        (
            4e9,
            0,
            "ok     memory: small:1b is loaded, 4.0 GB, none on a GPU",
        ),
        (
            4e9,
            1e9,
            "note   memory: small:1b: 3.0 of 4.0 GB of the model do not fit"
            " the GPU: a lower context would be faster",
        ),
    ],
)
def test_a_loaded_model_says_where_it_is(size, on_gpu, line):
    entry = {"name": "small:1b", "size": size, "size_vram": on_gpu}
    whole = {
        key: int(value) if key != "name" else value
        for key, value in entry.items()
    }
    loaded = OLLAMA | {"/api/ps": {"models": [whole]}}
    assert line in check_answers(loaded)


def test_slots_are_those_of_props_and_who_set_them_is_said(monkeypatch):
    with serving(LLAMA_SERVER) as served:
        port = int(served.url.rpartition(":")[2])
        monkeypatch.setattr(
            discovery, "USUAL_PORTS", {port: "llama-server"}
        )
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            host = f"127.0.0.1:{taken.getsockname()[1]}"
            lines = check_servers({"OLLAMA_HOST": host})
    assert lines[1:] == [
        f"ok     server: llama.cpp b1-abc at {served.url}",
        "ok     model: tiny",
        "ok     slots: 3 at a time (/props)",
        f"ok     default: tiny at {served.url} (loaded)"
        " is measured where none is named",
    ]


def test_another_program_on_a_usual_port_is_no_server(monkeypatch):
    with serving({"/": {}}) as served, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = int(served.url.rpartition(":")[2])
        monkeypatch.setattr(
            discovery, "USUAL_PORTS", {port: "llama-server"}
        )
        host = f"127.0.0.1:{taken.getsockname()[1]}"
        assert len(check_servers({"OLLAMA_HOST": host})) == 1


class Process:
    pid = 1


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        (
            {"OLLAMA_NUM_PARALLEL": "2"},
            "ok     slots: 2 at a time (OLLAMA_NUM_PARALLEL=2 of the server)",
        ),
        (
            {"HOME": "/"},
            "ok     slots: 2 at a time"
            " (the server's default, OLLAMA_NUM_PARALLEL is not set)",
        ),
        ({}, "ok     slots: 2 at a time (command line of the runner)"),
    ],
)
def test_who_set_the_slots_is_read_from_the_environment_of_the_server(
    monkeypatch, environment, line
):
    monkeypatch.setattr(
        server_checks, "find_processes", lambda *_: [Process]
    )
    monkeypatch.setattr(
        server_checks, "read_environment", lambda _: environment
    )
    with serving(OLLAMA) as served:
        port = int(served.url.rpartition(":")[2])
        seen = {port: Slots(2, "command line of the runner")}
        lines = check_servers({"OLLAMA_HOST": served.url}, seen)
    assert lines[-2] == line


def test_one_slot_is_noted_with_what_gives_more():
    with serving(OLLAMA) as served:
        port = int(served.url.rpartition(":")[2])
        seen = {port: Slots(1, "there")}
        lines = check_servers({"OLLAMA_HOST": served.url}, seen)
    assert lines[-2] == (
        "note   slots: one request at a time (there);"
        " run: OLLAMA_NUM_PARALLEL=4 ollama serve"
    )


# -- the machine


def test_a_package_that_is_missing_is_wrong_and_an_old_one_is_noted(
    monkeypatch,
):
    wanted = {"rich": "9999.1", "requests": "1.0"}
    monkeypatch.setattr(machine_checks, "read_lock", lambda: wanted)
    (finding,) = machine_checks.check_packages()
    installed = importlib.metadata.version("rich")
    assert finding.mark == "note"
    assert finding.text == f"rich {installed} is older than 9999.1"
    assert finding.mend.startswith(f"{sys.executable} -m pip install -r ")
    monkeypatch.setattr(
        machine_checks,
        "read_lock",
        lambda: wanted | {"no-such-thing": "1"},
    )
    (finding,) = machine_checks.check_packages()
    assert finding.mark == "wrong"
    assert "no-such-thing is missing" in finding.text


def test_the_lock_is_read_for_this_python():
    found = machine_checks.read_lock()
    assert {"requests", "rich", "altair", "psutil"} <= set(found)
    assert "pyreadline3" not in found  # of Windows


@pytest.mark.parametrize(
    ("found", "wanted", "is_so"),
    [
        ("2.9", "2.10", True),
        ("2.10.0", "2.10", False),
        ("2.10", "2.10.0", False),
        ("1.9.0.post1", "1.9.0", False),
    ],
)
def test_versions_are_compared_by_their_numbers(found, wanted, is_so):
    assert is_older(found, wanted) is is_so


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such limit")
@pytest.mark.parametrize(
    ("hard", "mark"),
    [(128 + 1024, "ok"), (128 + 100, "note"), (140, "wrong")],
)
def test_few_open_files_are_said_with_what_raises_them(
    monkeypatch, hard, mark
):
    import resource

    monkeypatch.setattr(resource, "getrlimit", lambda _: (64, hard))
    (finding,) = machine_checks.check_files()
    assert finding.mark == mark
    assert f"enough for {hard - 128:,} requests at once" in finding.text
    assert finding.mend.startswith("ulimit -n 640") is (mark != "ok")


def test_a_full_disk_is_wrong(monkeypatch):
    class Usage:
        free = 10**8

    monkeypatch.setattr(
        machine_checks.shutil, "disk_usage", lambda _: Usage
    )
    (finding,) = machine_checks.check_disk()
    assert (finding.mark, finding.text) == (
        "wrong",
        "only 0.1 GB are free in this folder",
    )


class MadeUpTrack:
    def __init__(self, source, samples):
        self.source, self.samples = source, samples
        self.name, self.status = (
            f"{source.name} {source.device}",
            source.status,
        )
        self.live = source.status == "ok"


def test_each_power_source_is_read_or_says_what_it_needs():
    why = "not read: Linux requires root to read CPU power; run with sudo"
    rapl = Absent("rapl", "package-0", "counter", why)
    gpu = Absent("nvml", "GPU 0", "counter", "ok")
    tracks = [MadeUpTrack(rapl, 0), MadeUpTrack(gpu, 3)]
    lines = list(machine_checks.check_power(details.Watched(tracks), None))
    assert str(lines[0]).startswith(
        "note   power: rapl package-0: not read: Linux requires root to read"
        " CPU power; run: sudo "
    )
    assert str(lines[1]) == "ok     power: nvml GPU 0 is read"
    (nothing,) = machine_checks.check_power(details.Watched(), None)
    assert nothing.mark == "note"


# -- the program


def test_a_check_that_fails_is_wrong_and_the_others_are_there():
    def fail():
        raise RuntimeError("strange")

    found = program.run_checks(
        {"a": fail, "Python": machine_checks.check_python}
    )
    first, second = found
    assert (
        str(first) == "wrong  a: cannot be checked: RuntimeError: strange"
    )
    assert second.mark == "ok"


@pytest.mark.parametrize(
    ("answers", "code"),
    [(OLLAMA, 0), (OLLAMA | {"/api/tags": {"models": []}}, 1)],
)
def test_the_exit_code_says_whether_all_is_well_in_60_columns(
    monkeypatch, capsys, tmp_path, answers, code
):
    monkeypatch.setattr(details, "WATCH_S", 0.1)
    monkeypatch.setattr(details, "FIRST_S", 1.0)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.chdir(tmp_path)
    with serving(answers) as served:
        monkeypatch.setenv("OLLAMA_HOST", served.url)
        assert cli.main(["doctor"]) == code
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == ("1 wrong" if code else "all well")
    assert max(map(len, lines)) <= 60 and list(tmp_path.iterdir()) == []


def test_an_installed_tool_is_compared_with_what_it_requires(
    monkeypatch, tmp_path
):
    monkeypatch.setattr(machine_checks, "LOCK", tmp_path / "no.lock")
    required = [
        "rich>=13.9",
        "datasette<2,>=9999",
        'tomli>=2.0; python_version < "3.11"',
    ]
    monkeypatch.setattr(
        machine_checks.importlib.metadata, "requires", lambda _: required
    )
    (finding,) = machine_checks.check_packages()
    installed = importlib.metadata.version("datasette")
    assert str(finding) == (
        f"note   packages: datasette {installed} is older than 9999;"
        f" run: {sys.executable} -m pip install --upgrade datasette"
    )
