"""What is left of root: counters, a sampler, and no rights."""

import os
import types

import pytest

from ollama_bench.monitor import feed
from ollama_bench.power.powermetrics_command import SAMPLERS
from ollama_bench.privilege.helper import STARTS, split_off
from ollama_bench.privilege.sudo import parse_sudo_uid
from tests.power.documents import document
from tests.privilege.programs import STORING, as_root, gone, nobody, run


def test_not_root_is_left_alone(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000, raising=False)
    assert split_off() is None


def test_windows_is_left_alone(monkeypatch):
    monkeypatch.setattr(os, "name", "nt")
    assert split_off() is None


@as_root
def test_root_is_given_up_for_good(home):
    found = run(
        home,
        """
os.umask(0)
os.setgroups([0, 4711])
helper = split_off(commands=SAMPLER)
refused = []
for call, argument in ((os.setuid, 0), (os.seteuid, 0), (os.setgid, 0), (os.setgroups, [0])):
    try:
        call(argument)
    except PermissionError:
        refused.append(True)
print(json.dumps({
    "ids": [os.getuid(), os.geteuid(), os.getgid(), os.getegid()],
    "groups": os.getgroups(),
    "refused": len(refused),
    "umask": os.umask(0),
    "names": [os.environ[name] for name in ("HOME", "USER", "LOGNAME")],
    "warning": helper.warning,
}))
helper.stop()
""",
    )
    user = parse_sudo_uid({"SUDO_UID": str(nobody())})
    assert found["ids"] == [
        user.pw_uid,
        user.pw_uid,
        user.pw_gid,
        user.pw_gid,
    ]
    assert not {0, 4711} & set(found["groups"]) and found["refused"] == 4
    assert found["umask"] == 0o022 and found["names"] == [
        user.pw_dir,
        user.pw_name,
        user.pw_name,
    ]
    assert found["warning"] is None


@as_root
def test_the_results_file_belongs_to_the_user(home):
    run(
        home,
        STORING
        + """
helper = split_off(commands=SAMPLER)
with Writer("results.db") as writer:
    row = {"source": "bench", "status": "finished", "started_unix": 0}
    writer.insert("run", row | {"arguments": "{}", "tool_version": "test"})
    print(json.dumps(sorted(os.listdir("."))))
helper.stop()
""",
    )
    files = [
        path
        for path in home.iterdir()
        if path.name.startswith("results.db")
    ]
    assert files and {path.stat().st_uid for path in files} == {nobody()}
    assert {path.stat().st_mode & 0o777 for path in files} == {0o644}


@as_root
def test_root_without_sudo_stays_root_and_says_so(home):
    found = run(
        home,
        """
root_helper.can_sudo = lambda: True
helper = split_off(commands=SAMPLER)
print(json.dumps({"uid": os.getuid(), "warning": helper.warning, "sampler": helper.sampler}))
helper.stop()
""",
        SUDO_UID="0",
    )
    assert (
        found["uid"] == 0
        and "root" in found["warning"]
        and found["sampler"]
    )


@pytest.mark.skipif(os.name == "nt", reason="Windows has no root")
@pytest.mark.parametrize(
    "sudo, user_ids, warns",
    [
        ("/usr/bin/sudo", (0, 1, 1000, 65534), True),
        ("/usr/bin/sudo", (0, 1, 65534), False),
        (None, (0, 1000), False),
    ],
)
def test_where_nobody_can_type_sudo_nobody_is_told_to(
    monkeypatch, tmp_path, sudo, user_ids, warns
):
    accounts = [
        types.SimpleNamespace(pw_uid=number) for number in user_ids
    ]
    monkeypatch.setattr("pwd.getpwall", lambda: accounts)
    monkeypatch.setattr("shutil.which", lambda name: sudo)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.delenv("SUDO_UID", raising=False)
    helper = split_off(sampler=False, sysfs=str(tmp_path))
    assert bool(helper.warning) is warns


@as_root
def test_counters_stay_readable_after_root_is_gone(home):
    zone = home / "sys/class/powercap/intel-rapl:0"
    zone.mkdir(parents=True)
    for name, content in (
        ("name", "package-0"),
        ("energy_uj", "1000000"),
        ("max_energy_range_uj", "5000000"),
    ):
        (zone / name).write_text(content)
    (zone / "energy_uj").chmod(0o400)
    found = run(
        home,
        """
helper = split_off(sampler=False, sysfs="sys")
sys.platform = "linux"
(source,) = [source for source in find_sources(helper, sysfs="nothing") if source.name == "rapl"]
try:
    open("sys/class/powercap/intel-rapl:0/energy_uj")
    opened = True
except PermissionError:
    opened = False
print(json.dumps({"first": source.read(10**9), "second": source.read(2 * 10**9), "opened": opened,
                  "sampler": helper.sampler}))
source.stop()
""",
    )
    assert found["opened"] is False and found["sampler"] is False
    assert (
        found["second"]["energy_j"] == 0.0
        and found["second"]["end_ns"] == 2 * 10**9
    )


