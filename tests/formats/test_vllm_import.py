"""The JSON of `vllm bench serve` in results.db, that of our own export too."""

import json
import math
import subprocess
import sys
import time

import pytest

import analyze
from ollama_bench.formats.import_command import main
from ollama_bench.storage.connection import connect
from tests.formats.exporting import export
from tests.formats.importing import import_file, read_level, rows
from tests.formats.json_samples import (
    make_vllm,
)
from tests.support import made_up_results

# of a level, what the export of vLLM's form keeps
KEPT = """concurrency, load, rate_per_s, arrival_cv, requests, completed, errors, ttft_mean_s,
ttft_p50_s, ttft_p95_s, ttft_p99_s, ttft_max_s, tokens_per_s_mean, tokens_per_s_min,
tpot_mean_s, e2e_mean_s, e2e_p95_s, e2e_max_s, output_tokens, prompt_tokens, chunks,
tokens_per_chunk, output_tokens_per_s, requests_per_s, duration_s, peak_streaming,
offered_per_s, answered_per_s"""

# of a level: what no such file tells
UNKNOWN = (
    "client_limited",
    "client_cpu_ratio",
    "cache",
    "on_battery",
    "ttft_mean_low_s",
    "good_ratio",
    "prompts_cut",
    "in_flight_mean",
)


def assert_alike(one, other, relative):
    """Texts and what is unknown are the same, numbers nearly so."""
    for name, value in one.items():
        if isinstance(value, (int, float)):
            value = pytest.approx(value, rel=relative)
        assert other[name] == value, name


@pytest.mark.parametrize("load", ["burst", "open"])
def test_what_goes_out_as_vllm_s_comes_back(
    tmp_path, database, load, capsys
):
    path = tmp_path / "results.db"
    made_up_results.write(path, levels=(1, 8, 128), failures=3)
    changed = connect(str(path))
    changed.execute(
        "UPDATE level SET load = ?, rate_per_s = ?, arrival_cv = ?",
        [load, *((None, None) if load == "burst" else (4.5, 0.5))],
    )
    if load == "open":
        changed.execute(
            "UPDATE request SET due_ns = sent_ns - number * 1000"
        )
    changed.conn.commit()
    changed.close()
    export(tmp_path, "vllm")
    assert main([str(tmp_path), "--db", database]) == 0
    sql = f"SELECT {KEPT} FROM level_summary ORDER BY concurrency"
    before, after = rows(path, sql), rows(database, sql)
    assert len(before) == 3
    for one, other in zip(before, after, strict=True):
        # the made-up chunks are up to a quarter of a gap late
        assert_alike(one, other, 0.01)
        for name in ("requests", "completed", "errors", "output_tokens"):
            assert one[name] == other[name]


def test_every_figure_of_a_measured_level_comes_back_exactly(
    tmp_path, database
):
    """Chunks of a measured level begin and end with the first and last text."""
    path = tmp_path / "results.db"
    made_up_results.write(path, levels=(128,), failures=3)
    changed = connect(str(path))
    changed.execute("UPDATE level SET load = 'burst'")
    for place, instant in (
        ("number = 0", "first_text_ns"),
        ("number = 59", "last_text_ns"),
    ):
        changed.execute(
            f"""UPDATE chunk SET at_ns = (SELECT {instant} FROM request
            WHERE id = request_id) WHERE {place}"""
        )
    changed.conn.commit()
    changed.close()
    export(tmp_path, "vllm")
    assert main([str(tmp_path), "--db", database]) == 0
    for sql in (
        f"SELECT {KEPT} FROM level_summary",
        "SELECT full_load_tokens_per_s FROM full_load",
        "SELECT status, ttft_s, e2e_s, output_tokens FROM request ORDER BY number",
    ):
        for one, other in zip(
            rows(path, sql), rows(database, sql), strict=True
        ):
            assert_alike(one, other, 1e-7)


def test_a_level_of_vllm_has_the_figures_of_its_file(tmp_path, database):
    assert import_file(tmp_path, make_vllm(), database) == 0
    level = read_level(database)
    assert (level["concurrency"], level["load"]) == (2, "closed")
    assert (level["completed"], level["errors"]) == (2, 1)
    assert level["ttft_mean_s"] == 0.375
    assert level["output_tokens_per_s"] == 1.75
    assert level["requests_per_s"] == 0.5
    assert level["itl_mean_s"] == pytest.approx(0.14)
    assert level["e2e_max_s"] == pytest.approx(0.8)
    [failed] = rows(
        database,
        "SELECT status, error, http_status, first_text_ns FROM request WHERE number = 3",
    )
    assert failed == {
        "status": "http_error",
        "error": "Bad Request",
        "http_status": None,
        "first_text_ns": None,
    }


