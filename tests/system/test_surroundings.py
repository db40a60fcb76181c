"""Programs without docstrings, in a window without width, with odd names of files."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import analyze
import bench
import monitor
from ollama_bench.formats.import_command import main, parse_args
from ollama_bench.inputs import command_line
from tests.support import made_up_results

ROOT = Path(__file__).resolve().parents[2]
QUICK = ["--cooldown", "0", "--idle", "0", "--no-monitor"]
PROGRAMS = [
    "bench.py",
    "monitor.py",
    "analyze.py",
    "ollama_bench.simulator",
    "ollama_bench.formats.import_command",
    "ollama_bench.formats.merge_command",
    "ollama_bench.doctor",
]
BENCHMARKS = [
    f"benchmarks/{path.name}"
    for path in (ROOT / "benchmarks").glob("*.py")
    if "__main__" in path.read_text("utf-8")
]


def run(program, *arguments, cwd, **environment):
    return subprocess.run(
        write_command(program, *arguments),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        env=surround(environment),
    )


def write_command(program, *arguments):
    is_module = program.startswith("ollama_bench.")
    start = ["-m", program] if is_module else [ROOT / program]
    return [sys.executable, *start, *map(str, arguments)]


def surround(environment):
    hidden = ("OLLAMA_HOST", "SUDO_UID", "COLUMNS")
    kept = {k: v for k, v in os.environ.items() if k not in hidden}
    return {**kept, "PYTHONPATH": str(ROOT), **environment}


# -- without docstrings


HELP = """
import contextlib, io, json, runpy, sys
said = {{}}
for program in {programs}:
    sys.argv, out = [program, "--help"], io.StringIO()
    is_script = program.endswith(".py")
    start = runpy.run_path if is_script else runpy.run_module
    name = {root!r} + "/" + program if is_script else program
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        start(name, run_name="__main__")
    said[program] = out.getvalue()
