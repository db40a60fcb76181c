"""GuideLLM's benchmarks.json in results.db."""

import pytest

from tests.formats.importing import import_file, read_level, rows
from tests.formats.json_samples import (
    SENT_UNIX,
    make_guidellm,
    make_request,
)


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


@pytest.mark.parametrize(
    "kind, cv", [("constant", 0), ("poisson", 1), ("trace", None)]
)
def test_the_strategy_tells_how_arrivals_vary(
    tmp_path, database, kind, cv
):
    strategy = {"type_": kind, "rate": 1.5}
    import_file(tmp_path, make_guidellm(strategy), database)
    assert read_level(database)["arrival_cv"] == cv


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
