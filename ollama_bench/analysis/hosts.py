"""Several servers as one service: who waited longer or served fewer, and who was lost."""

from __future__ import annotations

from collections.abc import Sequence

from ollama_bench.analysis.caveat import Caveat
from ollama_bench.analysis.crowd import name_loads, name_place
from ollama_bench.analysis.study import Row, Study
from ollama_bench.analysis.wording import count, join, percent, seconds
from ollama_bench.terminal.output import shorten

# longest to shortest wait, and most to fewest served: below they are alike
WAIT_RATIO = SERVED_RATIO = 1.5
LEAST_WAIT_S = 0.1  # between the two: nobody feels less
# of a level: fewer are spread unevenly by chance
LEAST_SERVED = 8


def describe_hosts(study: Study) -> list[str]:
    """Say in which level the hosts were least alike, and what would change it."""
    groups = group_hosts(study)
    uneven = [
        level
        for level in study.levels
        if describe_imbalance(level, groups.get(level["level_id"], []))
    ]
    if not uneven:
        return []
    worst = max(
        uneven, key=lambda level: find_ratio(groups[level["level_id"]])
    )
    said = describe_imbalance(worst, groups[worst["level_id"]])
    return [f"{said}.{suggest_balance(worst)}"]


def group_hosts(study: Study) -> dict[int, list[Row]]:
    """Return the rows of host_summary of each level that several hosts share, by level_id."""
    groups: dict[int, list[Row]] = {}
    for row in study.hosts:
        groups.setdefault(row["level_id"], []).append(row)
    return {key: rows for key, rows in groups.items() if len(rows) > 1}


def describe_imbalance(level: Row, hosts: Sequence[Row]) -> str:
    """Say how unlike the hosts of a level were, with numbers; "" where that does not matter."""
    if len(hosts) < 2:
        return ""
    parts = [*filter(None, [compare_waits(hosts), compare_served(hosts)])]
    if parts:
        parts += filter(None, [compare_slots(hosts)])
    return (
        f"With {name_loads([level])} {'; '.join(parts)}" if parts else ""
    )


def find_ratio(hosts: Sequence[Row]) -> float:
    waits = list_waits(hosts)
    least = min(waits, default=0.0)
    return max(waits) / least if least else 1.0


def list_waits(hosts: Sequence[Row]) -> list[float]:
    return [
        row["ttft_mean_s"]
        for row in hosts
        if row["ttft_mean_s"] is not None
    ]


def compare_waits(hosts: Sequence[Row]) -> str:
    known = [row for row in hosts if row["ttft_mean_s"] is not None]
    if len(known) < 2:
        return ""
    *_, slow = ordered = sorted(known, key=lambda row: row["ttft_mean_s"])
    fast = ordered[0]
    long_s, short_s = slow["ttft_mean_s"], fast["ttft_mean_s"]
    if long_s < WAIT_RATIO * short_s or long_s - short_s < LEAST_WAIT_S:
        return ""
    times = long_s / short_s if short_s > 0 else 0.0
    if not times or times >= 2:
        more = f"{times:.2g} times as long at" if times else "longer at"
        link = "as" if times else "than"
    else:
        more, link = f"{percent(times - 1)} longer at", "than"
    return (
        f"requests waited {more} {name_host(slow)} {link} at "
        f"{name_host(fast)} ({seconds(long_s)} and {seconds(short_s)} "
        "until the first token)"
    )


def compare_served(hosts: Sequence[Row]) -> str:
    ordered = sorted(hosts, key=lambda row: row["completed"])
    few, many = ordered[0], ordered[-1]
    if sum(row["completed"] for row in hosts) < LEAST_SERVED:
        return ""
    if many["completed"] < SERVED_RATIO * few["completed"]:
        return ""
    if not few["completed"]:
        return f"{name_host(few)} served none, {name_host(many)} {many['completed']:,}"
    times = many["completed"] / few["completed"]
    return (
        f"{name_host(few)} served {times:.2g} times fewer than {name_host(many)} "
        f"({few['completed']:,} and {many['completed']:,})"
    )


def compare_slots(hosts: Sequence[Row]) -> str:
    """Say where requests queued while another host had slots free; "" where slots are unknown."""
    known = [
        row for row in hosts if row["slots"] and row["in_flight_peak"]
    ]
    full = [row for row in known if row["in_flight_peak"] > row["slots"]]
    free = [row for row in known if row["in_flight_peak"] < row["slots"]]
    if not full or not free:
        return ""
    return (
        f"{name_host(full[0])} had up to {full[0]['in_flight_peak']} for "
        f"{count(full[0]['slots'], 'slot')}, {name_host(free[0])} never more "
        f"than {free[0]['in_flight_peak']} for {free[0]['slots']}"
    )


def suggest_balance(level: Row) -> str:
    """Say what gives a faster host more, as far as something does."""
    if level["load"] == "burst":
        return (
            " A burst gives each as many, for nothing is answered before all is sent; "
            "with --requests N the faster one gets more."
        )
    if level["balance"] == "least-in-flight":
        return ""
    return " With --balance least-in-flight the faster one gets more."


def name_host(row: Row) -> str:
    return shorten(str(row["host"]).removeprefix("http://"))


def lost_hosts(study: Study) -> list[Caveat]:
    """Return the levels in which a host was lost, and others went on."""
    found = []
    groups = group_hosts(study)
    for level in study.levels:
        hosts = groups.get(level["level_id"], [])
        if lost := describe_lost(hosts):
            found.append(
                Caveat(
                    f"{name_place([level])} {lost}",
                    "For a part of the level the service had fewer servers than it shows",
                    "Look into the log of that server, and measure the level again",
                )
            )
    return found


def describe_lost(hosts: Sequence[Row]) -> str:
    """Say which hosts were lost while others answered; "" where none was."""
    if len(hosts) < 2 or not any(
        row["completed"] and not row["lost"] for row in hosts
    ):
        return ""
    return join(
        [
            f"{name_host(row)} lost {row['lost']:,} of its {count(row['requests'], 'request')}"
            for row in hosts
            if row["lost"]
        ]
    )


def mixed_hosts(study: Study) -> list[Caveat]:
    """Find runs that asked different numbers of servers: their levels are no repeats."""
    counts = sorted({level.get("hosts") or 1 for level in study.levels})
    if len(counts) < 2:
        return []
    return [
        Caveat(
            f"the runs asked {join([*map(str, counts)])} servers",
            "Their levels are shown as repeats of each other, though they are of unlike services",
            "Choose one of them with --run; the chart over the number of servers finds the others",
        )
    ]
