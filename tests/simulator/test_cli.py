"""The command line: errors, signals and the end."""

import os
import signal
import subprocess
import sys

import pytest

from ollama_bench.simulator import child, cli
from tests.simulator.reader import PATIENCE_S


def run(*arguments, cwd=None):
    command = child.command(*arguments)
    return subprocess.run(
        command, capture_output=True, text=True, timeout=20, cwd=cwd
    )


def test_a_port_that_is_taken_is_one_line(quick, capsys):
    assert cli.main(["--port", str(quick.port)]) == 1
    said = capsys.readouterr().err
    assert said.startswith(
        f"ollama-bench simulate: cannot listen on port {quick.port}: "
    )
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["--tokens", "9-1"],
        ["--tokens", "x"],
        ["--fault", "frogs"],
        ["--fault", "429:5"],
        ["--speed", "0"],
        ["--slots", "0"],
        ["--itl", "-1"],
        ["--port", "70000"],
    ],
)
def test_an_option_that_is_wrong_ends_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    (said,) = capsys.readouterr().err.splitlines()
    assert caught.value.code == 2
    assert said.startswith("ollama-bench simulate: invalid ")


def test_a_certificate_that_is_not_there_is_one_line():
    lost = run("--port", "0", "--tls", "no.pem", "no.pem")
    assert lost.returncode == 1 and lost.stderr.count("\n") == 1


def test_a_child_starts_in_any_directory_and_runs_nothing_that_lies_there(
    tmp_path,
):
    (tmp_path / "ollama_bench").mkdir()
    for name in ("ollama_bench/__init__.py", "random.py", "json.py"):
        (tmp_path / name).write_text(
            "raise SystemExit('the working directory was searched')"
        )
    done = run("--fault", "help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (
        0,
        "",
    ) and done.stdout.startswith("html_502 ")


def test_it_runs_as_a_module():
    command = [sys.executable, "-m", "ollama_bench.simulator", "--help"]
    folder = child.PACKAGE_PARENT
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=20, cwd=folder
    )
    assert done.returncode == 0 and done.stdout.startswith(
        "usage: ollama-bench simulate "
    )


def test_it_ends_with_its_parent():
    parent = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"]
    )
    server = subprocess.Popen(
        child.command("--port", "0", "--parent-pid", str(parent.pid)),
        stdout=subprocess.PIPE,
    )
    try:
        assert server.stdout.readline()
        parent.kill()
        parent.wait()
        server.wait(PATIENCE_S)
    finally:
        for process in (parent, server):
            process.kill()
            process.wait()
        server.stdout.close()


@pytest.mark.skipif(
    os.name == "nt", reason="Windows has no SIGINT for one process"
)
@pytest.mark.parametrize(
    "number, code", [(signal.SIGTERM, 0), (signal.SIGINT, 130)]
)
def test_a_signal_ends_it_and_the_report_is_printed(number, code):
    server = subprocess.Popen(
        child.command("--port", "0", "--report"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    server.stdout.readline()
    server.send_signal(number)
    _, said = server.communicate(timeout=PATIENCE_S)
    assert (
        server.returncode == code
        and said.startswith("schedule error of 0 writes")
        and said.count("\n") == 1
    )
