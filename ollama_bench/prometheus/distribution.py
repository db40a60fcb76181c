"""The counters and histograms of a kind that only grow, by the values of their labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.utils import floatToGoString

from ollama_bench.prometheus.families import AnyFamily, MetricSpec

LabelValues = tuple[str, ...]


@dataclass
class Distribution:
    """How many values were at most each bound, all of them last, and their sum."""

    counts: list[int]
    total: float = 0.0

    def add(self, counts: Sequence[int], total: float) -> None:
        self.counts = [
            old + new for old, new in zip(self.counts, counts, strict=True)
        ]
        self.total += total


@dataclass
class Histograms:
    """A histogram for each combination of labels."""

    metric: MetricSpec
    series: dict[LabelValues, Distribution] = field(default_factory=dict)

    def find(self, labels: LabelValues) -> Distribution:
        """Return that of these labels, made empty where there is none."""
        empty = Distribution([0] * (len(self.metric.bounds) + 1))
        return self.series.setdefault(labels, empty)

    def make_family(self) -> AnyFamily:
        family = self.metric.make_family()
        assert isinstance(family, HistogramMetricFamily)
        bounds = [*map(floatToGoString, self.metric.bounds), "+Inf"]
        for labels, found in self.series.items():
            buckets = list(zip(bounds, found.counts, strict=True))
            family.add_metric(labels, buckets, found.total)
        return family
