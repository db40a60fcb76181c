"""What the clients of a level left behind delays nobody of the next one."""

import threading
import time

import pytest

from ollama_bench.run import targets
from tests.run.one_token import OneToken, serving
from tests.run.programs import QUICK, rows, run

pytestmark = pytest.mark.faults

ANSWER_S = 0.1  # that each question takes, one after the other


class Dutiful(OneToken):
    """A server with one slot that answers whoever asked, also who has left."""

    def do_GET(self):
        self.answer('{"data": [{"id": "m", "owned_by": "me"}]}')

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.state:
            time.sleep(ANSWER_S)
        self.answer()


@pytest.fixture
def dutiful():
    # the state is the slot
    with serving(Dutiful, threading.Lock()) as url:
        yield url


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
