"""Root is for power alone: what is given up, what is left behind, and that it ends with us."""
from __future__ import annotations

import collections
import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import types

import psutil
import pytest

import bench
import power
import privilege
from conftest import plain_user
from test_power import document

ROOT = pathlib.Path(__file__).resolve().parent.parent
PATIENCE_S = 20.0
as_root = pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs root")
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")

# Everything is imported before root is given up: root's Python may be out of the user's reach.
PRELUDE = """
import concurrent.futures, importlib.metadata, json, os, sys, time, warnings
import psutil, sqlite_utils
import db, power, privilege
sqlite_utils.Database(memory=True).conn.close()
SAMPLER = [[sys.executable, os.environ["SAMPLER"], word] for word in ("first", "second", "third")]
"""
SAMPLER = """
import json, os, signal, sys, time
if sys.argv[1] == "second":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if sys.argv[1] == "third":
    while time.process_time() < 0.05:
        pass  # so that it has a CPU time
    sys.exit("powermetrics: unrecognized sampler: third")
print(json.dumps({"pid": os.getpid(), "uid": os.geteuid(), "word": sys.argv[1], "environment": dict(os.environ),
                  "folder": os.getcwd(), "fds": sorted(int(fd) for fd in os.listdir("/proc/self/fd"))
                  if os.path.exists("/proc/self/fd") else []}), flush=True)
time.sleep(60)
"""


@pytest.fixture
def home():
    """A folder that belongs to a plain user, with the sampler in it."""
    folder = pathlib.Path(tempfile.mkdtemp(dir="/tmp"))
    (folder / "sampler.py").write_text(SAMPLER)
    user = privilege.invoking_user({"SUDO_UID": str(nobody())})
    os.chown(folder, user.pw_uid, user.pw_gid)
    yield folder
    shutil.rmtree(folder)


def nobody():
    return plain_user().pw_uid


def start(home, code, **environment):
    """A program that begins as root under sudo; its lines of JSON are read from stdout."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SUDO_")}
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + code], cwd=home, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
        env={**clean, "PYTHONPATH": str(ROOT), "SAMPLER": str(home / "sampler.py"), "SUDO_UID": str(nobody()), **environment})


def answer(process):
    line = process.stdout.readline()
    assert line, process.communicate()[1]
    return json.loads(line)


def run(home, code, **environment):
    with start(home, code, **environment) as process:
        found = answer(process)
        _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, errors
    return found


def gone(pid):
    end_s = time.monotonic() + PATIENCE_S
    while psutil.pid_exists(pid) and time.monotonic() < end_s:
        time.sleep(0.02)
    return not psutil.pid_exists(pid)


# -- who typed sudo ---------------------------------------------------------------------

def test_not_root_is_left_alone(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000, raising=False)
    assert privilege.split_off() is None


def test_windows_is_left_alone(monkeypatch):
    monkeypatch.setattr(os, "name", "nt")
    assert privilege.split_off() is None


def test_root_itself_has_nobody_to_become():
    assert privilege.invoking_user({}) is None
    assert privilege.invoking_user({"SUDO_UID": "0"}) is None


@pytest.mark.skipif(os.name != "posix", reason="needs pwd")
@pytest.mark.parametrize("text", ["", "abc", "-1", "1000x", " 1000", "1e3", "00", "\u0663", "99999999999999999999", "3999999999", "9" * 5000])
def test_a_user_that_is_none_is_refused(text):
    with pytest.raises(privilege.PrivilegeError, match="SUDO_UID"):
        privilege.invoking_user({"SUDO_UID": text})


# -- giving root up ---------------------------------------------------------------------

@as_root
def test_root_is_given_up_for_good(home):
    found = run(home, """
os.umask(0)
os.setgroups([0, 4711])
helper = privilege.split_off(commands=SAMPLER)
refused = []
for regain in (lambda: os.setuid(0), lambda: os.seteuid(0), lambda: os.setgid(0), lambda: os.setgroups([0])):
    try:
        regain()
    except PermissionError:
        refused.append(True)
print(json.dumps({"ids": [os.getuid(), os.geteuid(), os.getgid(), os.getegid()], "groups": os.getgroups(), "refused": len(refused),
                  "umask": os.umask(0), "names": [os.environ[name] for name in ("HOME", "USER", "LOGNAME")],
                  "warning": helper.warning}))
