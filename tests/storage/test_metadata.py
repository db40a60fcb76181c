"""metadata.yaml against schema.sql, in both directions."""

import re
import sqlite3

import pytest
import yaml

from ollama_bench.storage import schema
from tools import describe


@pytest.fixture(scope="module")
def stored():
    """Every table and view of a results file with its columns."""
    connection = sqlite3.connect(":memory:")
    for statement in schema.statements():
        connection.execute(statement)
    names = [
        row[0]
        for row in connection.execute(
            "SELECT name FROM sqlite_master WHERE type IN ('table', 'view')"
            " AND name NOT LIKE 'sqlite_%'"
        )
    ]
    found = {
        name: {
            row[1]
            for row in connection.execute(f"PRAGMA table_xinfo({name})")
        }
        for name in names
    }
    connection.close()
    return found


@pytest.fixture(scope="module")
def metadata():
    return yaml.safe_load(describe.METADATA.read_text(encoding="utf-8"))[
        "databases"
    ]["results"]


@pytest.fixture(scope="module")
def tables(metadata):
    return metadata["tables"]


@pytest.fixture(scope="module")
def descriptions(tables):
    """(table, column, description) of every column."""
    return [
        (name, column, words)
        for name, table in tables.items()
        for column, words in table["columns"].items()
    ]


def test_the_database_says_where_to_start(metadata, stored):
    assert metadata["description"].startswith("Start with level_summary")
    assert set(
        re.findall(r"[a-z]+_[a-z]+", metadata["description"])
    ) <= set(stored)


UNITS = {
    "_s": "seconds",
    "_ns": "nanoseconds",
    "_w": "watts",
    "_j": "joules",
    "_wh": "watt hours",
    "_bytes": "bytes",
    "_mhz": "MHz",
    "_c": "degrees Celsius",
    "_per_s": "per second",
    "_unix": "seconds since 1970",
    "_ratio": "(0 to 1|1 is one core)",
    "TTFB": "seconds",
    "Duration": "seconds",
    "WaitingTime": "seconds",
    "Throughput": "tokens per second",
    "(W)": "watts",
    "(MHz)": "MHz",
    "%": "per cent",
    "VSZ": "KiB",
    "RSS": "KiB",
}


def test_every_description_has_its_unit(descriptions):
    for table, column, words in descriptions:
        ending = max(
            (ending for ending in UNITS if column.endswith(ending)),
            key=len,
            default=None,
        )
        assert ending is None or re.search(
            rf"(?<!\w){UNITS[ending]}", words
        ), f"{table}.{column}: {words}"


def test_every_description_stands_alone(descriptions):
    dangling = (
        r"^(its|their|of these|to here|\.\.\.)|^(mean|shortest|longest)$"
        r"|\b(of these,|the same (as|less)|all of the below|the next figures)"
    )
    assert [
        (table, column, words)
        for table, column, words in descriptions
        if re.search(dangling, words)
    ] == []


def test_every_value_that_a_column_can_have_is_told(tables):
    """The values that a CHECK allows are in the description, of views of the column too."""
    found = 0
    for statement in schema.statements():
        name = re.search(r"CREATE TABLE IF NOT EXISTS (\w+)", statement)
        for column, values in (
            re.findall(r"CHECK \((\w+) IN \(([^)]*'[^)]*)\)", statement)
            if name
            else []
        ):
            found += 1
            words = tables[name[1]]["columns"][column]
            assert all(
                value in words for value in re.findall(r"'(\w+)'", values)
            ), f"{name[1]}.{column}: {words}"
    assert found >= 10


@pytest.mark.parametrize(
    "column, part",
    [
        ("runs.source", "bench, monitor or import"),
        ("runs.status", "interrupted"),
        ("level_summary.load", "closed"),
        ("level_summary.status", "how far the level came"),
        ("outcomes.status", "stalled"),
        ("request_summary.Status", "stalled"),
        ("gpu_metrics.source", "powermetrics"),
        ("energy_summary.source", "watts"),
        ("idle_power.name", "powermetrics"),
        ("process_metrics.name", "program"),
        ("level_summary.client_cpu_ratio", "CPU seconds"),
    ],
)
def test_a_column_of_a_view_is_told_by_what_it_is_there(
    tables, column, part
):
    table, _, name = column.partition(".")
    assert part in tables[table]["columns"][name]


def test_every_table_and_view_is_described_and_none_too_many(
    stored, tables
):
    assert set(tables) == set(stored)
    assert all(table["description"] for table in tables.values())


def test_every_column_is_described_and_none_too_many(stored, tables):
    assert {
        name: set(table["columns"]) for name, table in tables.items()
    } == stored
    assert all(
        words
        for table in tables.values()
        for words in table["columns"].values()
    )


def test_sort_facets_labels_and_units_name_real_columns(stored, tables):
    for name, table in tables.items():
        named = {
            table.get("sort"),
            table.get("sort_desc"),
            table.get("label_column"),
            *table.get("facets", []),
            *table.get("units", {}),
        }
        assert named - {None} <= stored[name], name


def test_it_is_what_describe_writes():
    assert (
        describe.METADATA.read_text(encoding="utf-8") == describe.text()
    ), "schema.sql has changed: python describe.py"


def test_units_follow_from_the_name():
    assert [
        describe.unit_of(name)
        for name in (
            "ttft_s",
            "tokens_per_s",
            "energy_j",
            "rss_bytes",
            "at_ns",
            "mean_w",
            "TTFB",
            "model",
        )
    ] == ["s", None, "J", "byte", "ns", "W", "s", None]


@pytest.mark.parametrize(
    "column, said, told",
    [
        (
            "ttft_s",
            "the wait; NULL for none",
            "the wait, seconds; NULL for none",
        ),
        ("ttft_s", "seconds of waiting", "seconds of waiting"),
        (
            "vram_bytes",
            "less than size_bytes",
            "less than size_bytes, bytes",
        ),
        (
            "sent_ns",
            "it was sent",
            "it was sent, nanoseconds since the run began",
        ),
        ("server_total_ns", "all of it", "all of it, nanoseconds"),
        ("tokens_per_s", "speed", "speed"),
        ("Power(W)", "of the GPU", "of the GPU, watts"),
    ],
)
def test_a_unit_is_added_where_it_is_absent(column, said, told):
    assert describe.with_unit(column, said) == told
