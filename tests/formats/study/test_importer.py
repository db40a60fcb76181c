"""The import against a small tree in the original tool's format, with its faults."""

import shutil
import sqlite3

import pytest

from ollama_bench.formats import import_command
from ollama_bench.formats.study import storing
from ollama_bench.storage.connection import connect

GPU = "Timestamp,Usage%,Power(W),Frequency(MHz)\n"
PROCESS = "Timestamp,PID,CPU%,MEM%,Threads,FDs,VSZ,RSS\n"
REQUEST = "RequestID,TTFB,TotalDuration,ResponseDuration,WaitingTime,TokenCount,StatusCode,Status\n"
DURATION = "Timestamp,Concurrency,MaxDuration,MinDuration,AvgDuration,P99Duration\n"


@pytest.fixture
def tree(tmp_path):
    """Level 1 twice on two days, level 2 with a failure, and each fault the study's files show."""
    one = tmp_path / "study" / "ollama" / "tiny-7b" / "test_results_1"
    two = one.with_name("test_results_2")
    one.mkdir(parents=True)
    two.mkdir()
    (one / "duration_metrics.csv").write_text(
        DURATION + "2025-01-30T10:00:20-03:00,1,9.500,9.500,9.500,9.500\n"
        "2025-02-02T10:00:12-03:00,1,8.000,8.000,8.000,8.000\n"
    )
    (one / "request_summary.csv").write_text(
        REQUEST + "1,0.500,9.500,9.500,0.500,501,200,Completed\n"
        "1,2.000,8.000,8.000,2.000,401,200,Completed\n"
    )
    (one / "gpu_metrics.csv").write_text(
        GPU + "2025-02-02T10:00:05-03:00,100.00,20.00,1390.00\n"
        "2025-02-02T10:00:06-03:00,100.00,10.00,1380.00\n"
        "2025-02-02T10:05:00-03:00,100.00,0.01,444.00\n"
    )  # the last: five minutes after the level
    (one / "process_42_metrics.csv").write_text(
        PROCESS
        + "2025-02-02T10:00:05-03:00,42,250.50,14.50,18,41,1000,512\n"
        "-02T10:00:06-03:00,42,1.00,14.50,18,41,1000,512\n"
        "2025-02-02T10:00:07-03:00,42,1.00,14.50,18,41,10"
    )
    (two / "duration_metrics.csv").write_text(
        DURATION
        + "2025-02-02T10:00:40-03:00,2,10.000,0.000,5.000,10.000\n"
    )
    (two / "request_summary.csv").write_text(
        REQUEST
        + "2,0.000,0.000,0.000,0.000,0,500,Waiting\n1,3.000,10.000,10.000,3.000,301,200,Completed\n"
    )
    (two / "gpu_metrics.csv").write_text(
        GPU
        + "".join(
            f"2025-02-02T10:00:{second}-03:00,100.00,5.00,1000.00\n"
            for second in range(28, 41)
        )
    )
    return tmp_path / "study"


def run_import(tree, path, *more):
    return import_command.main([str(tree), "--db", str(path), *more])


def rows(path, sql):
    with sqlite3.connect(path) as connection:
        found = connection.execute(sql).fetchall()
    connection.close()
    return found


def test_a_long_pause_or_a_lower_level_begins_a_run(tree, tmp_path):
    assert run_import(tree, tmp_path / "r.db") == 0
    assert rows(
        tmp_path / "r.db",
        "SELECT run_id, concurrency, repeat FROM level ORDER BY id",
    ) == [
        (1, 1, 1),
        (2, 1, 1),
        (2, 2, 1),
    ]
    assert rows(
        tmp_path / "r.db", "SELECT started_unix, source, status FROM run"
    ) == [
        (1738242010.0, "import", "finished"),
        (1738501202.0, "import", "finished"),
    ]  # 10:00:20 - 0.5 - 9.5 in -03:00


def test_instants_follow_from_the_end_the_wait_and_the_duration(
    tree, tmp_path
):
    run_import(tree, tmp_path / "r.db")
    assert rows(
        tmp_path / "r.db",
        """SELECT sent_ns, first_text_ns, last_text_ns, ttft_s, active_s, tokens_per_s,
        output_tokens_source FROM request WHERE status = 'completed'""",
    ) == [
        (0, 500_000_000, 10_000_000_000, 0.5, 9.5, 500 / 9.5, "words"),
        (0, 2_000_000_000, 10_000_000_000, 2.0, 8.0, 50.0, "words"),
        (
            25_000_000_000,
            28_000_000_000,
            38_000_000_000,
            3.0,
            10.0,
            30.0,
            "words",
        ),
    ]


def test_a_failure_is_a_failure_and_its_zeros_are_unknown(tree, tmp_path):
    run_import(tree, tmp_path / "r.db")
    assert rows(
        tmp_path / "r.db",
        """SELECT status, http_status, first_text_ns, output_tokens, error FROM request
        WHERE status <> 'completed'""",
    ) == [("http_error", 500, None, None, "status 500, noted as Waiting")]
    assert rows(
        tmp_path / "r.db",
        "SELECT error_ratio FROM level_summary WHERE concurrency = 2",
    ) == [(0.5,)]


