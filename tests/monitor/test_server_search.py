"""Finding the server by its command line or its port."""

from __future__ import annotations

from ollama_bench.monitor.server_search import find_servers
from tests.monitor.support import (
    free_port,
    listener,
    ollama,
    posix,
)


@posix
def test_ollama_is_found_by_its_command_line(tmp_path):
    with ollama(tmp_path) as (server, _):
        assert server.pid in [
            root.pid for root in find_servers(free_port(), None)
        ]


def test_another_server_is_found_by_its_port():
    with listener() as (process, port):
        assert [root.pid for root in find_servers(port, None)] == [
            process.pid
        ]
