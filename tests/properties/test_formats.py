"""What a tree of CSV files holds."""

import re
from contextlib import closing

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ollama_bench.formats.import_command import main
from ollama_bench.formats.study.columns import COLUMNS
from ollama_bench.storage.connection import connect

TIMES = st.sampled_from(
    [
        "2025-01-15T10:00:00+01:00",
        "2025-01-15T10:00:07+01:00",
        "2025-01-15T10:00:09Z",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "2025-02-30T00:00:00Z",
        "",
    ]
)
FIELDS = {
    "time": TIMES,
    "count": st.integers(0, 4).map(str)
    | st.sampled_from(["9" * 18, "٣", "-1", "200"]),
    "number": st.floats(0, 20).map("{:.3f}".format)
    | st.sampled_from(["9" * 15, "1e9", "NaN", "0.000"]),
    "maybe": st.sampled_from(["", "100.00", "12.5", "9" * 15]),
    "word": st.sampled_from(["Completed", "Error", "=1+1", "x" * 50]),
}


def csv_of(name):
    columns = COLUMNS["process" if name.startswith("process") else name]
    line = st.tuples(*(FIELDS[kind] for kind in columns.values())).map(
        ",".join
    )
    return st.lists(line | st.text(max_size=20), max_size=5).map(
        lambda lines: "\n".join([",".join(columns), *lines, ""]).encode(
            "utf-8", "replace"
        )
    ) | st.binary(max_size=50)


TREES = st.fixed_dictionaries(
    {},
    optional={
        name: csv_of(name)
        for name in (
            "request_summary.csv",
            "duration_metrics.csv",
            "gpu_metrics.csv",
            "process_7_metrics.csv",
        )
    },
)
LAST_DAY = {
    "duration_metrics.csv": (
        b"Timestamp,Concurrency,MaxDuration,MinDuration,AvgDuration,P99Duration\n%s,1,1,1,1,1\n"
    ),
    "request_summary.csv": (
        b"RequestID,TTFB,TotalDuration,ResponseDuration,WaitingTime,TokenCount,StatusCode,Status\n"
        b"1,%s,1,1,1,1,200,Completed\n"
    ),
}


def tree(time, ttfb):
    return {
        name: text % (time if name.startswith("d") else ttfb)
        for name, text in LAST_DAY.items()
    }


@pytest.mark.faults
@given(TREES, st.sampled_from(["1", "4", "0", "9" * 30, "٣"]))
@example(tree(b"2025-01-15T10:00:00Z", b"999999999999999"), "1")
@example(tree(b"0001-01-01T00:00:00+23:59", b"1"), "1")
@example(tree(b"9999-12-31T23:59:59-23:59", b"1"), "1")
@example(tree(b"2025-01-15T10:00:00Z", b"1"), "0")
@example(tree(b"2025-01-15T10:00:00Z", b"1"), "9" * 30)
def test_import_csv(tmp_path_factory, capsys, files, level):
    top = tmp_path_factory.mktemp("tree")
    folder = top / "m" / f"test_results_{level}"
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    code = main([str(top), "--db", str(top / "results.db")])
    out, err = capsys.readouterr()
    assert (
        code in (0, 1)
        and len(err.splitlines()) == code
        and not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", out + err)
    )
    if code == 0:
        with closing(
            connect(top / "results.db", readonly=True).conn
        ) as connection:
            assert (
                connection.execute("PRAGMA integrity_check").fetchone()[0]
                == "ok"
                and not connection.execute(
                    "PRAGMA foreign_key_check"
                ).fetchall()
            )
            assert (
                connection.execute(
                    "SELECT count(*) FROM request WHERE ttft_s < 0 OR e2e_s < ttft_s"
                ).fetchone()[0]
                == 0
            )
