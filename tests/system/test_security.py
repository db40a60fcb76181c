"""What a hostile server, model name, file or neighbour could want: escape codes, files elsewhere, keys, SQL, root."""

import asyncio
import contextlib
import json
import os
import re
import sqlite3
import stat
import subprocess
import sys
import threading
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import analyze
from ollama_bench.power.powermetrics_command import SAMPLERS, build_arguments
from ollama_bench.privilege.helper import STARTS
from ollama_bench.privilege.helper_process import CLEAN_ENVIRONMENT
from ollama_bench.storage.connection import connect
from tests.conftest import plain_user
from tests.support import made_up_results

ROOT = Path(__file__).resolve().parents[2]
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
ESCAPES = "\x1b[31m\x1b]0;owned\x07\x9b2J\r\u202e"
KEY = "sk-secret-4711-never-to-be-seen"
as_root = pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs root")


def run(script, *arguments, cwd, **environment):
    clean = {
        name: value
        for name, value in os.environ.items()
        if name not in ("OLLAMA_HOST", "SUDO_UID", "OPENAI_API_KEY")
    }
    done = subprocess.run(
        [sys.executable, str(ROOT / script), *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=90,
        env={**clean, "PYTHONIOENCODING": "utf-8", **environment},
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


QUICK = ["--cooldown", "0", "--idle", "0", "--plain", "--no-monitor", "--warmup", "0"]


@contextlib.contextmanager
def server(answer):
    """answer(method, path, headers) -> (status, headers, body); the URL and what was asked."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do(self):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked.append((self.command, self.path))
            status, headers, body = answer(self.command, self.path, self.headers)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do

        def log_message(self, *_):
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, args=[0.05], daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{httpd.server_port}", asked
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()


# -- the terminal


def test_escape_codes_in_the_names_of_models_are_not_printed(tmp_path):
    tags = json.dumps({"models": [{"name": f"evil{ESCAPES}"}], "version": f"1{ESCAPES}"}).encode()
    with server(lambda *_: (200, {}, tags)) as (url, _):
        done = run("bench.py", "1", "--host", url, "--model", "x", *QUICK, cwd=tmp_path)
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
        ["--no-charts"],
        ["nobody", "--no-charts"],
        ["--no-charts", "--export-csv", str(tmp_path)],
    ):
        done = run("analyze.py", *arguments, cwd=tmp_path)
        assert "evil" in done.stdout + done.stderr and not CONTROL.search(done.stdout + done.stderr)


@pytest.mark.parametrize(
    "arguments",
    [["--no-charts", "--fail-if", "ttft>0"], ["--compare", "1", "1", "--fail-if", "ttft>0%"]],
)
def test_a_name_in_a_results_file_forges_no_line(tmp_path, arguments):
    made_up_results.write(
        tmp_path / "results.db",
        model=f"evil{ESCAPES}\nforged line",
        label="a\u061c\nforged line",
        levels=(1, 2),
    )
    done = run("analyze.py", *arguments, cwd=tmp_path)
    assert "evil" in done.stdout and not CONTROL.search(done.stdout) and "\u061c" not in done.stdout
    assert not [line for line in done.stdout.splitlines() if line.startswith("forged")]


@pytest.mark.faults
def test_characters_that_no_picture_can_hold_do_not_end_the_program(tmp_path):
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
    assert done.returncode == 0 and done.stderr == "" and set(sent) == {None}


@pytest.mark.skipif(sys.platform != "linux", reason="a process names itself so on Linux")
def test_the_name_that_another_process_gave_itself_is_not_obeyed(tmp_path):
    code = (
        "import ctypes, socket, time\nctypes.CDLL(None).prctl(15, b'e\\x1b[31m\\nvil', 0, 0, 0)\n"
        "made = socket.create_server(('127.0.0.1', 0)); print(made.getsockname()[1], flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
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
    assert "e·[31m·vil" in done.stdout and not CONTROL.search(done.stdout + done.stderr)


@pytest.mark.parametrize("arguments", [["--no-charts"], ["--compare", "1", "1"]])
def test_a_name_that_the_terminal_cannot_write_is_no_traceback(tmp_path, arguments):
    made_up_results.write(tmp_path / "results.db", model="模型", label="мой", levels=(1, 2))
    assert "??" in run("analyze.py", *arguments, cwd=tmp_path, PYTHONIOENCODING="ascii").stdout


# -- files


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
    before = {path for path in tmp_path.rglob("*") if place / "out" not in path.parents}
    assert (
        analyze.main(
            [
                "--db",
                str(place / "results.db"),
                "--no-charts",
                "--out",
                str(place / "out"),
                "--export-csv",
                str(place / "out"),
            ]
        )
        == 0
    )
    after = {path for path in tmp_path.rglob("*") if place / "out" not in path.parents}
    assert {path.relative_to(place).parts[0] for path in after - before} <= {
        "out",
        "results.db-wal",
        "results.db-shm",
    }
    written = [path for path in (place / "out").rglob("*.csv")]
    assert written and all(path.resolve().is_relative_to(place / "out") for path in written)


def test_cells_of_exported_files_are_numbers_or_harmless(tmp_path):
    made_up_results.write(
        tmp_path / "results.db",
        model="=cmd|' /C calc'!A0",
        levels=(1, 2),
        failures=1,
        error="@SUM(1+1)",
    )
    analyze.main(
        ["--db", str(tmp_path / "results.db"), "--no-charts", "--export-csv", str(tmp_path)]
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
        if cell[:1] in "=+-@\t\r" and cell and not re.fullmatch(r"-?\d+(\.\d+)?", cell)
    ]


# -- SQL


def test_a_name_is_never_sql(sim, tmp_path):
    name = "x'); DROP TABLE request; --\"]"
    known = sim("--profile", "exact", "--ttft", "5", "--itl", "1", "--tokens", "5", "--model", name)
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
    assert run("analyze.py", name, "--no-charts", cwd=tmp_path).returncode == 0
    with contextlib.closing(sqlite3.connect(tmp_path / "results.db")) as connection:
        assert connection.execute(
            "SELECT count(*), min(model) FROM request JOIN level ON level.id = level_id"
        ).fetchone() == (3, name)


# -- keys


def leaks(folder, done):
    """Where the key can be read."""
    found = [
        path.name
        for path in folder.rglob("*")
        if path.is_file() and KEY.encode() in path.read_bytes()
    ]
    return found + [name for name in ("stdout", "stderr") if KEY in getattr(done, name)]


def test_a_key_is_sent_and_nowhere_kept(tmp_path):
    seen = []

    def answer(method, path, headers):
        seen.append(headers.get("Authorization"))
        if method == "GET":
            return 200, {}, b'{"data": [{"id": "m"}]}'
        return 200, {}, b'data: {"choices": [{"delta": {"content": "x"}}]}\n\ndata: [DONE]\n\n'

    with server(answer) as (url, _):
        done = run(
            "bench.py",
            "1,2",
            "--api",
            "openai",
            "--host",
            url,
            "--model",
            "m",
            *QUICK,
            cwd=tmp_path,
            OPENAI_API_KEY=KEY,
        )
    assert done.returncode == 0 and set(seen) == {f"Bearer {KEY}"} and leaks(tmp_path, done) == []
    assert (
        run("analyze.py", "--no-charts", cwd=tmp_path).returncode == 0
        and leaks(tmp_path, done) == []
    )


def test_a_server_that_repeats_the_key_in_its_error(tmp_path):
    def answer(method, path, headers):
        if method == "GET":
            return 200, {}, b'{"data": [{"id": "m"}]}'
        return (
            401,
            {},
            b'{"error": {"message": "Incorrect API key provided: %s"}}'
            % headers["Authorization"].encode(),
        )

    with server(answer) as (url, _):
        done = run(
            "bench.py",
            "1",
            "--api",
            "openai",
            "--host",
            url,
            "--model",
            "m",
            *QUICK,
            cwd=tmp_path,
            OPENAI_API_KEY=KEY,
        )
    assert (
        done.returncode == 1 and "Incorrect API key" in done.stdout and leaks(tmp_path, done) == []
    )


def test_a_server_that_repeats_the_key_in_all_it_says(tmp_path):
    hidden = "\u200b".join(KEY)

    def answer(method, path, headers):
        if method == "GET":
            return (
                200,
                {"Server": KEY},
                json.dumps(
                    {
                        "data": [
                            {"id": "m", "owned_by": KEY, "meta": {"ftype": "x" * 90 + KEY}},
                            {"id": hidden},
                        ],
                        "total_slots": 1,
                        "build_info": hidden,
                    }
                ).encode(),
            )
        deltas = [
            {"reasoning_content": hidden},
            *({"content": part} for part in ("so ", KEY[:9], KEY[9:], hidden)),
        ]
        events = [{"choices": [{"delta": one}]} for one in deltas] + [
            {"choices": [{"delta": {}, "finish_reason": KEY}]}
        ]
        return (
            200,
            {},
            b"".join(b"data: %s\n\n" % json.dumps(event).encode() for event in events)
            + b"data: [DONE]\n\n",
        )

    with server(answer) as (url, _):
        done = run(
            "bench.py",
            "1",
            "--api",
            "openai",
            "--host",
            url,
            "--model",
            "m",
            *QUICK,
            cwd=tmp_path,
            OPENAI_API_KEY=KEY,
        )
        other = run(
            "bench.py",
            "1",
            "--api",
            "openai",
            "--host",
            url,
            "--model",
            "other",
            *QUICK,
            cwd=tmp_path,
            OPENAI_API_KEY=KEY,
        )
    kept = (
        b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
        + (done.stdout + done.stderr + other.stdout + other.stderr).encode()
    )
    assert (
        done.returncode == 0
        and other.returncode == 1
        and "found: m, ***" in other.stderr
        and b"***" in kept
    )
    assert KEY[:9].encode() not in kept and hidden[:9].encode() not in kept


@pytest.mark.parametrize("ending", ["\n", "\r\nX: y", "é", "\x01"])
def test_a_key_that_is_no_header_is_not_repeated(tmp_path, ending):
    with server(lambda *_: (200, {}, b'{"data": [{"id": "m"}]}')) as (url, _):
        done = run(
            "bench.py",
            "1",
            "--api",
            "openai",
            "--host",
            url,
            "--model",
            "m",
            *QUICK,
            cwd=tmp_path,
            OPENAI_API_KEY=KEY + ending,
        )
    assert done.returncode == 1 and leaks(tmp_path, done) == []


def test_a_redirect_is_not_followed_with_the_key(tmp_path):
    with (
        server(lambda *_: (200, {}, b"{}")) as (elsewhere, asked),
        server(
            lambda method, *_: (
                (200, {}, b'{"data": [{"id": "m"}]}')
                if method == "GET"
                else (307, {"Location": elsewhere}, b"")
            )
        ) as (url, _),
    ):
        run(
            "bench.py",
            "1",
            "--api",
            "openai",
            "--host",
            url,
            "--model",
            "m",
            *QUICK,
            cwd=tmp_path,
            OPENAI_API_KEY=KEY,
        )
    assert asked == []


def test_an_argument_that_is_no_text_is_refused_in_one_line(tmp_path):
    if os.name == "nt":
        pytest.skip("arguments are text here")
    for option in ("--label", "--prompt", "--db"):
        done = run(
            "bench.py", "1", "--host", "127.0.0.1:9", option, os.fsdecode(b"a\xffb"), cwd=tmp_path
        )
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1


# -- Datasette


def test_datasette_listens_here_only_reads_only_and_escapes(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from datasette import cli
        from datasette.app import Datasette
    assert (
        next(option.default for option in cli.serve.params if option.name == "host") == "127.0.0.1"
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
    with contextlib.closing(sqlite3.connect(tmp_path / "results.db")) as connection:
        assert connection.execute("SELECT count(*) FROM run").fetchone() == (1,)


# -- root


def as_user_in(folder, code, **environment):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SUDO_")}
    prelude = f"import sys; sys.path.insert(0, {str(ROOT)!r})\nimport os, json, sqlite_utils, psutil\nfrom ollama_bench.power import sources\nfrom ollama_bench.privilege import helper as privilege\nfrom ollama_bench.storage import connection\nfrom ollama_bench.storage.results_file import ResultsError\nsqlite_utils.Database(memory=True)\n"
    return subprocess.run(
        [sys.executable, "-c", prelude + code],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=30,
        env={**clean, **environment},
    )


@pytest.fixture
def crowded():
    """A folder that everybody may write to, with a user of little power."""
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o1777)
    yield folder, plain_user()
    shutil.rmtree(folder)


@as_root
def test_a_link_laid_for_root_is_followed_by_nobody_with_power(crowded):
    folder, user = crowded
    victim = folder / "victim"
    victim.write_text("precious")
    victim.chmod(0o600)
    (folder / "results.db").symlink_to(victim)
    done = as_user_in(
        folder,
        "helper = privilege.split_off(sampler=False)\n"
        "try: connection.connect('results.db')\nexcept ResultsError as error: print('refused:', error)\nhelper.stop()",
        SUDO_UID=str(user.pw_uid),
    )
    assert done.stdout.startswith("refused:") and len(done.stdout.splitlines()) == 1, done.stderr
    assert victim.read_text() == "precious" and stat.S_IMODE(victim.stat().st_mode) == 0o600


@as_root
def test_a_link_that_leads_nowhere_makes_a_file_of_the_user_or_none(crowded):
    folder, user = crowded
    target = Path("/var") / f"laid-by-{folder.name}"
    (folder / "results.db").symlink_to(target)
    done = as_user_in(
        folder,
        "helper = privilege.split_off(sampler=False)\n"
        "try: connection.connect('results.db')\nexcept ResultsError as error: print('refused:', error)\nhelper.stop()",
        SUDO_UID=str(user.pw_uid),
    )
    assert not target.exists() and "refused:" in done.stdout and "Traceback" not in done.stderr


@as_root
@pytest.mark.parametrize(
    "variable",
    [
        "TMPDIR",
        "PATH",
        "LD_PRELOAD",
        "DYLD_INSERT_LIBRARIES",
        "PYTHONSTARTUP",
        "BASH_ENV",
        "IFS",
        "HOME",
    ],
)
def test_nothing_of_the_environment_reaches_the_sampler(crowded, variable):
    folder, user = crowded
    code = (
        "helper = privilege.split_off(commands=[['/usr/bin/env']])\n"
        "import time\noutput = helper.start()\nprint(json.dumps(output.read().decode())); helper.stop()"
    )
    done = as_user_in(
        folder,
        code,
        SUDO_UID=str(user.pw_uid),
        **{
            variable: os.environ.get(variable, str(folder))
            + (":/evil" if variable == "PATH" else "")
        },
    )
    said = done.stdout
    assert "evil" not in said and str(folder) not in said and "LC_ALL=C" in said, done.stderr


@as_root
def test_the_helper_takes_five_letters_and_no_argument(crowded):
    folder, user = crowded
    code = (
        "helper = privilege.split_off(commands=[['/bin/echo', 'fixed']])\n"
        "os.write(helper._control, b'/bin/sh -c id')\n"
        "pid, status = os.waitpid(helper._pid, 0)\n"
        "print(json.dumps([status, [os.read(end, 99).decode() for end in helper._outputs]])); helper.stop()"
    )
    done = as_user_in(folder, code, SUDO_UID=str(user.pw_uid))
    assert json.loads(done.stdout) == [0, [""] * STARTS], (
        done.stdout + done.stderr
    )  # the first false letter ends it, nothing was run


def test_what_runs_as_root_is_named_in_full():
    assert all(build_arguments(step)[0] == "/usr/bin/powermetrics" for step in range(len(SAMPLERS)))
    assert (
        CLEAN_ENVIRONMENT.keys() == {"PATH", "LC_ALL"} and connect
    )  # fixed, whatever the caller's is