helper.stop()
""")
    user = privilege.invoking_user({"SUDO_UID": str(nobody())})
    assert found["ids"] == [user.pw_uid, user.pw_uid, user.pw_gid, user.pw_gid]
    assert not {0, 4711} & set(found["groups"]) and found["refused"] == 4
    assert found["umask"] == 0o022 and found["names"] == [user.pw_dir, user.pw_name, user.pw_name]
    assert found["warning"] is None


@as_root
@pytest.mark.parametrize("option", ["--config", "--prompts"])
def test_a_file_that_only_root_may_read_is_not_read(home, option):
    (home / "secret").write_text("password = 1")
    (home / "secret").chmod(0o600)
    done = subprocess.run([sys.executable, str(ROOT / "bench.py"), "1", option, "secret"], cwd=home, capture_output=True, text=True,
                          env={**os.environ, "SUDO_UID": str(nobody())})
    assert done.returncode == 2 and "Permission denied" in done.stderr and "password" not in done.stderr and done.stderr.count("\n") == 1


@as_root
def test_what_the_user_may_read_is_read_and_root_comes_back(home):
    (home / "own").write_text("words")
    os.chown(home / "own", nobody(), 0)
    (home / "own").chmod(0o400)
    found = run(home, """
before = os.getgroups(), os.getegid()
with privilege.users_files():
    ids, read = [os.getuid(), os.geteuid()], open("own").read()
print(json.dumps({"ids": ids, "read": read, "back": os.geteuid() == 0 and (os.getgroups(), os.getegid()) == before}))
""")
    assert found == {"ids": [0, nobody()], "read": "words", "back": True}


@as_root
def test_root_comes_back_where_its_groups_do_not(home):
    found = run(home, """
def refuse(_groups):
    raise ValueError("too many groups")
os.setgroups = refuse
with privilege.users_files():
    pass
helper = privilege.split_off(commands=SAMPLER)
print(json.dumps({"uid": os.getuid()}))
helper.stop()
""")
    assert found == {"uid": nobody()}


@as_root
def test_the_results_file_belongs_to_the_user(home):
    run(home, """
helper = privilege.split_off(commands=SAMPLER)
with db.Writer("results.db") as writer:
    writer.insert("run", {"source": "bench", "status": "finished", "started_unix": 0, "arguments": "{}", "tool_version": "test"})
    print(json.dumps(sorted(os.listdir("."))))
helper.stop()
""")
    files = [path for path in home.iterdir() if path.name.startswith("results.db")]
    assert files and {path.stat().st_uid for path in files} == {nobody()}
    assert {path.stat().st_mode & 0o777 for path in files} == {0o644}


@as_root
def test_root_without_sudo_stays_root_and_says_so(home):
    found = run(home, """
helper = privilege.split_off(commands=SAMPLER)
print(json.dumps({"uid": os.getuid(), "warning": helper.warning, "sampler": helper.sampler}))
helper.stop()
""", SUDO_UID="0")
    assert found["uid"] == 0 and "root" in found["warning"] and found["sampler"]


@as_root
def test_a_false_user_stops_before_anything_is_started(home):
    with start(home, "privilege.split_off(commands=SAMPLER)", SUDO_UID="4000000001") as process:
        _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1 and "SUDO_UID" in errors.splitlines()[-1]


@as_root
def test_counters_stay_readable_after_root_is_gone(home):
    zone = home / "sys/class/powercap/intel-rapl:0"
    zone.mkdir(parents=True)
    for name, content in (("name", "package-0"), ("energy_uj", "1000000"), ("max_energy_range_uj", "5000000")):
        (zone / name).write_text(content)
    (zone / "energy_uj").chmod(0o400)
    found = run(home, """
helper = privilege.split_off(sampler=False, sysfs="sys")
sys.platform = "linux"
(source,) = [source for source in power.sources(helper, sysfs="nothing") if source.name == "rapl"]
try:
    open("sys/class/powercap/intel-rapl:0/energy_uj")
    opened = True
except PermissionError:
    opened = False
print(json.dumps({"first": source.read(10**9), "second": source.read(2 * 10**9), "opened": opened,
                  "sampler": helper.sampler}))
