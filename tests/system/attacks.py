"""A hostile server, programs to start against it, and what they must not print."""

import contextlib
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"
)


ESCAPES = "\x1b[31m\x1b]0;owned\x07\x9b2J\r\u202e"


KEY = "sk-secret-4711-never-to-be-seen"


as_root = pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0, reason="needs root"
)


def run(script, *arguments, cwd, **environment):
    clean = {
        name: value
        for name, value in os.environ.items()
        if name not in ("OLLAMA_HOST", "SUDO_UID", "OPENAI_API_KEY")
    }
    done = subprocess.run(
        [sys.executable, str(ROOT / script), *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=90,
        env={**clean, "PYTHONIOENCODING": "utf-8", **environment},
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


@contextlib.contextmanager
def server(answer):
    """answer(method, path, headers) -> (status, headers, body); the URL and what was asked."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do(self):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked.append((self.command, self.path))
            status, headers, body = answer(
                self.command, self.path, self.headers
            )
            self.send_response(status)
            for name, value in {
                **headers,
                "Content-Length": str(len(body)),
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do  # noqa: N815

        def log_message(self, *_):
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(
        target=httpd.serve_forever, args=[0.05], daemon=True
    )
    thread.start()
    try:
        yield f"http://127.0.0.1:{httpd.server_port}", asked
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()
