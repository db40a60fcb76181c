"""What sudo drops from the environment, and what can be known of it."""

import os
import signal
import subprocess
import sys

import psutil
import pytest

from ollama_bench.privilege import variables
from ollama_bench.privilege.variables import (
    NOTHING_DROPPED,
    PASSED_ON,
    recover_variables,
)
from tests.privilege.ancestors import HIDDEN, MEANT, Ancestor
from tests.privilege.programs import (
    PRELUDE,
    ROOT,
    answer,
    as_root,
    linux,
    nobody,
)

RECOVER = """
before = {name: os.environ.get(name) for name in PASSED_ON}
dropped = recover_variables()
found = {"found": {name: os.environ[name] for name in PASSED_ON if name in os.environ}}
found |= {"unknown": sorted(dropped.unknown), "recovered": sorted(dropped.recovered)}
print(json.dumps(found | {"uid": os.geteuid()}), flush=True)
"""
# Like sudo: root by its file, the user's by its real ID, and it waits for what it started.
SUDO = """
import os, subprocess, sys
open("/proc/self/comm", "w").write(sys.argv[1])
inner = {name: value for name, value in os.environ.items() if name not in sys.argv[2].split(",")}
inner |= dict(pair.split("=") for pair in sys.argv[3].split(",") if pair)
inner |= {"SUDO_UID": str(os.getuid())}
command = [sys.executable, "-c", sys.argv[4]]
sys.exit(subprocess.call(command, env=inner, preexec_fn=lambda: os.setresuid(0, 0, 0)))
"""
# Its child is root as it was; then it becomes the user, and as a new program it may be looked into.
SHELL = """
import os, sys, time
ours, reader = os.getpid(), sys.argv[1]
def is_user():
    uids = open(f"/proc/{ours}/status").read().split("Uid:")[1].split()[:2]
    return uids == [sys.argv[2]] * 2
def is_replaced():
    return os.readlink(f"/proc/{ours}/exe") != os.readlink("/proc/self/exe")
if os.fork() == 0:
    while not is_user() or sys.argv[3] == "exec" and not is_replaced():
        time.sleep(0.02)
    dropped = ("OLLAMA_HOST", "OPENAI_API_KEY", "REQUESTS_CA_BUNDLE")
    inner = {name: value for name, value in os.environ.items() if name not in dropped}
    os.execve(sys.executable, [sys.executable, "-c", reader], inner | {"SUDO_UID": sys.argv[2]})
os.setgid(65534)
os.setuid(int(sys.argv[2]))
if sys.argv[3] == "exec":
    os.execv("/bin/sleep", ["sleep", "60"])
time.sleep(60)
"""


def recovered(home, words, preexec=None):
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("SUDO_") and name not in MEANT
    }
    with subprocess.Popen(
        [sys.executable, "-c", *words],
        cwd=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=preexec,
        start_new_session=True,
        env={**clean, **MEANT, "PYTHONPATH": str(ROOT), "SAMPLER": ""},
    ) as process:
        try:
            return answer(process)
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def as_setuid_root():
    os.setresuid(nobody(), 0, 0)


@as_root
@linux
def test_what_sudo_dropped_is_taken_from_what_it_was_given(home):
    found = recovered(
        home,
        [SUDO, "sudo", ",".join(MEANT), "", PRELUDE + RECOVER],
        as_setuid_root,
    )
    assert found == {
        "found": MEANT,
        "unknown": [],
        "recovered": sorted(MEANT),
        "uid": 0,
    }


@as_root
@linux
def test_what_is_there_already_is_left_alone(home):
    found = recovered(
        home,
        [
            SUDO,
            "sudo",
            "REQUESTS_CA_BUNDLE",
            "OLLAMA_HOST=other:2",
            PRELUDE + RECOVER,
        ],
        as_setuid_root,
    )
    assert found["found"] == MEANT | {"OLLAMA_HOST": "other:2"} and found[
        "recovered"
    ] == ["REQUESTS_CA_BUNDLE"]


@as_root
@linux
def test_a_root_process_that_is_not_sudo_is_not_looked_into(home):
    found = recovered(
        home,
        [SUDO, "daemon", ",".join(MEANT), "", PRELUDE + RECOVER],
        as_setuid_root,
    )
    assert found == {
        "found": {},
        "unknown": sorted(MEANT),
        "recovered": [],
        "uid": 0,
    }


@as_root
@linux
def test_where_sudo_did_not_stay_the_users_shell_is_asked(home):
    """What was exported in it later cannot be seen: what is missing is unknown."""
    found = recovered(
        home, [SHELL, PRELUDE + RECOVER, str(nobody()), "exec"]
    )
    assert found == {
        "found": MEANT,
        "unknown": [],
        "recovered": sorted(MEANT),
        "uid": 0,
    }


@as_root
@linux
def test_a_process_into_which_the_user_may_not_look_is_not_looked_into(
    home,
):
    """A daemon that gave root up may still hold what root was given."""
    found = recovered(
        home, [SHELL, PRELUDE + RECOVER, str(nobody()), "stay"]
    )
    assert found == {
        "found": {},
        "unknown": sorted(MEANT),
        "recovered": [],
        "uid": 0,
    }


@pytest.mark.parametrize(
    "ancestors",
    [
        HIDDEN,
        [],
        [Ancestor("sudo", (0, 0, 0), MEANT)],
        [Ancestor("bash", (501, 501, 501), psutil.AccessDenied())],
        [
            Ancestor("zsh", (501, 501, 501), {}),
            Ancestor("iTerm2", (501, 501, 501), MEANT),
        ],
        [Ancestor("zsh", (501, 501, 501), RuntimeError("sysctl"))],
        [
            Ancestor(
                "zsh", (501, 501, 501), OSError(5, "Input/output error")
            )
        ],
    ],
)
def test_what_cannot_be_learned_is_unknown_and_told(under_sudo, ancestors):
    dropped = under_sudo(ancestors)
    assert (
        dropped.unknown == set(PASSED_ON)
        and not dropped.recovered
        and not set(MEANT) & set(os.environ)
    )
    assert dropped.suggest_preserving("OLLAMA_HOST") == (
        "sudo drops OLLAMA_HOST; if you set it, run with"
        " sudo --preserve-env=OLLAMA_HOST,OPENAI_API_KEY,REQUESTS_CA_BUNDLE"
    )


def test_a_shell_that_shows_itself_is_believed(under_sudo):
    dropped = under_sudo(
        [
            Ancestor("sudo", (501, 0, 0), {}),
            Ancestor(
                "fish",
                (501, 501, 501),
                {"OLLAMA_HOST": "studio:1", "HOME": "/"},
            ),
        ]
    )
    assert os.environ["OLLAMA_HOST"] == "studio:1" and dropped.unknown == {
        "OPENAI_API_KEY",
        "REQUESTS_CA_BUNDLE",
    }


def test_without_sudo_nothing_is_recovered(monkeypatch):
    monkeypatch.setattr(variables, "find_sudo_user", lambda: None)
    dropped = recover_variables()
    assert dropped == NOTHING_DROPPED
    assert dropped.suggest_preserving(*PASSED_ON) == ""