source.stop()
""")
    assert found["opened"] is False and found["sampler"] is False
    assert found["second"]["energy_j"] == 0.0 and found["second"]["end_ns"] == 2 * 10**9


@as_root
@pytest.mark.parametrize("call", ["initgroups", "setgid", "setuid"])
def test_root_that_cannot_be_given_up_is_one_line(home, call):
    found = run(home, f"""
def refuse(*_):
    raise PermissionError(1, "Operation not permitted")
os.{call} = refuse
try:
    privilege.split_off(commands=SAMPLER)
except privilege.PrivilegeError as error:
    print(json.dumps(str(error)))
""")
    assert found == "root could not be given up (Operation not permitted): start without sudo"


@as_root
@pytest.mark.parametrize("fault, why", [
    ("tempfile.tempdir = '/nonexistent'", "No such file or directory"),
    ("os.pipe = refuse", "Too many open files"), ("os.fork = refuse", "Too many open files")])
def test_without_a_helper_the_run_goes_on_without_power(home, fault, why):
    found = run(home, f"""
import tempfile
def refuse():
    raise OSError(24, "Too many open files")
before = sorted(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else []
{fault}
helper = privilege.split_off(commands=SAMPLER)
after = sorted(os.listdir("/proc/self/fd")) if before else []
sys.platform = "darwin"
power.shutil.which = lambda name: None
(source,) = power.sources(helper)
print(json.dumps({{"uid": os.getuid(), "sampler": helper.sampler, "status": source.status, "leaked": len(after) - len(before),
                  "started": helper.start() is not None, "complaint": helper.complaint()}}))
helper.stop()
""")
    assert found == {"uid": nobody(), "sampler": False, "leaked": 0, "started": False, "complaint": "",
                     "status": f"not read: root's helper could not be started: {why}"}


@as_root
@pytest.mark.parametrize("command", [["bench.py", "1", "--host", "http://127.0.0.1:9"], ["monitor.py", "--powermetrics-log", "absent"],
                                     ["analyze.py"], ["import_csv.py", "absent"]])
def test_root_leaves_no_bytecode_in_the_users_clone(home, command):
    for path in [*ROOT.glob("*.py"), ROOT / "schema.sql"]:
        shutil.copy(path, home)
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX")}
    done = subprocess.run([sys.executable, *command], cwd=home, capture_output=True, text=True, timeout=60,
                          env={**clean, "SUDO_UID": str(nobody())})
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert not (home / "__pycache__").exists()


# -- the sampler ------------------------------------------------------------------------

WITH_SAMPLER = """
secret = open("secret", "w")
os.dup2(secret.fileno(), 200)
os.environ.update(PATH="/evil", LD_PRELOAD="/evil.so", DYLD_INSERT_LIBRARIES="/evil.dylib", PYTHONPATH="/evil", PYTHONHOME="/evil")
helper = privilege.split_off(commands=SAMPLER)
output = helper.start()
found = json.loads(output.readline())
found["helper"] = helper._pid
print(json.dumps(found), flush=True)
"""


@as_root
def test_the_sampler_is_root_with_a_clean_environment_and_no_descriptors(home):
    found = run(home, WITH_SAMPLER + "helper.stop()\n")
    inherited = {name for name in found["environment"] if not name.startswith("__CF")}  # macOS adds some
    assert inherited - {"LC_CTYPE"} == set(privilege.CLEAN_ENVIRONMENT)
    assert found["environment"]["PATH"] == "/usr/bin:/bin:/usr/sbin:/sbin"
    assert (found["uid"], found["word"], found["folder"]) == (0, "first", "/")
    assert [fd for fd in found["fds"] if fd > 3] == []  # 3 is the listing itself
    assert gone(found["pid"])


@as_root
@linux
def test_the_helper_holds_nothing_of_ours(home):
    with start(home, WITH_SAMPLER + "sys.stdin.read()\n") as process:
        found = answer(process)
        files = {os.readlink(link) for link in pathlib.Path(f"/proc/{found['helper']}/fd").iterdir()}
        assert not [name for name in files if "secret" in name]
        assert len([name for name in files if name.startswith("pipe:")]) == 1 + privilege.STARTS - 1  # control, unused outputs
        assert os.getsid(found["helper"]) != os.getsid(process.pid)
        process.communicate(timeout=PATIENCE_S)
    assert gone(found["helper"]) and gone(found["pid"])


@as_root
@pytest.mark.parametrize("end", ["normally", "by Ctrl-C", "by kill -9", "by SIGTERM"])
def test_the_sampler_ends_when_we_do(home, end):
    with start(home, WITH_SAMPLER + "sys.stdin.read()\n") as process:
        found = answer(process)
        assert psutil.pid_exists(found["pid"])
        if end == "normally":
            process.stdin.close()
        else:
            number = {"by Ctrl-C": signal.SIGINT, "by kill -9": signal.SIGKILL, "by SIGTERM": signal.SIGTERM}[end]
            os.killpg(process.pid, number)  # a terminal sends it to the whole group
        process.wait(PATIENCE_S)
    assert gone(found["pid"]) and gone(found["helper"])


@as_root
def test_the_helper_is_deaf_to_signals(home):
    with start(home, WITH_SAMPLER + "sys.stdin.read()\n") as process:
        found = answer(process)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            os.kill(found["helper"], number)
        time.sleep(0.3)
        assert psutil.pid_exists(found["helper"]) and psutil.pid_exists(found["pid"])
        process.communicate(timeout=PATIENCE_S)
    assert gone(found["helper"]) and gone(found["pid"])


@as_root
def test_a_sampler_that_ignores_sigterm_is_killed(home):
    found = run(home, """
helper = privilege.split_off(commands=SAMPLER)
found = json.loads(helper.start(1).readline())
begun_s = time.monotonic()
helper.stop()
print(json.dumps({**found, "took_s": time.monotonic() - begun_s, "left": psutil.pid_exists(found["pid"])}))
""")
    assert found["word"] == "second" and not found["left"]
    assert found["took_s"] >= power.STOP_S


@as_root
def test_the_sampler_is_started_again_a_few_times(home):
    found = run(home, """
warnings.simplefilter("ignore", ResourceWarning)
helper = privilege.split_off(commands=SAMPLER)
pids, ends = [], []
for _ in range(privilege.STARTS):
    output = helper.start()
    pids.append(json.loads(output.readline())["pid"])
    helper.kill()
    ends.append(output.read() == b"")
print(json.dumps({"pids": pids, "ends": ends, "more": helper.start() is not None}))
helper.stop()
""")
    assert len(set(found["pids"])) == privilege.STARTS and all(found["ends"])
    assert found["more"] is False and all(gone(pid) for pid in found["pids"])


@as_root
def test_what_the_sampler_complained_of_is_known_and_the_next_command_is_tried(home):
    found = run(home, """
helper = privilege.split_off(commands=SAMPLER)
source = power.sources(helper)[0]
source._step = 2
with source.start() as output:
    ended = output.read()
complaint = source.complaint()
source._step = 0
refused = source.refused(complaint)
source.stop()
print(json.dumps({"ended": len(ended), "complaint": complaint, "refused": refused, "cpu_s": helper.cpu_s}))
""")
    assert found["ended"] == 0 and found["refused"] is True
    assert found["complaint"] == "powermetrics: unrecognized sampler: third exit code 1"
    assert found["cpu_s"] > 0


@as_root
def test_a_helper_that_is_killed_is_no_error(home):
    with start(home, """
helper = privilege.split_off(commands=SAMPLER)
print(json.dumps(helper._pid), flush=True)
sys.stdin.readline()
output = helper.start()
print(json.dumps({"started": output is not None, "complaint": helper.complaint()}), flush=True)
helper.kill()
helper.stop()
helper.stop()
""") as process:
        pid = answer(process)
        os.kill(pid, signal.SIGKILL)
        time.sleep(0.2)
        process.stdin.write("\n")
        process.stdin.flush()
        found = answer(process)
        _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, errors
    assert found == {"started": False, "complaint": ""}


def test_two_refused_samplers_leave_all_the_restarts():
    import monitor

    assert privilege.STARTS == len(power.SAMPLERS) + monitor.RESTARTS


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
    """What is printed after the fork is printed once, by the user, and the sampler ends all the same."""
    fault = {"normally": "", "by an error": "os.setsid = None", "by Ctrl-C": """
def interrupted():
    raise KeyboardInterrupt
os.setsid = interrupted"""}[end]
    with start(home, FULL_DISK + fault + """
helper = privilege.split_off(commands=SAMPLER)
output = helper.start()
said = output.readline() if output else b""
helper.complaint()
begun_s = time.monotonic()
helper.complaint()
again_s = time.monotonic() - begun_s
helper.stop()
print(json.dumps({"uid": os.getuid(), "pid": json.loads(said)["pid"] if said else None, "again_s": again_s}))
""") as process:
        found, errors = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, len(found.splitlines())) == (0, 1), found + errors
    assert [path.name for path in home.glob("ended as *")] == [f"ended as {nobody()}"]
    found = json.loads(found)
    assert found["uid"] == nobody() and found["again_s"] < power.STOP_S
    assert (found["pid"] is not None) == (end == "normally") and (not found["pid"] or gone(found["pid"]))
    assert "Traceback" not in errors


FEEDING = """
import sys, time
while time.process_time() < 0.05:
    pass  # so that it has a CPU time
while True:
    time.sleep(0.1)
    sys.stdout.buffer.write(open(sys.argv[1], "rb").read() + b"\\n\\0")
    sys.stdout.flush()
"""


@as_root
def test_the_users_monitor_stores_what_roots_sampler_says(home):
    (home / "document").write_bytes(document().replace(b"2000000000", b"100000000"))
    (home / "document").chmod(0o600)  # for root's eyes
    (home / "feeding.py").write_text(FEEDING)
    found = run(home, """
import monitor, uuid
folder = os.getcwd()
helper = privilege.split_off(commands=[[sys.executable, folder + "/feeding.py", folder + "/document"]])
with db.Writer("results.db") as writer:
    run_id = writer.insert("run", {"source": "bench", "status": "running", "started_unix": 0, "arguments": "{}", "tool_version": "test"})
    watching = monitor.Monitor(writer, run_id, time.perf_counter_ns(), sources=power.sources(helper), pid=os.getppid())
    watching.start()
    came = watching.wait_first_sample()
    covered = watching.wait_covered(time.perf_counter_ns())
    cost = watching.stop()
    writer.flush()
    rows = list(writer._database["power_sample"].rows)
print(json.dumps({"uid": os.getuid(), "came": came, "covered": covered, "energy_j": rows[0]["energy_j"], "cpu_s": cost["sampler_cpu_s"]}))
""")
    assert found["uid"] == nobody() and found["came"] and found["covered"]
    assert found["energy_j"] == pytest.approx(8.01) and found["cpu_s"] > 0


# -- what sudo drops --------------------------------------------------------------------

MEANT = {"OLLAMA_HOST": "studio:1", "OPENAI_API_KEY": "sk-of-the-user", "REQUESTS_CA_BUNDLE": "cert.pem"}
RECOVER = """
before = {name: os.environ.get(name) for name in privilege.PASSED_ON}
privilege.recover_variables()
print(json.dumps({"found": {name: os.environ[name] for name in privilege.PASSED_ON if name in os.environ},
                  "unknown": sorted(privilege.unknown), "recovered": sorted(privilege.recovered), "uid": os.geteuid()}), flush=True)
"""
# In the manner of sudo: root by its file, the user's by its real id, and it waits for what it started.
SUDO = """
import os, subprocess, sys
open("/proc/self/comm", "w").write(sys.argv[1])
inner = {name: value for name, value in os.environ.items() if name not in sys.argv[2].split(",")}
inner |= {"SUDO_UID": str(os.getuid())} | dict(pair.split("=") for pair in sys.argv[3].split(",") if pair)
sys.exit(subprocess.call([sys.executable, "-c", sys.argv[4]], env=inner, preexec_fn=lambda: os.setresuid(0, 0, 0)))
"""
# Its child is root as it was; then it becomes the user, and as a new program it may be looked into.
SHELL = """
import os, sys, time
ours, reader = os.getpid(), sys.argv[1]
if os.fork() == 0:
    def is_ready():
        uids = open(f"/proc/{ours}/status").read().split("Uid:")[1].split()[:2]
        is_new = os.readlink(f"/proc/{ours}/exe") != os.readlink("/proc/self/exe")
        return uids == [sys.argv[2]] * 2 and is_new == (sys.argv[3] == "exec")
    while not is_ready():
        time.sleep(0.02)
    inner = {name: value for name, value in os.environ.items() if name not in ("OLLAMA_HOST", "OPENAI_API_KEY", "REQUESTS_CA_BUNDLE")}
    os.execve(sys.executable, [sys.executable, "-c", reader], inner | {"SUDO_UID": sys.argv[2]})
os.setgid(65534)
os.setuid(int(sys.argv[2]))
if sys.argv[3] == "exec":
    os.execv("/bin/sleep", ["sleep", "60"])
time.sleep(60)
"""


def recovered(home, words, preexec=None):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SUDO_") and name not in MEANT}
    with subprocess.Popen([sys.executable, "-c", *words], cwd=home, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=preexec,
                          start_new_session=True, env={**clean, **MEANT, "PYTHONPATH": str(ROOT), "SAMPLER": ""}) as process:
        try:
            return answer(process)
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def as_setuid_root():
    os.setresuid(nobody(), 0, 0)


@as_root
@linux
def test_what_sudo_dropped_is_taken_from_what_it_was_given(home):
    found = recovered(home, [SUDO, "sudo", ",".join(MEANT), "", PRELUDE + RECOVER], as_setuid_root)
    assert found == {"found": MEANT, "unknown": [], "recovered": sorted(MEANT), "uid": 0}


@as_root
@linux
def test_what_is_there_already_is_left_alone(home):
    found = recovered(home, [SUDO, "sudo", "REQUESTS_CA_BUNDLE", "OLLAMA_HOST=other:2", PRELUDE + RECOVER], as_setuid_root)
    assert found["found"] == MEANT | {"OLLAMA_HOST": "other:2"} and found["recovered"] == ["REQUESTS_CA_BUNDLE"]


@as_root
@linux
def test_a_root_process_that_is_not_sudo_is_not_looked_into(home):
    found = recovered(home, [SUDO, "daemon", ",".join(MEANT), "", PRELUDE + RECOVER], as_setuid_root)
    assert found == {"found": {}, "unknown": sorted(MEANT), "recovered": [], "uid": 0}


@as_root
@linux
def test_where_sudo_did_not_stay_the_users_shell_is_asked(home):
    """What was exported in it later cannot be seen: what is missing is unknown."""
    found = recovered(home, [SHELL, PRELUDE + RECOVER, str(nobody()), "exec"])
    assert found == {"found": MEANT, "unknown": [], "recovered": sorted(MEANT), "uid": 0}


@as_root
@linux
def test_a_process_into_which_the_user_may_not_look_is_not_looked_into(home):
    """A daemon that gave root up may still hold what root was given."""
    found = recovered(home, [SHELL, PRELUDE + RECOVER, str(nobody()), "stay"])
    assert found == {"found": {}, "unknown": sorted(MEANT), "recovered": [], "uid": 0}


class Ancestor:
    """A process as psutil shows it."""

    def __init__(self, name, uids, environment):
        self._name, self._uids, self._environment = name, uids, environment

    def name(self):
        return self._name

    def uids(self):
        return collections.namedtuple("uids", "real effective saved")(*self._uids)

    def environ(self):
        if isinstance(self._environment, Exception):
            raise self._environment
        return self._environment


HIDDEN = [Ancestor("sudo", (501, 0, 0), {}), Ancestor("zsh", (501, 501, 501), {})]  # macOS: its own programs show nothing


@pytest.fixture
def under_sudo(monkeypatch):
    """under_sudo(ancestors) recovers what they tell; with at_once=False it is for a program to do."""
    def recover(ancestors, at_once=True):
        monkeypatch.setattr(privilege, "user_of_sudo", lambda: types.SimpleNamespace(pw_uid=501))
        monkeypatch.setattr(privilege, "users_files", contextlib.nullcontext)
        monkeypatch.setattr(psutil.Process, "parents", lambda self: ancestors)
        if at_once:
            privilege.recover_variables()

    for name in privilege.PASSED_ON:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    yield recover
    privilege.recovered.clear()
    privilege.unknown.clear()


@pytest.mark.parametrize("ancestors", [
    HIDDEN, [], [Ancestor("sudo", (0, 0, 0), MEANT)], [Ancestor("bash", (501, 501, 501), psutil.AccessDenied())],
    [Ancestor("zsh", (501, 501, 501), {}), Ancestor("iTerm2", (501, 501, 501), MEANT)], [Ancestor("zsh", (501, 501, 501), RuntimeError("sysctl"))],
    [Ancestor("zsh", (501, 501, 501), OSError(5, "Input/output error"))]])
def test_what_cannot_be_learned_is_unknown_and_told(under_sudo, ancestors):
    under_sudo(ancestors)
    assert privilege.unknown == set(privilege.PASSED_ON) and not privilege.recovered and not set(MEANT) & set(os.environ)
    assert privilege.dropped_hint("OLLAMA_HOST") == (
        "sudo drops OLLAMA_HOST: if set, start with sudo --preserve-env=OLLAMA_HOST,OPENAI_API_KEY,REQUESTS_CA_BUNDLE")


def test_a_shell_that_shows_itself_is_believed(under_sudo):
    under_sudo([Ancestor("sudo", (501, 0, 0), {}), Ancestor("fish", (501, 501, 501), {"OLLAMA_HOST": "studio:1", "HOME": "/"})])
    assert os.environ["OLLAMA_HOST"] == "studio:1" and privilege.unknown == {"OPENAI_API_KEY", "REQUESTS_CA_BUNDLE"}


def test_without_sudo_nothing_is_recovered(monkeypatch):
    monkeypatch.setattr(privilege, "user_of_sudo", lambda: None)
    privilege.recover_variables()
    assert not privilege.unknown and not privilege.recovered and privilege.dropped_hint(*privilege.PASSED_ON) == ""


SERVERS = [
    (["1"], {}, "server: http://127.0.0.1:11434 (default)"), (["1"], {"OLLAMA_HOST": "127.0.0.2"}, "server: http://127.0.0.2:11434 (OLLAMA_HOST)"),
    (["1", "--host", "127.0.0.1:9"], {"OLLAMA_HOST": "127.0.0.2"}, "server: http://127.0.0.1:9 (--host)"),
    (["1", "--config", "named.toml"], {"OLLAMA_HOST": "127.0.0.2"}, "server: http://127.0.0.1:8 (--config)"),
    (["1", "--config", "named.toml", "--host", "127.0.0.1:9"], {}, "server: http://127.0.0.1:9 (--host)"),
    (["1", "--api", "openai"], {"OLLAMA_HOST": "127.0.0.2"}, "server: http://127.0.0.1:11434 (default)")]


@pytest.fixture
def nobody_answers(monkeypatch):
    def absent(self, *_):
        raise bench.ServerError("nobody")

    monkeypatch.setattr(bench.Server, "check_model", absent)
    monkeypatch.setattr(bench.privilege, "split_off", lambda **_: None)


@pytest.mark.parametrize("words, environment, line", SERVERS)
def test_a_run_says_whom_it_asks_and_why(monkeypatch, capsys, nobody_answers, tmp_path, words, environment, line):
    (tmp_path / "named.toml").write_text('host = ["127.0.0.1:8"]')
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OLLAMA_HOST", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert bench.main([*words, "--plain"]) == 1
    assert capsys.readouterr().out.splitlines() == [line]


@pytest.mark.parametrize("words, hints", [
    (["1"], ["sudo drops OLLAMA_HOST: if set, "]), (["1", "--host", "127.0.0.1:9"], []),
    (["1", "--host", "https://127.0.0.1:9"], ["sudo drops REQUESTS_CA_BUNDLE: if set, "]),
    (["1", "--host", "https://127.0.0.1:9", "--api", "openai"], ["sudo drops OPENAI_API_KEY and REQUESTS_CA_BUNDLE: if set, "])])
def test_what_sudo_may_have_dropped_is_told_where_it_matters(under_sudo, capsys, nobody_answers, words, hints):
    under_sudo(HIDDEN, at_once=False)
    assert bench.main([*words, "--plain"]) == 1
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 1 + len(hints) and all(line.startswith(hint) for line, hint in zip(said[1:], hints))


def test_a_recovered_name_is_marked_and_a_recovered_key_is_shown_nowhere(under_sudo, capsys, nobody_answers):
    under_sudo([Ancestor("sudo", (501, 0, 0), MEANT)], at_once=False)
    assert bench.main(["1", "--plain"]) == 1
    assert bench.main(["1", "--plain", "--api", "openai"]) == 1
    said = capsys.readouterr()
    assert said.out.splitlines()[0] == "server: http://studio:1 (OLLAMA_HOST, which sudo had dropped)"
    assert MEANT["OPENAI_API_KEY"] not in said.out + said.err and "OLLAMA_HOST:" not in said.out
