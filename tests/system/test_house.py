"""The rules of the house: what may import what, what an import may do, how long a file may be."""

import ast
import builtins
import collections
import functools
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "ollama_bench"
DOORS = {"bench", "monitor", "analyze"}
MOST_LINES = 500
MOST_LINES_OF_A_DOOR = 300
MOST_CHARACTERS = 36  # in a line of code, on average
MOST_COLUMNS = 100
ROOMS = {  # room -> the rooms that it may import
    "browsing": {
        "analysis",
        "charts",
        "report",
        "statistics",
        "storage",
        "terminal",
    },
    "platforms": set(),
    "prometheus": {"monitor", "protocols", "storage", "terminal"},
    "protocols": set(),
    "simulator": set(),  # a witness: it asks nobody
    "statistics": set(),
    "storage": set(),
    "terminal": set(),
    "transport": set(),
    "inputs": {"protocols", "statistics", "terminal"},
    "doctor": {
        "inputs",
        "load",
        "monitor",
        "platforms",
        "power",
        "privilege",
        "protocols",
        "run",
        "storage",
        "terminal",
        "transport",
    },
    "power": {"platforms"},
    "privilege": {"power"},
    "formats": {
        "analysis",
        "privilege",
        "statistics",
        "storage",
        "terminal",
    },
    "fleet": {"inputs", "load"},
    "load": {"platforms", "protocols", "statistics", "transport"},
    "analysis": {"inputs", "statistics", "storage", "terminal"},
    "charts": {"analysis", "inputs", "terminal"},
    "monitor": {"platforms", "power", "storage", "terminal"},
    "run": {
        "fleet",
        "inputs",
        "load",
        "monitor",
        "power",
        "privilege",
        "protocols",
        "simulator",
        "statistics",
        "storage",
        "terminal",
        "transport",
    },
    "report": {
        "analysis",
        "charts",
        "formats",
        "inputs",
        "run",
        "storage",
        "terminal",
    },
}
PROGRAMS = {"cli", "__main__"}  # in no room
SAME_IN_ALL_ROOMS = {  # names of several rooms, of one meaning
    # each program has its own
    *("main", "make_parser", "parse_args", "Settings"),
    # what the screen draws is what load and run measure
    *("Exchange", "Level", "Outcome", "Tally", "Task"),
    # what monitor needs of a source is what a source of power is
    *("Launcher", "PolledSource", "PowerSource", "StreamedSource"),
    "PowerSample",
    # of a system, and of where no library tells
    *("read_memory_bytes", "read_swap_used_bytes", "find_macmon"),
    # a column of a table that people read; a line of a text
    *("Column", "Line"),
    # a duration, as it is typed and as it is written
    "seconds",
    # Python's own words for what they do: files, sums, products, texts
    *("read_lines", "write", "show", "scale", "shorten", "total"),
    "format_figure",
    # analyze.py's verdict on a study, and bench.py's on its run
    "judge",
}
CALLED_THROUGH_THEIR_MODULE = {  # names.parse, config_file.read
    *("describe", "draw", "parse", "read", "refuse", "report", "serve"),
}
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


def dotted_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    dotted_name(path): path for path in sorted(PACKAGE.rglob("*.py"))
}


@functools.cache
def parse(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def find_imports(nodes):
    """Yield the dotted name of each import; a module that is imported from its room as well."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "a relative import"
            submodules = [
                f"{node.module}.{alias.name}" for alias in node.names
            ]
            found = [name for name in submodules if name in MODULES]
            yield from found
            if len(found) < len(submodules):
                yield node.module


def find_first_names(nodes):
    return {name.partition(".")[0] for name in find_imports(nodes)}


def find_room(module):
    return module.split(".")[1] if module.count(".") else ""


def list_python_files(*folders):
    return sorted(
        [
            *ROOT.glob("*.py"),
            *(
                path
                for name in folders
                for path in ROOT.glob(f"{name}/**/*.py")
            ),
        ]
    )


# -- who may import whom


def test_only_the_doors_stand_in_the_root():
    assert {path.stem for path in ROOT.glob("*.py")} == DOORS


@pytest.mark.parametrize("door", sorted(DOORS))
def test_a_door_imports_no_other_door_and_nothing_else_of_ours(door):
    names = find_first_names(ast.walk(parse(ROOT / f"{door}.py")))
    ours = {path.stem for path in ROOT.glob("*.py")} | {
        path.name for path in ROOT.iterdir()
    }
    assert names & ours == {"ollama_bench"}


def test_a_door_hides_no_module_of_python():
    assert not DOORS & set(sys.stdlib_module_names)


def test_no_room_imports_a_door():
    for module, path in MODULES.items():
        assert not find_first_names(ast.walk(parse(path))) & {
            *DOORS,
            "tests",
        }, module


def test_every_room_is_in_the_table():
    assert {
        path.parent.name for path in PACKAGE.glob("*/__init__.py")
    } == set(ROOMS)
    assert {path.stem for path in PACKAGE.glob("*.py")} == {
        *PROGRAMS,
        "__init__",
    }


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_a_room_imports_exactly_the_rooms_that_it_may(room):
    found = set()
    for module, path in MODULES.items():
        if find_room(module) == room:
            found |= {
                find_room(name)
                for name in find_imports(ast.walk(parse(path)))
                if name.startswith("ollama_bench.")
            }
    assert found - {room} == ROOMS[room]


def test_no_module_imports_itself_by_way_of_others():
    graph = {
        module: {
            name
            for name in find_imports(ast.walk(parse(path)))
            if name in MODULES
        }
        - {module}
        for module, path in MODULES.items()
    }
    # imports have been found
    assert sum(map(len, graph.values())) > len(MODULES)
    # CycleError names the circle
    graphlib.TopologicalSorter(graph).prepare()


# -- what an import does


@pytest.mark.parametrize(
    "path", [*MODULES.values(), *ROOT.glob("*.py")], ids=dotted_name
)
def test_nothing_at_the_top_that_not_every_system_has(path):
    assert not NOT_EVERYWHERE & find_first_names(parse(path).body)


IMPORTS = """
import os, sys, threading
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked}:
            raise ImportError(name)
