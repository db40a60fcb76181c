"""What else the machine did while a level was measured: other programs, heat, saving power."""

from __future__ import annotations

from ollama_bench.analysis.bottlenecks import (
    is_cpu_busy,
    others_cpu_share,
    server_cpu_share,
)
from ollama_bench.analysis.caveat import Caveat
from ollama_bench.analysis.crowd import name_place
from ollama_bench.analysis.study import Study
from ollama_bench.analysis.wording import percent, span

# of all cores: what may run beside without being mentioned
OTHERS_CPU_RATIO = 0.2


def other_programs(study: Study) -> list[Caveat]:
    """Find what else kept the processor busy; a simulated server's speed does not depend on it."""
    if study.simulated:
        return []
    busy = [level for level in study.levels if is_cpu_busy(level)]
    shares = [(level, others_cpu_share(study, level)) for level in busy]
    shares = [
        (level, share)
        for level, share in shares
        if share >= OTHERS_CPU_RATIO
    ]
    if not shares:
        return []
    how_busy = span([share for _, share in shares], percent)
    where = name_place([level for level, _ in shares])
    return [
        Caveat(
            f"other programs kept {how_busy} of the processor busy {where}",
            "Speeds may be lower and watts higher than the machine's own",
            "Stop them and run it again",
        )
    ]


def unseen_server(study: Study) -> list[Caveat]:
    if study.simulated:
        return []
    busy = [
        level
        for level in study.levels
        if is_cpu_busy(level) and server_cpu_share(study, level) is None
    ]
    if not busy:
        return []
    how_busy = span([level["mean_cpu_ratio"] for level in busy], percent)
    return [
        Caveat(
            f"the processor was busy ({how_busy}) {name_place(busy)}",
            "The server's part of it is unknown: none of its processes was seen here",
            "Use --pid N to name the server's process",
        )
    ]


def heat(study: Study) -> list[Caveat]:
    hot = [level for level in study.levels if level["hot_samples"]]
    if not hot:
        return []
    return [
        Caveat(
            f"the system reported thermal pressure {name_place(hot)}",
            "A hot machine runs slower",
            "Use --cooldown S to pause longer between levels",
        )
    ]


def power_saving(study: Study) -> list[Caveat]:
    """Find levels in which this machine saved power."""
    found = []
    for column, how, remedy in (
        ("on_battery", "on battery", "Connect mains power"),
        ("low_power_mode", "in low power mode", "Turn that off"),
    ):
        if levels := [level for level in study.levels if level[column]]:
            caveat = Caveat(
                f"this machine ran {how} {name_place(levels)}",
                "Many machines are slower then",
                f"{remedy} and run it again",
            )
            found.append(caveat)
    return found
