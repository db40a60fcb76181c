"""analyze.py from end to end: what it prints, what it leaves, how it fails."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

import analyze
import bench
from ollama_bench.storage.connection import connect
from tests.support import made_up_results
from tests.support.studies import change as change_file

ROOT = Path(__file__).resolve().parents[2]
ANALYZE = str(ROOT / "analyze.py")


@pytest.fixture
def results(tmp_path):
    made_up_results.write(tmp_path / "results.db", failures=2)
    return tmp_path / "results.db"


def test_the_terminal_has_table_answers_and_warnings_in_80_columns(
    results, capsys
):
    assert (
        analyze.main(
            ["--db", str(results), "--charts", "none", "--price", "0.3"]
        )
        == 0
    )
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    said = "\n".join(lines)
    assert "  run 1, 20" in said and "SIMULATED" in said
    assert [
        line.split()[:2]
        for line in lines
        if line[:11].strip().isdecimal() and "/" in line
    ] == [
        ["1", "1/1"],
        ["2", "2/2"],
        ["4", "4/4"],
        ["8", "8/8"],
        ["32", "30/32"],
    ]
    assert (
        "One request alone gets" in said
        and "EUR/kWh" in said
        and "! 2 requests at 32 at once failed" in said
    )


def test_a_narrow_terminal_shows_what_fits(results, capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "60")
    assert analyze.main(["--db", str(results), "--charts", "none"]) == 0
    out = re.sub("\x1b[^m]*m", "", capsys.readouterr().out)
    lines = out.splitlines()
    # a command is in one piece, to be copied
    wide = [line for line in lines if len(line) > 60]
    assert all(line.startswith("    python bench.py ") for line in wide)
    assert "         32     30/32" in out
    assert "SIMULATED: not a measurement of a real machine" in out


def test_a_price_where_no_level_has_a_token(results, capsys):
    database = connect(results)
    database.execute(
        "UPDATE request SET status = 'refused', first_text_ns = NULL, first_answer_ns = NULL, "
        "last_text_ns = NULL, chunks = 0, output_tokens = 0"
    )
    database.close()
    assert (
        analyze.main(
            ["--db", str(results), "--charts", "none", "--price", "0.3"]
        )
        == 0
    )
    said = capsys.readouterr().out
    assert (
        "0/32" in said
        and "EUR/kWh" not in said
        and "tokens per joule" not in said
    )


@pytest.mark.faults
@pytest.mark.parametrize("alphabet", ["cp1252", "ascii"])
@pytest.mark.parametrize(
    "arguments",
    [
        [ANALYZE, "--charts", "none", "--export", "study", "."],
        [ANALYZE, "--compare", "1", "2"],
        [
            "-m",
            "ollama_bench.formats.import_command",
            "tree",
            "--db",
            "other.db",
        ],
    ],
)
def test_names_that_the_output_has_no_letters_for(
    results, tmp_path, alphabet, arguments
):
    """As in a pipe on Windows."""
    for second in range(2):
        made_up_results.write(
            tmp_path / "names.db",
            model="模型\u202e→:7b",
            label="größer → schneller",
            levels=(1,),
            started_unix=1e9 + second,
        )
    folder = tmp_path / "tree" / "模型→" / "test_results_1"
    folder.mkdir(parents=True)
    (folder / "duration_metrics.csv").write_text(
        "Timestamp,Concurrency,MaxDuration,MinDuration,AvgDuration,P99Duration\n",
        encoding="utf-8",
    )
    database = ["--db", "names.db"] if arguments[0] == ANALYZE else []
    done = subprocess.run(
        [sys.executable, *arguments, *database],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ
        | {"PYTHONIOENCODING": alphabet, "PYTHONPATH": str(ROOT)},
        encoding=alphabet,
    )
    assert (done.returncode, done.stderr) == (0, "") and "?" in done.stdout


def test_wishes_change_the_answer(results, capsys):
    analyze.main(
        [
            "--db",
            str(results),
            "--charts",
            "none",
            "--slo",
            "ttft=100,tokens_per_s=1",
        ]
    )
    assert (
        "Up to 8 at once get at least 1 tokens/s and the first token within 100 s"
        in " ".join(capsys.readouterr().out.split())
    )


def test_it_writes_nothing_into_the_file(results, tmp_path):
    before = results.read_bytes()
    analyze.main(["--db", str(results), "--charts", "none"])
    assert results.read_bytes() == before


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--db", "absent.db"], "absent.db is not there"),
        (["nothing:7b"], "no model nothing:7b"),
        (["--run", "77"], "no run 77"),
    ],
)
def test_failures_are_one_line_and_1(results, capsys, arguments, said):
    assert (
        analyze.main(
            ["--db", str(results), "--charts", "none", *arguments]
        )
        == 1
    )
    captured = capsys.readouterr()
    assert (
        said in captured.err
        and captured.err.count("\n") == 1
        and captured.out == ""
    )


@pytest.mark.parametrize("more", [["--out"], ["--export", "vllm"]])
def test_a_folder_that_cannot_be_is_told_before_the_answer(
    results, tmp_path, monkeypatch, capsys, more
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    asked = ["--db", str(results), "--charts", "timeline", *more]
    for path in (tmp_path / "file", tmp_path / ("x" * 300)):
        assert analyze.main([*asked, str(path)]) == 1
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1
        assert f"analyze.py: {path}" in err


def test_a_file_of_somebody_else_is_refused(tmp_path, capsys):
    with sqlite3.connect(tmp_path / "other.db") as connection:
        connection.execute("CREATE TABLE cats (name TEXT)")
    connection.close()
    assert analyze.main(["--db", str(tmp_path / "other.db")]) == 1
    assert "is not a results file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--slo", "speed=3"],
        ["--slo", "ttft=x"],
        ["--slo", "ttft=-1"],
        ["--price", "nan"],
        ["--fail-if", "ttft>5%"],
        ["--fail-if", "x"],
        ["--compare", "1", "2", "--fail-if", "ttft>5"],
    ],
)
def test_wrong_usage_is_2(results, arguments):
    with pytest.raises(SystemExit) as error:
        analyze.main(["--db", str(results), *arguments])
    assert error.value.code == 2


def test_the_runs_own_objectives_count_unless_others_are_given(
    results, capsys
):
    database = connect(results)
    database.execute(
        "INSERT INTO objective (run_id, metric, bound) "
        "VALUES (1, 'ttft_s', 3), (1, 'tokens_per_s', 5)"
    )
    database.close()
    analyze.main(["--db", str(results), "--charts", "none"])
    assert "5 tokens/s and the first token within 3 s" in " ".join(
        capsys.readouterr().out.split()
    )
    analyze.main(
        ["--db", str(results), "--charts", "none", "--slo", "ttft=4"]
    )
    assert "get the first token within 4 s" in " ".join(
        capsys.readouterr().out.split()
    )


@pytest.mark.parametrize(
    "slept_at, said",
    [
        (
            "32",
            " 8 at once get the first token within 60 s; more were not",
        ),
        (
            "8",
            "Up to 4 at once get the first token within 60 s; with 32, ",
        ),
        ("1, 2, 4, 8, 32", "None of its figures can be trusted"),
    ],
)
def test_a_level_that_slept_is_in_no_answer(
    results, capsys, slept_at, said
):
    database = connect(results)
    database.execute(
        f"UPDATE level SET slept_s = 30 WHERE concurrency IN ({slept_at})"
    )
    database.close()
    assert (
        analyze.main(
            [
                "--db",
                str(results),
                "--charts",
                "none",
                "--price",
                "0.3",
                "--slo",
                "ttft=60",
            ]
        )
        == 0
    )
    out = " ".join(capsys.readouterr().out.split())
    assert (
        said in out
        and f"the machine slept for 30 s in the level at {slept_at.rpartition(' ')[2]} at once"
        in out
    )


@pytest.mark.parametrize(
    "change, said",
    [
        (
            "request SET first_text_ns = ended_ns + 100000000000000",
            "table request",
        ),
        ("request SET first_byte_ns = -1000000000000", "table request"),
        (
            "level SET started_ns = 9223372036854775807 WHERE id = 1",
            "table level",
        ),
        ("level SET run_id = 9 WHERE id = 1", "not there"),
        (
            "power_sample SET end_ns = 20000000000000000 WHERE end_ns = (SELECT max(end_ns) "
            "FROM power_sample)",
            "table power_sample",
        ),
        ("run SET started_unix = 9e999", "table run"),
        ("run SET started_unix = 1e12", "table run"),
        ("run SET started_unix = -1", "table run"),
        ("request SET first_text_ns = ended_ns + 9", ""),
    ],
)
def test_a_damaged_file_is_refused_in_one_line(
    tmp_path, capsys, change, said
):
    made_up_results.write(tmp_path / "results.db")
    change_file(
        tmp_path / "results.db",
        "PRAGMA foreign_keys = OFF",
        f"UPDATE {change}",
    )
    code = analyze.main(
        ["--db", str(tmp_path / "results.db"), "--charts", "none"]
    )
    err = capsys.readouterr().err
    assert code == len(err.splitlines()) == bool(said) and said in err


@pytest.mark.parametrize("bound", ["output_tokens_per_s<1", "ttft>1000"])
def test_a_level_that_nobody_was_served_in_keeps_no_bound(
    results, capsys, bound
):
    change_file(
        results,
        "UPDATE request SET status = 'reset' WHERE level_id IN "
        "(SELECT id FROM level WHERE concurrency = 8)",
    )
    arguments = [
        "--db",
        str(results),
        "--charts",
        "none",
        "--fail-if",
        bound,
    ]
    assert analyze.main(arguments) == 1
    assert (
        f"failed: {bound} at 8 at once: no request completed\n"
        in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("condition", "code", "said"),
    [
        (
            "ttft>1000",
            3,
            "cannot check ttft>1000 at 8 at once: the machine slept",
        ),
        ("slept_s>60", 0, ""),
        ("slept_s>0", 1, "failed: slept_s>0 at 8 at once"),
    ],
)
def test_a_level_that_slept_keeps_no_bound(
    results, capsys, condition, code, said
):
    database = connect(results)
    database.execute(
        "UPDATE level SET slept_s = CASE concurrency WHEN 8 THEN 30 ELSE 0 END"
    )
    database.close()
    arguments = [
        "--db",
        str(results),
        "--charts",
        "none",
        "--fail-if",
        condition,
    ]
    assert analyze.main(arguments) == code
    told = [
        line
        for line in capsys.readouterr().out.splitlines()
        if condition in line
    ]
    assert len(told) == bool(code) and "".join(told).startswith(said)


def test_no_price_is_that_of_a_level_that_slept(results, capsys):
    database = connect(results)
    cheapest = """
