"""docs/formats.md: what it names exists."""

import re
from pathlib import Path

import pytest
import yaml

from ollama_bench.formats.export import FORMS
from ollama_bench.formats.json_file import MOST_BYTES
from ollama_bench.formats.vllm_export import describe_draft
from ollama_bench.report.level_formats import FORMATS, SCHEMA
from tests.formats.exporting import FORMS_HERE, export, read_vllm
from tools.describe import described

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "formats.md").read_text("utf-8")


def section(name):
    """The tables of a section: the texts of the first column, in backquotes."""
    [text] = re.findall(
        rf"^## {name}\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S
    )
    cells = re.findall(r"^\| (`[^|]+) \|", text, re.M)
    return [
        name for cell in cells for name in re.findall(r"`(.+?)`", cell)
    ]


def test_every_form_has_a_section_and_its_folder(tmp_path):
    for form, (_, folder) in FORMS.items():
        assert f"\n## {form}\n" in PAGE
        what = "table" if form == "parquet" else "model"
        assert f"| `{form}` | `{folder}/<{what}>" in PAGE


@pytest.mark.parametrize("form", FORMS_HERE)
def test_files_stand_where_the_page_says(form, tmp_path):
    [pattern] = re.findall(rf"^\| `{form}` \| `(.+?)`", PAGE, re.M)
    export(tmp_path, form, levels=(4,))
    for placeholder, value in {
        "<model>": "tiny-7b",
        "<table>": "*",
        "<N>": "4",
        "<run>": "1",
        "<id>": "1",
    }.items():
        pattern = pattern.replace(placeholder, value)
    found = {
        path
        for path in tmp_path.rglob("*")
        if path.is_file() and path.suffix != ".db"
    }
    assert found == set(tmp_path.glob(pattern)) != set()


def test_every_key_of_vllm_that_is_named_is_written(tmp_path):
    found = read_vllm(export(tmp_path, "vllm", levels=(4,)), 4)
    drafts = describe_draft(
        [{"draft_tokens": 4, "draft_accepted_tokens": 2}]
    )
    assert section("vllm") and set(section("vllm")) <= {*found, *drafts}


def test_every_field_of_llm_d_that_is_named_is_written(tmp_path):
    export(tmp_path, "llm-d", levels=(4,))
    [path] = (tmp_path / "llm-d" / "tiny-7b").iterdir()
    names = set(re.findall(r"([a-z_]+):", path.read_text("utf-8")))
    assert yaml.safe_load(path.read_text("utf-8"))["version"] in PAGE
    named = {
        part
        for name in section("llm-d")
        for part in name.replace("[]", "").split(".")
    }
    assert named and named <= names


def test_every_column_that_is_named_exists():
    columns = {
        column for _, names in described().values() for column in names
    }
    named = set(
        re.findall(r"`([a-z0-9_]+_(?:s|w|per_s|token))`", PAGE)
    ) - {
        *section("llm-d"),
        "inter_token_latency",
    }
    named -= {"energy_per_output_token", "time_per_output_token"}
    assert named and named <= columns, named - columns


def test_limits_and_names_are_those_of_the_code():
    assert f"{MOST_BYTES >> 20} MiB" in PAGE and SCHEMA in PAGE
    for form in FORMATS:
        assert f"`{form}`" in PAGE or f"--format {form}" in PAGE
    for target in re.findall(r"\]\(([^)#:]+)\)", PAGE):
        assert (DOCS / target).exists(), target