def test_samples_stay_in_their_own_level(tree, tmp_path):
    run_import(tree, tmp_path / "r.db")
    assert rows(
        tmp_path / "r.db",
        """SELECT level.concurrency, count(*), sum(energy_j) FROM level
        JOIN power_source USING (run_id) JOIN power_sample ON source_id = power_source.id
        AND end_ns > started_ns AND start_ns < ended_ns GROUP BY level.id""",
    ) == [(1, 2, 30.0), (2, 13, 65.0)]
    assert rows(
        tmp_path / "r.db",
        "SELECT cpu_ratio, memory_ratio, rss_bytes, vms_bytes, threads, fds FROM process_sample",
    ) == [(2.505, 0.145, 512 * 1024, 1000 * 1024, 18, 41)]


def test_usage_that_is_always_100_is_unknown_and_the_file_says_why(
    tree, tmp_path, capsys
):
    run_import(tree, tmp_path / "r.db")
    assert rows(
        tmp_path / "r.db",
        "SELECT DISTINCT gpu_busy_ratio FROM power_sample",
    ) == [(None,)]
    assert rows(
        tmp_path / "r.db",
        "SELECT count(*) FROM event WHERE kind = 'import_left_out'"
        " AND detail LIKE '%15 x GPU usage%'",
    ) == [(2,)]
    assert "below 0.1 W" in capsys.readouterr().out


def test_usage_that_varies_is_kept(tree, tmp_path):
    for path in tree.rglob("gpu_metrics.csv"):
        path.write_text(
            path.read_text().replace("100.00,10.00", "25.00,10.00")
        )
    run_import(tree, tmp_path / "r.db")
    assert (0.25,) in rows(
        tmp_path / "r.db",
        "SELECT DISTINCT gpu_busy_ratio FROM power_sample",
    )


def test_cut_lines_are_reported_and_left_out(tree, tmp_path, capsys):
    run_import(tree, tmp_path / "r.db")
    said = " ".join(capsys.readouterr().out.split())
    assert "1 x line cut in half (1/process_42_metrics.csv:3)" in said
    assert (
        "1 x last line without an end, perhaps cut (1/process_42_metrics.csv:4)"
        in said
    )
    outside = "1 x GPU sample outside its level: the sampler ran on after the level had ended"
    assert f"{outside} (1/gpu_metrics.csv:4)" in said


def test_a_dry_run_says_the_same_and_writes_nothing(
    tree, tmp_path, capsys
):
    run_import(tree, tmp_path / "r.db", "--dry-run")
    dry = capsys.readouterr().out.splitlines()
    assert not (tmp_path / "r.db").exists()
    run_import(tree, tmp_path / "r.db")
    assert capsys.readouterr().out.splitlines()[:-1] == dry[:-1]


def test_twice_is_once_from_anywhere(tree, tmp_path, capsys):
    for folder in (tree, tree / "ollama", tree / "ollama" / "tiny-7b"):
        assert run_import(folder, tmp_path / "r.db") == 0
    assert rows(tmp_path / "r.db", "SELECT count(*) FROM request") == [
        (4,)
    ]
    assert capsys.readouterr().out.count("(stored before)") == 4


LEVELS = """SELECT run_id, concurrency, repeat, count(*) FROM level
    JOIN request ON level_id = level.id GROUP BY level.id ORDER BY level.id"""


def copy_study(tree, name):
    """A copy of the model's folder in a folder of this name beside ollama."""
    return shutil.copytree(tree / "ollama", tree / name) / "tiny-7b"


@pytest.mark.parametrize("name", ["bkp", "old", "ollama/tiny-7b/bkp"])
def test_an_identical_copy_of_the_tree_is_taken_once(
    tree, tmp_path, capsys, name
):
    run_import(tree, tmp_path / "one.db")
    once = capsys.readouterr().out
    copies = tmp_path / "copies"
    if name.count("/"):
        shutil.copytree(tree / "ollama" / "tiny-7b", copies)
        shutil.move(copies, tree / name)
    else:
        copy_study(tree, name)
    top = tree / "ollama" if name.count("/") else tree
    assert run_import(top, tmp_path / "r.db") == 0
    said = capsys.readouterr().out
    assert rows(tmp_path / "r.db", LEVELS) == rows(
        tmp_path / "one.db", LEVELS
    )
    first, _ = said.split("\n", 1)
    assert first.startswith("copies, taken once: 2 level folders (")
    assert first.endswith("/1 ...)")
    # what is said besides is said once
    assert said.count("tiny-7b: read") == once.count("tiny-7b: read")
    assert said.count("left out:") == once.count("left out:")


