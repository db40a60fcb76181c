"""Coverage-guided fuzzing of every parser, with the tests of tests/properties as judges.

    make fuzz                                       each for ten minutes, one for each core at once
    python tests/fuzz.py test_prompts [SECONDS]     one of them
    python tests/fuzz.py                            their names

Needs atheris (Linux, Python 3.11 to 3.13). What fails a test is printed and kept in
.venv/fuzz/NAME/; put it into the test as an @example.
"""

import contextlib
import importlib
import inspect
import io
import itertools
import os
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
import atheris  # noqa: E402

with atheris.instrument_imports(include=["ollama_bench", "plistlib"]):
    MODULES = [
        importlib.import_module(f"tests.properties.{path.stem}")
        for path in sorted(ROOT.glob("tests/properties/test_*.py"))
    ]

from hypothesis import given, settings  # noqa: E402

SECONDS, SLOW_S, LONGEST_BYTES, MEMORY_MB = 600, 20, 4096, 3000


class Captured:
    """pytest's capsys, of what one call printed."""

    def readouterr(self):
        said = sys.stdout.getvalue(), sys.stderr.getvalue()
        for stream in (sys.stdout, sys.stderr):
            stream.seek(0)
            stream.truncate()
        return said


class Folders:
    """pytest's tmp_path_factory, with one folder at a time."""

    def __init__(self, top):
        self.top = top
        self.numbers = itertools.count()

    def mktemp(self, _name):
        shutil.rmtree(self.top, ignore_errors=True)
        folder = self.top / str(next(self.numbers))
        folder.mkdir(parents=True)
        return folder


def targets():
    """Name -> (test, what it is parametrized with) of every property."""
    found = {}
    tests = [item for module in MODULES for item in vars(module).items()]
    for name, test in tests:
        if hasattr(test, "hypothesis"):
            marks = [
                mark
                for mark in getattr(test, "pytestmark", [])
                if mark.name == "parametrize"
            ]
            for number, values in enumerate(
                marks[0].args[1] if marks else [None]
            ):
                names = (
                    marks[0].args[0].replace(" ", "").split(",")
                    if marks
                    else []
                )
                parameters = dict(
                    zip(names, values if len(names) > 1 else [values])
                )
                found[f"{name}:{number}" if marks else name] = (
                    test,
                    parameters,
                )
    return found


def fuzz(name, seconds):
    """Never returns: 0 is the end of a process that found nothing."""
    test, parameters = targets()[name]
    strategies = test.hypothesis._given_kwargs
    kept = ROOT / ".venv" / "fuzz" / name.replace(":", "-")
    kept.mkdir(parents=True, exist_ok=True)
    folders = Folders(kept.with_name(f"{kept.name}.files"))
    fixtures = {
        "tmp_path": lambda: folders.mktemp("one"),
        "tmp_path_factory": lambda: folders,
        "capsys": Captured,
    }
    wanted = [
        fixture
        for fixture in inspect.signature(
            test.hypothesis.inner_test
        ).parameters
        if fixture in fixtures
    ]

    def judge(**drawn):
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            try:
                test.hypothesis.inner_test(
                    **parameters,
                    **{fixture: fixtures[fixture]() for fixture in wanted},
                    **drawn,
                )
            except Exception:
                print(f"{name} fails with {drawn}", file=sys.__stderr__)
                raise

    judge.__signature__ = inspect.Signature(
        [
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY)
            for key in strategies
        ]
    )
    one_input = settings(database=None)(
        given(**strategies)(judge)
    ).hypothesis.fuzz_one_input
    atheris.Setup(
        [
            sys.argv[0],
            str(kept),
            f"-artifact_prefix={kept}/",
            f"-max_total_time={seconds}",
            f"-timeout={SLOW_S}",
            f"-max_len={LONGEST_BYTES}",
            f"-rss_limit_mb={MEMORY_MB}",
            "-verbosity=0",
        ],
        lambda data: one_input(data) and None,
    )
    atheris.Fuzz()


if __name__ == "__main__":
    if len(sys.argv) == 1:
        print("\n".join(targets()))
    else:
        os.chdir(ROOT)
        fuzz(
            sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else SECONDS
        )
