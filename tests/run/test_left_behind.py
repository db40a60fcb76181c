"""What the clients of a level left behind delays nobody of the next one."""

import contextlib
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ollama_bench.run import targets
from tests.run.programs import QUICK, rows, run

pytestmark = pytest.mark.faults

ANSWER_S = 0.1  # that each question takes, one after the other
TOLD = (
    'data: {"choices": [{"delta": {"content": "a"}}]}\n\ndata: [DONE]\n\n'
)


class Dutiful(BaseHTTPRequestHandler):
    """A server with one slot that answers whoever asked, also who has left."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self._answer('{"data": [{"id": "m", "owned_by": "me"}]}')

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.slot:
            time.sleep(ANSWER_S)
        self._answer(TOLD)

    def _answer(self, text):
        with contextlib.suppress(OSError):
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())


@pytest.fixture
def dutiful():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Dutiful)
    server.daemon_threads = True
    server.slot = threading.Lock()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_level_does_not_wait_behind_the_last_one(dutiful, tmp_path):
    code, _, err = run(
        "12,1", "--deadline", "0.25", "--api", "openai", "--host", dutiful,
        "--model", "m", "--no-monitor", *QUICK, cwd=tmp_path,
    )  # fmt: skip
    cut, alone = rows(
        tmp_path, "SELECT * FROM level_summary ORDER BY level_id"
    )
    # 12 take 1.2 s, of which the first 0.25 s were waited for
    assert cut["completed"] <= 3
    assert alone["completed"] == 1 and code == 0, err


def test_a_server_that_stays_busy_is_told(dutiful, tmp_path, monkeypatch):
    monkeypatch.setattr(targets, "BUSY_S", 0.2)
    _, out, _ = run(
        "12,1", "--deadline", "0.25", "--api", "openai", "--host", dutiful,
        "--model", "m", "--no-monitor", *QUICK, cwd=tmp_path,
    )  # fmt: skip
    assert (
        f"{dutiful} is still busy 0 s after the last level was cut" in out
    )
