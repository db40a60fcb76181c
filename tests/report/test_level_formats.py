"""The level table as JSON of a documented form, as Markdown and as CSV."""

import csv
import io
import json

import jsonschema
import pytest

import analyze
from ollama_bench.report.level_formats import FORMATS, SCHEMA
from ollama_bench.storage.connection import connect
from tests.support import made_up_results
from tools import level_schema


@pytest.fixture
def results(tmp_path):
    path = tmp_path / "results.db"
    made_up_results.write(path, levels=(1, 2, 8), failures=3)
    return path


def show(capsys, path, form, *more):
    """What is printed; nothing but that is on standard output."""
    code = analyze.main(["--db", str(path), "--format", form, *more])
    said = capsys.readouterr()
    return code, said.out, said.err


def read_json(capsys, path, *more):
    code, out, err = show(capsys, path, "json", *more)
    assert (code, err) == (0, "")
    return json.loads(out)


def test_the_schema_in_docs_is_that_of_schema_sql():
    """`make docs` writes it anew."""
    assert level_schema.SCHEMA.read_text("utf-8") == level_schema.text()


def be_closed(schema):
    """The same schema, in which a member that it does not name is wrong."""
    if isinstance(schema, dict):
        closed = {key: be_closed(value) for key, value in schema.items()}
        if closed.get("type") == "object" and "required" in closed:
            closed["additionalProperties"] = False
        return closed
    if isinstance(schema, list):
        return [be_closed(value) for value in schema]
    return schema


@pytest.mark.parametrize("machine", [True, False])
def test_the_json_is_valid_and_every_member_is_documented(
    results, capsys, machine
):
    made_up_results.write(results, levels=(4,), model="other:1b")
    if not machine:
        database = connect(str(results))
        database.execute("UPDATE run SET machine_id = NULL")
        database.conn.commit()
        database.close()
    found = read_json(capsys, results)
    jsonschema.validate(found, be_closed(level_schema.make_schema()))
    assert found["schema"] == SCHEMA
    models = [study["model"] for study in found["studies"]]
    assert models == ["other:1b", "tiny:7b"]
    assert (found["studies"][0]["machine"] is not None) == machine


def test_a_figure_is_that_of_level_summary_and_what_is_unknown_is_null(
    results, capsys
):
    [study] = read_json(capsys, results)["studies"]
    database = connect(str(results), readonly=True)
    rows = list(
        database.query("SELECT * FROM level_summary ORDER BY concurrency")
    )
    database.close()
    assert [
        {name: level[name] for name in rows[0]}
        for level in study["levels"]
    ] == rows
    assert study["levels"][0]["ttft_p95_s"] is None
    assert study["key_figures"]["at_once"] == 2
    assert study["key_figures"]["of_concurrency"] == 2
    assert "reset" in study["caveats"][0]["seen"]


def test_the_csv_has_a_row_for_each_level_and_blanks_for_the_unknown(
    results, capsys
):
    code, out, _ = show(capsys, results, "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0
    assert [row["concurrency"] for row in rows] == ["1", "2", "8"]
    assert list(rows[0]) == level_schema.list_level_columns()
    assert rows[0]["ttft_p95_s"] == "" and rows[2]["errors"] == "3"


def test_the_csv_holds_no_formula(tmp_path, capsys):
    path = tmp_path / "results.db"
    made_up_results.write(path, levels=(1,), model="=1+1")
    [row] = csv.DictReader(io.StringIO(show(capsys, path, "csv")[1]))
    assert row["model"] == "'=1+1"


def test_the_markdown_is_the_answer_and_a_table(results, capsys):
    lines = show(capsys, results, "markdown")[1].splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert table[0].startswith("| at once | completed | failed |")
    assert set(table[1]) == set("|-: ") and len(table) == 2 + 3
    assert {line.count("|") for line in table} == {table[0].count("|")}
    assert "TTFT p95" not in table[0]  # of no level
    assert lines[0] == "**tiny:7b**, simulated: no real machine"
    assert lines[lines.index(table[0]) - 1] == "" and lines[2]


def test_no_name_breaks_the_markdown(tmp_path, capsys):
    path = tmp_path / "results.db"
    name = "a|b\n<script>*_`"
    made_up_results.write(path, levels=(1,), model=name)
    lines = show(capsys, path, "markdown")[1].splitlines()
    assert lines[0].startswith("**a\\|b·\\<script\\>\\*\\_\\`**")


def test_the_markdown_mentions_nobody_and_links_nowhere(tmp_path, capsys):
    path = tmp_path / "results.db"
    made_up_results.write(
        path, levels=(1,), model="@you https://a.example"
    )
    text = show(capsys, path, "markdown")[1]
    assert text.startswith("**&#64;you https&#58;//a.example**")


@pytest.mark.parametrize("form", FORMATS)
def test_conditions_are_told_beside_and_the_exit_code_stays(
    results, capsys, form
):
    code, out, err = show(capsys, results, form, "--fail-if", "errors>0")
    assert code == 1 and "errors" in err
    assert out == show(capsys, results, form)[1]


def test_what_is_exported_too_is_told_beside(results, tmp_path, capsys):
    more = ["--export", "vllm", str(tmp_path)]
    code, out, err = show(capsys, results, "json", *more)
    assert code == 0 and json.loads(out)
    assert err == f"3 files in {tmp_path / 'vllm'}\n"


def test_no_chart_is_drawn(results, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    show(capsys, results, "csv")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    "asked", [["--format", "json"], ["--export", "vllm", "."]]
)
def test_a_comparison_has_no_such_table(results, capsys, asked):
    with pytest.raises(SystemExit) as caught:
        analyze.main(["--db", str(results), "--compare", "1", "1", *asked])
    assert caught.value.code == 2
    assert capsys.readouterr().err == (
        "analyze.py: --compare has no table of levels for --format or --export "
        "(--help shows all)\n"
    )
