"""Ctrl-C before a run is under way: bench.py leaves with 130 and one line."""

import os
import signal
import time

import pytest

from ollama_bench.terminal.interrupt import on_interrupt
from tests.run.programs import QUICK, start, wait_for
from tests.run.test_server import dripping, raw_server, saying

pytestmark = pytest.mark.skipif(
    os.name == "nt", reason="Windows has no SIGINT for one process"
)


SAID = "\ninterrupted\n"


def test_what_must_not_stop_halfway_ends_first(capfd):
    done = []
    with (
        pytest.raises(KeyboardInterrupt),
        on_interrupt() as interrupt,
        interrupt.held(),
    ):
        signal.raise_signal(signal.SIGINT)
        done.append("the fleet has started")
    assert done and capfd.readouterr().err == SAID


def test_a_start_that_the_interrupt_broke_is_no_failure():
    with (
        pytest.raises(KeyboardInterrupt),
        on_interrupt() as interrupt,
        interrupt.held(),
    ):
        signal.raise_signal(signal.SIGINT)
        raise OSError("a process has ended")


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
    assert interrupt(process)[:2] == (130, SAID)


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
        (code, err) == (130, SAID)
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
    assert (code, err) == (130, SAID) and took_s < 30
