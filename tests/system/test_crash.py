"""Nothing that ended is lost: kill -9, full and read-only disks, locks, two runs, readers, a clock set back, a sleep.

make test-faults        the long ones; the rest runs with make test
"""

import contextlib
import ctypes
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ollama_bench.storage import writer as storage_writer
from ollama_bench.storage.connection import connect
from ollama_bench.storage.results_file import ResultsError
from ollama_bench.storage.writer import Writer

ROOT = Path(__file__).resolve().parents[2]
QUICK = ["--cooldown", "0", "--idle", "0", "--plain", "--no-monitor", "--warmup", "0"]
LONGEST_LOSS_NS = 10**9  # what ended a second before a kill is there
KILLS, RESUMED = 50, 6
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")
as_root = pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs root")
posix = pytest.mark.skipif(os.name != "posix", reason="needs signals")


def start(*arguments, cwd, env=None):
    clean = {
        name: value for name, value in os.environ.items() if name not in ("OLLAMA_HOST", "SUDO_UID")
    }
    return subprocess.Popen(
        [sys.executable, str(ROOT / "bench.py"), *map(str, arguments)],
        cwd=cwd,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean | (env or {}),
    )


def finish(process, timeout=60):
    try:
        out, err = process.communicate(timeout=timeout)
    finally:
        process.kill()  # one that hangs is not left behind
    assert "Traceback" not in err, err
    return process.returncode, out, err


def query(path, sql):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def long_dead(path):
    """As if a run that was killed had given its last sign of life a day ago."""
    with contextlib.closing(sqlite3.connect(path, timeout=20)) as connection:
        connection.execute("UPDATE run SET seen_unix = seen_unix - 86400 WHERE status = 'running'")
        connection.commit()


def assert_sound(path):
    assert (
        query(path, "PRAGMA integrity_check") == [("ok",)]
        and query(path, "PRAGMA foreign_key_check") == []
    )
    assert (
        query(path, "SELECT count(*) FROM request GROUP BY level_id, number HAVING count(*) > 1")
        == []
    )


def wait_for(process, words):
    for line in process.stdout:
        if words in line:
            return
    raise AssertionError(f"{words!r} was never said: {process.stderr.read()}")


@pytest.fixture(scope="module")
def steady(module_sim):
    return module_sim("--profile", "exact", "--ttft", "20", "--itl", "10", "--tokens", "30")


@pytest.fixture
def slow(module_sim):
    return module_sim("--profile", "exact", "--ttft", "20", "--itl", "20", "--tokens", "60")


# -- killed


@pytest.mark.faults
def test_killed_at_fifty_moments(steady, tmp_path):
    """A request is there when it ended more than a second before the kill; the server's log is the witness."""
    chance = random.Random(7)
    jobs = [(number, chance.uniform(0.6, 4.5)) for number in range(KILLS)]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda job: kill_one(tmp_path / str(job[0]), steady, job[1]), jobs))
    assert sum(in_flight for in_flight, _ in found) > 0  # some were killed in the middle of a level
    assert sum(witnessed for _, witnessed in found) > KILLS  # and many had ended long enough before


ASKED = ["1,2,4", "--repeat", "3"]


def kill_one(folder, steady, after_s):
    """How many requests were in flight in the file, and how many the server had ended in time."""
    folder.mkdir()
    asked = [*ASKED, "--prompt", f"of run {folder.name}.", "--host", steady.url, *QUICK]
    process = start(*asked, cwd=folder)
    time.sleep(after_s)
    process.kill()
    killed_ns = time.perf_counter_ns()  # the simulator's clock too
    process.communicate()
    time.sleep(0.5)  # for the log to be written
    log = [entry for entry in steady.log() if f"of run {folder.name}." in entry["prompt_prefix"]]
    witnessed = sum(
        entry["outcome"] == "done" and entry["end_ns"] < killed_ns - LONGEST_LOSS_NS
        for entry in log
    )
    path = folder / "results.db"
    if not path.exists():
        assert witnessed == 0
        return 0, 0
    database = connect(path)  # the file is ours and whole, or opening raises
    database.close()
    long_dead(path)
    assert_sound(path)
    stored = dict(query(path, "SELECT status, count(*) FROM request GROUP BY status"))
    assert set(stored) <= {"completed", "in_flight"} and stored.get("completed", 0) >= witnessed
    replies = query(
        path,
        "SELECT count(*) FROM request WHERE status = 'completed' AND id NOT IN (SELECT request_id FROM reply)",
    )
    assert replies == [(0,)]  # a request and its text come together
    if int(folder.name) < RESUMED:
        code, out, _ = finish(start(*asked, "--resume", cwd=folder))
        assert code == 0, out
        done = query(
            path,
            "SELECT concurrency, repeat, completed FROM level_summary WHERE status = 'finished' ORDER BY repeat, concurrency",
        )
        assert done == [(level, repeat, level) for repeat in (1, 2, 3) for level in (1, 2, 4)]
        assert_sound(path)
    return stored.get("in_flight", 0), witnessed


