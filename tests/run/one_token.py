"""A server whose every reply is one token, for what becomes of requests that were given up."""

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

REPLY = (
    'data: {"choices": [{"delta": {"content": "a"}}]}\n\ndata: [DONE]\n\n'
)


class OneToken(BaseHTTPRequestHandler):
    """Answers with one token; who has left is answered in vain."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, text=REPLY):
        with contextlib.suppress(OSError):
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())


@contextlib.contextmanager
def serving(handler, state):
    """Serve with a handler that finds its state at the server; yields the URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.state = state
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()
