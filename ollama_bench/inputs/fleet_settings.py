"""Where a fleet is: workers of this machine, or the scheduler of a Dask cluster.

    FleetAddress.parse("local:4")
    FleetAddress.parse("tcp://192.168.1.5:8786").is_exposed  # pickles in clear text

It imports nothing of Dask: a wrong address is told before that loads.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ollama_bench.protocols.addresses import host_url

EXPECTED = "expected local:N, tcp://SCHEDULER:8786 or tls://SCHEDULER:8786"
MOST_LOCAL = 256  # processes on this machine


@dataclass(frozen=True)
class FleetAddress:
    """``local_workers`` processes here, or a ``scheduler``; the other is 0 or empty."""

    local_workers: int = 0
    scheduler: str = ""

    @classmethod
    def parse(cls, text: str) -> FleetAddress:
        """Return what a text names. Raises ValueError that says what was expected."""
        kind, _, rest = text.partition(":")
        if kind == "local":
            is_number = rest.isascii() and rest.isdigit()
            if is_number and 1 <= int(rest) <= MOST_LOCAL:
                return cls(local_workers=int(rest))
            raise ValueError(f"expected local:1 to local:{MOST_LOCAL}")
        if kind not in ("tcp", "tls"):
            raise ValueError(EXPECTED)
        parts = urlsplit(text)
        try:
            has_port = parts.port is not None
        except ValueError:
            has_port = False
        is_plain = parts.netloc == text.partition("//")[2]
        if not (parts.hostname and has_port and is_plain):
            raise ValueError(EXPECTED)
        return cls(scheduler=text)

    @property
    def is_local(self) -> bool:
        """Whether the workers are processes that this one starts."""
        return self.local_workers > 0

    @property
    def is_plain(self) -> bool:
        """Whether nothing that is said to the scheduler is encrypted."""
        return self.scheduler.startswith("tcp:")

    @property
    def is_exposed(self) -> bool:
        """Whether others can read, and write, what is said to the scheduler."""
        return is_exposed(self.scheduler)


@dataclass(frozen=True)
class FleetSettings:
    """Which processes send the load."""

    address: FleetAddress
    # links that others can read and write
    admits_plain: bool = False
    # (server, worker on its machine), where the addresses do not tell
    watched: tuple[tuple[str, str], ...] = ()


def choose_fleet(values: Mapping[str, Any]) -> FleetSettings | None:
    """Return which processes send the load, None: this one. Raises ValueError."""
    address, admits_plain = values["fleet"], values["fleet_insecure"]
    if admits_plain and not (address and address.is_plain):
        raise ValueError("--fleet-insecure needs --fleet tcp://HOST:8786")
    if address is None:
        if values["watch"]:
            raise ValueError("--watch needs --fleet")
        return None
    for flag in ("--find-capacity", "--find-rate"):
        if values[flag.lstrip("-").replace("-", "_")]:
            raise ValueError(
                f"--fleet and {flag} exclude each other: no worker sees the whole queue"
            )
    if address.is_exposed and not admits_plain:
        raise ValueError(
            f"invalid --fleet {address.scheduler!r}: expected tls:// (docs/fleet.md), or "
            f"--fleet-insecure in a network that you trust"
        )
    return FleetSettings(address, admits_plain, choose_watched(values))


def parse_watch(text: str) -> tuple[str, str]:
    """Return the server and the worker that WORKER=HOST names. Raises ValueError."""
    worker, _, host = text.partition("=")
    if not (worker and host):
        raise ValueError("expected WORKER=HOST, as in mac=10.0.0.7")
    return host_url(host), worker


def choose_watched(
    values: Mapping[str, Any],
) -> tuple[tuple[str, str], ...]:
    """Return the servers whose machine a worker is named for, with it. Raises ValueError."""
    watched = values["watch"]
    if watched and values["no_monitor"]:
        raise ValueError("--watch and --no-monitor exclude each other")
    for place, (host, worker) in enumerate(watched):
        if host not in values["host"]:
            pair = f"{worker}={host}"
            known = values["host"]
            there = ", ".join(known) or "none"
            raise ValueError(
                f"invalid --watch {pair!r}: "
                f"expected a server of --host, "
                f"one of {there}"
            )
        if any(host == other for other, _ in watched[:place]):
            raise ValueError(f"--watch names two workers for {host}")
    return tuple(watched)


def is_exposed(link: str) -> bool:
    """Tell whether one of Dask's addresses is neither encrypted nor of this machine alone."""
    parts = urlsplit(link)
    if parts.scheme != "tcp":
        return False
    host = parts.hostname or ""
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host != "localhost"
