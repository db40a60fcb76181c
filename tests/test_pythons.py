"""Which Python: one that is too old, lacks the packages or may not see our files is told so in one line."""
import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import standard

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = [path.name for path in sorted(ROOT.glob("*.py"))
            if path.name != "darwin.py"  # it is asked by ours alone, and needs no package
            and '__name__ == "__main__"' in path.read_text(encoding="utf-8")]
LOCKS = ["requirements.lock", "tests/requirements.lock"]
OLD = """
import runpy, sys
sys.version_info = (3, 9, 6)
sys.argv = sys.argv[1:]
sys.path.insert(0, {root!r})
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run(arguments, cwd, **environment):
    return subprocess.run([sys.executable, *arguments], cwd=cwd, capture_output=True, text=True,
                          timeout=60, env={**os.environ, **environment})


def test_the_programs_are_these():
    assert {"bench.py", "monitor.py", "analyze.py", "sim.py", "import_csv.py", "describe.py"} <= set(PROGRAMS)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_python_that_is_too_old_is_told_so(program, tmp_path):
    done = run(["-S", "-c", OLD.format(root=str(ROOT)), str(ROOT / program)], tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (f"Python 3.10 or newer is needed, and {sys.executable} is 3.9: "
                           "see Install in README.md\n")


@pytest.mark.parametrize("name", sorted(path.name for path in ROOT.glob("*.py")))
def test_an_older_python_can_read_the_file_that_tells_it_so(name):
    ast.parse((ROOT / name).read_text(encoding="utf-8"), feature_version=(3, 9))


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_python_without_the_packages_is_told_so(program, tmp_path):
    done = run(["-S", str(ROOT / program), "1"], tmp_path)
    name = "psutil" if program == "sim.py" else "rich"
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (f"No module named '{name}': start it with .venv/bin/python, "
                           "or see Install in README.md\n")


def test_each_package_that_a_file_imports_at_its_top_is_looked_for():
    ours = {path.stem for path in ROOT.glob("*.py")}
    found = set()
    for path in ROOT.glob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            found |= {name.partition(".")[0] for name in names}
    assert found - ours - set(sys.stdlib_module_names) == set(standard.PACKAGES) - {"tomli"}


@pytest.mark.skipif(sys.version_info < (3, 11), reason="-P came with 3.11")
@pytest.mark.parametrize("program", [name for name in PROGRAMS if name != "sim.py"])
def test_a_python_that_may_not_see_our_files_is_told_so(program, tmp_path):
    done = run([str(ROOT / program), "--help"], tmp_path, PYTHONSAFEPATH="1")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == ("No module named 'standard': start it without PYTHONSAFEPATH, -P and -I, "
                           "which hide this tool's own files\n")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="-P came with 3.11")
def test_the_simulator_needs_none_of_them(tmp_path):
    done = run([str(ROOT / "sim.py"), "--help"], tmp_path, PYTHONSAFEPATH="1")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(os.name != "posix" or not shutil.which("make"), reason="needs make")
def test_make_says_which_python_it_lacks(tmp_path):
    for name in ("Makefile", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    alone = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(["make", "demo", "PYTHON=python9.9"], cwd=tmp_path, capture_output=True,
                          text=True, timeout=60, env=alone)
    assert done.stderr.startswith("no python9.9 is there: make PYTHON=python3.12\n")
    assert (done.returncode, done.stdout) == (2, "") and not (tmp_path / ".venv").exists()


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_each_package_and_never_pip(lock):
    """On Windows pip.exe cannot replace itself; every virtual environment has a pip."""
    lines = (ROOT / lock).read_text(encoding="utf-8").splitlines()
    pinned = [line for line in lines if line and not line.startswith((" ", "#"))]
    named = [re.match(r"([a-z0-9-]+)==[0-9][0-9a-z.]*( ; [^\\]+)? \\$", line) for line in pinned]
    assert pinned and all(named)
    names = [match[1] for match in named]
    assert "pip" not in names and names.count("setuptools") <= 1


def test_pip_is_started_by_the_python_it_is_to_serve():
    for path in [ROOT / "README.md", ROOT / "Makefile", *ROOT.glob("docs/*.md"),
                 *ROOT.glob(".github/workflows/*.yml")]:
        for line in path.read_text(encoding="utf-8").splitlines():
            for before in re.findall(r"(\S*\s*-?\S*\s*)\bpip3? install", line):
                assert "-m" in before, f"{path.name}: {line}"
    lock = re.search(r"^lock:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    assert lock and all("--no-emit-package pip " in line for line in lock[1].splitlines())
