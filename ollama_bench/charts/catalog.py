"""Every chart of a model, in the order of the page."""

from __future__ import annotations

from ollama_bench.charts import (
    load_charts,
    machine_charts,
    request_charts,
    stream_charts,
    timeline_charts,
)
from ollama_bench.charts.chart import Chart

CHARTS: tuple[Chart, ...] = (
    load_charts.COMBINED,
    load_charts.AGAINST_MEAN_WAIT,
    load_charts.AGAINST_P99_WAIT,
    load_charts.SPEED_OF_ONE,
    timeline_charts.TIMELINE,
    timeline_charts.EVOLUTION,
    request_charts.WAITS_TO_32,
    request_charts.WAITS,
    request_charts.DURATIONS_TO_32,
    request_charts.DURATIONS,
    load_charts.PERFORMANCE,
    request_charts.LENGTHS,
    stream_charts.SERVER_SPLIT,
    stream_charts.GAPS,
    machine_charts.ENERGY,
    machine_charts.GPU,
    machine_charts.PROCESSES,
)
