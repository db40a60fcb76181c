"""schema.sql: every statistic against rows written by hand and answers worked out by hand."""

import pytest

from ollama_bench.storage.connection import connect
from tests.storage.rows import S, level, one, request


def test_generated_columns(database):
    level(database)
    request(
        database,
        1,
        sent=1.0,
        first=1.5,
        last=3.5,
        tokens=21,
        first_answer_ns=2 * S,
        server_total_ns=2_500,
        server_load_ns=100,
        server_prefill_ns=300,
        server_decode_ns=2_000,
    )
    row = one(database, "request")
    assert (
        row["ttft_s"],
        row["ttfat_s"],
        row["e2e_s"],
        row["active_s"],
    ) == (0.5, 1.0, 2.5, 2.0)
    assert (
        row["tpot_s"],
        row["tokens_per_s"],
        row["server_queue_ns"],
    ) == (
        0.1,
        10.0,
        100,
    )


@pytest.mark.parametrize(
    "tokens, last", [(None, 3.0), (0, 3.0), (1, 3.0), (5, 1.5)]
)
def test_speed_is_unknown_below_two_tokens_or_without_time(
    database, tokens, last
):
    level(database)
    request(database, 1, sent=1.0, first=1.5, last=last, tokens=tokens)
    row = one(database, "request")
    assert row["tpot_s"] is None and row["tokens_per_s"] is None


def test_level_summary(database):
    level(
        database,
        concurrency=4,
        ended_ns=10 * S,
        itl_p50_s=0.1,
        client_limited=0,
        client_cpu_ratio=0.25,
    )
    request(database, 1, first=1, last=3, tokens=21)  # 10 tokens/s
    request(database, 2, first=2, last=6, tokens=81)  # 20 tokens/s
    request(database, 3, first=7, last=9, tokens=5, status="truncated")
    request(
        database, 4, status="http_error", http_status=503, error="busy"
    )
    row = one(database, "level_summary")
    assert (
        row["requests"],
        row["completed"],
        row["errors"],
        row["error_ratio"],
        row["simulated"],
    ) == (4, 2, 2, 0.5, 1)
    assert (
        row["ttft_mean_s"],
        row["ttft_p50_s"],
        row["ttft_max_s"],
        row["e2e_mean_s"],
    ) == (
        1.5,
        1.0,
        2.0,
        4.5,
    )
    assert (row["ttft_p95_s"], row["ttft_p99_s"], row["e2e_p99_s"]) == (
        None,
        None,
        None,
    )  # 2 values
    assert (
        row["tokens_per_s_mean"],
        row["output_tokens"],
        row["output_tokens_per_s"],
    ) == (
        15.0,
        107,
        10.7,
    )
    assert (
        row["requests_per_s"],
        row["duration_s"],
        row["peak_streaming"],
    ) == (0.2, 10.0, 2)
    assert (
        row["itl_p50_s"],
        row["client_limited"],
        row["client_cpu_ratio"],
    ) == (0.1, 0, 0.25)


def test_waits_of_a_host_are_those_of_the_judged_requests(database):
    level(database, steady_start_ns=3 * S, steady_end_ns=8 * S)
    request(database, 1, sent=0, first=1, last=3, tokens=21)
    request(database, 2, sent=4, first=6, last=8, tokens=11)
    host, whole = (
        one(database, "host_summary"),
        one(database, "level_summary"),
    )
    assert host["completed"] == 2
    for column in ("ttft_mean_s", "tokens_per_s_mean"):
        assert host[column] == whole[column]
    assert host["ttft_mean_s"] == 2.0


def test_tokens_of_failed_requests_make_no_throughput_beside_none_completed(
    database,
):
    level(database, steady_start_ns=0, steady_end_ns=8 * S)
    request(
        database,
        1,
        first=1,
        last=3,
        tokens=40,
        status="stalled",
        chunks=40,
    )
    request(
        database, 2, first=1, last=3, tokens=60, status="reset", chunks=60
    )
    for view in ("level_summary", "host_summary", "steady_summary"):
        row = one(database, view)
        assert (row["completed"], row["output_tokens_per_s"]) == (0, None)
    # they were generated all the same
    assert one(database, "level_summary")["output_tokens"] == 100
    request(database, 3, first=1, last=3, tokens=20, chunks=20)
    assert one(database, "level_summary")["output_tokens_per_s"] == 12.0
    assert one(database, "host_summary")["output_tokens_per_s"] == 12.0
    assert one(database, "steady_summary")["output_tokens_per_s"] == 15.0


