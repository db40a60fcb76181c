"""A server that describes itself, by what it answers to each path, and does nothing else."""

import contextlib
import http.server
import json
import threading


@contextlib.contextmanager
def describing(**answers):
    """Serve JSON by a path's last two words: api_tags={...}; others are 404. Yields its port.

    An answer is a body, or a status and a body.
    """

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.path, dict(self.headers)))
            name = "_".join(self.path.strip("/").split("/")[-2:])
            found = answers.get(name, (404, {"error": "not found"}))
            status, body = (
                found if isinstance(found, tuple) else (200, found)
            )
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def log_message(self, *_):
            pass

    asked = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    server.asked = asked
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def ollama(*names, loaded=(), **more):
    """The answers of an Ollama with models of these names, each of 1 GB unless more says so."""

    def entry(name):
        return {"name": name, "size": more.get("size", 10**9)}

    return {
        "api_version": {"version": "0.32.15"},
        "api_tags": {"models": [entry(name) for name in names]},
        "api_ps": {"models": [entry(name) for name in loaded]},
    }


def openai(*names, owner=None):
    """The answers of a server of OpenAI's protocol with models of these names."""
    entries = [{"id": name, "owned_by": owner} for name in names]
    return {"v1_models": {"object": "list", "data": entries}}
