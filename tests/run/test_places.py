"""Where servers run: by the addresses of the machines of a fleet, or as --watch says."""

import socket

import pytest

from ollama_bench.fleet.fleet import Fleet
from ollama_bench.fleet.member import Member
from ollama_bench.run import places
from ollama_bench.run.places import (
    MachineFacts,
    ServerPlace,
    UnknownWorkerError,
    find_places,
    keep_addresses,
    list_own_ports,
    read_addresses,
    read_facts,
    refuse_unknown_workers,
)

OWN = MachineFacts("home", frozenset({"10.0.0.1"}), {})
MAC, TWIN, BOX = (
    Member(name, f"tcp://{name}:1", None)
    for name in ("mac", "twin", "box")
)
FACTS = {
    MAC: MachineFacts("mac", frozenset({"10.0.0.2", "172.17.0.1"}), {}),
    TWIN: MachineFacts("mac", frozenset({"10.0.0.2", "172.17.0.1"}), {}),
    BOX: MachineFacts("box", frozenset({"fd00::3", "172.17.0.1"}), {}),
}


def find(*urls, facts=FACTS, **named):
    watched = {url: worker for worker, url in named.items()}
    return [
        (place.is_known, place.watcher)
        for place in find_places(urls, OWN, facts, watched)
    ]


def test_a_server_runs_where_its_address_is():
    assert find(
        "http://10.0.0.1:1",
        "http://10.0.0.2:1",
        "http://[fd00::3]:1",
        "http://10.0.0.9:1",
    ) == [(True, None), (True, MAC), (True, BOX), (False, None)]


def test_a_name_stands_for_its_addresses(monkeypatch):
    def resolve(host, *_, **__):
        if host != "mac.local":
            raise socket.gaierror(8, "not known")
        return [(socket.AF_INET, 1, 6, "", ("10.0.0.2", 0))]

    monkeypatch.setattr(places.socket, "getaddrinfo", resolve)
    assert find("http://mac.local:1") == [(True, MAC)]
    assert find("http://nobody:1") == [(False, None)]


def test_an_address_that_several_machines_have_tells_nothing():
    assert find("http://172.17.0.1:1") == [(False, None)]


def test_the_loopback_is_a_machine_only_where_there_is_one():
    local = {MAC: OWN, BOX: OWN}
    for url in ("http://127.0.0.1:1", "http://[::1]:1"):
        assert find(url, facts=local) == [(True, None)]
        assert find(url) == [(False, None)]


def test_what_is_named_counts_and_a_machine_has_one_watcher():
    first, second = "http://10.0.0.9:1", "http://10.0.0.2:1"
    assert find(first, second, twin=first) == [(True, TWIN), (True, TWIN)]
    by_address = {first: "tcp://box:1"}
    (place,) = find_places([first], OWN, FACTS, by_address)
    assert place.watcher is BOX
    at_home = {MAC: OWN}
    assert find(first, facts=at_home, mac=first) == [(True, None)]


def test_a_worker_that_is_not_there_is_one_line():
    fleet = Fleet(None, [MAC, BOX])
    refuse_unknown_workers(fleet, {"http://a:1": "mac"})
    with pytest.raises(UnknownWorkerError) as error:
        refuse_unknown_workers(fleet, {"http://a:1": "mouse"})
    assert str(error.value) == (
        "invalid --watch 'mouse=http://a:1': "
        "expected a worker of the fleet, one of mac, box"
    )


class Asked:
    """A server, by its URL."""

    def __init__(self, url, port):
        self.url, self.port = url, port


def test_only_own_servers_are_looked_for_here():
    servers = [
        Asked("http://127.0.0.1:1", 1),
        Asked("http://10.0.0.1:2", None),
        Asked("http://10.0.0.2:3", None),
        Asked("http://localhost:4", 4),
    ]
    found = [
        ServerPlace("http://10.0.0.1:2", True),
        ServerPlace("http://10.0.0.2:3", True, MAC),
        # a tunnel
        ServerPlace("http://localhost:4", True, BOX),
    ]
    assert list_own_ports(servers, found) == [1, 2]
    assert list_own_ports(servers, []) == [1, 4]


def test_only_addresses_that_mean_one_machine_are_kept():
    texts = ["00:1b:63:84:45:e6", "127.0.0.1", "::1"]
    texts += ["fe80::1%en0", "192.168.1.5"]
    assert keep_addresses(texts) == {"fe80::1", "192.168.1.5"}


def test_a_system_that_tells_no_address_has_none(monkeypatch):
    def refuse():
        raise OSError(1, "not permitted")

    monkeypatch.setattr(places.psutil, "net_if_addrs", refuse)
    assert read_addresses() == frozenset()


def test_this_machine_is_the_same_whoever_looks():
    first, second = read_facts(), read_facts()
    assert first.identity == second.identity != ""
    assert first.described["fingerprint"]
    assert not any(one.startswith("127.") for one in read_addresses())
