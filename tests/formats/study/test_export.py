"""The export writes the original tool's files, and the import reads back the same numbers."""

import csv

import analyze
from ollama_bench.formats import import_command
from ollama_bench.formats.study import export
from ollama_bench.formats.study.columns import COLUMNS
from ollama_bench.storage.connection import connect
from tests.support import made_up_results

NUMBERS = """SELECT concurrency, request.number, request.status,
    round(ttft_s, 3), round(active_s, 3), output_tokens
    FROM request JOIN level ON level.id = level_id ORDER BY 1, 2"""


def rows(path, sql):
    database = connect(path, readonly=True)
    found = list(database.execute(sql))
    database.close()
    return found


def test_what_goes_out_comes_back(tmp_path):
    made_up_results.write(tmp_path / "a.db", failures=3, levels=(1, 2, 8))
    assert (
        analyze.main(
            [
                "--db",
                str(tmp_path / "a.db"),
                "--charts",
                "none",
                "--export",
                "study",
                str(tmp_path),
            ]
        )
        == 0
    )
    folder = tmp_path / "ollama" / "tiny-7b" / "test_results_8"
    assert sorted(path.name for path in folder.iterdir()) == [
        "duration_metrics.csv",
        "gpu_metrics.csv",
        "process_4242_metrics.csv",
        "request_summary.csv",
    ]
    assert (
        import_command.main(
            [str(tmp_path), "--db", str(tmp_path / "b.db")]
        )
        == 0
    )
    back = rows(tmp_path / "b.db", NUMBERS)
    assert [row for row in back if row[2] == "completed"] == [
        row
        for row in rows(tmp_path / "a.db", NUMBERS)
        if row[2] == "completed"
    ]
    assert sum(row[2] == "http_error" for row in back) == 3
    watts = "SELECT concurrency, round(mean_w, 2) FROM energy_summary ORDER BY 1"
    assert [watt for _, watt in rows(tmp_path / "b.db", watts)] == [
        16.0
    ] * 3  # the GPU's share of 20 W


def test_the_columns_are_the_original_ones(tmp_path):
    made_up_results.write(tmp_path / "a.db", levels=(2,))
    analyze.main(
        [
            "--db",
            str(tmp_path / "a.db"),
            "--charts",
            "none",
            "--export",
            "study",
            str(tmp_path),
        ]
    )
    for path in (tmp_path / "ollama").rglob("*.csv"):
        kind = "process" if path.name.startswith("process") else path.name
        with path.open(encoding="utf-8") as file:
            assert next(csv.reader(file)) == list(COLUMNS[kind])


def test_text_is_never_a_formula():
    assert [
        export.escape_formula(text)
        for text in ("=1+1", "+1", "-1", "@x", "Completed")
    ] == [
        "'=1+1",
        "'+1",
        "'-1",
        "'@x",
        "Completed",
    ]
    assert export.format_cell("Power(W)", {"Power(W)": -1.0}) == "-1.00"
