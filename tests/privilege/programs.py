"""Programs that begin as root under sudo, and what the tests ask of them."""

import json
import os
import pathlib
import subprocess
import sys
import time

import psutil
import pytest

from tests.conftest import plain_user

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATIENCE_S = 20.0
as_root = pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0, reason="needs root"
)
linux = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="reads /proc"
)

# Everything is imported before root is given up: root's Python may be out of the user's reach.
PRELUDE = """
import json, os, shutil, sys, time, warnings
import psutil
from ollama_bench.power import sampler
from ollama_bench.power.sources import find_sources
from ollama_bench.privilege import helper as root_helper, variables
from ollama_bench.privilege.helper import STARTS, split_off
from ollama_bench.privilege.sudo import PrivilegeError, act_as_user
from ollama_bench.privilege.variables import PASSED_ON, recover_variables
SAMPLER = [[sys.executable, os.environ["SAMPLER"], word] for word in ("first", "second", "third")]
"""
STORING = """
import concurrent.futures
from ollama_bench.storage.writer import Writer
"""
SAMPLER = """
import json, os, signal, sys, time
if sys.argv[1] == "second":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if sys.argv[1] == "third":
    while time.process_time() < 0.05:
        pass  # so that it has a CPU time
    sys.exit("powermetrics: unrecognized sampler: third")
links = os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd") else []
found = {"pid": os.getpid(), "uid": os.geteuid(), "word": sys.argv[1], "folder": os.getcwd(),
         "environment": dict(os.environ), "fds": sorted(int(link) for link in links)}
print(json.dumps(found), flush=True)
time.sleep(60)
"""


def nobody():
    """Return the user ID of a user of little power."""
    return plain_user().pw_uid


def start(home, code, **environment):
    """A program that begins as root under sudo; its lines of JSON are read from stdout."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("SUDO_")
    }
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + code],
        cwd=home,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={
            **clean,
            "PYTHONPATH": str(ROOT),
            "SAMPLER": str(home / "sampler.py"),
            "SUDO_UID": str(nobody()),
            **environment,
        },
    )


def answer(process):
    """Return the program's next line."""
    line = process.stdout.readline()
    assert line, process.communicate()[1]
    return json.loads(line)


def run(home, code, **environment):
    """Return the first line of a program that must succeed."""
    with start(home, code, **environment) as process:
        found = answer(process)
        _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, errors
    return found


def gone(pid):
    """Wait until a process has ended; return whether it has."""
    end_s = time.monotonic() + PATIENCE_S
    while not (has_ended := is_ended(pid)) and time.monotonic() < end_s:
        time.sleep(0.02)
    return has_ended


def is_ended(pid):
    """Return whether a process has ended, even if its parent has not waited for it yet."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
