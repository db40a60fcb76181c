"""What the server itself tells of its queue."""

import contextlib
import http.server
import threading

import pytest

from ollama_bench.prometheus import server_page
from ollama_bench.prometheus.server_page import ServerPage
from ollama_bench.protocols.work import ServerQueue

PAGE = "vllm:num_requests_running 3\nvllm:num_requests_waiting 2\n"


@contextlib.contextmanager
def served(page, status=200):
    """Serve a page; yield the port and the paths that were asked for."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    try:
        yield server.server_port, asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_server_with_a_page_is_asked_each_time():
    with served(PAGE) as (port, asked):
        page = ServerPage(port)
        for _ in range(2):
            assert page.read(frozenset({7})) == ServerQueue(3, 2)
    assert asked == ["/metrics"] * 2


@pytest.mark.parametrize("text, status", [(PAGE, 404), ("what 1\n", 200)])
def test_one_without_is_not_asked_again_until_it_is_another(text, status):
    with served(text, status) as (port, asked):
        page = ServerPage(port)
        for _ in range(3):
            assert page.read(frozenset({7})) == ServerQueue()
        assert page.read(frozenset({8})) == ServerQueue()
    assert len(asked) == 2


def test_where_no_server_runs_nobody_is_asked():
    with served(PAGE) as (port, asked):
        assert ServerPage(port).read(frozenset()) == ServerQueue()
    assert asked == []


def test_a_server_that_is_gone_or_silent_is_unknown(monkeypatch):
    monkeypatch.setattr(server_page, "ANSWER_S", 0.05)
    with contextlib.closing(
        http.server.HTTPServer(
            ("127.0.0.1", 0), http.server.BaseHTTPRequestHandler
        ).socket
    ) as silent:
        page = ServerPage(silent.getsockname()[1])
        assert page.read(frozenset({7})) == ServerQueue()
    # it may be there again
    assert page.read(frozenset({7})) == ServerQueue()
