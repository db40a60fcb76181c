"""Ctrl-C before a run is under way: bench.py leaves at once, with 130 and without a traceback."""

import os
import signal
import time

import pytest

from tests.run.programs import QUICK, start, wait_for
from tests.run.test_server import dripping, raw_server, saying

pytestmark = pytest.mark.skipif(
    os.name == "nt", reason="Windows has no SIGINT for one process"
)


def interrupt(process):
    """Exit code, what stderr said, and how long it took."""
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=50)
    return process.returncode, err, time.monotonic() - began


def test_during_the_imports(tmp_path):
    (tmp_path / "requests.py").write_text(
        "import time\nprint('importing', flush=True)\ntime.sleep(30)\n"
    )
    process = start(
        "1", *QUICK, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}
    )
    wait_for(process, "importing")
    assert interrupt(process)[:2] == (130, "")


def test_while_a_server_accepts_and_is_silent(tmp_path):
    asked = []

    def silent(connection, path):
        asked.append(path)
        time.sleep(60)

    with raw_server(silent) as url:
        process = start("1", "--host", url, *QUICK, cwd=tmp_path)
        while not asked and process.poll() is None:
            time.sleep(0.05)
        time.sleep(0.2)
        code, err, took_s = interrupt(process)
    assert (
        (code, err) == (130, "")
        and took_s < 30
        and not (tmp_path / "results.db").exists()
    )


def test_while_a_model_is_pulled(tmp_path):
    def answer(connection, path):
        if path == "/api/pull":
            return dripping(
                b'HTTP/1.1 200 OK\r\n\r\n{"status": "pulling manifest"}\n'
                + b" " * 4096
                + b"\n"
            )(connection, path)
        saying(tags={"models": []})(connection, path)

    with raw_server(answer) as url:
        process = start("1", "--host", url, "--pull", *QUICK, cwd=tmp_path)
        wait_for(process, "pulling manifest")
        code, err, took_s = interrupt(process)
    assert (code, err) == (130, "") and took_s < 30
