"""bench.py and the other programs under sudo."""

import os
import shutil
import subprocess
import sys

import pytest

import bench
from ollama_bench.run import finding
from ollama_bench.run.server import Server
from tests.privilege.ancestors import HIDDEN, MEANT, Ancestor
from tests.privilege.programs import ROOT, as_root, nobody


@pytest.mark.faults
@as_root
@pytest.mark.parametrize("option", ["--config", "--prompts"])
def test_a_file_that_only_root_may_read_is_not_read(home, option):
    (home / "secret").write_text("password = 1")
    (home / "secret").chmod(0o600)
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench.py"), "1", option, "secret"],
        cwd=home,
        capture_output=True,
        text=True,
        env={**os.environ, "SUDO_UID": str(nobody())},
    )
    assert (
        done.returncode == 2
        and "Permission denied" in done.stderr
        and "password" not in done.stderr
        and done.stderr.count("\n") == 1
    )


@as_root
# with -m the package itself is compiled before its code runs
@pytest.mark.faults
@pytest.mark.parametrize(
    ("command", "left"),
    [
        (["bench.py", "1", "--host", "http://127.0.0.1:9"], []),
        (["monitor.py", "--powermetrics-log", "absent"], []),
        (["analyze.py"], []),
        (
            ["-m", "ollama_bench.formats.import_command", "absent"],
            ["ollama_bench/__pycache__/__init__"],
        ),
    ],
)
def test_root_leaves_no_bytecode_in_the_users_clone(home, command, left):
    for path in [*ROOT.glob("*.py"), ROOT / "schema.sql"]:
        shutil.copy(path, home)
    hidden = shutil.ignore_patterns("__pycache__")
    shutil.copytree(
        ROOT / "ollama_bench", home / "ollama_bench", ignore=hidden
    )
    clean = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX")
    }
    done = subprocess.run(
        [sys.executable, *command],
        cwd=home,
        capture_output=True,
        text=True,
        timeout=60,
        env={**clean, "PYTHONPATH": str(home), "SUDO_UID": str(nobody())},
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr, (
        done.stderr
    )
    found = [
        path.relative_to(home).as_posix().partition(".")[0]
        for path in home.rglob("*.pyc")
    ]
    assert found == left


SERVERS = [
    (
        ["1"],
        {"OLLAMA_HOST": "127.0.0.2"},
        "server: http://127.0.0.2:11434 (OLLAMA_HOST)",
    ),
    (
        ["1", "--host", "127.0.0.1:9"],
        {"OLLAMA_HOST": "127.0.0.2"},
        "server: http://127.0.0.1:9 (--host)",
    ),
    (
        ["1", "--config", "named.toml"],
        {"OLLAMA_HOST": "127.0.0.2"},
        "server: http://127.0.0.1:8 (--config)",
    ),
    (
        ["1", "--config", "named.toml", "--host", "127.0.0.1:9"],
        {},
        "server: http://127.0.0.1:9 (--host)",
    ),
    (
        ["1", "--api", "openai"],
        {"OLLAMA_HOST": "127.0.0.2"},
        "server: http://127.0.0.1:11434 (default)",
    ),
]


@pytest.fixture
def nobody_answers(monkeypatch):
    def absent(self, *_):
        raise bench.ServerError("nobody")

    for question in ("check_model", "find_only_model", "find_own_name"):
        monkeypatch.setattr(Server, question, absent)
    monkeypatch.setattr(finding, "discover_servers", lambda named_url: [])
    monkeypatch.setattr(bench, "split_off", lambda **_: None)


@pytest.mark.parametrize("words, environment, line", SERVERS)
def test_a_run_says_whom_it_asks_and_why(
    monkeypatch, capsys, nobody_answers, tmp_path, words, environment, line
):
    (tmp_path / "named.toml").write_text('host = ["127.0.0.1:8"]')
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OLLAMA_HOST", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert bench.main([*words, "--plain"]) == 1
    assert capsys.readouterr().out.splitlines() == [line]


@pytest.mark.parametrize(
    "words, hints",
    [
        (["1"], ["sudo drops OLLAMA_HOST; if you set it, "]),
        (["1", "--host", "127.0.0.1:9"], []),
        (
            ["1", "--host", "https://127.0.0.1:9"],
            ["sudo drops REQUESTS_CA_BUNDLE; if you set it, "],
        ),
        (
            ["1", "--host", "https://127.0.0.1:9", "--api", "openai"],
            [
                "sudo drops OPENAI_API_KEY and REQUESTS_CA_BUNDLE; if you set them, "
            ],
        ),
    ],
)
def test_what_sudo_may_have_dropped_is_told_where_it_matters(
    under_sudo, capsys, nobody_answers, words, hints
):
    under_sudo(HIDDEN, at_once=False)
    assert bench.main([*words, "--plain"]) == 1
    said = capsys.readouterr().out.splitlines()
    told = [line for line in said if not line.startswith("server: ")]
    assert len(told) == len(hints) and all(
        line.startswith(hint)
        for line, hint in zip(told, hints, strict=True)
    )


def test_a_recovered_name_is_marked_and_a_recovered_key_is_shown_nowhere(
    under_sudo, capsys, nobody_answers
):
    under_sudo([Ancestor("sudo", (501, 0, 0), MEANT)], at_once=False)
    assert bench.main(["1", "--plain"]) == 1
    assert bench.main(["1", "--plain", "--api", "openai"]) == 1
    said = capsys.readouterr()
    assert (
        said.out.splitlines()[0]
        == "server: http://studio:1 (OLLAMA_HOST, which sudo had dropped)"
    )
    assert (
        MEANT["OPENAI_API_KEY"] not in said.out + said.err
        and "OLLAMA_HOST:" not in said.out
    )
