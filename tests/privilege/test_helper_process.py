"""The root process: what it holds, what it obeys, and that it ends with us."""

import json
import os
import pathlib
import signal
import time

import psutil
import pytest

from ollama_bench.privilege.helper import STARTS
from ollama_bench.privilege.helper_process import CLEAN_ENVIRONMENT
from tests.privilege.programs import (
    PATIENCE_S,
    answer,
    as_root,
    gone,
    linux,
    nobody,
    run,
    start,
)

WITH_SAMPLER = """
secret = open("secret", "w")
os.dup2(secret.fileno(), 200)
os.environ.update(PATH="/evil", PYTHONPATH="/evil", PYTHONHOME="/evil")
os.environ.update(LD_PRELOAD="/evil.so", DYLD_INSERT_LIBRARIES="/evil.dylib")
helper = split_off(commands=SAMPLER)
output = helper.start()
found = json.loads(output.readline())
found["helper"] = helper._pid
print(json.dumps(found), flush=True)
"""


@as_root
def test_the_sampler_is_root_with_a_clean_environment_and_no_descriptors(
    home,
):
    found = run(home, WITH_SAMPLER + "helper.stop()\n")
    names = set(found["environment"])
    # macOS adds some
    inherited = {name for name in names if not name.startswith("__CF")}
    assert inherited - {"LC_CTYPE"} == set(CLEAN_ENVIRONMENT)
    assert found["environment"]["PATH"] == "/usr/bin:/bin:/usr/sbin:/sbin"
    assert (found["uid"], found["word"], found["folder"]) == (
        0,
        "first",
        "/",
    )
    # 3 is the listing itself
    assert [fd for fd in found["fds"] if fd > 3] == []
    assert gone(found["pid"])


@as_root
@linux
def test_the_helper_holds_nothing_of_ours(home):
    with start(home, WITH_SAMPLER + "sys.stdin.read()\n") as process:
        found = answer(process)
        files = {
            os.readlink(link)
            for link in pathlib.Path(
                f"/proc/{found['helper']}/fd"
            ).iterdir()
        }
        assert not [name for name in files if "secret" in name]
        assert (
            len([name for name in files if name.startswith("pipe:")])
            == 1 + STARTS - 1
        )  # control, unused outputs
        assert os.getsid(found["helper"]) != os.getsid(process.pid)
        process.communicate(timeout=PATIENCE_S)
    assert gone(found["helper"]) and gone(found["pid"])


@as_root
@pytest.mark.parametrize(
    "end", ["normally", "by Ctrl-C", "by kill -9", "by SIGTERM"]
)
def test_the_sampler_ends_when_we_do(home, end):
    with start(home, WITH_SAMPLER + "sys.stdin.read()\n") as process:
        found = answer(process)
        assert psutil.pid_exists(found["pid"])
        if end == "normally":
            process.stdin.close()
        else:
            number = {
                "by Ctrl-C": signal.SIGINT,
                "by kill -9": signal.SIGKILL,
                "by SIGTERM": signal.SIGTERM,
            }[end]
            # a terminal sends it to the whole group
            os.killpg(process.pid, number)
        process.wait(PATIENCE_S)
    assert gone(found["pid"]) and gone(found["helper"])


@as_root
def test_the_helper_is_deaf_to_signals(home):
    with start(home, WITH_SAMPLER + "sys.stdin.read()\n") as process:
        found = answer(process)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            os.kill(found["helper"], number)
        time.sleep(0.3)
        assert psutil.pid_exists(found["helper"]) and psutil.pid_exists(
            found["pid"]
        )
        process.communicate(timeout=PATIENCE_S)
    assert gone(found["helper"]) and gone(found["pid"])


@as_root
def test_a_sampler_that_ignores_sigterm_is_killed(home):
    found = run(
        home,
        """
sampler.STOP_S = 0.5
helper = split_off(commands=SAMPLER)
found = json.loads(helper.start(1).readline())
begun_s = time.monotonic()
helper.stop()
took_s = time.monotonic() - begun_s
print(json.dumps({**found, "took_s": took_s, "left": psutil.pid_exists(found["pid"])}))
""",
    )
    assert found["word"] == "second" and not found["left"]
    assert found["took_s"] >= 0.5


@as_root
def test_a_helper_that_is_killed_is_no_error(home):
    with start(
        home,
        """
helper = split_off(commands=SAMPLER)
print(json.dumps(helper._pid), flush=True)
sys.stdin.readline()
output = helper.start()
print(json.dumps({"started": output is not None, "complaint": helper.complaint()}), flush=True)
helper.kill()
helper.stop()
helper.stop()
""",
    ) as process:
        pid = answer(process)
        os.kill(pid, signal.SIGKILL)
        assert gone(pid)
        process.stdin.write("\n")
        process.stdin.flush()
        found = answer(process)
        _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, errors
    assert found == {"started": False, "complaint": ""}


FULL_DISK = """
import stat, tempfile
tempfile.gettempdir()  # it tries a write, once: the disk fills up after that
really = os.write
def full(descriptor, data):
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise OSError(28, "No space left on device")
    return really(descriptor, data)
os.write = full
import atexit
atexit.register(lambda folder=os.getcwd(): open(f"{folder}/ended as {os.geteuid()}", "w").close())
"""


@as_root
@pytest.mark.parametrize("end", ["normally", "by an error", "by Ctrl-C"])
def test_the_helper_never_comes_back_as_root_from_a_full_disk(home, end):
    """What is printed after the fork is printed once, by the user, and the sampler still ends."""
    fault = {
        "normally": "",
        "by an error": "os.setsid = None",
        "by Ctrl-C": """
def interrupted():
    raise KeyboardInterrupt
os.setsid = interrupted""",
    }[end]
    with start(
        home,
        FULL_DISK
        + fault
        + """
root_helper.PATIENCE_S = 0.5
helper = split_off(commands=SAMPLER)
output = helper.start()
said = output.readline() if output else b""
helper.complaint()
begun_s = time.monotonic()
helper.complaint()
again_s = time.monotonic() - begun_s
helper.stop()
pid = json.loads(said)["pid"] if said else None
print(json.dumps({"uid": os.getuid(), "pid": pid, "again_s": again_s}))
""",
    ) as process:
        found, errors = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, len(found.splitlines())) == (0, 1), (
        found + errors
    )
    assert [path.name for path in home.glob("ended as *")] == [
        f"ended as {nobody()}"
    ]
    found = json.loads(found)
    assert found["uid"] == nobody() and found["again_s"] < 0.5
    assert (found["pid"] is not None) == (end == "normally")
    assert not found["pid"] or gone(found["pid"])
    assert "Traceback" not in errors
