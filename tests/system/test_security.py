"""What a hostile server, model name or file could want: escape codes, files elsewhere, SQL."""

import asyncio
import contextlib
import json
import os
import re
import sqlite3
import subprocess
import sys
import warnings

import pytest

import analyze
from tests.support import made_up_results
from tests.support.beginnings import QUICK
from tests.system.attacks import (
    CONTROL,
    ESCAPES,
    run,
    server,
)


def test_escape_codes_in_the_names_of_models_are_not_printed(tmp_path):
    tags = json.dumps(
        {"models": [{"name": f"evil{ESCAPES}"}], "version": f"1{ESCAPES}"}
    ).encode()
    with server(lambda *_: (200, {}, tags)) as (url, _):
        done = run(
            "bench.py",
            "1",
            "--host",
            url,
            "--model",
            "x",
            *QUICK,
            cwd=tmp_path,
        )
    assert (
        done.returncode == 1
        and "evil" in done.stderr
        and not CONTROL.search(done.stdout + done.stderr)
    )


def test_escape_codes_in_a_results_file_are_not_printed(tmp_path):
    made_up_results.write(
        tmp_path / "results.db",
        model=f"evil{ESCAPES}:7b",
        label=f"label{ESCAPES}",
        failures=1,
        error=f"error{ESCAPES}",
        levels=(1, 2, 4),
    )
    for arguments in (
        ["--charts", "none"],
        ["nobody", "--charts", "none"],
        ["--charts", "none", "--export", "study", str(tmp_path)],
    ):
        done = run("analyze.py", *arguments, cwd=tmp_path)
        assert "evil" in done.stdout + done.stderr and not CONTROL.search(
            done.stdout + done.stderr
        )


@pytest.mark.parametrize(
    "arguments",
    [
        ["--charts", "none", "--fail-if", "ttft>0"],
        ["--compare", "1", "2", "--fail-if", "ttft>0%"],
    ],
)
def test_a_name_in_a_results_file_forges_no_line(tmp_path, arguments):
    made_up_results.write(
        tmp_path / "results.db",
        model=f"evil{ESCAPES}\nforged line",
        label="a\u061c\nforged line",
        levels=(1, 2),
        runs=2,
    )
    done = run("analyze.py", *arguments, cwd=tmp_path)
    assert (
        "evil" in done.stdout
        and not CONTROL.search(done.stdout)
        and "\u061c" not in done.stdout
    )
    assert not [
        line
        for line in done.stdout.splitlines()
        if line.startswith("forged")
    ]


@pytest.mark.faults
def test_characters_that_no_picture_can_hold_do_not_end_the_program(
    tmp_path,
):
    made_up_results.write(
        tmp_path / "results.db",
        model=f"evil{ESCAPES}\0\uffff",
        label=f"a{ESCAPES}",
        levels=(1, 2),
        failures=1,
        error=f"b{ESCAPES}",
    )
    done = run("analyze.py", cwd=tmp_path)
    assert (
        done.returncode == 0
        and list(tmp_path.rglob("*.png"))
        and list(tmp_path.rglob("report.html"))
    ), done.stderr


@pytest.mark.parametrize("cookie", ["a=b; expires; max-age", "a=b"])
def test_cookies_are_not_kept(tmp_path, cookie):
    sent = []

    def answer(method, path, headers):
        sent.append(headers.get("Cookie"))
        body = (
            b'{"data": [{"id": "m"}]}'
            if method == "GET"
            else b'data: {"choices": [{"delta": {"content": "x"}}]}\n\ndata: [DONE]\n\n'
        )
        return 200, {"Set-Cookie": cookie}, body

    with server(answer) as (url, _):
        done = run(
            "bench.py",
            "1",
            "--requests",
            "3",
            "--api",
            "openai",
            "--host",
            url,
            "--model",
            "m",
            *QUICK,
            cwd=tmp_path,
        )
    assert (
        done.returncode == 0 and done.stderr == "" and set(sent) == {None}
    )


