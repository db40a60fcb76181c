"""On which machine each server runs, and who watches it: bench.py, or a worker of the fleet.

    facts = fleet.run_everywhere(read_facts)
    places = find_places(urls, read_facts(), facts, named={})
    places[0].watcher, places[0].is_known

A server runs where one of the addresses that its name stands for is an interface's, if that is
true of one machine alone. Several workers of one machine are one watcher, and what bench.py's own
machine does is watched by bench.py.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import psutil

from ollama_bench.fleet.fleet import Fleet, FleetError
from ollama_bench.fleet.member import Member
from ollama_bench.monitor import machine
from ollama_bench.monitor.identity import read_identity
from ollama_bench.monitor.machine import MachineRow
from ollama_bench.monitor.refusals import REFUSALS
from ollama_bench.run.record import RunRecord
from ollama_bench.run.server import Server


class UnknownWorkerError(FleetError):
    """--watch names a worker that the fleet has not; str() is one line for the user."""


@dataclass(frozen=True)
class MachineFacts:
    """What a process tells of the machine that it runs on."""

    identity: str
    addresses: frozenset[str]  # of its interfaces, but for the loopback
    described: MachineRow


@dataclass(frozen=True)
class ServerPlace:
    """Where a server runs."""

    url: str
    # False: no machine of the fleet is known to be it
    is_known: bool = False
    watcher: Member | None = None  # None: bench.py's own machine

    @property
    def port(self) -> int | None:
        return urlsplit(self.url).port


def read_facts() -> MachineFacts:
    """Return what is to be known of the machine that this is called on."""
    return MachineFacts(
        read_identity(), read_addresses(), machine.describe()
    )


def read_addresses() -> frozenset[str]:
    """Return the addresses of this machine's interfaces, but for the loopback."""
    try:
        interfaces = psutil.net_if_addrs().values()
    except REFUSALS:
        return frozenset()
    return keep_addresses(
        entry.address for entries in interfaces for entry in entries
    )


def resolve_host(url: str) -> frozenset[str]:
    """Return the addresses that the name of a server stands for; none where nobody knows it."""
    host = urlsplit(url).hostname or ""
    try:
        entries = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return frozenset()
    return frozenset(clean_address(str(entry[4][0])) for entry in entries)


def keep_addresses(texts: Iterable[str]) -> frozenset[str]:
    """Return those of some texts that are addresses of IP, but for the loopback's."""
    found = set()
    for text in texts:
        try:
            address = ipaddress.ip_address(text.partition("%")[0])
        except ValueError:  # of the card itself
            continue
        if not address.is_loopback:
            found.add(str(address))
    return frozenset(found)


def clean_address(text: str) -> str:
    """Return an address as all programs write it, without the interface that it goes by."""
    return str(ipaddress.ip_address(text.partition("%")[0]))


def find_places(
    urls: Sequence[str],
    own: MachineFacts,
    facts: Mapping[Member, MachineFacts],
    named: Mapping[str, str],
) -> list[ServerPlace]:
    """Return where each server runs. named: the worker on its machine, where somebody told."""
    places = []
    watchers: dict[str, Member] = {}  # one for each machine
    for url in urls:
        told = find_worker(facts, named.get(url))
        identity = (
            facts[told].identity if told else find_machine(url, own, facts)
        )
        if identity in (None, own.identity):
            places.append(ServerPlace(url, identity is not None))
            continue
        first = next(
            one for one in facts if facts[one].identity == identity
        )
        watcher = watchers.setdefault(str(identity), told or first)
        places.append(ServerPlace(url, True, watcher))
    return places


def find_worker(
    workers: Iterable[Member], name: str | None
) -> Member | None:
    """Return the worker that is called so, or is at this address."""
    for worker in workers:
        if name in (worker.name, worker.address):
            return worker
    return None


def find_machine(
    url: str, own: MachineFacts, facts: Mapping[Member, MachineFacts]
) -> str | None:
    """Return the identity of the machine that a server runs on; None where it is not sure."""
    addresses = resolve_host(url)
    is_loopback = any(
        ipaddress.ip_address(address).is_loopback for address in addresses
    )
    there = {
        one.identity
        for one in (own, *facts.values())
        # each worker asks a server of its own machine
        if is_loopback or addresses & one.addresses
    }
    return there.pop() if len(there) == 1 else None


def list_own_ports(
    servers: Sequence[Server], places: Sequence[ServerPlace]
) -> list[int]:
    """Return the ports of the servers that bench.py's own machine is watched for."""
    known = {place.url: place for place in places if place.is_known}
    ports = []
    for server in servers:
        port, place = server.port, known.get(server.url)
        if place is not None:
            port = None if place.watcher else place.port
        if port is not None:
            ports.append(port)
    return ports


def refuse_unknown_workers(fleet: Fleet, named: Mapping[str, str]) -> None:
    """Raise UnknownWorkerError where --watch names a worker that is not there."""
    for url, name in named.items():
        if find_worker(fleet.members, name) is None:
            there = ", ".join(one.name for one in fleet.members)
            raise UnknownWorkerError(
                f"invalid --watch {f'{name}={url}'!r}: "
                f"expected a worker of the fleet, one of {there}"
            )


def store_places(record: RunRecord, places: Sequence[ServerPlace]) -> None:
    """Store on which machine each server runs, and who watches it."""
    known = {place.url: place for place in places if place.is_known}
    sql = """
        SELECT target.id, host, run.machine_id
        FROM target JOIN run ON run.id = run_id WHERE run_id = ?"""
    for row in record.rows(sql, [record.id]):
        if (place := known.get(row["host"])) is None:
            continue
        watcher = place.watcher
        columns = {
            "machine_id": watcher.machine
            if watcher
            else row["machine_id"],
            "watcher": watcher and watcher.name,
        }
        record.writer.update("target", row["id"], columns)
    record.writer.flush()