# -- disks


@contextlib.contextmanager
def mounted(folder, *options):
    folder.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, ",".join(options).encode()):
        pytest.skip("no mounting here")
    try:
        yield lambda flags: libc.mount(
            b"tmpfs", os.fsencode(folder), b"tmpfs", 32 | flags, None
        )  # 32: remount
    finally:
        libc.umount2(os.fsencode(folder), 2)


@linux
@as_root
def test_a_full_disk_is_said_and_waited_for(tmp_path, monkeypatch):
    said = []
    with mounted(tmp_path / "small", "size=2m"):
        with Writer(tmp_path / "small" / "results.db", say=said.append) as writer:
            run_id = writer.insert(
                "run",
                {
                    "source": "bench",
                    "status": "running",
                    "started_unix": 1.0,
                    "arguments": "{}",
                    "tool_version": "1",
                },
            )
            filler = tmp_path / "small" / "filler"
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                while True:
                    file.write(b"x" * 4096)
            for _ in range(200):
                writer.add("event", {"run_id": run_id, "kind": "x", "detail": "y" * 2000})
            until = time.monotonic() + 20
            while not said and time.monotonic() < until:
                time.sleep(0.05)
            filler.unlink()
            writer.flush()
        assert len(said) == 1 and "full" in said[0] and "\n" not in said[0]
        assert query(tmp_path / "small" / "results.db", "SELECT count(*) FROM event") == [(200,)]
        assert_sound(tmp_path / "small" / "results.db")


@linux
@as_root
def test_a_disk_that_stays_full_ends_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(storage_writer, "WRITE_PATIENCE_S", 1.0)
    with mounted(tmp_path / "small", "size=1m"):
        writer = Writer(tmp_path / "small" / "results.db", say=lambda text: None)
        run_id = writer.insert(
            "run",
            {
                "source": "bench",
                "status": "running",
                "started_unix": 1.0,
                "arguments": "{}",
                "tool_version": "1",
            },
        )
        with pytest.raises(ResultsError, match="full") as caught:
            for _ in range(1000):
                writer.insert("event", {"run_id": run_id, "kind": "x", "detail": "y" * 20_000})
        assert "\n" not in str(caught.value)
        with contextlib.suppress(ResultsError):
            writer.close()
        assert_sound(tmp_path / "small" / "results.db")


@linux
@as_root
def test_a_read_only_disk_is_said_in_one_line(steady, tmp_path):
    with mounted(tmp_path / "fixed", "size=4m") as remount:
        assert remount(1) == 0  # MS_RDONLY
        code, _, err = finish(start("1", "--host", steady.url, *QUICK, cwd=tmp_path / "fixed"))
        assert (
            code == 1
            and len(err.splitlines()) == 1
            and ("read-only" in err or "not writable" in err)
        )


IMPATIENT = """
import sys
sys.path.insert(0, {root!r})
from ollama_bench.storage import connection, writer
writer.WRITE_PATIENCE_S, connection.OPEN_PATIENCE_S = 1.5, 0.5
import bench
{more}
sys.exit(bench.main({arguments!r}))
"""


def start_impatient(*arguments, cwd, more=""):
    """bench.py with a writer that gives up after 1.5 s."""
    code = IMPATIENT.format(root=str(ROOT), more=more, arguments=[*map(str, arguments)])
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=cwd,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def assert_one_line(err, *words):
    assert (
        len(err.splitlines()) == 1
        and err.startswith("bench.py: ")
        and all(word in err for word in words)
    ), err


