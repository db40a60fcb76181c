"""A results file that somebody sent: what is not ours is refused in one line, or never runs."""

import _thread
import contextlib
import functools
import signal
import sqlite3
import threading
import time

import pytest

import analyze
import bench
from ollama_bench.analysis.headline import headline
from ollama_bench.charts import names
from ollama_bench.inputs.objectives import parse
from ollama_bench.storage import connection as connection_module
from ollama_bench.storage import schema
from ollama_bench.storage.connection import connect
from ollama_bench.storage.damage import refuse_damage
from ollama_bench.storage.results_file import ResultsError
from ollama_bench.storage.writer import Writer
from tests.support import made_up_results
from tests.support.chart_specs import drawing_nothing

ENDLESS = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT"
SLOW = "length(hex(zeroblob(400000000)))"
CALLED = "length(hex(zeroblob(4)))"
# what was done to the file: what is said of it, to who reads and to who writes
CHANGES = {
    "ALTER TABLE run RENAME TO r; CREATE VIEW run AS SELECT * FROM r": (
        "view run has the name of a table"
    ),
    f"ALTER TABLE level RENAME TO l; CREATE VIEW level AS {ENDLESS} x AS id FROM n": (
        "view level has the name of a table"
    ),
    "DROP VIEW outcomes; CREATE TABLE outcomes (a)": "table outcomes has the name of a view",
    "DROP VIEW outcomes; CREATE TABLE [Outcomes] (a)": "table Outcomes has the name of a view",
    "DROP TABLE reply; CREATE TABLE reply"
    " (request_id INTEGER PRIMARY KEY, reasoning TEXT, answer TEXT)": "table reply is not",
    "DROP TABLE reply; CREATE VIRTUAL TABLE reply USING fts4 (request_id, answer)": (
        "table reply is not"
    ),
    "DROP INDEX level_run; CREATE TABLE level_run (a)": "table level_run has the name of a index",
}
GENERATED = {  # a declaration of request, and what stands in its place
    "AS ((last_text_ns - first_text_ns) / 1e9)": f"AS ({SLOW} * {SLOW})",
    "AS ((first_text_ns - coalesce(due_ns, sent_ns)) / 1e9)": (
        "AS ((first_text_ns - coalesce(due_ns, sent_ns)) / 2e9)"
    ),
    "chunks INTEGER,": "chunks INTEGER AS (7),",
    "error TEXT,": "error TEXT DEFAULT 'x',",
}
WRITERS = {  # harmless to who reads
    "CREATE TRIGGER t AFTER INSERT ON run BEGIN DELETE FROM level; END": (
        "trigger 't' works on the table run"
    ),
    'CREATE TRIGGER "a b""];" AFTER UPDATE OF status ON [request] BEGIN SELECT 1; END': (
        "works on the table request"
    ),
    f"CREATE INDEX i ON run ({CALLED})": "index 'i' works on the table run",
    "CREATE INDEX i ON run (id) WHERE \"hex\"(label) > ''": "index 'i' works on the table run",
    f"ALTER TABLE run ADD COLUMN x INTEGER CHECK ({CALLED} > 0)": "column 'x' of run is not",
}
BESIDE = [  # a user's own
    "CREATE TABLE mine (a); CREATE INDEX mine_a ON mine (a);"
    " CREATE VIEW my_view AS SELECT * FROM mine JOIN level",
    f"CREATE VIEW endless AS {ENDLESS} * FROM n;"
    " CREATE VIEW again AS SELECT * FROM endless, endless AS b",
    'CREATE TABLE "a"" b]; DROP TABLE run; --" ("c"" d]; DROP_ns" INTEGER);'
    ' INSERT INTO "a"" b]; DROP TABLE run; --" VALUES (1)',
    "CREATE TABLE mine (at_ns); INSERT INTO mine VALUES (99999999999999999999)",
    "CREATE TABLE mine (a); CREATE TRIGGER t AFTER INSERT ON mine BEGIN DELETE FROM run; END",
    "CREATE VIEW broken AS SELECT * FROM what_is_not_there",
    "CREATE INDEX i ON request (status, level_id)"
    " WHERE status IN ('completed') AND (chunks > max(1, 2))",
    "CREATE VIRTUAL TABLE words USING fts4 (a); INSERT INTO words VALUES ('b')",
    'ALTER TABLE request ADD COLUMN "a"" b]; DROP TABLE run; --" TEXT',
    "ANALYZE",
]


@pytest.fixture
def path(tmp_path):
    made_up_results.write(tmp_path / "results.db", levels=(1, 2))
    return tmp_path / "results.db"


def change(path, sql):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA legacy_alter_table = ON")
        connection.executescript(sql)


