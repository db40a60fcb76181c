"""describe_metrics.py - writes the tables of docs/prometheus.md out of the declarations.

python tools/describe_metrics.py   after a change of ollama_bench/prometheus/families.py
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from ollama_bench.prometheus import families  # noqa: E402

PAGE = Path(__file__).parents[1] / "docs" / "prometheus.md"
BEGIN, END = "<!-- metrics -->\n", "<!-- end of metrics -->\n"


def main() -> int:
    """Renew the tables; what stands around them stays."""
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(renew(page), encoding="utf-8")
    return 0


def renew(page: str) -> str:
    """Return the page with the tables of today."""
    return re.sub(
        f"{BEGIN}.*{END}",
        lambda _: f"{BEGIN}\n{tables()}\n{END}",
        page,
        flags=re.DOTALL,
    )


def tables() -> str:
    """Return a table for each group of metrics."""
    parts = []
    for heading, metrics in families.GROUPS.items():
        rows = [
            f"| `{metric.name}` | {metric.kind} | {list_labels(metric)} | {metric.meaning} |"
            for metric in metrics
        ]
        head = ["| metric | kind | labels | |", "|---|---|---|---|"]
        parts.append("\n".join([f"**{heading}**", "", *head, *rows, ""]))
    return "\n".join(parts)


def list_labels(metric: families.MetricSpec) -> str:
    """Return the labels; those of every request by a short name."""
    labels = metric.labels
    names = []
    if labels[: len(families.TARGET_LABELS)] == families.TARGET_LABELS:
        names = ["*request*"]
        labels = labels[len(families.TARGET_LABELS) :]
    return ", ".join([*names, *(f"`{name}`" for name in labels)])


if __name__ == "__main__":
    sys.exit(main())
