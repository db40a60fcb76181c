"""The process that shows a run while it runs: how it starts, whom it gives way to, how it ends."""

import contextlib
import io
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

from ollama_bench.browsing import live_process
from ollama_bench.browsing.live_process import LAST_LOOK_S, LivePage
from tests.run import programs
from tests.support import datasette_server, running_run

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 60


def get(address):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(address, timeout=PATIENCE_S) as answer:
        return answer.read().decode()


def ends(pid):
    """Whether a process ends soon."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            # whoever should wait for it may be no more
            if process.status() == psutil.STATUS_ZOMBIE:
                return True
            time.sleep(0.05)
        return False
    return True


@pytest.fixture
def wrong(monkeypatch):
    """What is started prints what the test wants."""

    def start(code):
        monkeypatch.setattr(live_process, "START", code)
        said = []
        with LivePage() as page:
            page.open("results.db", 1, said.append, lambda: False)
            page.keep()
        return said[-1]

    return start


@pytest.mark.parametrize(
    "code, why",
    [
        ("print('no room')", "no room"),
        ("pass", "Datasette did not start"),
        ("1 / 0", "Datasette did not start"),
    ],
)
def test_what_does_not_start_is_a_line(wrong, code, why):
    assert wrong(code) == f"no live page: {why}"


def test_what_starts_too_slowly_is_ended(wrong, monkeypatch):
    monkeypatch.setattr(live_process, "START_PATIENCE_S", 0.1)
    monkeypatch.setattr(live_process, "END_PATIENCE_S", 0.1)
    line = wrong("import time; time.sleep(60)")
    assert line == "no live page: Datasette did not start"


def test_an_interrupt_does_not_wait_for_it(monkeypatch):
    monkeypatch.setattr(
        live_process, "START", "import time; time.sleep(60)"
    )
    monkeypatch.setattr(live_process, "END_PATIENCE_S", 0.1)
    said = []
    began = time.monotonic()
    with LivePage() as page:
        page.open("results.db", 1, said.append, lambda: True)
        page.keep()
    assert time.monotonic() - began < 30
    assert said == ["starting the page of the run ..."]


def test_a_python_that_cannot_be_reached_is_a_line(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    said = []
    with LivePage() as page:
        page.open("results.db", 1, said.append, lambda: False)
    assert "No such file" in said[-1]


@pytest.fixture
def live_server():
    """The program beside the run, which imports Datasette."""
    datasette_server.load()
    from ollama_bench.browsing import live_server

    return live_server


def test_where_its_port_is_taken_it_takes_another(
    monkeypatch, live_server
):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(live_server, "PORT", port)
        with live_server.open_usual_port() as opened:
            host, other = opened.getsockname()
    assert host == "127.0.0.1" and other != port


class Waited:
    """A process that Ctrl-C comes to while it is waited for, or that goes on as long as that."""

    patience = None

    def wait(self, timeout=None):
        self.patience = timeout
        if timeout is not None:
            raise subprocess.TimeoutExpired("datasette", timeout)
        raise KeyboardInterrupt


def keep(monkeypatch, is_terminal):
    page, out = LivePage(), io.StringIO()
    page._process, page._address = Waited(), "http://here"
    out.isatty = lambda: is_terminal
    monkeypatch.setattr(sys, "stdin", out)
    monkeypatch.setattr(sys, "stdout", out)
    page.keep()
    return out.getvalue(), page._process.patience


def test_in_a_terminal_it_stays_until_ctrl_c(monkeypatch):
    said = "the page stays until Ctrl-C: http://here\n\n"
    assert keep(monkeypatch, True) == (said, None)


def test_without_a_terminal_it_ends_when_the_finished_page_was_fetched(
    monkeypatch,
):
    assert keep(monkeypatch, False) == ("", LAST_LOOK_S)


@pytest.mark.faults
def test_the_page_answers_and_gives_way_to_all_others(
    tmp_path, live_server
):
    run_id = running_run.write(tmp_path / "r 1.db")
    said = []
    with LivePage() as page:
        page.open(
            str(tmp_path / "r 1.db"), run_id, said.append, lambda: False
        )
        address = said[-1].removeprefix("live: ")
        assert address.startswith("http://127.0.0.1:")
        assert "live.js" in get(address)
        assert '"running"' in get(f"{address}/live")
        pid = page._process.pid
        if os.name == "posix":
            assert psutil.Process(pid).nice() == live_server.NICENESS
    assert ends(pid)


@pytest.mark.faults
@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_it_outlives_nobody_who_was_killed(tmp_path):
    run_id = running_run.write(tmp_path / "results.db")
    code = (
        "import sys; from ollama_bench.browsing.live_process import LivePage; "
        "page = LivePage(); page.open(sys.argv[1], int(sys.argv[2]), print, lambda: False); "
        "print(page._process.pid, flush=True); sys.stdin.read()"
    )
    started = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path / "results.db", str(run_id)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with started:
        lines = [started.stdout.readline() for _ in range(3)]
        started.kill()
    assert ends(int(lines[-1]))


@pytest.mark.faults
@pytest.mark.skipif(os.name != "posix", reason="a terminal")
def test_bench_keeps_the_page_of_its_run_in_a_terminal(tmp_path, sim):
    server = sim(profile="exact", ttft=20, itl=5, tokens=20)
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [
            *(sys.executable, ROOT / "bench.py", "1", "--live"),
            *("--host", server.url, "--no-monitor", *programs.QUICK),
        ],
        cwd=tmp_path,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=programs.clean_environment({}),
    )
    os.close(theirs)
    with process, open(ours, errors="replace") as terminal:
        line = next(one for one in terminal if "stays until" in one)
        address = line.split()[-1]
        assert "vega.js" in get(address)
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0
    with pytest.raises(OSError):
        get(address)


@pytest.mark.faults
def test_bench_shows_its_run_and_ends_with_it(tmp_path, sim):
    server = sim(profile="exact", ttft=20, itl=5, tokens=20)
    code, out, err = programs.run(
        *("1", "--live", "--host", server.url, "--no-monitor"),
        *programs.QUICK,
        cwd=tmp_path,
    )
    assert code == 0, err
    assert "live: http://127.0.0.1:" in out
    assert "/results/-/run/1\n" in out
    assert "stays until" not in out
