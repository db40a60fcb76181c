"""JSON of vLLM and GuideLLM in results.db, and what is wrong with a file in one line."""

import json
import os
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import analyze
from ollama_bench.formats import file_import, json_file
from ollama_bench.formats.import_command import main
from ollama_bench.storage.connection import connect
from tests.formats.exporting import export
from tests.formats.json_samples import (
    SENT_UNIX,
    make_guidellm,
    make_request,
    make_vllm,
)
from tests.support import made_up_results

# of a level, what the export of vLLM's form keeps
KEPT = """concurrency, load, rate_per_s, requests, completed, errors, ttft_mean_s, ttft_p50_s,
ttft_p95_s, ttft_p99_s, ttft_max_s, tokens_per_s_mean, tokens_per_s_min, tpot_mean_s, e2e_mean_s,
e2e_p95_s, e2e_max_s, output_tokens, prompt_tokens, chunks, tokens_per_chunk, output_tokens_per_s,
requests_per_s, duration_s, peak_streaming, offered_per_s, answered_per_s"""

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


@pytest.fixture
def database(tmp_path):
    return str(tmp_path / "imported.db")


def rows(path, sql):
    database = connect(str(path), readonly=True)
    found = list(database.query(sql))
    database.close()
    return found


def import_file(folder, record, database, *more, name="old.json"):
    path = folder / name
    text = record if isinstance(record, str) else json.dumps(record)
    path.write_text(text, "utf-8")
    return main([str(path), "--db", database, *more])


def read_level(database):
    [level] = rows(database, "SELECT * FROM level_summary")
    return level


# -- there and back


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
        "UPDATE level SET load = ?, rate_per_s = ?",
        [load, None if load == "burst" else 4.5],
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


# -- vLLM


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
    assert analyze.main(["--db", database, "--no-charts"]) == 0
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


def test_of_an_open_load_the_wait_counts_from_when_it_was_due(
    tmp_path, database
):
    record = make_vllm(request_rate=2.5, queue_times=[0.25, 0.0, 0.0])
    import_file(tmp_path, record, database)
    found = rows(database, "SELECT ttft_s FROM request WHERE number < 3")
    assert [row["ttft_s"] for row in found] == pytest.approx([0.75, 0.25])


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
        analyze.main(["--db", database, "--format", "json", "--run", "old"])
        == 0
    )
    [study] = json.loads(capsys.readouterr().out)["studies"]
    assert [level["duration_s"] for level in study["levels"]] == [4.0] * 2
    assert analyze.main(["--db", database, "--format", "json"]) == 0
    [study] = json.loads(capsys.readouterr().out)["studies"]
    assert len({run["label"] for run in study["runs"]}) == 1
    assert [level["concurrency"] for level in study["levels"]] == [1, 2]


# -- GuideLLM


def test_a_benchmark_of_guidellm_is_a_level(tmp_path, database):
    assert import_file(tmp_path, make_guidellm(), database) == 0
    level = read_level(database)
    assert (level["concurrency"], level["load"]) == (2, "closed")
    assert (level["completed"], level["errors"]) == (3, 1)
    assert level["ttft_mean_s"] == pytest.approx(0.5, abs=1e-6)
    assert level["ttfat_mean_s"] == pytest.approx(0.6, abs=1e-6)
    assert level["tpot_mean_s"] == pytest.approx(0.1, abs=1e-6)
    assert level["output_tokens_per_s"] == pytest.approx(15 / 4)
    assert level["itl_mean_s"] is None
    [run] = rows(database, "SELECT tool_version, started_unix FROM run")
    assert run == {
        "tool_version": "guidellm 0.8.1",
        "started_unix": SENT_UNIX,
    }
    [target] = rows(database, "SELECT host, api FROM target")
    assert target == {"host": "http://127.0.0.1:8000/v1", "api": "openai"}
    assert rows(
        database, "SELECT status FROM request WHERE status <> 'completed'"
    ) == [{"status": "refused"}]


def test_no_key_and_no_password_is_kept(tmp_path, database):
    import_file(tmp_path, make_guidellm(), database)
    kept = (tmp_path / "imported.db").read_bytes()
    assert b"sk-hidden" not in kept and b"me:word" not in kept