@linux
@as_root
def test_a_run_that_fills_the_disk_ends_in_one_line(steady, tmp_path):
    """What was committed before is kept, nothing hangs, and what could not be written is counted."""
    with mounted(tmp_path / "small", "size=600k"):
        process = start_impatient(
            "4,8",
            "--requests",
            "400",
            "--host",
            steady.url,
            *QUICK,
            "--db",
            "small/full.db",
            cwd=tmp_path,
        )
        code, out, err = finish(process)
        assert code == 1
        assert_one_line(err, "full", "make room on its disk", "entries could not be written")
        assert out.count("trying again") == 1 and "not there" not in out
        assert_sound(tmp_path / "small" / "full.db")
        assert query(
            tmp_path / "small" / "full.db",
            "SELECT count(*) > 0 FROM request WHERE status = 'completed'",
        ) == [(1,)]


# -- locks, other programs


def hold(path):
    """A lock on the file, as another program's that writes."""
    blocker = sqlite3.connect(path, timeout=20, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    return blocker


def test_a_lock_longer_than_the_patience_ends_the_run_and_loses_what_it_must(slow, tmp_path):
    process = start_impatient("1,2", "--repeat", "4", "--host", slow.url, *QUICK, cwd=tmp_path)
    wait_for(process, "level 2 of 8")
    blocker = hold(tmp_path / "results.db")
    code, _, err = finish(process, 30)  # it ends while the lock is held
    blocker.close()
    assert code == 1
    assert_one_line(
        err, "database is locked", "end the program that holds it", "entries could not be written"
    )
    assert query(tmp_path / "results.db", "SELECT status FROM level WHERE id = 1") == [
        ("finished",)
    ]
    assert_sound(tmp_path / "results.db")
    long_dead(tmp_path / "results.db")
    code, out, _ = finish(
        start("1,2", "--repeat", "4", "--resume", "--host", slow.url, *QUICK, cwd=tmp_path)
    )
    assert code == 0 and "of 8 levels are measured" in out
    assert query(
        tmp_path / "results.db",
        "SELECT sum(completed) FROM level_summary WHERE status = 'finished'",
    ) == [(12,)]


def test_a_lock_that_goes_while_the_run_ends_costs_nothing(slow, tmp_path):
    """The writer has given up, and what it kept is written when it closes."""
    late = (
        "close = bench.Writer.close\n"
        "bench.Writer.close = lambda self: (sys.stdin.readline(), close(self))"
    )
    code = IMPATIENT.format(
        root=str(ROOT), more=late, arguments=["1,3", "--host", slow.url, *QUICK]
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    wait_for(process, "level 2 of 2")
    time.sleep(0.6)
    blocker = hold(tmp_path / "results.db")
    time.sleep(5)
    blocker.execute("ROLLBACK")
    blocker.close()
    out, err = process.communicate("go on\n", timeout=30)
    assert process.returncode == 1 and "Traceback" not in err
    assert_one_line(err, "database is locked")
    assert "could not be written" not in err
    assert query(
        tmp_path / "results.db", "SELECT count(*), min(status), max(status) FROM request"
    ) == [(4, "completed", "completed")]
    assert query(tmp_path / "results.db", "SELECT status FROM run") == [("interrupted",)]


def test_a_run_that_another_program_deletes_ends_in_one_line(slow, tmp_path):
    process = start_impatient("1,2,3", "--host", slow.url, *QUICK, cwd=tmp_path)
    wait_for(process, "2 streaming")
    with contextlib.closing(
        sqlite3.connect(tmp_path / "results.db", timeout=20, isolation_level=None)
    ) as other:
        other.execute("DELETE FROM run")
    code, _, err = finish(process, 30)
    assert code == 1
    assert_one_line(err, "another program has deleted it")


@posix
@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_file_that_is_moved_or_replaced_ends_the_run_in_one_line_and_keeps_all_of_it(
    slow, tmp_path, is_replaced
):
    path = tmp_path / "results.db"
    process = start("1,2,3", "--host", slow.url, *QUICK, cwd=tmp_path)
    wait_for(process, "level 2 of 3")
    time.sleep(0.3)
    path.rename(tmp_path / "moved.db")
    if is_replaced:
        path.write_text("something else")
    code, _, err = finish(process, 30)
    assert code == 1
    assert_one_line(err, "results.db", "deleted, moved or replaced")
    assert query(tmp_path / "moved.db", "SELECT concurrency, status FROM level") == [
        (1, "finished"),
        (2, "interrupted"),
    ]
    assert query(
        tmp_path / "moved.db",
        "SELECT count(*), sum(status = 'in_flight'), (SELECT status FROM run) FROM request",
    ) == [(3, 0, "interrupted")]
    assert path.exists() == is_replaced and (
        not is_replaced or path.read_text() == "something else"
    )


def test_requests_that_another_program_deletes_are_told_of(slow, tmp_path):
    process = start_impatient("2", "--host", slow.url, *QUICK, cwd=tmp_path)
    wait_for(process, "2 streaming")
    with contextlib.closing(
        sqlite3.connect(tmp_path / "results.db", timeout=20, isolation_level=None)
    ) as other:
        other.execute("DELETE FROM request")
    code, out, err = finish(process, 30)
    assert err == "" and "rows were rejected" in out and code == 0


# -- whatever ends it, the run is closed


@pytest.mark.parametrize(
    "where", ["bench.machine.remember", "bench.Monitor.__init__", "bench.Targets.__init__"]
)
def test_an_error_before_the_first_level_closes_the_run(steady, tmp_path, where):
    broken = f"def broken(*_, **__): raise bench.RunError('no such luck')\n{where} = broken"
    arguments = [argument for argument in QUICK if argument != "--no-monitor"]
    code, _, err = finish(
        start_impatient("1", "--host", steady.url, *arguments, cwd=tmp_path, more=broken)
    )
    assert (code, err) == (1, "bench.py: no such luck\n")
    assert query(tmp_path / "results.db", "SELECT status, ended_ns > 0 FROM run") == [("failed", 1)]


@pytest.mark.parametrize("locked_s", [float(os.environ.get("LOCKED_S", 3))])  # LOCKED_S=30: by hand
def test_a_locked_file_is_waited_for_and_nothing_is_lost(slow, tmp_path, locked_s):
    process = start("1,2", "--repeat", "2", "--host", slow.url, *QUICK, cwd=tmp_path)
    wait_for(process, "level 2 of 4")
    blocker = hold(tmp_path / "results.db")
    time.sleep(locked_s)
    blocker.execute("COMMIT")
    blocker.close()
    code, out, err = finish(process, 60 + locked_s)
    assert code == 0 and len(err.splitlines()) <= 1
    assert query(
        tmp_path / "results.db", "SELECT count(*), min(status), max(status) FROM request"
    ) == [(6, "completed", "completed")]
    assert_sound(tmp_path / "results.db")


def test_two_runs_and_two_readers_at_once(slow, tmp_path):
    processes = [
        start("1,2,3", "--label", label, "--host", slow.url, *QUICK, cwd=tmp_path) for label in "ab"
    ]
    for process in processes:
        wait_for(process, "level 1 of 3")
    analyze = [
        subprocess.run(
            [sys.executable, str(ROOT / "analyze.py"), "--no-charts"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        for _ in range(2)
    ]
    reader = sqlite3.connect(f"file:{tmp_path / 'results.db'}?mode=ro", uri=True)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM request").fetchone()  # as Datasette does, and holds it
    for process in processes:
        code, _, err = finish(process)
        assert (code, err) == (0, "")
    reader.close()
    assert all("Traceback" not in done.stderr for done in analyze)
    assert query(
        tmp_path / "results.db",
        "SELECT label, sum(completed) FROM level_summary JOIN run ON run.id = run_id GROUP BY label",
    ) == [("a", 6), ("b", 6)]
    assert_sound(tmp_path / "results.db")


# -- where it shows itself


def shell(script, *arguments):
    """bench.py by way of a shell."""
    return ["sh", "-c", script, "sh", sys.executable, str(ROOT / "bench.py"), *map(str, arguments)]


@posix
@pytest.mark.parametrize(
    "redirection",
    [
        ">&-",
        "2>&-",
        "<&- >&- 2>&-",
        pytest.param(">/dev/full", marks=linux),
        pytest.param("2>/dev/full", marks=linux),
    ],
)
def test_a_closed_or_full_output_is_no_end_of_a_run(steady, tmp_path, redirection):
    command = shell(f'exec "$@" {redirection}', "1,2", "--host", steady.url, *QUICK)
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "Traceback" not in done.stderr
    if redirection == ">/dev/full":
        assert_one_line(done.stderr, "No space left on device", "the run continues")
    assert query(
        tmp_path / "results.db",
        "SELECT sum(completed), (SELECT status FROM run) FROM level_summary",
    ) == [(3, "finished")]


@posix
@pytest.mark.parametrize(
    "redirection",
    [
        "<&- >&- 2>&-",
        pytest.param(">/dev/full", marks=linux),
        pytest.param("2>/dev/full", marks=linux),
    ],
)
def test_monitor_without_an_output_stores_its_run(tmp_path, redirection):
    command = [
        "sh",
        "-c",
        f'exec "$@" {redirection}',
        "sh",
        sys.executable,
        str(ROOT / "monitor.py"),
        "--port",
        "9",
        "--interval",
        "0.2",
        "--duration",
        "1",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    full = redirection == ">/dev/full"
    assert (
        done.returncode == (130 if full else 0)
        and "Traceback" not in done.stderr
        and ("No space left" in done.stderr) == full
    )
    assert query(tmp_path / "results.db", "SELECT status FROM run") == [
        ("interrupted" if full else "finished",)
    ]


@posix
def test_analyze_draws_where_standard_error_is_closed(steady, tmp_path):
    assert finish(start("1", "--host", steady.url, *QUICK, cwd=tmp_path))[0] == 0
    command = ["sh", "-c", 'exec "$@" 2>&-', "sh", sys.executable, str(ROOT / "analyze.py")]
    assert (
        subprocess.run(command, cwd=tmp_path, stdout=subprocess.DEVNULL, timeout=120).returncode
        == 0
    )
    assert (tmp_path / "data" / "report.html").exists()


@posix
def test_ctrl_c_that_also_ends_who_reads_keeps_what_was_in_flight(slow, tmp_path):
    """As of `bench.py 2>&1 | tee log`."""
    process = start("1,2", "--host", slow.url, *QUICK, cwd=tmp_path)
    wait_for(process, "level 2 of 2")
    time.sleep(0.5)
    process.stdout.close()
    process.stderr.close()
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert query(
        tmp_path / "results.db", "SELECT concurrency, status, errors FROM level_summary"
    ) == [(1, "finished", 0), (2, "interrupted", 2)]
    assert query(tmp_path / "results.db", "SELECT status, ended_ns > 0 FROM run") == [
        ("interrupted", 1)
    ]


@posix
def test_a_reader_that_leaves_ends_the_run_and_the_level_it_cut_is_no_part_of_the_answer(
    slow, tmp_path
):
    process = start("1,2", "--host", slow.url, *QUICK, cwd=tmp_path)
    wait_for(process, "level 2 of 2")
    process.stdout.close()
    with process.stderr:
        err = process.stderr.read().strip()
    assert process.wait(30) == 130 and err.startswith("interrupted") and len(err.splitlines()) == 1
    code, out, _ = finish(start("1,2", "--host", slow.url, "--resume", *QUICK, cwd=tmp_path))
    assert code == 0 and "1 of 2 levels are measured" in out
    assert query(
        tmp_path / "results.db",
        "SELECT concurrency, status, completed FROM level_summary WHERE NOT superseded",
    ) == [(1, "finished", 1), (2, "finished", 2)]


@posix
@pytest.mark.parametrize("shown", [["--plain"], []])
@pytest.mark.parametrize(
    "script, code, status",
    [('exec "$@"', 130, "interrupted"), ('trap "" HUP; exec "$@"', 0, "finished")],
)
def test_a_terminal_that_is_closed_costs_nothing_that_was_seen(
    slow, tmp_path, shown, script, code, status
):
    """The kernel and the shell both say so; after nohup it is no end at all."""
    ours, theirs = os.openpty()
    command = shell(
        script,
        "1,2",
        "--host",
        slow.url,
        *(argument for argument in QUICK if argument != "--plain"),
        *shown,
    )
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=os.environ | {"TERM": "xterm"},
    )
    os.close(theirs)
    said = b""
    while b"level 2 of 2" not in said:
        said += os.read(ours, 4096)
    time.sleep(0.5)
    os.close(ours)
    for _ in range(2):
        process.send_signal(signal.SIGHUP)
        time.sleep(0.05)
    assert process.wait(30) == code
    assert query(
        tmp_path / "results.db", "SELECT status, (SELECT status FROM level WHERE id = 2) FROM run"
    ) == [(status, status)]
    assert query(
        tmp_path / "results.db", "SELECT count(*) FROM request WHERE status = 'in_flight'"
    ) == [(0,)]


# -- clocks

CLOCK = """
import os, time
real, real_ns, began = time.time, time.time_ns, time.monotonic()
def back():
    return 7200.0 if time.monotonic() - began > float(os.environ["BACK_AFTER_S"]) else 0.0
time.time = lambda: real() - back()
time.time_ns = lambda: real_ns() - int(back() * 1e9)
"""


def test_a_clock_that_is_set_back_changes_no_duration(slow, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(CLOCK)
    process = start(
        "2",
        "--repeat",
        "3",
        "--host",
        slow.url,
        *QUICK,
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "BACK_AFTER_S": "2.5"},
    )
    code, _, err = finish(process)
    assert (code, err) == (0, "")
    path = tmp_path / "results.db"
    assert query(
        path,
        "SELECT count(*) FROM request WHERE status = 'completed' AND ttft_s >= 0.02 AND e2e_s BETWEEN 1.1 AND 20",
    ) == [(6,)]
    assert query(
        path,
        "SELECT count(*) FROM chunk JOIN request ON request.id = request_id WHERE at_ns < sent_ns OR at_ns > ended_ns",
    ) == [(0,)]
    ((stepped_s,),) = query(path, "SELECT clock_step_s FROM run")
    assert -7201 < stepped_s < -7199  # and the run says so
    assert_sound(path)


@posix
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL] if os.name == "posix" else [])
def test_a_clock_that_is_set_back_before_a_resume_lets_no_level_lie_on_another(slow, tmp_path, end):
    """Or the power samples of one would count for the other."""
    (tmp_path / "sitecustomize.py").write_text(CLOCK)
    asked = [
        "1,2",
        "--repeat",
        "2",
        "--host",
        slow.url,
        *(argument for argument in QUICK if argument != "--no-monitor"),
    ]
    process = start(*asked, cwd=tmp_path)
    wait_for(process, "level 3 of 4")
    time.sleep(0.8)
    process.send_signal(end)
    process.communicate(timeout=30)
    long_dead(tmp_path / "results.db")
    code, out, _ = finish(
        start(
            *asked,
            "--resume",
            cwd=tmp_path,
            env={"PYTHONPATH": str(tmp_path), "BACK_AFTER_S": "-1"},
        )
    )
    path = tmp_path / "results.db"
    assert code == 0 and "2 of 4 levels are measured" in out
    spans = query(
        path,
        "SELECT min(sent_ns), max(ended_ns) FROM request WHERE status <> 'in_flight' GROUP BY level_id ORDER BY level_id",
    )
    assert len(spans) == 4 + (end == signal.SIGINT) and all(
        before < after for (_, before), (after, _) in zip(spans, spans[1:])
    )
    assert query(
        path,
        "SELECT count(*) > 3, count(DISTINCT at_ns) = count(*) FROM system_sample WHERE at_ns > 0",
    ) == [(1, 1)]
    ((stepped_s,),) = query(path, "SELECT clock_step_s FROM run")
    assert -7201 < stepped_s < -7140  # less what passed between the two


@posix
def test_a_sleep_of_everything_is_survived(sim, tmp_path):
    """As a laptop's: server and client stop for some seconds and go on."""
    sleeper = sim("--profile", "exact", "--ttft", "20", "--itl", "20", "--tokens", "60")
    process = start(
        "4", "--repeat", "2", "--stall", "2", "--host", sleeper.url, *QUICK, cwd=tmp_path
    )
    wait_for(process, "level 1 of 2")
    time.sleep(0.5)
    both = [process.pid, sleeper.process.pid]
    for pid in both:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(4)  # longer than --stall
    for pid in reversed(both):
        os.kill(pid, signal.SIGCONT)
    code, _, err = finish(process)
    path = tmp_path / "results.db"
    assert len(err.splitlines()) <= 1
    assert query(path, "SELECT status FROM level ORDER BY id") == [("finished",), ("finished",)]
    assert query(path, "SELECT count(*), sum(status = 'in_flight') FROM request") == [(8, 0)]
    assert query(path, "SELECT DISTINCT status FROM request WHERE level_id = 2") == [
        ("completed",)
    ]  # the next level is whole
    assert_sound(path)


# -- rows that break a rule


def test_a_row_that_cannot_be_stored_is_no_end_of_the_writer(tmp_path):
    said = []
    with Writer(tmp_path / "results.db", say=said.append) as writer:
        run_id = writer.insert(
            "run",
            {
                "source": "bench",
                "status": "running",
                "started_unix": 1.0,
                "arguments": "{}",
                "tool_version": "1",
            },
        )
        for detail in ("a", "\ud800", 10**30, object(), "b"):
            writer.add("event", {"run_id": run_id, "kind": "x", "detail": detail})
        writer.flush()
    assert query(tmp_path / "results.db", "SELECT detail FROM event") == [("a",), ("b",)]
    assert writer.rejected == 3 and all("\n" not in line for line in said)