def test_a_level_without_any_answer_has_no_figures(database):
    level(database, ended_ns=None)
    request(database, 1, status="in_flight")
    row = one(database, "level_summary")
    assert (
        row["requests"],
        row["in_flight"],
        row["completed"],
        row["errors"],
    ) == (1, 1, 0, 0)
    assert (
        row["error_ratio"] is None
        and row["ttft_mean_s"] is None
        and row["output_tokens_per_s"] is None
        and row["duration_s"] is None
    )


@pytest.mark.parametrize(
    "n, p50, p95, p99",
    [
        (1, 1, None, None),
        (19, 10, None, None),
        (20, 10, 19, None),
        (99, 50, 95, None),
        (100, 50, 95, 99),
        (101, 51, 96, 100),
        (200, 100, 190, 198),
    ],
)
def test_percentiles_are_nearest_rank_and_empty_below_their_floor(
    database, n, p50, p95, p99
):
    level(database, concurrency=n)
    for i in range(1, n + 1):  # values 1 s to n s, in another order
        request(
            database,
            i,
            sent=0,
            first=(i * 7919) % n + 1 if n % 7919 else i,
            last=n + 1,
            tokens=2,
        )
    row = one(database, "level_percentiles", "metric = 'ttft_s'")
    assert (row["n"], row["p50"], row["p95"], row["p99"], row["max"]) == (
        n,
        p50,
        p95,
        p99,
        n,
    )


def test_peak_streaming_counts_who_is_answered_at_once(database):
    level(database, concurrency=3)
    request(database, 1, first=1, last=3, tokens=2)
    request(database, 2, first=2, last=4, tokens=2)
    # one chunk: begins and ends at once
    request(database, 3, first=3.5, last=3.5, tokens=1)
    assert one(database, "level_streaming")["peak_streaming"] == 2


def test_outcomes_and_server_split(database):
    level(database)
    request(
        database,
        1,
        first=1,
        last=2,
        tokens=3,
        server_total_ns=4 * S,
        server_load_ns=1 * S,
        server_prefill_ns=S // 2,
        server_decode_ns=S,
    )
    request(
        database, 2, status="http_error", http_status=503, error="busy"
    )
    request(
        database, 3, status="http_error", http_status=503, error="busy"
    )
    for number, answered in ((4, 200), (5, None)):
        request(database, number, status="cancelled", http_status=answered)
    assert [
        (r["status"], r["http_status"], r["requests"], r["example"])
        for r in database.query("SELECT * FROM outcomes ORDER BY status")
    ] == [
        ("cancelled", None, 2, None),  # whatever had come before
        ("completed", None, 1, None),
        ("http_error", 503, 2, "busy"),
    ]
    row = one(database, "server_split")
    assert (
        row["requests"],
        row["queue_s"],
        row["load_s"],
        row["prefill_s"],
        row["decode_s"],
    ) == (
        1,
        1.5,
        1.0,
        0.5,
        1.0,
    )


def test_the_gpu_is_weighted_by_time_and_its_edges_are_left_out(database):
    level(database, started_ns=10 * S, ended_ns=20 * S)
    database["power_source"].insert(
        {
            "id": 1,
            "run_id": 1,
            "name": "powermetrics",
            "device": "soc",
            "kind": "interval",
            "status": "ok",
        }
    )
    for start, end, watts, busy in (
        (0, 11, 2, 0.0),
        (11, 15, 20, 1.0),
        (15, 19, 10, 0.5),
        (19, 30, 1, 0.0),
    ):
        database["power_sample"].insert(
            {
                "source_id": 1,
                "start_ns": start * S,
                "end_ns": end * S,
                "energy_j": 2.0 * watts * (end - start),
                "gpu_energy_j": 1.0 * watts * (end - start),
                "gpu_busy_ratio": busy,
            }
        )
    found = {
        row["metric"]: row
        for row in database.query("SELECT * FROM gpu_summary")
    }
    assert set(found) == {"gpu_power_w", "gpu_busy_ratio"}
    assert [
        found["gpu_power_w"][c] for c in ("n", "min", "mean", "max")
    ] == [
        2,
        10.0,
        pytest.approx((2 + 80 + 40 + 1) / 10),
        20.0,
    ]
    assert [
        found["gpu_busy_ratio"][c] for c in ("n", "min", "mean", "max")
    ] == [
        2,
        0.5,
        pytest.approx(0.6),
        1.0,
    ]
    summary = one(database, "energy_summary")
    assert (
        summary["mean_w"] == 2 * found["gpu_power_w"]["mean"]
        and summary["mean_gpu_busy_ratio"]
        == found["gpu_busy_ratio"]["mean"]
    )


