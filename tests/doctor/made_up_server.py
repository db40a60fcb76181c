"""A server that answers what it is told to, and keeps what it was asked."""

from __future__ import annotations

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

OLLAMA = {
    "/api/version": {"version": "0.32.15"},
    "/api/tags": {"models": [{"name": "small:1b", "size": 10**9}]},
    "/api/ps": {"models": []},
    "/api/show": {"details": {"family": "llama"}},
}
LLAMA_SERVER = {
    "/v1/models": {"data": [{"id": "tiny", "owned_by": "llamacpp"}]},
    "/props": {"total_slots": 3, "build_info": "b1-abc"},
}


class Served:
    def __init__(self, url):
        self.url, self.asked = url, []


@contextlib.contextmanager
def serving(answers, status=200):
    """Yield a Served; whatever is not among the answers is 404."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self):
            served.asked.append((self.command, self.path))
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            found = answers.get(self.path)
            body = b"" if found is None else json.dumps(found).encode()
            self.send_response(404 if found is None else status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    for method in ("GET", "POST", "PUT", "DELETE"):
        setattr(Handler, f"do_{method}", Handler.answer)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served = Served(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
