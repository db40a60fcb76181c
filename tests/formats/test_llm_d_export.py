"""Benchmark Report 0.2 of llm-d, against the JSON schema that its package publishes."""

import importlib.util
import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from ollama_bench.storage.connection import connect
from tests.formats.exporting import export
from tests.support import made_up_results
from tests.support.studies import change

NAME = "br_v0_2_json_schema.json"


@pytest.fixture(scope="module")
def validator():
    """The published schema; the package is not imported, and need not be complete."""
    found = importlib.util.find_spec("llmd_benchmark_report")
    if found is None or found.origin is None:
        pytest.skip("needs llmd-benchmark-report: Python 3.11 or newer")
    schema = json.loads((Path(found.origin).parent / NAME).read_text())
    return jsonschema.Draft202012Validator(schema)


def read(folder):
    paths = sorted((folder / "llm-d" / "tiny-7b").iterdir())
    return [yaml.safe_load(path.read_text("utf-8")) for path in paths]


def test_every_level_is_valid_by_the_published_schema(tmp_path, validator):
    for report in read(
        export(tmp_path, "llm-d", levels=(1, 8, 128), failures=3)
    ):
        validator.validate(report)


def test_what_is_not_known_is_absent_and_still_valid(tmp_path, validator):
    made_up_results.write(
        tmp_path / "results.db", levels=(2,), chunks=False
    )
    database = connect(str(tmp_path / "results.db"))
    for sql in (
        "UPDATE request SET prompt_tokens = NULL, output_tokens = NULL",
        "UPDATE target SET server = NULL, server_version = NULL",
        "UPDATE run SET machine_id = NULL",
        "DELETE FROM power_sample",
    ):
        database.execute(sql)
    database.conn.commit()
    database.close()
    [report] = read(export(tmp_path, "llm-d"))
    validator.validate(report)
    assert "load" not in report["scenario"]
    assert report["results"]["observability"] == {}
    aggregate = report["results"]["request_performance"]["aggregate"]
    assert set(aggregate["latency"]) == {
        "time_to_first_token",
        "request_latency",
    }
    assert set(aggregate["requests"]) == {"total", "failures"}


@pytest.mark.parametrize("arguments", ["[1,2", "7", '["prompts"]'])
def test_arguments_of_another_program_tell_no_source(
    tmp_path, validator, arguments
):
    made_up_results.write(tmp_path / "results.db", levels=(2,))
    change(
        tmp_path / "results.db",
        f"UPDATE run SET arguments = '{arguments}'",
    )
    [report] = read(export(tmp_path, "llm-d"))
    validator.validate(report)
    load = report["scenario"]["load"]["standardized"]
    assert load["source"] == "unknown"


def test_the_schema_finds_what_is_wrong(tmp_path, validator):
    [report] = read(export(tmp_path, "llm-d", levels=(1,)))
    del report["run"]["uid"]
    assert not validator.is_valid(report)


def test_percentiles_stand_only_where_there_are_values_enough(tmp_path):
    few, many = read(export(tmp_path, "llm-d", levels=(8, 128)))

    def waits(report):
        aggregate = report["results"]["request_performance"]["aggregate"]
        return aggregate["latency"]["time_to_first_token"]

    assert {"p95", "p99"} & set(waits(few)) == set()
    assert {"p95", "p99"} <= set(waits(many))


def test_watts_and_joules_are_those_of_the_level(tmp_path):
    [report] = read(export(tmp_path, "llm-d", levels=(4,)))
    database = connect(str(tmp_path / "results.db"), readonly=True)
    [level] = database.query("SELECT * FROM energy_summary")
    database.close()
    seen = report["results"]["observability"]
    power = seen["components"][0]["aggregate"]["power_consumption"]
    assert power["units"] == "Watts" and power["mean"] == level["mean_w"]
    assert seen["energy_per_output_token"] == {
        "units": "J/token",
        "mean": level["joules_per_output_token"],
    }


def test_a_report_has_a_number_of_its_own(tmp_path):
    reports = read(export(tmp_path, "llm-d", levels=(1, 2), runs=1))
    assert len({report["run"]["uid"] for report in reports}) == 2
    assert len({report["run"]["eid"] for report in reports}) == 1
