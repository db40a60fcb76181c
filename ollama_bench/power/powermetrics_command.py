"""The command line of macOS' powermetrics, and the simpler ones tried when it is refused."""

from __future__ import annotations

# absolute, because it is started as root
POWERMETRICS = "/usr/bin/powermetrics"
# real windows are about 1 % longer: elapsed_ns is exact
POWERMETRICS_INTERVAL_MS = 1000
SAMPLERS = (  # the next one is tried when powermetrics refuses a sampler
    "cpu_power,gpu_power,thermal",
    "cpu_power,gpu_power",
    "gpu_power",
)


def build_arguments(step: int = 0) -> list[str]:
    """Return the command line with SAMPLERS[step]."""
    return [
        POWERMETRICS,
        *("--samplers", SAMPLERS[step]),
        *("-f", "plist"),
        *("-b", "0"),
        *("-i", str(POWERMETRICS_INTERVAL_MS)),
    ]


def with_fewer_samplers(command: list[str]) -> list[list[str]]:
    """Return the command, followed by the same command with fewer and fewer samplers."""
    if "--samplers" not in command:
        return [command] * len(SAMPLERS)
    at = command.index("--samplers") + 1
    simpler = [
        [*command[:at], samplers, *command[at + 1 :]]
        for samplers in SAMPLERS[1:]
    ]
    return [command, *simpler]


def parse_interval(command: list[str]) -> float:
    """Return the interval in seconds that a powermetrics command line asks for."""
    if "-i" not in command:
        return POWERMETRICS_INTERVAL_MS / 1e3
    return int(command[command.index("-i") + 1]) / 1e3
