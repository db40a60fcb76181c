"""A clock that is set back and a sleep change no duration."""

import os
import signal
import time

import pytest

from tests.support.beginnings import QUICK
from tests.system.programs import (
    assert_sound,
    finish,
    long_dead,
    posix,
    query,
    start,
    wait_for,
)

pytestmark = pytest.mark.faults

CLOCK = """
import os, time
real, real_ns = time.time, time.time_ns
def back():
    return 7200.0 if os.path.exists(os.environ["SET_BACK"]) else 0.0
time.time = lambda: real() - back()
time.time_ns = lambda: real_ns() - int(back() * 1e9)
"""


def test_a_clock_that_is_set_back_changes_no_duration(slow, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(CLOCK)
    set_back = tmp_path / "set back"
    process = start(
        "2",
        "--repeat",
        "3",
        "--host",
        slow.url,
        *QUICK,
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "SET_BACK": str(set_back)},
    )
    wait_for(process, "level 2 of 3")
    set_back.touch()
    code, _, err = finish(process)
    assert (code, err) == (0, "")
    path = tmp_path / "results.db"
    assert query(
        path,
        "SELECT count(*) FROM request "
        "WHERE status = 'completed' AND ttft_s >= 0.02 AND e2e_s BETWEEN 1.1 AND 20",
    ) == [(6,)]
    assert query(
        path,
        "SELECT count(*) FROM chunk JOIN request ON request.id = request_id "
        "WHERE at_ns < sent_ns OR at_ns > ended_ns",
    ) == [(0,)]
    ((stepped_s,),) = query(path, "SELECT clock_step_s FROM run")
    assert -7201 < stepped_s < -7199  # and the run says so
    assert_sound(path)


@posix
@pytest.mark.parametrize(
    "end", [signal.SIGINT, signal.SIGKILL] if os.name == "posix" else []
)
def test_a_clock_that_is_set_back_before_a_resume_lets_no_level_lie_on_another(
    slow, tmp_path, end
):
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
            env={"PYTHONPATH": str(tmp_path), "SET_BACK": str(tmp_path)},
        )
    )
    path = tmp_path / "results.db"
    assert code == 0 and "2 of 4 levels are measured" in out
    spans = query(
        path,
        "SELECT min(sent_ns), max(ended_ns) FROM request "
        "WHERE status <> 'in_flight' GROUP BY level_id ORDER BY level_id",
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
    sleeper = sim(profile="exact", ttft=20, itl=20, tokens=90)
    process = start(
        "4",
        "--repeat",
        "2",
        "--stall",
        "2",
        "--host",
        sleeper.url,
        *QUICK,
        cwd=tmp_path,
    )
    wait_for(process, "4 streaming")
    both = [process.pid, sleeper.process.pid]
    for pid in both:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(4)  # longer than --stall
    for pid in reversed(both):
        os.kill(pid, signal.SIGCONT)
    code, _, err = finish(process)
    path = tmp_path / "results.db"
    assert len(err.splitlines()) <= 1
    assert query(path, "SELECT status FROM level ORDER BY id") == [
        ("finished",),
        ("finished",),
    ]
    assert query(
        path, "SELECT count(*), sum(status = 'in_flight') FROM request"
    ) == [(8, 0)]
    assert query(
        path, "SELECT DISTINCT status FROM request WHERE level_id = 2"
    ) == [("completed",)]  # the next level is whole
    assert_sound(path)
