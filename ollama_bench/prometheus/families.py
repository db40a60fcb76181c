"""Every metric that monitor.py shows to Prometheus: name, unit, labels and meaning.

Names that begin with gen_ai are OpenTelemetry's, of its conventions for generative AI, in the
spelling of Prometheus; so are their labels and the bounds of their buckets. docs/prometheus.md
is written from this file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)

Kind = Literal["counter", "gauge", "histogram"]
AnyFamily = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily
FAMILY_CLASSES = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
}


@dataclass(frozen=True)
class MetricSpec:
    """A metric and its meaning; bounds: of the buckets of a histogram."""

    name: str
    kind: Kind
    meaning: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()

    def make_family(self) -> AnyFamily:
        """Return the family of its samples, without any."""
        family: AnyFamily = FAMILY_CLASSES[self.kind](
            self.name, self.meaning, labels=self.labels
        )
        return family


# -- the server that is watched

PROCESS_LABELS = ("role", "name")
PROCESSES = MetricSpec(
    "ollama_bench_server_processes",
    "gauge",
    "Processes of the watched server. role: serve, runner or helper.",
    PROCESS_LABELS,
)
CPU = MetricSpec(
    "ollama_bench_server_cpu_seconds_total",
    "counter",
    "User and system CPU time of the server's processes, ended ones included.",
    PROCESS_LABELS,
)
RESIDENT = MetricSpec(
    "ollama_bench_server_resident_memory_bytes",
    "gauge",
    "Resident memory of the server's processes; shared pages count in each.",
    PROCESS_LABELS,
)
FOOTPRINT = MetricSpec(
    "ollama_bench_server_footprint_bytes",
    "gauge",
    "Memory that macOS charges to the server's processes, GPU memory included.",
    PROCESS_LABELS,
)
THREADS = MetricSpec(
    "ollama_bench_server_threads",
    "gauge",
    "Threads of the server's processes.",
    PROCESS_LABELS,
)
SLOTS = MetricSpec(
    "ollama_bench_server_slots",
    "gauge",
    "Requests that the watched server takes at a time, by how it was started.",
)
RUNNING = MetricSpec(
    "ollama_bench_server_requests_running",
    "gauge",
    "Requests that hold a slot, by the server's own page of metrics.",
)
WAITING = MetricSpec(
    "ollama_bench_server_requests_waiting",
    "gauge",
    "Requests that wait for a slot, by the server's own page of metrics.",
)

# -- power

DEVICE_LABELS = ("source", "device")
POWER = MetricSpec(
    "ollama_bench_power_watts",
    "gauge",
    "Power in the last sample. rail: total, its parts cpu and gpu, or machine,"
    " a sensor of the whole computer that is not in total.",
    (*DEVICE_LABELS, "rail"),
)
ENERGY = MetricSpec(
    "ollama_bench_energy_joules_total",
    "counter",
    "Energy of all samples; its rate is the mean power. rail: total, or its"
    " parts cpu and gpu.",
    (*DEVICE_LABELS, "rail"),
)
TEMPERATURE = MetricSpec(
    "ollama_bench_temperature_celsius",
    "gauge",
    "Temperature of the device.",
    DEVICE_LABELS,
)
GPU_BUSY = MetricSpec(
    "ollama_bench_gpu_busy_ratio",
    "gauge",
    "Share of the time that the GPU was not idle, 0 to 1.",
    DEVICE_LABELS,
)
GPU_CLOCK = MetricSpec(
    "ollama_bench_gpu_clock_hertz",
    "gauge",
    "Clock of the GPU.",
    DEVICE_LABELS,
)
GPU_MEMORY = MetricSpec(
    "ollama_bench_gpu_memory_bytes",
    "gauge",
    "GPU memory in use, by whatever program.",
    DEVICE_LABELS,
)

# -- runs of bench.py in the same results file

MODEL = "gen_ai_request_model"
TARGET_LABELS = (
    "gen_ai_operation_name",
    "gen_ai_provider_name",
    MODEL,
    "server_address",
    "server_port",
)
SECONDS = tuple(0.01 * 2**power for power in range(14))
REQUESTS = MetricSpec(
    "ollama_bench_requests_total",
    "counter",
    "Requests that have ended. status: how, as column ending of table request.",
    (*TARGET_LABELS, "status"),
)
LEVEL_LABELS = ("run", "load", MODEL)
CONCURRENCY = MetricSpec(
    "ollama_bench_level_concurrency",
    "gauge",
    "The level that is being measured: requests at the same instant, or"
    " people. load: burst, closed, open or people.",
    LEVEL_LABELS,
)
UNANSWERED = MetricSpec(
    "ollama_bench_level_requests_waiting",
    "gauge",
    "Requests of the level that wait for their first token.",
    LEVEL_LABELS,
)
STREAMING = MetricSpec(
    "ollama_bench_level_requests_streaming",
    "gauge",
    "Requests of the level that are being answered.",
    LEVEL_LABELS,
)
PACE = MetricSpec(
    "ollama_bench_level_tokens_per_second",
    "gauge",
    "Tokens of the last 5 s, a second; of a reply that still comes in each"
    " read counts as one.",
    LEVEL_LABELS,
)
DURATION = MetricSpec(
    "gen_ai_client_operation_duration_seconds",
    "histogram",
    "From when a request was due until its end. error_type: its status where"
    " it did not complete.",
    (*TARGET_LABELS, "error_type"),
    SECONDS,
)
FIRST_CHUNK = MetricSpec(
    "gen_ai_client_operation_time_to_first_chunk_seconds",
    "histogram",
    "From when a request was due until its first chunk with text (TTFT).",
    TARGET_LABELS,
    SECONDS,
)
TOKENS = MetricSpec(
    "gen_ai_client_token_usage",
    "histogram",
    "Tokens of a request, where they are known; the sum is all of them."
    " gen_ai_token_type: input or output.",
    (*TARGET_LABELS, "gen_ai_token_type"),
    tuple(float(4**power) for power in range(14)),
)
TIME_PER_TOKEN = MetricSpec(
    "gen_ai_server_time_per_output_token_seconds",
    "histogram",
    "Time per output token after the first of a request that completed, as"
    " this client saw it.",
    TARGET_LABELS,
    (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2)
    + (0.3, 0.4, 0.5, 0.75, 1.0, 2.5),
)
BUILD = MetricSpec(
    "ollama_bench_build_info",
    "gauge",
    "Always 1. version: that of this program.",
    ("version",),
)

GROUPS = {
    "The server's processes": (
        *(PROCESSES, CPU, RESIDENT, FOOTPRINT, THREADS),
        *(SLOTS, RUNNING, WAITING),
    ),
    "Power": (POWER, ENERGY, TEMPERATURE, GPU_BUSY, GPU_CLOCK, GPU_MEMORY),
    "Runs": (
        *(REQUESTS, CONCURRENCY, UNANSWERED, STREAMING, PACE),
        *(DURATION, FIRST_CHUNK, TIME_PER_TOKEN, TOKENS),
    ),
    "The program": (BUILD,),
}
