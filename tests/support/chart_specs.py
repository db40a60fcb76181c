"""Read what a Vega-Lite spec draws."""

from __future__ import annotations

import contextlib
import itertools
from concurrent.futures import Future

import pytest

from ollama_bench.charts import catalog
from ollama_bench.charts.rendering import Renderers


def axes(spec):
    """Every x and y of a spec, with its title."""
    if isinstance(spec, dict):
        for channel in ("x", "y"):
            if channel in spec.get("encoding", {}):
                yield spec["encoding"][channel]
        for key, part in spec.items():
            if key != "datasets":
                yield from axes(part)
    elif isinstance(spec, list):
        for part in spec:
            yield from axes(part)


def values(spec):
    """All rows that a spec carries."""
    return list(
        itertools.chain.from_iterable(spec.get("datasets", {}).values())
    ) + [row for row in flat(spec) if isinstance(row, dict)]


def flat(spec):
    if isinstance(spec, dict):
        if isinstance(spec.get("data"), dict):
            yield from spec["data"].get("values", [])
        for part in spec.values():
            yield from flat(part)
    elif isinstance(spec, list):
        for part in spec:
            yield from flat(part)


def chart(name):
    return next(chart for chart in catalog.CHARTS if chart.name == name)


@contextlib.contextmanager
def drawing_nothing(with_scripts=False):
    """Have every PNG and the page's scripts empty: for tests that look at other things."""

    def give_nothing(self, spec=None):
        future = Future()
        future.set_result(b"")
        return future

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Renderers, "draw_png", give_nothing)
        if not with_scripts:
            patch.setattr(Renderers, "bundle_scripts", give_nothing)
        yield
