"""The names of all charts, for who chooses some: here, because drawing takes long to load."""

from __future__ import annotations

OF_MODEL = (  # in the order of the page
    "combined_metrics",
    "throughput_vs_avg_wait",
    "throughput_vs_p99_wait",
    "average_throughput",
    "timeline",
    "request_evolution",
    "ttfb_analysis_32",
    "ttfb_analysis_256",
    "duration_metrics_32",
    "duration_metrics_256",
    "performance_metrics",
    "token_distribution",
    "server_split",
    "itl",
    "energy",
    "gpu_metrics",
    "process_metrics",
)
ACROSS_MODELS = (
    "comparative_throughput",
    "comparative_wait",
    "comparative_efficiency",
)
OF_LENGTHS = ("prompt_lengths", "capacity_by_length", "interference")
OF_HOSTS = ("host_scaling",)
ALL = OF_MODEL + ACROSS_MODELS + OF_LENGTHS + OF_HOSTS


def parse(text: str) -> tuple[str, ...]:
    """Parse all, none, or names with commas between them. Raises ValueError."""
    if text in ("all", "none"):
        return ALL if text == "all" else ()
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in ALL:
            raise ValueError(
                f"invalid chart {name!r}: expected all, none or some of {', '.join(ALL)}"
            )
    return names