@pytest.mark.parametrize(
    "strategy, load, rate, concurrency",
    [
        ({"type_": "synchronous"}, "closed", None, 1),
        ({"type_": "throughput", "max_concurrency": 8}, "burst", None, 8),
        ({"type_": "poisson", "rate": 1.5}, "open", 1.5, 1),
        (
            {"type_": "constant", "rate": 2.0, "max_concurrency": 9},
            "open",
            2.0,
            9,
        ),
    ],
)
def test_the_strategy_is_the_load(
    tmp_path, database, strategy, load, rate, concurrency
):
    import_file(tmp_path, make_guidellm(strategy, errored=0), database)
    level = read_level(database)
    assert (level["load"], level["rate_per_s"]) == (load, rate)
    assert level["concurrency"] == concurrency
    wait = 0.6 if load == "open" else 0.5  # due 0.1 s before it was sent
    assert level["ttft_mean_s"] == pytest.approx(wait, abs=1e-6)


def test_a_sample_of_the_requests_is_left_out(tmp_path, database, capsys):
    report = make_guidellm()
    whole = make_guidellm()["benchmarks"][0]
    report["benchmarks"][0]["requests"]["successful"].pop()
    assert import_file(tmp_path, report, database) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
    report["benchmarks"].append(whole)
    assert import_file(tmp_path, report, database) == 0
    said = capsys.readouterr().out
    assert "left out: benchmark 0: it has 3 of its 4 requests" in said
    assert len(rows(database, "SELECT * FROM level")) == 1
    [event] = rows(
        database, "SELECT detail FROM event WHERE kind = 'import_left_out'"
    )
    assert event["detail"].startswith("benchmark 0")


def test_what_was_cut_at_the_end_is_cancelled(tmp_path, database):
    report = make_guidellm()
    [benchmark] = report["benchmarks"]
    benchmark["requests"]["incomplete"] = [make_request(3)]
    benchmark["metrics"]["request_totals"]["incomplete"] = 1
    import_file(tmp_path, report, database)
    found = rows(
        database, "SELECT status FROM request ORDER BY number DESC LIMIT 1"
    )
    assert found == [{"status": "cancelled"}]


# -- what is wrong


@pytest.mark.parametrize(
    "content, said",
    [
        ("", "old.json is not JSON"),
        ("{", "old.json is not JSON"),
        ("[" * 100_000, "old.json is not JSON"),
        ("[]", "old.json is not a JSON object"),
        (
            "{}",
            "expected what vllm bench serve --save-detailed or GuideLLM",
        ),
        ('{"a": 1}\n{"a"', "old.json is not JSON"),
        (make_vllm(itls=None), "1 itls|0 itls"),
        (
            make_vllm(itls=[[0.1]]),
            "1 itls and 3 input_lens: expected as many",
        ),
        (
            make_vllm(itls=[["x"], [], []]),
            'invalid itls "x": expected a number of 0 or more',
        ),
        (
            make_vllm(ttfts=[-1, 1, 1]),
            "invalid ttfts -1: expected a number",
        ),
        (
            make_vllm(ttfts=[float("nan"), 1, 1]),
            "invalid ttfts NaN: expected a number",
        ),
        (make_vllm(ttfts=[10**400, 1, 1]), "invalid ttfts 1000"),
        (make_vllm(duration=True), "invalid duration true"),
        (make_vllm(duration=None), "invalid duration null"),
        (make_vllm(output_lens=[1.5, 1, 1]), "expected a whole number"),
        (make_vllm(date="soon"), 'invalid date "soon": expected YYYY'),
        (make_vllm(model_id=[1]), "invalid model_id"),
        (make_vllm(max_concurrency=0.5), "expected a whole number"),
        (
            make_vllm(start_times=[0, 1e9, 0]),
            "the instants of a request are years apart",
        ),
        (
            {"model_id": "x", "request_throughput": 1.0},
            "no input_lens: expected what vllm bench serve --save-detailed",
        ),
        (
            make_guidellm(start_time=None),
            "invalid benchmarks[0].start_time",
        ),
        (
            make_guidellm(end_time=1.0),
            "the instants of a level are not in order",
        ),
        (make_guidellm(requests=[]), "no benchmark that has all its"),
        (make_guidellm(requests={"successful": 3}), "expected a list"),
    ],
    ids=str,
)
def test_what_is_wrong_is_one_line_and_nothing_is_stored(
    tmp_path, database, content, said, capsys
):
    assert import_file(tmp_path, content, database) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("ollama-bench import: ")
    assert any(words in line for words in said.split("|"))
    assert not (tmp_path / "imported.db").exists()