print(json.dumps(said))
"""


def ask_for_help(programs, folder, **environment):
    """What each program prints for --help."""
    code = HELP.format(programs=programs, root=str(ROOT))
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "programs",
    [PROGRAMS, pytest.param(BENCHMARKS, marks=pytest.mark.faults)],
)
def test_a_program_says_what_it_is_for_where_python_drops_docstrings(
    tmp_path, programs
):
    with_them = ask_for_help(programs, tmp_path)
    without = ask_for_help(
        programs, tmp_path, PYTHONOPTIMIZE="2", PYTHONDONTWRITEBYTECODE="1"
    )
    assert list(with_them) == programs
    for program in programs:
        assert without[program] == with_them[program] != "", program


@pytest.mark.faults
def test_a_run_goes_its_way_where_python_drops_docstrings(tmp_path):
    bare = {"PYTHONOPTIMIZE": "2", "PYTHONDONTWRITEBYTECODE": "1"}
    done = run(
        "bench.py", "1", "--demo", *QUICK, "--plain", cwd=tmp_path, **bare
    )
    assert (done.returncode, done.stderr) == (0, "")
    report = run(
        "bench.py", "1", "--demo", "--report", *QUICK, cwd=tmp_path, **bare
    )
    # and not after hours of measuring
    assert report.returncode == 1 and report.stderr == (
        "bench.py: cannot draw charts with -OO or PYTHONOPTIMIZE=2: "
        "start without, or omit --report\n"
    )
    assert (
        run(
            "analyze.py", "--charts", "none", cwd=tmp_path, **bare
        ).returncode
        == 0
    )
    charts = run("analyze.py", cwd=tmp_path, **bare)
    assert charts.returncode == 1 and charts.stderr == (
        "analyze.py: cannot draw charts with -OO or PYTHONOPTIMIZE=2: "
        "start without, or use --charts none\n"
    )
    assert run(
        "ollama_bench.simulator", "--fault", "help", cwd=tmp_path, **bare
    ).stdout.startswith("html_502 ")


# -- windows without width


@pytest.mark.skipif(
    os.name != "posix", reason="needs a terminal of its own"
)
@pytest.mark.parametrize(
    "columns, environment, command",
    [
        (1, {}, "bench.py 1 --demo --cooldown 0 --idle 0 --no-monitor"),
        (
            80,
            {"COLUMNS": "0"},
            "bench.py 1 --demo --cooldown 0 --idle 0 --no-monitor",
        ),
        (1, {}, "analyze.py --charts none"),
        (80, {"COLUMNS": "0"}, "analyze.py --charts none"),
        (80, {"COLUMNS": "1"}, "analyze.py --compare 1 2"),
        (1, {}, "ollama_bench.formats.import_command ollama --dry-run"),
        (1, {}, "monitor.py --port 9 --interval 0.1 --duration 0.3"),
        (
            80,
            {"COLUMNS": "0"},
            "monitor.py --port 9 --interval 0.1 --duration 0.3",
        ),
    ],
)
@pytest.mark.faults
def test_a_window_without_width_is_no_traceback(
    tmp_path, columns, environment, command
):
    import fcntl
    import struct
    import termios

    program, *arguments = command.split()
    made_up_results.write(tmp_path / "results.db", levels=(1, 2), runs=2)
    if program == "ollama_bench.formats.import_command":
        assert (
            analyze.main(
                [
                    "--db",
                    str(tmp_path / "results.db"),
                    "--charts",
                    "none",
                    "--export",
                    "study",
                    str(tmp_path),
                ]
            )
            == 0
        )
    ours, theirs = os.openpty()
    fcntl.ioctl(
        theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0)
    )
    process = subprocess.Popen(
        write_command(program, *arguments),
        cwd=tmp_path,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=surround({"TERM": "xterm", **environment}),
    )
    os.close(theirs)
    said = b""
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        try:
            while data := terminal.read(65536):
                said += data
        except OSError:  # all who wrote to it are gone
            pass
    assert (
        process.wait(30) == 0
        and b"Traceback" not in said
        and len(said) > 100
    ), said


# -- names of files


@pytest.mark.parametrize("name", [":memory:", "file:results.db"])
@pytest.mark.parametrize(
    "program, arguments",
    [
        (bench.main, ["1", "--demo", *QUICK, "--plain"]),
        (analyze.main, ["--charts", "none"]),
        (main, ["ollama"]),
        (monitor.main, ["--port", "9", "--duration", "0.1"]),
    ],
)
def test_what_names_no_file_is_one_line_in_every_program(
    tmp_path, monkeypatch, capsys, name, program, arguments
):
    monkeypatch.chdir(tmp_path)
    made_up_results.write("results.db", levels=(1, 2))
    export = ["--charts", "none", "--export", "study", "."]
    assert analyze.main(export) == 0
    there = {path.name for path in tmp_path.iterdir()}
    capsys.readouterr()
    assert program([*arguments, "--db", name]) == 1
    captured = capsys.readouterr()
    assert any(
        f"invalid --db {name!r}: expected the name of a file" in line
        for line in (captured.err + captured.out).splitlines()
    )
    assert {path.name for path in tmp_path.iterdir()} == there


@pytest.mark.parametrize(
    "key", ["db", "prompts", "prompt", "model", "label"]
)
def test_a_nul_character_in_a_file_of_settings_is_one_line(
    tmp_path, capsys, key
):
    (tmp_path / "bench.toml").write_text(f'{key} = "a\\u0000b"')
    with pytest.raises(SystemExit) as caught:
        command_line.parse(["1", "--config", str(tmp_path / "bench.toml")])
    said = capsys.readouterr().err
    assert caught.value.code == 2 and len(said.splitlines()) == 1
    assert f"bench.toml: {key}: the value holds a NUL character" in said


@pytest.mark.parametrize(
    "parse, arguments",
    [
        *(
            (command_line.parse, ["1", option, "a\0b"])
            for option in (
                "--db",
                "--prompts",
                "--config",
                "--model",
                "--label",
            )
        ),
        *(
            (analyze.parse_args, [*option, "a\0b"])
            for option in (["--db"], ["--out"], ["--export", "study"])
        ),
        (parse_args, ["a\0b"]),
        (parse_args, ["a", "--db", "a\0b"]),
        (monitor.parse_args, ["--db", "a\0b"]),
        (monitor.parse_args, ["--powermetrics-log", "a\0b"]),
    ],
)
def test_a_nul_character_in_an_option_is_one_line(
    parse, arguments, capsys
):
    with pytest.raises(SystemExit) as caught:
        parse(arguments)
    said = capsys.readouterr().err
    assert (
        caught.value.code == 2
        and "\0" not in said
        and re.search(
            "expected text without (a )?NUL", said.splitlines()[-1]
        )
    )


@pytest.mark.skipif(os.name != "posix", reason="quotes as of sh")
@pytest.mark.faults
def test_the_commands_that_are_printed_can_be_typed(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    name = "it's my results.db"
    assert (
        bench.main(["1", "--demo", *QUICK, "--plain", "--db", name]) == 0
    )
    commands = [
        line.split("     ")[0]
        for line in capsys.readouterr().out.splitlines()
        if line.startswith(("  python", "  datasette"))
    ]
    assert len(commands) == 2
    assert all(name in shlex.split(command) for command in commands)
    assert (
        analyze.main(
            ["--db", name, "--charts", "none", "--export", "study", "."]
        )
        == 0
    )
    capsys.readouterr()
    assert main(["ollama", "--db", "again and again.db"]) == 0
    assert (
        shlex.split(capsys.readouterr().out.splitlines()[-1])[-1]
        == "again and again.db"
    )