sys.path.insert(0, {root!r})
for name in {modules}:
    __import__(name)  # the packages and Python's own library may need them on this system
for name in [*sys.modules]:
    if name.partition(".")[0] in {forgotten}:
        del sys.modules[name]
sys.meta_path.insert(0, Blocked())
for name in {modules}:
    try:
        __import__(name)
    except BaseException as error:
        sys.exit(f"{{name}}: {{error!r}}")
    if threading.active_count() > 1 or os.listdir():
        sys.exit(f"{{name}} starts a thread or makes a file")
"""


def test_every_module_can_be_imported_where_those_are_absent_and_does_nothing(
    tmp_path,
):
    """Each in a row with others: that none needs one which it does not import is above."""
    blocked = NOT_EVERYWHERE - {"winreg", "msvcrt", "_winapi"}
    code = IMPORTS.format(
        blocked=blocked,
        forgotten={"ollama_bench", *DOORS, *blocked},
        root=str(ROOT),
        modules=[*MODULES, *sorted(DOORS)],
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# -- what is called how


def list_names():
    """Yield the room, the name and the file of each public function and class."""
    for module, path in MODULES.items():
        for node in parse(path).body:
            if isinstance(
                node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
            ) and not node.name.startswith("_"):
                yield find_room(module), node.name, path


def test_no_name_means_two_things_in_two_rooms():
    rooms = collections.defaultdict(set)
    for room, name, _ in list_names():
        rooms[name].add(room or "no room")
    several = {name for name, where in rooms.items() if len(where) > 1}
    known = SAME_IN_ALL_ROOMS | CALLED_THROUGH_THEIR_MODULE
    assert not {name: sorted(rooms[name]) for name in several - known}
    # and the lists keep no name that is gone
    assert several == known
    assert not SAME_IN_ALL_ROOMS & CALLED_THROUGH_THEIR_MODULE


def test_short_verbs_are_called_through_their_module():
    imported = {
        (dotted_name(path), alias.name)
        for path in [*MODULES.values(), *ROOT.glob("*.py")]
        for node in ast.walk(parse(path))
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").startswith("ollama_bench")
        for alias in node.names
        if f"{node.module}.{alias.name}" not in MODULES
    }
    # imports have been found
    assert len(imported) > len(MODULES)
    assert not {
        (importer, name)
        for importer, name in imported
        if name in CALLED_THROUGH_THEIR_MODULE
    }


def test_no_function_or_class_has_the_name_of_a_builtin():
    assert not [
        (name, path)
        for _, name, path in list_names()
        if hasattr(builtins, name)
    ]


# -- how long a file may be, and a line


def test_no_file_of_python_is_long():
    lengths = {
        path: len(path.read_text("utf-8").splitlines())
        for path in list_python_files(
            "ollama_bench", "tests", "benchmarks", "tools"
        )
    }
    too_long = {
        str(path): length
        for path, length in lengths.items()
        if length
        > (MOST_LINES_OF_A_DOOR if path.parent == ROOT else MOST_LINES)
    }
    assert lengths and not too_long


def find_docstring_lines(tree):
    """Return the numbers of the lines that docstrings take."""
    numbers = set()
    for node in ast.walk(tree):
        if isinstance(
            node,
            (
                ast.Module,
                ast.FunctionDef,
                ast.AsyncFunctionDef,
                ast.ClassDef,
            ),
        ) and ast.get_docstring(node):
            text = node.body[0]
            numbers |= {*range(text.lineno, text.end_lineno + 1)}
    return numbers


def test_lines_of_code_are_short_on_average():
    lengths = []
    for path in list_python_files("ollama_bench"):
        text = path.read_text("utf-8")
        words = find_docstring_lines(parse(path))
        lengths += [
            len(line)
            for number, line in enumerate(text.splitlines(), 1)
            if line.strip()
            and not line.strip().startswith("#")
            and number not in words
        ]
    assert sum(lengths) / len(lengths) <= MOST_CHARACTERS


def test_no_line_of_python_is_wide():
    wide = [
        f"{path}:{number}"
        for path in list_python_files("ollama_bench", "tests")
        for number, line in enumerate(
            path.read_text("utf-8").splitlines(), 1
        )
        if len(line) > MOST_COLUMNS
    ]
    assert not wide