SELECT level_id, concurrency FROM energy_summary
ORDER BY joules_per_output_token LIMIT 1"""
    (row,) = database.query(cheapest)
    database.execute(
        "UPDATE level SET slept_s = 30 WHERE id = ?", [row["level_id"]]
    )
    database.close()
    assert (
        analyze.main(
            ["--db", str(results), "--charts", "none", "--price", "0.3"]
        )
        == 0
    )
    said = " ".join(capsys.readouterr().out.split())
    assert (
        "EUR with " in said
        and f"EUR with {row['concurrency']} at once" not in said
    )


@pytest.mark.parametrize("slept", ["cold", "warm", "none"])
def test_what_a_cache_saves_is_not_told_by_a_level_that_slept(
    tmp_path, sim, capsys, slept
):
    server = sim(
        "--profile",
        "exact",
        "--ttft",
        "20",
        "--itl",
        "2",
        "--tokens",
        "10",
    )
    path = tmp_path / "results.db"
    asked = [
        "1",
        "--cache",
        "both",
        "--host",
        server.url,
        "--db",
        str(path),
        "--cooldown",
        "0",
    ]
    asked += ["--idle", "0", "--plain", "--no-monitor", "--warmup", "0"]
    assert bench.main(asked) == 0
    database = connect(path)
    database.execute(
        f"UPDATE level SET slept_s = 30 WHERE cache = '{slept}'"
    )
    database.close()
    capsys.readouterr()
    assert analyze.main(["--db", str(path), "--charts", "none"]) == 0
    assert ("With a warm prompt cache" in capsys.readouterr().out) == (
        slept == "none"
    )
    if slept != "none":
        assert bench.main([*asked, "--resume"]) == 0
        assert capsys.readouterr().out.count("prompt cache saves") == 1


def test_a_run_in_which_nothing_finished_is_one_line(results, capsys):
    database = connect(results)
    database.execute("UPDATE level SET status = 'interrupted'")
    database.execute("UPDATE request SET status = 'cancelled'")
    database.close()
    command = ["--db", str(results), "--charts", "none", "--run", "1"]
    assert analyze.main(command) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert "nothing finished in run 1" in captured.err


def test_the_answer_stands_first_and_once(results, capsys):
    analyze.main(["--db", str(results), "--charts", "none"])
    said = " ".join(capsys.readouterr().out.split())
    places = [
        said.index(text)
        for text in (
            "Up to 2 at once get",
            "With 2 at once (2 requests, replies of 60 tokens): How many tokens/s",
            "limited by the server's slots (4 at a time)",
            "LEVEL OK mean max",
            "Throughput and wait by level, simulated",
            "One request alone gets",
            "! ",
        )
    ]
    assert places == sorted(places)
    assert said.count("Up to 2 at once get") == 1


def test_an_unknown_chart_is_refused_in_one_line(results, capsys):
    with pytest.raises(SystemExit) as caught:
        analyze.main(["--db", str(results), "--charts", "timelime"])
    said = capsys.readouterr().err.splitlines()
    assert caught.value.code == 2 and said[-1].startswith(
        "analyze.py: --charts: invalid chart 'timelime': "
        "expected all, none or some of combined_metrics, "
    )
