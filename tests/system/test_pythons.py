"""A Python that is too old, lacks the packages or may not see our files is told so in one line."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ollama_bench.simulator import child
from ollama_bench.terminal.interpreter import PACKAGES

ROOT = Path(__file__).resolve().parents[2]
DOORS = ["analyze.py", "bench.py", "monitor.py"]
# started with -m
PACKAGES_OF_OURS = [
    "ollama_bench.doctor",
    "ollama_bench.simulator",
    "ollama_bench.formats.import_command",
    "ollama_bench.formats.merge_command",
]
LOCKS = ["requirements.lock", "tests/requirements.lock"]
OLD = """
import runpy, sys
sys.version_info = (3, 9, 6)
sys.argv = sys.argv[1:]
sys.path.insert(0, {root!r})
if sys.argv[0].endswith(".py"):
    runpy.run_path(sys.argv[0], run_name="__main__")
else:
    runpy.run_module(sys.argv[0], run_name="__main__")
"""


def run(arguments, cwd, **environment):
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize("program", [*DOORS, *PACKAGES_OF_OURS])
def test_a_python_that_is_too_old_is_told_so(program, tmp_path):
    start = str(ROOT / program) if program in DOORS else program
    done = run(["-S", "-c", OLD.format(root=str(ROOT)), start], tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"Python 3.10 or newer is needed, and {sys.executable} is 3.9: see docs/install.md\n"
    )


def list_read_before_the_check():
    """Return the files that Python reads before it has been found too old."""
    package = ROOT / "ollama_bench"
    rooms = [
        package / "terminal",
        package / "doctor",
        package / "simulator",
        package / "formats",
    ]
    return [
        *(ROOT / name for name in DOORS),
        package / "__init__.py",
        package / "terminal" / "interpreter.py",
        *(room / "__init__.py" for room in rooms),
        package / "simulator" / "__main__.py",
        *(package / "formats").glob("*_command.py"),
    ]


@pytest.mark.parametrize(
    "path",
    list_read_before_the_check(),
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_an_older_python_can_read_the_file_that_tells_it_so(path):
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))


@pytest.mark.parametrize("program", [*DOORS, *PACKAGES_OF_OURS])
def test_a_python_without_the_packages_is_told_so(program, tmp_path):
    start = [str(ROOT / program)] if program in DOORS else ["-m", program]
    done = run(["-S", *start, "1"], tmp_path, PYTHONPATH=str(ROOT))
    lacking = "uvicorn" if program == "ollama_bench.simulator" else "rich"
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"No module named '{lacking}': start it with .venv/bin/python, "
        "or see docs/install.md\n"
    )


def find_names_at_the_top(path):
    """The first name of each module that a file imports as soon as it is imported."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            yield from (
                alias.name.partition(".")[0] for alias in node.names
            )
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


def test_each_package_that_a_file_imports_at_its_top_is_looked_for():
    found = set()
    for path in [*ROOT.glob("*.py"), *ROOT.glob("ollama_bench/**/*.py")]:
        # Datasette imports that, nobody else
        if "browsing" not in path.parts:
            found |= set(find_names_at_the_top(path))
    packages = found - {"ollama_bench"} - set(sys.stdlib_module_names)
    assert packages == set(PACKAGES) - {"tomli"}


@pytest.mark.skipif(sys.version_info < (3, 11), reason="-P came with 3.11")
@pytest.mark.parametrize("program", DOORS)
def test_a_python_that_may_not_see_our_files_is_told_so(program, tmp_path):
    done = run(
        [str(ROOT / program), "--help"], tmp_path, PYTHONSAFEPATH="1"
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "No module named 'ollama_bench': start without PYTHONSAFEPATH, -P and -I, "
        "which hide this tool's files\n"
    )


@pytest.mark.skipif(sys.version_info < (3, 11), reason="-P came with 3.11")
def test_the_simulator_needs_none_of_them(tmp_path):
    done = run(child.command("--help")[1:], tmp_path, PYTHONSAFEPATH="1")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(
    os.name != "posix" or not shutil.which("make"), reason="needs make"
)
def test_make_says_which_python_it_lacks(tmp_path):
    for name in ("Makefile", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    alone = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("MAKE")
    }
    done = subprocess.run(  # not as a part of the make that runs the tests
        ["make", "demo", "PYTHON=python9.9"],
        cwd=tmp_path,
        env=alone,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr.startswith(
        "no python9.9 is there: make PYTHON=python3.12\n"
    )
    assert (done.returncode, done.stdout) == (2, "") and not (
        tmp_path / ".venv"
    ).exists()


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_each_package_and_never_pip(lock):
    """On Windows pip.exe cannot replace itself; every virtual environment has a pip."""
    lines = (ROOT / lock).read_text(encoding="utf-8").splitlines()
    pinned = [
        line for line in lines if line and not line.startswith((" ", "#"))
    ]
    named = [
        re.match(r"([a-z0-9-]+)==[0-9][0-9a-z.]*( ; [^\\]+)? \\$", line)
        for line in pinned
    ]
    assert pinned and all(named)
    names = [match[1] for match in named]
    assert "pip" not in names and names.count("setuptools") <= 1


def test_pip_is_started_by_the_python_it_is_to_serve():
    for path in [
        ROOT / "README.md",
        ROOT / "Makefile",
        *ROOT.glob("docs/*.md"),
        *ROOT.glob(".github/workflows/*.yml"),
    ]:
        for line in path.read_text(encoding="utf-8").splitlines():
            for before in re.findall(
                r"(\S*\s*-?\S*\s*)\bpip3? install", line
            ):
                assert "-m" in before, f"{path.name}: {line}"
    lock = re.search(
        r"^lock:.*\n((?:\t.*\n)+)",
        (ROOT / "Makefile").read_text(encoding="utf-8"),
        re.M,
    )
    assert lock and all(
        "--no-emit-package pip " in line for line in lock[1].splitlines()
    )