def test_a_file_of_a_folder_that_is_wrong_is_left_out(
    tmp_path, database, capsys
):
    (tmp_path / "notes.json").write_text('{"a": 1}')
    (tmp_path / "cut.json").write_text(json.dumps(make_vllm())[:-5])
    assert main([str(tmp_path), "--db", database]) == 1
    capsys.readouterr()
    (tmp_path / "good.json").write_text(json.dumps(make_vllm()))
    assert main([str(tmp_path), "--db", database]) == 0
    said = capsys.readouterr().out
    assert said.count("left out: ") == 2
    assert len(rows(database, "SELECT * FROM run")) == 1


def test_a_run_that_fails_half_way_is_not_stored(
    tmp_path, database, monkeypatch, capsys
):
    import_file(tmp_path, make_guidellm(), database)
    monkeypatch.setattr("ollama_bench.formats.storing.store_requests", fail)
    assert import_file(tmp_path, make_vllm(), database) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert len(rows(database, "SELECT * FROM run")) == 1


def fail(*_):
    raise OSError("disk full")


def test_a_large_file_and_one_of_many_lists_are_refused(
    tmp_path, database, monkeypatch, capsys
):
    monkeypatch.setattr(json_file, "MOST_BYTES", 500)
    assert import_file(tmp_path, make_vllm(), database) == 1
    assert "is larger than" in capsys.readouterr().err
    monkeypatch.setattr(json_file, "MOST_BYTES", 100_000)
    monkeypatch.setattr(json_file, "MOST_BRACKETS", 5)
    assert import_file(tmp_path, make_vllm(), database) == 1
    assert "has more than 5 lists" in capsys.readouterr().err


@pytest.mark.skipif(
    not hasattr(os, "mkfifo"), reason="the system has no named pipes"
)
def test_a_named_pipe_is_not_waited_for(tmp_path, database, capsys):
    os.mkfifo(tmp_path / "pipe.json")
    assert main([str(tmp_path / "pipe.json"), "--db", database]) == 1
    assert "is not a file" in capsys.readouterr().err


def test_a_dry_run_writes_nothing(tmp_path, database, capsys):
    assert import_file(tmp_path, make_vllm(), database, "--dry-run") == 0
    dry = capsys.readouterr().out.splitlines()
    assert not (tmp_path / "imported.db").exists()
    assert import_file(tmp_path, make_vllm(), database) == 0
    assert capsys.readouterr().out.splitlines()[:-1] == dry[:-1]
    assert dry[:2] == [
        "old.json: vllm bench serve, tiny, old",
        "  level 2, closed load: 3 requests, 1 failed",
    ]


def test_names_are_safe_for_a_terminal(tmp_path, database, capsys):
    record = make_vllm(model_id="a\x1b[31m\ud800\x00b", label="x\ny")
    assert import_file(tmp_path, record, database) == 0
    said = capsys.readouterr().out
    assert "\x1b" not in said and "\x00" not in said
    [target] = rows(database, "SELECT model FROM target")
    assert target["model"] == "a·[31m?·b"


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=8,
)


@settings(max_examples=150)
@given(st.data())
def test_no_junk_is_a_traceback(data):
    """A member of a good file, at any depth, becomes something else."""
    record = data.draw(st.sampled_from([make_vllm(), make_guidellm()]))
    inner = record
    while True:
        keys = list(inner) if isinstance(inner, dict) else range(len(inner))
        key = data.draw(st.sampled_from(list(keys)))
        value = inner[key]
        if not value or not isinstance(value, (dict, list)):
            break
        if data.draw(st.booleans()):
            break
        inner = value
    inner[key] = data.draw(JUNK)
    try:
        run = file_import.read_run("x.json", record, "x")
    except json_file.ImportFileError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert run.levels