@pytest.mark.parametrize(
    "lost", ["gpu_metrics.csv", "process_42_metrics.csv"]
)
def test_a_level_of_two_different_folders_is_taken_once(
    tree, tmp_path, capsys, lost
):
    """From the folder with most samples, whichever comes first."""
    run_import(tree, tmp_path / "one.db")
    copy = copy_study(tree, "bkp")
    (copy / "test_results_1" / lost).unlink()
    other = copy_study(tree, "zzz")
    (other / "test_results_1" / lost).unlink()
    assert run_import(tree, tmp_path / "r.db") == 0
    for sql in (
        LEVELS,
        "SELECT count(*) FROM power_sample",
        "SELECT count(*) FROM process_sample",
    ):
        assert rows(tmp_path / "r.db", sql) == rows(
            tmp_path / "one.db", sql
        )
    assert "2 x level that another folder holds too" in " ".join(
        capsys.readouterr().out.split()
    )


def test_another_measurement_in_a_copy_is_a_run_of_its_own(tree, tmp_path):
    copy = copy_study(tree, "bkp")
    path = copy / "test_results_1" / "duration_metrics.csv"
    path.write_text(path.read_text().replace("2025-01-30", "2025-01-20"))
    run_import(tree, tmp_path / "r.db")
    assert [row[1:3] for row in rows(tmp_path / "r.db", LEVELS)] == [
        (1, 1),
        (1, 1),
        (1, 1),
        (2, 1),
    ]


def test_a_start_appended_later_is_all_that_is_added(tree, tmp_path):
    run_import(tree, tmp_path / "r.db")
    one = tree / "ollama" / "tiny-7b" / "test_results_1"
    with (one / "duration_metrics.csv").open("a") as file:
        file.write("2025-02-03T10:00:12-03:00,1,8.000,8.000,8.000,8.000\n")
    with (one / "request_summary.csv").open("a") as file:
        file.write("1,2.000,8.000,8.000,2.000,401,200,Completed\n")
    run_import(tree, tmp_path / "r.db")
    assert rows(tmp_path / "r.db", "SELECT count(*) FROM run") == [(3,)]


def test_requests_without_a_time_are_told_and_not_guessed(
    tree, tmp_path, capsys
):
    one = tree / "ollama" / "tiny-7b" / "test_results_1"
    lines = (
        (one / "duration_metrics.csv")
        .read_text()
        .splitlines(keepends=True)
    )
    # the first start's line is lost
    (one / "duration_metrics.csv").write_text(lines[0] + lines[2])
    run_import(tree, tmp_path / "r.db")
    assert rows(
        tmp_path / "r.db",
        "SELECT ttft_s FROM request JOIN level ON level.id = level_id WHERE concurrency = 1",
    ) == [(2.0,)]
    assert "requests of unknown time" in capsys.readouterr().out


@pytest.mark.parametrize(
    "name, content",
    [
        ("request_summary.csv", b"\xff\xfe\x00"),
        ("gpu_metrics.csv", b""),
        ("duration_metrics.csv", b"Timestamp\n1\n"),
    ],
)
def test_a_strange_file_is_left_out_not_a_crash(
    tree, tmp_path, capsys, name, content
):
    (tree / "ollama" / "tiny-7b" / "test_results_2" / name).write_bytes(
        content
    )
    assert run_import(tree, tmp_path / "r.db") == 0
    assert "file without the expected header" in " ".join(
        capsys.readouterr().out.split()
    )


def test_failures_are_one_line(tmp_path, capsys):
    assert run_import(tmp_path / "absent", tmp_path / "r.db") == 1
    assert run_import(tmp_path, tmp_path / "r.db") == 1
    (tmp_path / "other.db").write_text(
        "not a database at all, but long enough to look at"
    )
    assert capsys.readouterr().err.count("\n") == 2


def test_a_process_file_written_twice_counts_once(tree, tmp_path, capsys):
    path = next(tree.rglob("test_results_1")) / "process_42_metrics.csv"
    lines = "".join(
        f"2025-02-02T10:00:{second:02}.{part:02}-03:00,42,1.0,1.0,1,1,1,1\n"
        for second in range(5, 11)
        for part in range(0, 50, 10)
    )
    path.write_text(PROCESS + lines * 2)
    assert (
        run_import(tree, tmp_path / "r.db") == 0
        and "30 x second process sample" in capsys.readouterr().out
    )
    assert rows(
        tmp_path / "r.db",
        "SELECT count(*) FROM process_sample"
        " JOIN process ON process.id = process_id WHERE pid = 42",
    ) == [(30,)]


def test_what_the_file_refuses_is_one_line(
    tree, tmp_path, capsys, monkeypatch
):
    # two samples at the same instant
    monkeypatch.setattr(storing, "to_ns", lambda seconds: 0)
    assert run_import(tree, tmp_path / "r.db") == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_half_an_import_is_none(tree, tmp_path, monkeypatch):
    monkeypatch.setattr(
        storing,
        "store_samples",
        lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()),
    )
    assert run_import(tree, tmp_path / "r.db") == 130
    assert rows(tmp_path / "r.db", "SELECT count(*) FROM run") == [(0,)]
    monkeypatch.undo()
    assert run_import(tree, tmp_path / "r.db") == 0
    database = connect(tmp_path / "r.db", readonly=True)
    assert database["run"].count == 2
    database.close()