@as_root
@pytest.mark.parametrize(
    "fault, why",
    [
        ("tempfile.tempdir = '/nonexistent'", "No such file or directory"),
        ("os.pipe = refuse", "Too many open files"),
        ("os.fork = refuse", "Too many open files"),
    ],
)
def test_without_a_helper_the_run_goes_on_without_power(home, fault, why):
    found = run(
        home,
        f"""
import tempfile
def refuse():
    raise OSError(24, "Too many open files")
before = sorted(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else []
{fault}
helper = split_off(commands=SAMPLER)
after = sorted(os.listdir("/proc/self/fd")) if before else []
sys.platform = "darwin"
shutil.which = lambda name: None
(source,) = find_sources(helper)
print(json.dumps({{
    "uid": os.getuid(),
    "sampler": helper.sampler,
    "status": source.status,
    "leaked": len(after) - len(before),
    "started": helper.start() is not None,
    "complaint": helper.complaint(),
}}))
helper.stop()
""",
    )
    assert found == {
        "uid": nobody(),
        "sampler": False,
        "leaked": 0,
        "started": False,
        "complaint": "",
        "status": f"not read: cannot start the root helper ({why})",
    }


@as_root
def test_the_sampler_is_started_again_a_few_times(home):
    found = run(
        home,
        """
warnings.simplefilter("ignore", ResourceWarning)
helper = split_off(commands=SAMPLER)
pids, ends = [], []
for _ in range(STARTS):
    output = helper.start()
    pids.append(json.loads(output.readline())["pid"])
    helper.kill()
    ends.append(output.read() == b"")
print(json.dumps({"pids": pids, "ends": ends, "more": helper.start() is not None}))
helper.stop()
""",
    )
    assert len(set(found["pids"])) == STARTS and all(found["ends"])
    assert found["more"] is False and all(
        gone(pid) for pid in found["pids"]
    )


@as_root
def test_what_the_sampler_complained_of_is_known_and_the_next_command_is_tried(
    home,
):
    found = run(
        home,
        """
helper = split_off(commands=SAMPLER)
source = find_sources(helper)[0]
source._step = 2
with source.start() as output:
    ended = output.read()
complaint = source.complaint()
source._step = 0
refused = source.refused(complaint)
source.stop()
found = {"ended": len(ended), "complaint": complaint, "refused": refused}
print(json.dumps(found | {"cpu_s": helper.cpu_s}))
""",
    )
    assert found["ended"] == 0 and found["refused"] is True
    assert (
        found["complaint"]
        == "powermetrics: unrecognized sampler: third exit code 1"
    )
    assert found["cpu_s"] > 0


def test_two_refused_samplers_leave_all_the_restarts():

    assert len(SAMPLERS) + feed.RESTARTS == STARTS


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
    (home / "document").write_bytes(
        document().replace(b"2000000000", b"100000000")
    )
    (home / "document").chmod(0o600)  # for root's eyes
    (home / "feeding.py").write_text(FEEDING)
    found = run(
        home,
        STORING
        + """
import uuid
from ollama_bench.monitor import monitor
folder = os.getcwd()
helper = split_off(commands=[[sys.executable, folder + "/feeding.py", folder + "/document"]])
with Writer("results.db") as writer:
    row = {"source": "bench", "status": "running", "started_unix": 0}
    run_id = writer.insert("run", row | {"arguments": "{}", "tool_version": "test"})
    watching = monitor.Monitor(
        writer, run_id, time.perf_counter_ns(), sources=find_sources(helper), pid=os.getppid()
    )
    watching.start()
    came = watching.wait_first_sample()
    covered = watching.wait_covered(time.perf_counter_ns())
    cost = watching.stop()
    writer.flush()
    rows = list(writer._database["power_sample"].rows)
print(json.dumps({
    "uid": os.getuid(),
    "came": came,
    "covered": covered,
    "energy_j": rows[0]["energy_j"],
    "cpu_s": cost["sampler_cpu_s"],
}))
""",
    )
    assert found["uid"] == nobody() and found["came"] and found["covered"]
    assert found["energy_j"] == pytest.approx(8.01) and found["cpu_s"] > 0
