"""metadata.yaml against schema.sql, in both directions."""
import sqlite3

import pytest
import yaml

import db
import describe


@pytest.fixture(scope="module")
def stored():
    """Every table and view of a results file with its columns."""
    connection = sqlite3.connect(":memory:")
    for statement in db.statements():
        connection.execute(statement)
    names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%'")]
    found = {name: {row[1] for row in connection.execute(f"PRAGMA table_xinfo({name})")} for name in names}
    connection.close()
    return found


@pytest.fixture(scope="module")
def tables():
    return yaml.safe_load(describe.METADATA.read_text(encoding="utf-8"))["databases"]["results"]["tables"]


def test_every_table_and_view_is_described_and_none_too_many(stored, tables):
    assert set(tables) == set(stored)
    assert all(table["description"] for table in tables.values())


def test_every_column_is_described_and_none_too_many(stored, tables):
    assert {name: set(table["columns"]) for name, table in tables.items()} == stored
    assert all(words for table in tables.values() for words in table["columns"].values())


def test_sort_facets_labels_and_units_name_real_columns(stored, tables):
    for name, table in tables.items():
        named = {table.get("sort"), table.get("sort_desc"), table.get("label_column"), *table.get("facets", []), *table.get("units", {})}
        assert named - {None} <= stored[name], name


def test_it_is_what_describe_writes():
    assert describe.METADATA.read_text(encoding="utf-8") == describe.text(), "schema.sql has changed: python describe.py"


def test_units_follow_from_the_name():
    assert [describe.unit_of(name) for name in ("ttft_s", "tokens_per_s", "energy_j", "rss_bytes", "at_ns", "mean_w", "TTFB", "model")] == [
        "s", None, "J", "byte", "ns", "W", "s", None]
