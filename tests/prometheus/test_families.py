"""The metrics that are declared: names, units, meanings, and what is written of them in docs/."""

import json
import re
from pathlib import Path

import pytest

from ollama_bench.prometheus import families
from tools import describe_metrics

DASHBOARD = Path(__file__).parents[2] / "docs" / "grafana-dashboard.json"
METRICS = [
    metric for group in families.GROUPS.values() for metric in group
]
NAMES = {metric.name for metric in METRICS}
# of OpenTelemetry's conventions for generative AI, November 2026
OPENTELEMETRY = {
    "gen_ai.client.operation.duration": "s",
    "gen_ai.client.operation.time_to_first_chunk": "s",
    "gen_ai.client.token.usage": "{token}",
    "gen_ai.server.time_per_output_token": "s",
}
# Prometheus knows units in full and without prefixes
UNITS = (
    "seconds",
    "bytes",
    "joules",
    "watts",
    "celsius",
    "hertz",
    "ratio",
)
COUNTED = (
    "processes",
    "threads",
    "slots",
    "requests",
    "running",
    "waiting",
    "streaming",
    "tokens_per_second",
    "concurrency",
    "usage",
    "info",
)
SUFFIXES = re.compile("_(bucket|sum|count)$")


@pytest.mark.parametrize("metric", METRICS, ids=lambda one: one.name)
def test_a_metric_keeps_the_rules_of_prometheus(metric):
    assert re.fullmatch("[a-z][a-z0-9_]*", metric.name)
    assert metric.name.startswith(("ollama_bench_", "gen_ai_"))
    is_counter = metric.kind == "counter"
    assert metric.name.endswith("_total") == is_counter
    ends = UNITS + COUNTED
    assert metric.name.removesuffix("_total").endswith(ends)
    assert not SUFFIXES.search(metric.name)
    assert metric.meaning.endswith(".") and len(metric.meaning) > 15
    assert len({*metric.labels}) == len(metric.labels)
    for label in metric.labels:
        assert re.fullmatch("[a-z][a-z0-9_]*", label)
        assert label not in ("le", "job", "instance", metric.name)
    assert bool(metric.bounds) == (metric.kind == "histogram")
    assert list(metric.bounds) == sorted({*metric.bounds})


def test_every_metric_is_in_a_group_once():
    declared = [
        value
        for value in vars(families).values()
        if isinstance(value, families.MetricSpec)
    ]
    assert len(NAMES) == len(METRICS) == len(declared)


def test_names_of_opentelemetry_are_spelled_as_its_collector_does():
    units = {"s": "_seconds", "{token}": ""}
    spelled = {
        name.replace(".", "_") + units[unit]
        for name, unit in OPENTELEMETRY.items()
    }
    assert spelled == {
        name for name in NAMES if name.startswith("gen_ai_")
    }


def test_the_bounds_are_those_of_opentelemetry():
    assert families.SECONDS[:4] == (0.01, 0.02, 0.04, 0.08)
    assert families.SECONDS[-1] == 81.92
    assert families.TOKENS.bounds[-1] == 67108864


def test_the_page_is_what_the_declarations_say():
    page = describe_metrics.PAGE.read_text(encoding="utf-8")
    assert describe_metrics.renew(page) == page, (
        "a metric has changed: python tools/describe_metrics.py"
    )
    assert all(f"| `{name}` |" in page for name in NAMES)


def find_queries():
    """Yield every query of the dashboard and of the page."""
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    for panel in dashboard["panels"]:
        yield from (one["expr"] for one in panel.get("targets", []))
    page = describe_metrics.PAGE.read_text(encoding="utf-8")
    yield from re.findall(r"\| `([^`|]*\([^`|]*)` \|", page)


def find_metrics(text):
    names = re.findall(
        r"\b(?:ollama_bench|gen_ai)_\w+(?=\{|\[|\)|$)", text
    )
    known = {label for metric in METRICS for label in metric.labels}
    return {SUFFIXES.sub("", name) for name in names} - known


def test_queries_name_metrics_and_labels_that_there_are():
    queries = list(find_queries())
    assert len(queries) > 25
    labels = {label for metric in METRICS for label in metric.labels}
    for query in queries:
        assert find_metrics(query) and find_metrics(query) <= NAMES, query
        named = re.findall(r"([a-z_]+)=~?\"", query)
        assert set(named) <= labels | {"instance", "le"}, query


def test_the_dashboard_shows_every_metric():
    text = " ".join(find_queries())
    assert find_metrics(text) == NAMES - {families.BUILD.name}


def test_the_dashboard_asks_whatever_prometheus_the_user_has():
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    panels = [one for one in dashboard["panels"] if one["type"] != "row"]
    for panel in panels:
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["title"] and panel["targets"]
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len({*numbers}) == len(numbers)
    places = [tuple(one["gridPos"].values()) for one in panels]
    assert len({*places}) == len(places)