def test_the_watts_of_two_gpus_are_added(database):
    level(database, started_ns=0, ended_ns=2 * S)
    for device in (1, 2):
        database["power_source"].insert(
            {
                "id": device,
                "run_id": 1,
                "name": "nvml",
                "device": f"gpu{device}",
                "kind": "counter",
                "status": "ok",
            }
        )
        database["power_sample"].insert(
            {
                "source_id": device,
                "start_ns": 0,
                "end_ns": 2 * S,
                "energy_j": 10.0 * device,
                "gpu_energy_j": 10.0 * device,
            }
        )
    row = one(database, "gpu_summary")
    assert [row[c] for c in ("source", "n", "min", "mean", "max")] == [
        "nvml gpu1 + nvml gpu2",
        2,
        None,
        15.0,
        None,
    ]


def test_the_studys_views_have_the_studys_columns(database):
    level(database, concurrency=1, started_ns=0, ended_ns=3 * S)
    request(
        database, 1, sent=0.25, first=1, last=3, tokens=21, http_status=200
    )
    database["process"].insert(
        {
            "id": 1,
            "run_id": 1,
            "pid": 77,
            "role": "serve",
            "name": "ollama",
        }
    )
    database["process_sample"].insert(
        {
            "process_id": 1,
            "at_ns": S,
            "cpu_ratio": 0.5,
            "memory_ratio": 0.1,
            "rss_bytes": 2048,
            "vms_bytes": 4096,
            "threads": 3,
            "fds": None,
        }
    )
    database["process_sample"].insert(
        {"process_id": 1, "at_ns": 4 * S, "cpu_ratio": 0.9}
    )  # after the level
    row = one(database, "request_summary")
    assert [
        row[c]
        for c in (
            "RequestID",
            "TTFB",
            "TotalDuration",
            "ResponseDuration",
            "WaitingTime",
            "TokenCount",
            "StatusCode",
            "Status",
        )
    ] == [1, 0.75, 2.75, 2.0, 0.75, 21, 200, "completed"]
    assert one(database, "request_throughput")["Throughput"] == 10.0
    row = one(database, "duration_metrics")
    assert (
        row["Concurrency"],
        row["MaxDuration"],
        row["AvgDuration"],
        row["P99Duration"],
        row["n"],
    ) == (1, 2.0, 2.0, None, 1)
    assert row["Timestamp"] == "2001-09-09T01:46:43.000Z"
    row = one(database, "process_metrics")
    assert [
        row[c]
        for c in ("PID", "CPU%", "MEM%", "Threads", "FDs", "VSZ", "RSS")
    ] == [
        77,
        50.0,
        10.0,
        3,
        None,
        4,
        2,
    ]


def test_runs_show_by_a_label(database):
    level(database)
    row = one(database, "runs")
    assert (
        row["label"],
        row["status"],
        row["models"],
        row["levels_finished"],
        row["chip"],
    ) == (
        "bench 1",
        "finished",
        "m",
        1,
        "Apple M2 Pro",
    )


def test_every_view_answers_on_an_empty_file(tmp_path):
    database = connect(tmp_path / "empty.db")
    for view in database.view_names():
        assert list(database.query(f"SELECT * FROM [{view}]")) == []
    database.conn.close()


def file_bytes(database):
    return database.execute(
        "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
    ).fetchone()[0]


@pytest.mark.faults
def test_chunks_fit_in_24_bytes(database):
    level(database, concurrency=128)
    for number in range(1, 129):
        request(database, number, first=1, last=2, tokens=1500)
    before = file_bytes(database)
    for request_id in range(1, 129):  # an hour after the run began
        rows = [
            (request_id, i, 3600 * S + i * 20_000_000, i < 900)
            for i in range(1500)
        ]
        database.conn.executemany(
            "INSERT INTO chunk (request_id, number, at_ns, is_reasoning) VALUES (?, ?, ?, ?)",
            rows,
        )
    assert (file_bytes(database) - before) / (128 * 1500) <= 24