@pytest.mark.skipif(
    sys.platform != "linux", reason="a process names itself so on Linux"
)
def test_the_name_that_another_process_gave_itself_is_not_obeyed(tmp_path):
    code = (
        "import ctypes, socket, time\nctypes.CDLL(None).prctl(15, b'e\\x1b[31m\\nvil', 0, 0, 0)\n"
        "made = socket.create_server(('127.0.0.1', 0))\n"
        "print(made.getsockname()[1], flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as other:
        try:
            done = run(
                "monitor.py",
                "--port",
                other.stdout.readline().strip(),
                "--duration",
                "1.2",
                cwd=tmp_path,
            )
        finally:
            other.kill()
    assert "e·[31m·vil" in done.stdout and not CONTROL.search(
        done.stdout + done.stderr
    )


@pytest.mark.parametrize(
    "arguments", [["--charts", "none"], ["--compare", "1", "2"]]
)
def test_a_name_that_the_terminal_cannot_write_is_no_traceback(
    tmp_path, arguments
):
    made_up_results.write(
        tmp_path / "results.db",
        model="模型",
        label="мой",
        levels=(1, 2),
        runs=2,
    )
    assert (
        "??"
        in run(
            "analyze.py",
            *arguments,
            cwd=tmp_path,
            PYTHONIOENCODING="ascii",
        ).stdout
    )


@pytest.mark.parametrize(
    "model",
    [
        "../../outside:7b",
        "..",
        "/tmp/outside",
        "a/../../../outside",
        "..\\outside",
        "a\x00b",
        "CON",
        "x" * 300,
        "-rf",
        "~/.ssh",
    ],
)
def test_no_name_leads_out_of_the_chosen_folder(tmp_path, model):
    place = tmp_path / "deep" / "deeper"
    place.mkdir(parents=True)
    made_up_results.write(place / "results.db", model=model, levels=(1, 2))
    before = {
        path
        for path in tmp_path.rglob("*")
        if place / "out" not in path.parents
    }
    assert (
        analyze.main(
            [
                "--db",
                str(place / "results.db"),
                "--charts",
                "none",
                "--out",
                str(place / "out"),
                "--export",
                "study",
                str(place / "out"),
            ]
        )
        == 0
    )
    after = {
        path
        for path in tmp_path.rglob("*")
        if place / "out" not in path.parents
    }
    assert {
        path.relative_to(place).parts[0] for path in after - before
    } <= {
        "out",
        "results.db-wal",
        "results.db-shm",
    }
    written = list((place / "out").rglob("*.csv"))
    assert written and all(
        path.resolve().is_relative_to(place / "out") for path in written
    )


def test_cells_of_exported_files_are_numbers_or_harmless(tmp_path):
    made_up_results.write(
        tmp_path / "results.db",
        model="=cmd|' /C calc'!A0",
        levels=(1, 2),
        failures=1,
        error="@SUM(1+1)",
    )
    analyze.main(
        [
            "--db",
            str(tmp_path / "results.db"),
            "--charts",
            "none",
            "--export",
            "study",
            str(tmp_path),
        ]
    )
    cells = [
        cell
        for path in (tmp_path / "ollama").rglob("*.csv")
        for line in path.read_text().splitlines()
        for cell in line.split(",")
    ]
    assert cells and not [
        cell
        for cell in cells
        if cell[:1] in "=+-@\t\r"
        and cell
        and not re.fullmatch(r"-?\d+(\.\d+)?", cell)
    ]


@pytest.mark.faults
def test_a_name_is_never_sql(sim, tmp_path):
    name = "x'); DROP TABLE request; --\"]"
    known = sim(
        "--profile",
        "exact",
        "--ttft",
        "5",
        "--itl",
        "1",
        "--tokens",
        "5",
        "--model",
        name,
    )
    done = run(
        "bench.py",
        "1,2",
        "--host",
        known.url,
        "--model",
        name,
        "--label",
        name,
        *QUICK,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert (
        run(
            "analyze.py", name, "--charts", "none", cwd=tmp_path
        ).returncode
        == 0
    )
    with contextlib.closing(
        sqlite3.connect(tmp_path / "results.db")
    ) as connection:
        assert connection.execute(
            "SELECT count(*), min(model) FROM request JOIN level ON level.id = level_id "
            "WHERE is_control IS NOT 1"
        ).fetchone() == (3, name)


def test_an_argument_that_is_no_text_is_refused_in_one_line(tmp_path):
    if os.name == "nt":
        pytest.skip("arguments are text here")
    for option in ("--label", "--prompt", "--db"):
        done = run(
            "bench.py",
            "1",
            "--host",
            "127.0.0.1:9",
            option,
            os.fsdecode(b"a\xffb"),
            cwd=tmp_path,
        )
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1


def test_datasette_listens_here_only_reads_only_and_escapes(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from datasette import cli
        from datasette.app import Datasette
    assert (
        next(
            option.default
            for option in cli.serve.params
            if option.name == "host"
        )
        == "127.0.0.1"
    )
    made_up_results.write(
        tmp_path / "results.db",
        model="<img src=x onerror=alert(1)>",
        label="<script>alert(2)</script>",
        levels=(1, 2),
    )

    async def get(*paths):
        server = Datasette([str(tmp_path / "results.db")])
        await server.invoke_startup()
        answers = [await server.client.get(path) for path in paths]
        for database in server.databases.values():
            database.close()
        return answers

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        *pages, written = asyncio.run(
            get(
                "/results/level",
                "/results/run",
                "/results/level_summary",
                "/results.json?sql=DELETE+FROM+run",
            )
        )
    assert all(
        page.status_code == 200
        and "<img src=x" not in page.text
        and "<script>alert(2)" not in page.text
        for page in pages
    )
    assert written.status_code != 200 and "<img src=x" not in written.text
    with contextlib.closing(
        sqlite3.connect(tmp_path / "results.db")
    ) as connection:
        assert connection.execute(
            "SELECT count(*) FROM run"
        ).fetchone() == (1,)
