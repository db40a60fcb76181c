"""Closed and open loops, ramps and durations from the outside."""

import signal
import time

import pytest

from tests.run.programs import (
    QUICK,
    rows,
    run,
    start,
    wait_for,
)


def test_a_closed_loop_replaces_who_is_done(fast, tmp_path):
    code, out, err = run(
        "3",
        "--requests",
        "10",
        "--host",
        fast.url,
        *QUICK,
        cwd=tmp_path,
    )
    assert (code, err) == (0, "") and "steady" in out
    (level,) = rows(tmp_path, "SELECT * FROM level_summary")
    assert (
        level["load"],
        level["requests"],
        level["completed"],
        level["peak_streaming"],
    ) == (
        "closed",
        10,
        10,
        3,
    )
    numbers = rows(
        tmp_path,
        "SELECT number, sent_ns, ended_ns FROM request ORDER BY sent_ns",
    )
    assert sorted(r["number"] for r in numbers) == list(range(1, 11))
    flying = [
        sum(o["sent_ns"] < r["sent_ns"] < o["ended_ns"] for o in numbers)
        for r in numbers
    ]
    assert max(flying) <= 2  # besides itself
    (steady,) = rows(tmp_path, "SELECT * FROM steady_summary")
    assert (
        steady["requests"] == 10 and steady["output_tokens_per_s"] > 0
    )  # too few to tell a warm-up: from the start to the last sending


def test_a_duration_lets_what_is_in_flight_finish(fast, tmp_path):
    assert (
        run(
            "2",
            "--duration",
            "1",
            "--host",
            fast.url,
            *QUICK,
            cwd=tmp_path,
        )[0]
        == 0
    )
    (level,) = rows(tmp_path, "SELECT * FROM level_summary")
    assert (
        level["requests"] == level["completed"] >= 4
        and level["duration_s"] >= 0.8
    )


@pytest.mark.faults
def test_an_open_loop_counts_latency_from_when_a_request_was_due(
    fast, tmp_path
):
    code, out, _ = run(
        "2",
        "--rate",
        "40",
        "--requests",
        "12",
        "--host",
        fast.url,
        *QUICK,
        cwd=tmp_path,
    )
    assert code == 0
    (level,) = rows(tmp_path, "SELECT * FROM level_summary")
    assert (level["load"], level["completed"], level["rate_per_s"]) == (
        "open",
        12,
        40.0,
    )
    found = rows(
        tmp_path,
        "SELECT due_ns, sent_ns, first_text_ns, ttft_s FROM request ORDER BY due_ns",
    )
    assert (
        all(r["sent_ns"] >= r["due_ns"] for r in found)
        and len({r["due_ns"] for r in found}) == 12
    )
    assert all(
        abs(r["ttft_s"] - (r["first_text_ns"] - r["due_ns"]) / 1e9) < 1e-6
        for r in found
    )
    assert level[
        "pool_waits"
    ] > 0 and "found all 2 places taken when due" in " ".join(
        out.split()
    )  # two at once can't keep up with 40/s
    assert found[-1]["sent_ns"] - found[-1]["due_ns"] > 0.1e9


@pytest.mark.faults
def test_what_an_open_loop_never_sent_has_its_row_and_fails(
    fast, tmp_path
):
    code, out, _ = run(
        "1",
        "--rate",
        "40",
        "--duration",
        "1",
        "--host",
        fast.url,
        *QUICK,
        cwd=tmp_path,
    )
    (level,) = rows(tmp_path, "SELECT * FROM level_summary")
    found = rows(
        tmp_path,
        "SELECT * FROM request WHERE ending = 'not_sent' ORDER BY number",
    )
    assert code == 0 and len(found) == level["never_sent"] > 5
    assert level["requests"] == level["completed"] + len(found) > 20
    assert [r["number"] for r in found] == list(
        range(level["completed"] + 1, level["requests"] + 1)
    )
    assert all(
        r["due_ns"] is not None
        and r["sent_ns"] is r["ended_ns"] is None
        and r["ttft_s"] is None
        for r in found
    )
    said = " ".join(out.split())
    assert (
        f"{len(found)} not_sent: due and not sent when the level" in said
    )
    assert f"saturated: of {level['offered_per_s']:.3g} requests/s" in said
    assert level["good_ratio"] <= level["completed"] / level["requests"]
    assert level["good_ratio_low"] < level["good_ratio"]
    assert level["good_ratio"] < level["good_ratio_high"] < 1


def test_an_open_loop_that_ends_by_time_leaves_no_row_of_what_was_never_sent(
    fast, tmp_path
):
    assert (
        run(
            "30",
            "--rate",
            "10",
            "--duration",
            "1",
            "--host",
            fast.url,
            *QUICK,
            cwd=tmp_path,
        )[0]
        == 0
    )
    found = rows(
        tmp_path,
        "SELECT status, due_ns - (SELECT started_ns FROM level) AS due FROM request",
    )
    assert (
        len(found) >= 2
        and {r["status"] for r in found} == {"completed"}
        and all(0 <= r["due"] < 1e9 for r in found)
    )