def test_the_run_is_marked_and_what_is_not_told_is_null(
    tmp_path, database, capsys
):
    import_file(tmp_path, make_vllm(), database)
    [run] = rows(database, "SELECT * FROM run")
    assert (run["source"], run["label"]) == ("import", "old")
    assert run["tool_version"] == "vllm bench serve"
    end = time.mktime(time.strptime("20261127-091812", "%Y%m%d-%H%M%S"))
    assert run["started_unix"] == end - 4.0
    assert run["machine_id"] is None
    level = read_level(database)
    for name in UNKNOWN:
        assert level[name] is None
    [event] = rows(database, "SELECT kind, detail FROM event")
    assert event["kind"] == "import_lacks" and "power" in event["detail"]
    capsys.readouterr()
    assert analyze.main(["--db", database, "--charts", "none"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert (
        "! measured by vllm bench serve and imported. Its file tells"
        in said
    )
    assert "count of words" not in said


@pytest.mark.parametrize(
    "changes, load, rate, concurrency",
    [
        ({"max_concurrency": None}, "burst", None, 2),
        ({"max_concurrency": 3}, "burst", None, 3),
        ({"max_concurrency": 1}, "closed", None, 1),
        ({"request_rate": 2.5, "max_concurrency": None}, "open", 2.5, 2),
        ({"request_rate": 2.5}, "open", 2.5, 2),
    ],
)
def test_the_load_follows_from_what_was_asked(
    tmp_path, database, changes, load, rate, concurrency
):
    import_file(tmp_path, make_vllm(**changes), database)
    level = read_level(database)
    assert level["load"] == load and level["rate_per_s"] == rate
    assert level["concurrency"] == concurrency


@pytest.mark.parametrize(
    "burstiness, cv",
    [
        (1.0, 1),
        (0.25, 2),
        (4, 0.5),
        ("inf", 0),
        (math.inf, 0),
        (None, None),
    ],
)
def test_the_burstiness_of_arrivals_is_their_variation(
    tmp_path, database, burstiness, cv
):
    record = make_vllm(request_rate=2.5, burstiness=burstiness)
    import_file(tmp_path, record, database)
    assert read_level(database)["arrival_cv"] == cv


def test_a_burst_has_no_arrivals_that_vary(tmp_path, database):
    import_file(tmp_path, make_vllm(burstiness=0.25), database)
    assert read_level(database)["arrival_cv"] is None


def test_of_an_open_load_the_wait_counts_from_when_it_was_due(
    tmp_path, database
):
    record = make_vllm(request_rate=2.5, queue_times=[0.25, 0.0, 0.0])
    import_file(tmp_path, record, database)
    found = rows(database, "SELECT ttft_s FROM request WHERE number < 3")
    assert [row["ttft_s"] for row in found] == pytest.approx([0.75, 0.25])


def test_without_a_chunk_and_without_an_error_a_request_is_empty(
    tmp_path, database
):
    import_file(tmp_path, make_vllm(errors=["", "", ""]), database)
    found = rows(database, "SELECT status FROM request WHERE number = 3")
    assert found == [{"status": "empty"}]


def test_a_line_each_is_a_run_each(tmp_path, database):
    """As --append-result writes them."""
    lines = [json.dumps(make_vllm(duration=s)) for s in (4.0, 5.0)]
    assert import_file(tmp_path, "\n".join(lines), database) == 0
    assert len(rows(database, "SELECT * FROM run")) == 2


def test_what_is_read_twice_is_stored_once(tmp_path, database, capsys):
    import_file(tmp_path, make_vllm(), database)
    import_file(tmp_path, make_vllm(), database, name="copy.json")
    assert "(stored before)" in capsys.readouterr().out
    assert len(rows(database, "SELECT * FROM run")) == 1


def test_runs_of_one_folder_stand_together_and_others_apart(
    tmp_path, database, capsys
):
    for name, duration in (("old", 4.0), ("new", 5.0)):
        folder = tmp_path / name
        folder.mkdir()
        for concurrency in (1, 2):
            record = make_vllm(
                duration=duration, max_concurrency=concurrency
            )
            path = folder / f"{concurrency}.json"
            path.write_text(json.dumps(record))
        assert main([str(folder), "--db", database]) == 0
    capsys.readouterr()
    assert (
        analyze.main(
            ["--db", database, "--format", "json", "--run", "old"]
        )
        == 0
    )
    [study] = json.loads(capsys.readouterr().out)["studies"]
    assert [level["duration_s"] for level in study["levels"]] == [4.0] * 2
    assert analyze.main(["--db", database, "--format", "json"]) == 0
    [study] = json.loads(capsys.readouterr().out)["studies"]
    assert len({run["label"] for run in study["runs"]}) == 1
    assert [level["concurrency"] for level in study["levels"]] == [1, 2]


def test_nothing_is_imported_late_when_a_date_is_read():
    """Root is given up by then, and the user may not be able to read its Python."""
    code = "import sys; import ollama_bench.formats.vllm_import; assert '_strptime' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
