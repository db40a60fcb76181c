"""README.md: every option it names exists, and every option that exists is in it."""

import re
from pathlib import Path

from ollama_bench.inputs import options

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(
    encoding="utf-8"
)
# of sqlite-utils, the simulator
OTHERS = {"--csv", "--fault", "--port", "--help"}


def all_options():
    return {
        option.flag
        for option in options.ALL
        if not (option.is_positional or option.is_hidden)
    }


def test_every_option_of_bench_is_in_the_readme():
    assert (
        all_options() - set(re.findall(r"--[a-z][a-z-]*", README)) == set()
    )


def test_every_option_of_a_bench_command_exists():
    lines = [
        line
        for line in README.splitlines()
        if "bench.py " in line
        and "analyze" not in line
        and "ollama_bench.simulator" not in line
    ]
    named = {
        flag
        for line in lines
        for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]*", line)
    }
    assert named and named <= {*all_options(), "--help"}


def test_every_view_and_file_that_is_named_exists():
    root = Path(__file__).resolve().parents[2]
    schema = (root / "schema.sql").read_text(encoding="utf-8")
    for name in re.findall(
        r"`([a-z]+_(?:summary|metrics|split|throughput|effect))`", README
    ):
        assert f"CREATE VIEW {name} AS" in schema, name
    for name in re.findall(r"\b([a-z_]+\.py)\b", README):
        assert (root / name).exists(), name
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (root / target).exists() or target == "docs/demo.png", target