@pytest.mark.parametrize(
    "mode",
    [
        ["--requests", "6"],
        pytest.param(["--duration", "1"], marks=pytest.mark.faults),
        pytest.param(
            ["--rate", "20", "--duration", "1"], marks=pytest.mark.faults
        ),
        [],
    ],
)
def test_a_server_that_is_gone_in_every_load(sim, tmp_path, mode):
    dying = sim(profile="exact", ttft=20, itl=20, tokens=30)
    process = start(
        "1,3", *mode, "--host", dying.url, *QUICK, cwd=tmp_path
    )
    wait_for(process, "level 1 of 2")
    time.sleep(0.3)
    dying.process.kill()
    dying.process.wait()
    wait_for(process, "does not answer")
    # it would wait two minutes for the server to come back
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert (
        process.returncode == 130
        and "Traceback" not in err
        and "rejected" not in err
    )
    found = {
        r["status"] for r in rows(tmp_path, "SELECT status FROM request")
    }
    assert "in_flight" not in found and found & {"reset", "refused"}


@pytest.mark.faults
def test_the_same_seed_arrives_at_the_same_times(fast, tmp_path):
    for _ in range(2):
        assert (
            run(
                "8",
                "--rate",
                "50",
                "--requests",
                "6",
                "--seed",
                "7",
                "--host",
                fast.url,
                *QUICK,
                cwd=tmp_path,
            )[0]
            == 0
        )
    first, second = (
        [
            r["gap"]
            for r in rows(
                tmp_path,
                f"""SELECT due_ns - (SELECT started_ns FROM level WHERE id = {level}) AS gap
        FROM request WHERE level_id = {level} ORDER BY due_ns""",
            )
        ]
        for level in (1, 2)
    )
    assert first == second and len(set(first)) == 6


@pytest.mark.faults
def test_a_ramp_spreads_the_first_requests(fast, tmp_path):
    assert (
        run(
            "4", "--ramp", "0.4", "--host", fast.url, *QUICK, cwd=tmp_path
        )[0]
        == 0
    )
    found = rows(
        tmp_path,
        """SELECT sent_ns - (SELECT started_ns FROM level) AS sent
        FROM request ORDER BY sent_ns""",
    )
    late = [
        row["sent"] - number * 0.1e9 for number, row in enumerate(found)
    ]
    assert (
        len(late) == 4 and 0 <= min(late) < 0.1e9
    )  # none before its time


@pytest.mark.faults
def test_a_level_whose_queue_grows_is_saturated_and_ended_early(
    module_sim, tmp_path
):
    server = module_sim(
        profile="exact", slots=2, ttft=30, itl=2, tokens=10, queue=512
    )
    code, out, err = run(
        "400",
        "--rate",
        "80",
        "--arrivals",
        "constant",
        "--duration",
        "60",
        "--host",
        server.url,
        *QUICK,
        cwd=tmp_path,
    )
    assert code == 0
    (level,) = rows(tmp_path, "SELECT * FROM level_summary")
    assert (level["saturated"], level["arrival_cv"]) == (1, 0)
    assert level["queue_growth_low_per_s"] > 0
    assert level["queue_growth_low_per_s"] < level["queue_growth_per_s"]
    assert level["queue_growth_per_s"] < level["queue_growth_high_per_s"]
    assert level["duration_s"] < 20
    said = " ".join(out.split())
    assert "saturated: the queue grew by " in said
    assert "the server cannot keep up with 80 requests/s" in said
    assert "cancelled: not awaited: the level was saturated" in said
    # of who was cut within seconds nobody can tell; the warm-up is not judged
    (cut,) = rows(
        tmp_path,
        "SELECT count(*) AS n FROM request JOIN judged_request "
        "ON request_id = request.id WHERE ending = 'cancelled'",
    )
    assert level["undecided_requests"] == cut["n"] > 0


def test_a_load_at_a_rate_that_the_server_answers_is_not_saturated(
    fast, tmp_path
):
    assert (
        run(
            "30",
            "--rate",
            "40",
            "--arrivals",
            "constant",
            "--requests",
            "20",
            "--host",
            fast.url,
            *QUICK,
            cwd=tmp_path,
        )[0]
        == 0
    )
    (level,) = rows(tmp_path, "SELECT * FROM level")
    assert level["saturated"] is level["queue_growth_per_s"] is None
    due_ns = [
        row["due_ns"]
        for row in rows(
            tmp_path, "SELECT due_ns FROM request ORDER BY due_ns"
        )
    ]
    gaps = {
        later - due for due, later in zip(due_ns, due_ns[1:], strict=False)
    }
    assert max(gaps) - min(gaps) <= 2  # nanoseconds
