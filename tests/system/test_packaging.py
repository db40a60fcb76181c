"""The installed package: a wheel in an empty environment does what a clone does."""

import os
import re
import shlex
import sqlite3
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from ollama_bench import cli
from ollama_bench.terminal import command_line

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = "Scripts" if os.name == "nt" else "bin"
NO_REGISTRY = re.compile(
    "NewConnectionError|ConnectTimeout|Max retries|No matching distribution|Name or service"
)
DATA_FILES = {
    "ollama_bench/doors/analyze.py",
    "ollama_bench/doors/bench.py",
    "ollama_bench/doors/monitor.py",
    "ollama_bench/report/page.css",
    "ollama_bench/report/page.html",
    "ollama_bench/report/page.js",
    "ollama_bench/report/charts.js",
    "ollama_bench/report/recompute.js",
    "ollama_bench/report/proof.js",
    "ollama_bench/browsing/browse.js",
    "ollama_bench/browsing/browse.css",
    "ollama_bench/storage/metadata.yaml",
    "ollama_bench/storage/schema.sql",
}


def run(*command, cwd, timeout=300):
    """Run a program that sees no clone, and return what it did."""
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in hidden
    }
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**environment, "COLUMNS": "100"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=timeout,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    pytest.importorskip("hatchling")
    pytest.importorskip("hatch_requirements_txt")
    folder = tmp_path_factory.mktemp("wheel")
    done = run(
        sys.executable,
        "-m",
        "hatchling",
        "build",
        "-t",
        "wheel",
        "-d",
        folder,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The folder of the programs of an environment that holds the wheel and what it needs."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    programs = folder / SCRIPTS
    pip = [
        programs / "python",
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
        "--quiet",
    ]
    alone = run(*pip, "--no-deps", "--no-index", wheel, cwd=folder)
    assert alone.returncode == 0, alone.stderr
    done = run(*pip, wheel, cwd=folder)
    if NO_REGISTRY.search(done.stderr):
        pytest.skip("no package registry can be reached")
    assert done.returncode == 0, done.stderr
    return programs


@pytest.fixture(scope="module")
def demo(installed, tmp_path_factory):
    """A folder with the results of the installed demo, and what it said."""
    folder = tmp_path_factory.mktemp("some folder")
    arguments = [
        "1,2",
        "--demo",
        "--plain",
        "--cooldown",
        "0",
        "--label",
        "two words",
    ]
    done = run(installed / "ollama-bench", *arguments, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


@pytest.mark.faults
def test_the_wheel_holds_the_doors_and_the_data(wheel):
    assert set(zipfile.ZipFile(wheel).namelist()) >= DATA_FILES


@pytest.mark.faults
def test_the_installed_demo_stores_its_results_where_one_stands(demo):
    folder, said = demo
    assert "  ollama-bench analyze     all sentences, charts" in said
    with sqlite3.connect(folder / "results.db") as connection:
        levels = connection.execute(
            "SELECT command, count(*), sum(level.status = 'finished')"
            " FROM run JOIN level ON run_id = run.id GROUP BY run.id"
        ).fetchall()
    connection.close()
    command = (
        "ollama-bench 1,2 --demo --plain --cooldown 0 --label 'two words'"
    )
    if os.name == "nt":
        command = command.replace("'", '"')
    assert levels == [(command, 3, 3)]  # with the control


@pytest.mark.faults
def test_the_installed_analysis_draws_the_page(installed, demo):
    folder, _ = demo
    done = run(installed / "ollama-bench", "analyze", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    page = (folder / "data" / "report.html").read_text(encoding="utf-8")
    assert '<pre>ollama-bench 1,2 <span class="option">--demo' in page


@pytest.mark.faults
def test_what_is_exported_can_be_imported(installed, demo):
    folder, _ = demo
    command = installed / "ollama-bench"
    done = run(command, "export", "study", "study", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    count = len(list((folder / "study").rglob("*.csv")))
    assert (
        count >= 4
        and done.stdout == f"{count} files in {Path('study', 'ollama')}\n"
    )
    done = run(
        command, "import", "study", "--db", "imported.db", cwd=folder
    )
    assert done.stdout.endswith(
        "next: ollama-bench analyze --db imported.db\n"
    )


@pytest.mark.faults
def test_datasette_alone_shows_the_descriptions(installed, demo):
    folder, _ = demo
    page = run(
        installed / "datasette",
        "results.db",
        "--get",
        "/results/level_summary",
        cwd=folder,
    ).stdout
    assert "<dt>model</dt><dd>the model as asked for</dd>" in page


@pytest.mark.faults
@pytest.mark.parametrize("word", ["bench", *cli.DOORS, *cli.COMMANDS])
def test_every_word_names_itself_in_its_help(installed, tmp_path, word):
    done = run(installed / "ollama-bench", word, "--help", cwd=tmp_path)
    name = "ollama-bench" if word == "bench" else f"ollama-bench {word}"
    assert done.returncode == 0
    assert done.stdout.removeprefix("usage: ").startswith(f"{name} ")
    assert "python" not in done.stdout and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [([], []), (["--budget", "9"], ["--budget", "9"]), (["bench"], [])],
)
def test_without_a_word_it_measures(monkeypatch, words, expected):
    monkeypatch.setattr(cli, "bench", lambda words: (7, words))
    assert cli.main(words) == (7, expected)


@pytest.mark.parametrize(("name", "words"), cli.OLD_NAMES.items())
def test_an_old_name_is_answered_by_the_new_one(capsys, name, words):
    assert cli.main([name]) == 2
    assert (
        capsys.readouterr().err
        == f"ollama-bench: {name} is now: {words}\n"
    )


@pytest.mark.parametrize(
    ("started", "program", "command"),
    [
        ("analyze.py", "analyze.py", "python analyze.py"),
        (
            "/home/a b/bin/ollama-bench",
            "ollama-bench analyze",
            "ollama-bench analyze",
        ),
        (
            str(command_line.PACKAGE / "__main__.py"),
            "ollama-bench analyze",
            "python -m ollama_bench analyze",
        ),
    ],
)
def test_commands_are_named_as_the_tool_was_started(
    monkeypatch, started, program, command
):
    monkeypatch.setattr(sys, "argv", [started, "--db", "a b.db"])
    assert command_line.name_program("analyze") == program
    assert command_line.name_command("analyze") == command


@pytest.mark.skipif(os.name == "nt", reason="cmd has other quotes")
@pytest.mark.parametrize(
    ("started", "typed"),
    [
        ("bench.py", "python bench.py"),
        ("/home/a b/bin/ollama-bench", "ollama-bench"),
        (
            str(command_line.PACKAGE / "__main__.py"),
            "python -m ollama_bench",
        ),
    ],
)
def test_a_stored_command_can_be_typed_again(monkeypatch, started, typed):
    arguments = ["1,2", "--prompt", "why is it so?"]
    monkeypatch.setattr(sys, "argv", [started, *arguments])
    assert (
        command_line.name_this_command()
        == f"{typed} {shlex.join(arguments)}"
    )


def test_the_package_as_a_module_measures_as_the_script_does(tmp_path):
    """The folder of the package is on the path; the one that one stands in gets nothing."""
    done = subprocess.run(
        [sys.executable, "-m", "ollama_bench", "0"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2 and done.stderr.startswith(
        "ollama-bench: invalid level '0': "
    )
    assert list(tmp_path.iterdir()) == []