def rewrite(path, table, old, new):
    """The file says that its table was made otherwise."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        changed = connection.execute(
            "UPDATE sqlite_master SET sql = replace(sql, ?, ?) WHERE name = ? AND instr(sql, ?)",
            (old, new, table, old),
        )
        assert changed.rowcount == 1
        connection.commit()


def refused(action, words):
    began = time.monotonic()
    with pytest.raises(ResultsError, match=words) as caught:
        action()
    assert "\n" not in str(caught.value) and time.monotonic() - began < 5


@pytest.mark.parametrize("sql", CHANGES)
def test_what_has_a_name_of_ours_and_is_something_else_is_refused(
    path, sql
):
    change(path, sql)
    for readonly in (True, False):
        refused(
            functools.partial(connect, path, readonly=readonly),
            CHANGES[sql],
        )


@pytest.mark.parametrize("old", GENERATED)
def test_a_column_that_hides_something_else_is_refused(path, old, capsys):
    rewrite(path, "request", old, GENERATED[old])
    for readonly in (True, False):
        refused(
            functools.partial(connect, path, readonly=readonly),
            "of request is not as this tool makes it",
        )
    assert analyze.main(["--db", str(path), "--charts", "none"]) == 1
    said = capsys.readouterr()
    assert (
        said.out == ""
        and len(said.err.splitlines()) == 1
        and said.err.startswith("analyze.py: ")
    )


def test_a_rule_of_a_table_that_is_another_is_refused(path):
    rewrite(
        path,
        "chunk",
        "PRIMARY KEY (request_id, number)",
        "PRIMARY KEY (number, request_id)",
    )
    refused(
        lambda: connect(path, readonly=True),
        "table chunk is not as this tool makes it",
    )


@pytest.mark.parametrize(
    "old, new",
    [
        ("CREATE TABLE reply", "CREATE VIEW reply AS SELECT 1 /*"),
        ("CREATE TABLE reply (", "CREATE TABLE main.reply ("),
        ("CREATE TABLE reply (", "CREATE TABLE other ("),
    ],
)
def test_a_statement_that_is_not_what_its_row_says_is_refused(
    path, old, new
):
    rewrite(path, "reply", old, new)
    with pytest.raises(ResultsError) as caught:
        connect(path, readonly=True)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("sql", WRITERS)
def test_what_would_run_when_a_row_is_written_is_refused_there_and_never_read(
    path, sql, capsys
):
    change(path, sql)
    before = path.read_bytes()
    refused(lambda: connect(path).close(), WRITERS[sql])
    assert (
        bench.main(
            ["1", "--demo", "--db", str(path), "--no-monitor", "--plain"]
        )
        == 1
    )
    assert (
        len(capsys.readouterr().err.splitlines()) == 1
        and path.read_bytes() == before
    )
    with contextlib.closing(connect(path, readonly=True)) as database:
        refuse_damage(database)
        assert "x" not in [
            row[0]
            for row in database.execute("SELECT * FROM run").description
        ]


@pytest.mark.parametrize("sql", BESIDE)
def test_what_a_user_keeps_beside_ours_disturbs_nothing(path, sql, capsys):
    made_up_results.write(path, levels=(1, 2), started_unix=1.9e9)
    change(path, sql)
    for arguments in (["--charts", "none"], ["--compare", "1", "2"]):
        assert analyze.main(["--db", str(path), *arguments]) == 0
    with Writer(path) as writer:
        writer.insert(
            "run",
            {
                "source": "bench",
                "status": "finished",
                "started_unix": 1e9,
                "arguments": "{}",
                "tool_version": "0",
            },
        )
    with contextlib.closing(connect(path)) as database:
        assert schema.is_current(database.conn)


@pytest.mark.parametrize(
    "ask",
    [
        lambda database: database.execute(
            f"{ENDLESS} max(x) FROM n"
        ).fetchone(),
        lambda database: list(
            database.query(f"{ENDLESS} x FROM n WHERE x < 0")
        ),
        lambda database: database.execute(
            f"{ENDLESS} x FROM n WHERE x < 2 OR x < 0"
        ).fetchall(),
    ],
)
def test_ctrl_c_ends_a_query_at_once_and_is_no_error_of_sqlite(path, ask):
    # a shell's & has it ignored
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    # as it is by itself: Datasette turns it on
    sqlite3.enable_callback_tracebacks(False)
    database = connect(path, readonly=True)
    timer = threading.Timer(0.2, _thread.interrupt_main)
    timer.start()
    began = time.monotonic()
    with contextlib.closing(database), pytest.raises(KeyboardInterrupt):
        ask(database)
    timer.join()
    signal.signal(signal.SIGINT, before)
    assert 0.1 < time.monotonic() - began < 3


def test_a_check_that_takes_too_long_is_refused_and_what_comes_after_is_not_bounded(
    path, monkeypatch
):
    monkeypatch.setattr(connection_module, "CHECK_S", 0.1)
    with contextlib.closing(connect(path, readonly=True)) as database:
        with database.conn.checking():
            refused(
                lambda: database.execute(
                    f"{ENDLESS} max(x) FROM n"
                ).fetchone(),
                "takes too long",
            )
        until = time.monotonic() + 0.2
        while time.monotonic() < until:
            database.execute(f"{ENDLESS} x FROM n LIMIT 100000").fetchall()
        # the last of them ended after what a check may take
        assert connection_module.CHECK_S < 0.2


@pytest.mark.parametrize("table", ["event", "process"])
def test_pages_that_lead_to_each_other_do_not_keep_the_check_for_ever(
    path, table, monkeypatch
):
    """A tree of a few pages can have more ways through it than anybody can go."""
    monkeypatch.setattr(connection_module, "CHECK_S", 0.3)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        ((root,),) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = ?", [table]
        ).fetchall()
        ((size,),) = connection.execute("PRAGMA page_size").fetchall()
    data = bytearray(path.read_bytes())
    first, depth = len(data) // size + 1, 18

    def inner(child):
        """An inner page of a table: 100 times the same child, whose rows come again and again."""
        cells = bytearray()
        pointers = bytearray()
        for number in range(100):
            cells = (
                child.to_bytes(4, "big")
                + bytes([0x80 | (number + 1) >> 7, (number + 1) & 0x7F])
                + cells
            )
            pointers += (size - len(cells)).to_bytes(2, "big")
        head = (
            bytes([5, 0, 0])
            + (100).to_bytes(2, "big")
            + (size - len(cells)).to_bytes(2, "big")
            + bytes([0])
            + child.to_bytes(4, "big")
        )
        body = head + pointers
        return body + bytes(size - len(body) - len(cells)) + cells

    row = (
        b"\x09\x01"
        + {
            "event": b"\6\0\1\1\x0f\0\1\5x",
            "process": b"\7\0\1\1\0\0\0\1\5",
        }[table]
    )
    leaf = (
        bytes([13, 0, 0, 0, 1])
        + (size - len(row)).to_bytes(2, "big")
        + b"\0"
        + (size - len(row)).to_bytes(2, "big")
    )
    leaf += bytes(size - len(leaf) - len(row)) + row
    pages = [inner(first + number + 1) for number in range(depth - 1)] + [
        leaf
    ]
    data[(root - 1) * size : root * size] = inner(first)
    data += b"".join(pages)
    data[28:32] = (len(data) // size).to_bytes(4, "big")
    data[92:96] = data[24:28]  # the count of pages is to be believed
    path.write_bytes(data)
    with contextlib.closing(connect(path, readonly=True)) as database:
        refused(lambda: refuse_damage(database), "takes too long")


def test_text_that_is_none_in_another_run_is_one_line_after_a_run(
    path, capsys
):
    change(path, "UPDATE level SET model = CAST(x'c328ff' AS TEXT)")
    with pytest.raises(ResultsError, match="results.db: Could not decode"):
        headline(str(path), 1, parse("ttft=2"))
    assert analyze.main(["--db", str(path), "--charts", "none"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "results.db: Could not decode" in said


def test_of_a_name_without_an_end_a_line_is_shown(path, capsys):
    made_up_results.write(path, levels=(1, 2), started_unix=1.9e9)
    change(
        path,
        "UPDATE run SET label = hex(zeroblob(200000));"
        " UPDATE level SET model = hex(zeroblob(100000))",
    )
    for code, *arguments in (
        (0, "--charts", "none"),
        (0, "--compare", "1", "2"),
        (0, "--format", "markdown"),
        (1, "--fail-if", "errors<1", "--charts", "none"),
        (1, "another"),
        (1, "--run", "another"),
    ):
        assert analyze.main(["--db", str(path), *arguments]) == code
        captured = capsys.readouterr()
        assert len(captured.out + captured.err) < 5000


def test_of_a_name_without_an_end_a_page_shows_a_line(path, tmp_path):
    change(path, "UPDATE level SET model = hex(zeroblob(100000))")
    made_up_results.write(path, levels=(1, 2), model="other")
    chosen = ",".join(("timeline", *names.ACROSS_MODELS))
    arguments = ["--db", str(path), "--out", str(tmp_path / "data")]
    with drawing_nothing():
        assert analyze.main([*arguments, "--charts", chosen]) == 0
    page = (tmp_path / "data" / "report.html").read_text(encoding="utf-8")
    assert "0" * 100 in page and "0" * 1000 not in page
