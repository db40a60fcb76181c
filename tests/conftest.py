"""Fixtures shared by the tests: simulators that surely end."""

import contextlib
import gc
import json
import os
import signal
import sqlite3
import subprocess
import sys
import types
import urllib.request

import pytest

from ollama_bench.simulator import child

# a shell's background job ignores Ctrl-C, and so would all that is started here
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# where a shell forbids bytecode, each of many hundred starts would compile all anew
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
SUDO_UID = int(
    os.environ.pop("SUDO_UID", "0")
)  # else whatever is tested here would give root up for all


WAITING_ROOMS = {"load", "run"}  # for servers
gc.disable()  # until all is collected


def plain_user():
    """The password entry of a user of little power.

    It is who typed sudo, where that is known: a Mac's "nobody" reaches no home.
    """
    import pwd

    return pwd.getpwuid(SUDO_UID) if SUDO_UID else pwd.getpwnam("nobody")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Have the files that wait come early, among others that compute.

    Together they use the processors to the full, and no long file is left at the end.
    """
    files = list(dict.fromkeys(item.path for item in items))
    place = {
        path: number * (0.6 if path.parent.name in WAITING_ROOMS else 1)
        for number, path in enumerate(files)
    }
    items.sort(key=lambda item: place[item.path])


def pytest_collection_finish():
    """Let the garbage collector look at new objects only.

    Those of the imports and of three thousand tests stay; each collection, and a
    level begins with one, would take a third of a second to look at them again.
    """
    gc.enable()
    gc.collect()
    gc.freeze()
    gc.unfreeze = lambda: None  # a level does so at its end


def pytest_report_header():
    return f"SQLite {sqlite3.sqlite_version}"


@pytest.fixture
def sim(tmp_path):
    """A factory: sim("--report", ttft=20, ...) starts a server, which ends after the test.

    It gives .url, .port, .process, .log() (the send log's records) and .state() (GET /sim/state).
    """
    with sims(tmp_path) as start:
        yield start


@pytest.fixture(scope="module")
def module_sim(tmp_path_factory):
    """The same factory for servers that serve a whole file of tests."""
    with sims(tmp_path_factory.mktemp("sim")) as start:
        yield start


@contextlib.contextmanager
def sims(directory):
    started = []
    try:
        yield lambda *arguments, **options: start_sim(
            directory / f"sim{len(started)}.jsonl",
            [*arguments, *spell(options)],
            started,
        )
    finally:
        for process in started:
            end(process)


def spell(options):
    """The words of a command line: ttft=20 is --ttft 20."""
    return [
        word
        for name, value in options.items()
        for word in (f"--{name.replace('_', '-')}", str(value))
    ]


def start_sim(log_path, arguments, started):
    command = child.command(
        "--port",
        "0",
        "--log",
        str(log_path),
        "--parent-pid",
        str(os.getpid()),
        *arguments,
    )
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    started.append(process)
    line = process.stdout.readline()
    assert line.startswith("listening on "), f"{command} said {line!r}"
    url = line.split()[-1]
    return types.SimpleNamespace(
        url=url,
        port=int(url.rsplit(":", 1)[1]),
        process=process,
        log=lambda: whole_lines(log_path),
        state=lambda: get_json(url + "/sim/state"),
    )


def whole_lines(path):
    """The records of a send log; a line that is being written is not there yet."""
    text = path.read_text() if path.exists() else ""
    return [
        json.loads(line)
        for line in text[: text.rfind("\n") + 1].splitlines()
    ]


def get_json(url):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=10) as answer:
        return json.load(answer)


def end(process):
    # it has nothing to put in order, and a polite end takes a quarter of a second
    process.kill()
    process.wait()
    process.stdout.close()
