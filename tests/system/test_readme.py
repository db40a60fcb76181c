"""README.md and docs/: every option, view, file and page that they name exists."""

import re
from pathlib import Path

import pytest

from ollama_bench.inputs import options
from tools import describe_options

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# of pip, pipx, uv, sudo, git, datasette and sqlite-utils
OTHERS = {
    "--csv",
    "--dry-run",
    "--from",
    "--help",
    "--include-deps",
    "--plugins-dir",
    "--preserve-env",
    "--require-hashes",
    "--spec",
    "--version",
    "--with-executables-from",
}
LINES_OF_FIRST_SCREEN = 25


def read(path):
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["README.md", "docs/install.md"])
def test_every_option_that_is_named_exists(name):
    known = {one.split()[-1] for one in describe_options.documented()}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", read(ROOT / name)))
    assert named and named - OTHERS <= known


def test_every_command_of_the_readme_has_options_of_its_own():
    bench = {option.flag for option in options.ALL} | {"--help"}
    for line in read(ROOT / "README.md").splitlines():
        match = re.match(
            r"(?:ollama-bench|sudo \S+ -v ollama-bench\)\")(.*)", line
        )
        if match and not re.match(r" [a-z]", match[1]):
            flags = re.findall(r"(?<![\w-])--[a-z][a-z-]*", match[1])
            assert set(flags) <= bench, line


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_view_and_file_that_is_named_exists(path):
    schema, text = read(ROOT / "schema.sql"), read(path)
    for name in re.findall(
        r"`([a-z]+_(?:summary|metrics|split|effect))`", text
    ):
        assert f"CREATE VIEW {name} AS" in schema, name
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (path.parent / target).exists(), target


def test_every_way_in_which_a_request_ends_is_explained():
    schema = read(ROOT / "schema.sql")
    status = re.search(r"status IN \('in_flight',([^)]*)\)", schema)
    ending = re.search(r"ending TEXT AS \((.*?) END\)", schema)
    found = {*re.findall(r"'(\w+)'", status[1])}
    found |= {*re.findall(r"THEN '(\w+)'", ending[1])}
    assert {"completed", "abandoned"} <= found
    words = read(ROOT / "docs" / "words.md").rpartition("A request ends")
    assert found <= {*re.findall(r"`(\w+)`", words[2])}


def test_every_page_can_be_reached_from_the_readme():
    text = read(ROOT / "README.md")
    for path in PAGES[1:]:
        assert f"](docs/{path.name})" in text, path.name


def test_the_first_screen_is_one():
    first = read(ROOT / "README.md").partition("\n## ")[0]
    assert len(first.splitlines()) <= LINES_OF_FIRST_SCREEN
    assert "simulated" not in first


def test_the_first_screen_says_people_only_where_they_were_measured():
    first = read(ROOT / "README.md").partition("\n## ")[0].lower()
    measured = read(ROOT / "docs" / "sample" / "card.md")
    assert "people" not in first or "people served" in measured
