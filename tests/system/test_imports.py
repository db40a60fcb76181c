"""What may import what, and that every file can be imported on every system without doing anything."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(path.stem for path in ROOT.glob("*.py"))
LAYERS = [  # a file imports from the lines above its own, never beside it or below
    {"conditions"},
    {
        "api",
        "syscalls",
        "darwin",
        "config",
        "interrupt",
        "standard",
        "schema",
        "files",
        "objectives",
        "power",
        "prompts",
        "sim",
        "awake",
    },
    {"db", "wire"},
    {"attempt", "console", "machine", "privilege", "options", "selection", "describe"},
    {"tally", "server", "monitor", "verdict", "export_csv", "import_csv"},
    {"load", "charts", "compare"},
    {"selfcheck", "doctor"},
    {"report"},
    {"analyze"},
    {"bench"},
]
NOT_EVERYWHERE = {
    "pwd",
    "grp",
    "resource",
    "fcntl",
    "termios",
    "tty",
    "pty",
    "syslog",
    "curses",
    "winreg",
    "msvcrt",
    "_winapi",
    "pynvml",
}


def tree(name):
    return ast.parse((ROOT / f"{name}.py").read_text(encoding="utf-8"))


def imported(nodes):
    """The modules that these nodes import, by their first name."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


@pytest.mark.parametrize("name", FILES)
def test_a_file_imports_from_above_it_only(name):
    found = [number for number, layer in enumerate(LAYERS) if name in layer]
    assert found, f"{name}.py is new: give it a line in LAYERS"
    allowed = set().union(*LAYERS[: found[0]]) - {
        "sim"
    }  # the simulator is a witness: it asks nobody and nobody asks it
    assert set(imported(ast.walk(tree(name)))) & set(FILES) <= allowed


@pytest.mark.parametrize("name", FILES)
def test_nothing_at_the_top_that_not_every_system_has(name):
    assert not NOT_EVERYWHERE & set(imported(tree(name).body))


@pytest.mark.parametrize("name", FILES)
def test_no_file_hides_a_module_of_python(name):
    assert name not in sys.stdlib_module_names


BLOCKED = """
import sys, threading
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked}:
            raise ImportError(name)
sys.path.insert(0, {root!r})
for name in {files}:
    __import__(name)  # the packages and Python's own library may need them on this system
for name in {blocked} | set({files}):
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Blocked())
for name in {files}:
    __import__(name)
assert threading.active_count() == 1
"""


def test_every_file_can_be_imported_where_those_are_absent(tmp_path):
    """And nothing happens then: no word, no file, no thread."""
    code = BLOCKED.format(
        blocked=NOT_EVERYWHERE - {"winreg", "msvcrt", "_winapi"}, root=str(ROOT), files=FILES
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "") and list(
        tmp_path.iterdir()
    ) == []
