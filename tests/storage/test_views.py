"""schema.sql: every statistic against rows written by hand and answers worked out by hand."""
import pytest

from ollama_bench.storage import db
from ollama_bench.analysis import selection
from ollama_bench.analysis.service import measure_service

S = 1_000_000_000  # nanoseconds in a second


@pytest.fixture
def database(tmp_path):
    database = db.connect(tmp_path / "results.db")
    database["machine"].insert({"id": 1, "fingerprint": "x", "chip": "Apple M2 Pro"})
    database["run"].insert({"id": 1, "source": "bench", "status": "finished", "started_unix": 1_000_000_000.0,
                            "arguments": "{}", "tool_version": "1", "machine_id": 1, "simulated": 1})
    database["target"].insert({"id": 1, "run_id": 1, "host": "http://h", "api": "ollama", "model": "m"})
    yield database
    database.conn.close()


def level(database, level_id=1, concurrency=2, started_ns=0, ended_ns=10 * S, **columns):
    database["level"].insert({"id": level_id, "run_id": 1, "model": "m", "concurrency": concurrency, "status": "finished",
                              "started_ns": started_ns, "ended_ns": ended_ns, **columns})


def request(database, number, sent=0.0, first=None, last=None, tokens=None, status="completed", level_id=1, **columns):
    ns = lambda at: None if at is None else int(at * S)
    database["request"].insert({"level_id": level_id, "target_id": 1, "number": number, "status": status, "sent_ns": ns(sent),
                                "first_text_ns": ns(first), "last_text_ns": ns(last), "ended_ns": ns(last or sent),
                                "output_tokens": tokens, **columns})


def one(database, view, where="1"):
    rows = list(database.query(f"SELECT * FROM {view} WHERE {where}"))
    assert len(rows) == 1
    return rows[0]


def test_generated_columns(database):
    level(database)
    request(database, 1, sent=1.0, first=1.5, last=3.5, tokens=21, first_answer_ns=2 * S, server_total_ns=2_500, server_load_ns=100,
            server_prefill_ns=300, server_decode_ns=2_000)
    row = one(database, "request")
    assert (row["ttft_s"], row["ttfat_s"], row["e2e_s"], row["active_s"]) == (0.5, 1.0, 2.5, 2.0)
    assert (row["tpot_s"], row["tokens_per_s"], row["server_queue_ns"]) == (0.1, 10.0, 100)


@pytest.mark.parametrize("tokens, last", [(None, 3.0), (0, 3.0), (1, 3.0), (5, 1.5)])
def test_speed_is_unknown_below_two_tokens_or_without_time(database, tokens, last):
    level(database)
    request(database, 1, sent=1.0, first=1.5, last=last, tokens=tokens)
    row = one(database, "request")
    assert row["tpot_s"] is None and row["tokens_per_s"] is None


def test_level_summary(database):
    level(database, concurrency=4, ended_ns=10 * S, itl_p50_s=0.1, client_limited=0, client_cpu_ratio=0.25)
    request(database, 1, first=1, last=3, tokens=21)    # 10 tokens/s
    request(database, 2, first=2, last=6, tokens=81)    # 20 tokens/s
    request(database, 3, first=7, last=9, tokens=5, status="truncated")
    request(database, 4, status="http_error", http_status=503, error="busy")
    row = one(database, "level_summary")
    assert (row["requests"], row["completed"], row["errors"], row["error_ratio"], row["simulated"]) == (4, 2, 2, 0.5, 1)
    assert (row["ttft_mean_s"], row["ttft_p50_s"], row["ttft_max_s"], row["e2e_mean_s"]) == (1.5, 1.0, 2.0, 4.5)
    assert (row["ttft_p95_s"], row["ttft_p99_s"], row["e2e_p99_s"]) == (None, None, None)  # 2 values
    assert (row["tokens_per_s_mean"], row["output_tokens"], row["output_tokens_per_s"]) == (15.0, 107, 10.7)
    assert (row["requests_per_s"], row["duration_s"], row["peak_streaming"]) == (0.2, 10.0, 2)
    assert (row["itl_p50_s"], row["client_limited"], row["client_cpu_ratio"]) == (0.1, 0, 0.25)


def test_a_level_without_any_answer_has_no_figures(database):
    level(database, ended_ns=None)
    request(database, 1, status="in_flight")
    row = one(database, "level_summary")
    assert (row["requests"], row["in_flight"], row["completed"], row["errors"]) == (1, 1, 0, 0)
    assert row["error_ratio"] is None and row["ttft_mean_s"] is None and row["output_tokens_per_s"] is None and row["duration_s"] is None


@pytest.mark.parametrize("n, p50, p95, p99", [(1, 1, None, None), (19, 10, None, None), (20, 10, 19, None), (99, 50, 95, None),
                                              (100, 50, 95, 99), (101, 51, 96, 100), (200, 100, 190, 198)])
def test_percentiles_are_nearest_rank_and_empty_below_their_floor(database, n, p50, p95, p99):
    level(database, concurrency=n)
    for i in range(1, n + 1):  # values 1 s to n s, in another order
        request(database, i, sent=0, first=(i * 7919) % n + 1 if n % 7919 else i, last=n + 1, tokens=2)
    row = one(database, "level_percentiles", "metric = 'ttft_s'")
    assert (row["n"], row["p50"], row["p95"], row["p99"], row["max"]) == (n, p50, p95, p99, n)


def test_peak_streaming_counts_who_is_answered_at_once(database):
    level(database, concurrency=3)
    request(database, 1, first=1, last=3, tokens=2)
    request(database, 2, first=2, last=4, tokens=2)
    request(database, 3, first=3.5, last=3.5, tokens=1)  # one chunk: begins and ends at once
    assert one(database, "level_streaming")["peak_streaming"] == 2


def test_outcomes_and_server_split(database):
    level(database)
    request(database, 1, first=1, last=2, tokens=3, server_total_ns=4 * S, server_load_ns=1 * S, server_prefill_ns=S // 2, server_decode_ns=S)
    request(database, 2, status="http_error", http_status=503, error="busy")
    request(database, 3, status="http_error", http_status=503, error="busy")
    assert [(r["status"], r["requests"], r["example"]) for r in database.query("SELECT * FROM outcomes ORDER BY 5")] == [
        ("completed", 1, None), ("http_error", 2, "busy")]
    row = one(database, "server_split")
    assert (row["requests"], row["queue_s"], row["load_s"], row["prefill_s"], row["decode_s"]) == (1, 1.5, 1.0, 0.5, 1.0)


def test_the_gpu_is_weighted_by_time_and_its_edges_are_left_out(database):
    level(database, started_ns=10 * S, ended_ns=20 * S)
    database["power_source"].insert({"id": 1, "run_id": 1, "name": "powermetrics", "device": "soc", "kind": "interval", "status": "ok"})
    for start, end, watts, busy in ((0, 11, 2, 0.0), (11, 15, 20, 1.0), (15, 19, 10, 0.5), (19, 30, 1, 0.0)):
        database["power_sample"].insert({"source_id": 1, "start_ns": start * S, "end_ns": end * S, "energy_j": 2.0 * watts * (end - start),
                                         "gpu_energy_j": 1.0 * watts * (end - start), "gpu_busy_ratio": busy})
    found = {row["metric"]: row for row in database.query("SELECT * FROM gpu_summary")}
    assert set(found) == {"gpu_power_w", "gpu_busy_ratio"}
    assert [found["gpu_power_w"][c] for c in ("n", "min", "mean", "max")] == [2, 10.0, pytest.approx((2 + 80 + 40 + 1) / 10), 20.0]
    assert [found["gpu_busy_ratio"][c] for c in ("n", "min", "mean", "max")] == [2, 0.5, pytest.approx(0.6), 1.0]
    summary = one(database, "energy_summary")
    assert summary["mean_w"] == 2 * found["gpu_power_w"]["mean"] and summary["mean_gpu_busy_ratio"] == found["gpu_busy_ratio"]["mean"]


def test_the_watts_of_two_gpus_are_added(database):
    level(database, started_ns=0, ended_ns=2 * S)
    for device in (1, 2):
        database["power_source"].insert({"id": device, "run_id": 1, "name": "nvml", "device": f"gpu{device}", "kind": "counter", "status": "ok"})
        database["power_sample"].insert({"source_id": device, "start_ns": 0, "end_ns": 2 * S, "energy_j": 10.0 * device, "gpu_energy_j": 10.0 * device})
    row = one(database, "gpu_summary")
    assert [row[c] for c in ("source", "n", "min", "mean", "max")] == ["nvml gpu1 + nvml gpu2", 2, None, 15.0, None]


def test_the_studys_views_have_the_studys_columns(database):
    level(database, concurrency=1, started_ns=0, ended_ns=3 * S)
    request(database, 1, sent=0.25, first=1, last=3, tokens=21, http_status=200)
    database["process"].insert({"id": 1, "run_id": 1, "pid": 77, "role": "serve", "name": "ollama"})
    database["process_sample"].insert({"process_id": 1, "at_ns": S, "cpu_ratio": 0.5, "memory_ratio": 0.1, "rss_bytes": 2048,
                                       "vms_bytes": 4096, "threads": 3, "fds": None})
    database["process_sample"].insert({"process_id": 1, "at_ns": 4 * S, "cpu_ratio": 0.9})  # after the level
    row = one(database, "request_summary")
    assert [row[c] for c in ("RequestID", "TTFB", "TotalDuration", "ResponseDuration", "WaitingTime", "TokenCount", "StatusCode", "Status")] == [
        1, 0.75, 2.75, 2.0, 0.75, 21, 200, "completed"]
    assert one(database, "request_throughput")["Throughput"] == 10.0
    row = one(database, "duration_metrics")
    assert (row["Concurrency"], row["MaxDuration"], row["AvgDuration"], row["P99Duration"], row["n"]) == (1, 2.0, 2.0, None, 1)
    assert row["Timestamp"] == "2001-09-09T01:46:43.000Z"
    row = one(database, "process_metrics")
    assert [row[c] for c in ("PID", "CPU%", "MEM%", "Threads", "FDs", "VSZ", "RSS")] == [77, 50.0, 10.0, 3, None, 4, 2]


def test_runs_show_by_a_label(database):
    level(database)
    row = one(database, "runs")
    assert (row["label"], row["status"], row["models"], row["levels_finished"], row["chip"]) == ("bench 1", "finished", "m", 1, "Apple M2 Pro")


def test_every_view_answers_on_an_empty_file(tmp_path):
    database = db.connect(tmp_path / "empty.db")
    for view in database.view_names():
        assert list(database.query(f"SELECT * FROM [{view}]")) == []
    database.conn.close()


def file_bytes(database):
    return database.execute("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size").fetchone()[0]


def test_chunks_fit_in_24_bytes(database):
    level(database, concurrency=128)
    for number in range(1, 129):
        request(database, number, first=1, last=2, tokens=1500)
    before = file_bytes(database)
    for request_id in range(1, 129):  # an hour after the run began
        rows = [(request_id, i, 3600 * S + i * 20_000_000, i < 900) for i in range(1500)]
        database.conn.executemany("INSERT INTO chunk VALUES (?, ?, ?, ?)", rows)
    assert (file_bytes(database) - before) / (128 * 1500) <= 24


def shares(database, study, limits):
    return {level_id: service.share for level_id, service in measure_service(database, study, limits).items()}


def cut(database, number, ended, **columns):
    request(database, number, status="cancelled", **{"ended_ns": int(ended * S), **columns})


def test_what_this_client_cut_counts_only_when_it_had_missed_an_objective(database):
    database["objective"].insert_all([{"run_id": 1, "metric": "ttft_s", "bound": 2.0}, {"run_id": 1, "metric": "e2e_s", "bound": 10.0}])
    level(database, concurrency=10)
    request(database, 1, first=1, last=5)                        # good
    request(database, 2, first=3, last=5)                        # its first token came late
    request(database, 3, status="http_error", http_status=503)   # the server failed
    cut(database, 4, ended=1.5)                                  # might have come in time
    cut(database, 5, ended=2.5)                                  # had waited too long
    cut(database, 6, ended=5, first=1, last=4)                   # might have ended in time
    cut(database, 7, ended=11, first=1, last=4)                  # had gone on too long
    cut(database, 8, ended=9, sent=None)                         # never left
    cut(database, 9, ended=2.5, sent=2, due_ns=0)                # was due long before it left
    request(database, 10, status="in_flight")
    row = one(database, "level_summary")
    assert (row["requests"], row["errors"], row["good_requests"]) == (10, 7, 1)
    assert row["good_ratio"] == pytest.approx(1 / 6)  # 1, 2, 3, 5, 7 and 9 can be judged
    (study,) = selection.choose(database, [], [])
    assert shares(database, study, {"ttft": 2.0, "e2e": 10.0}) == {1: pytest.approx(1 / 6)}
    assert shares(database, study, {"ttft": 3.0}) == {1: 2 / 3}  # 1, 2 and 3 can be judged
    assert shares(database, study, {"tokens_per_s": 1.0}) == {1: 0}  # not known of the completed: not met; of those cut nothing can be said


def test_a_level_in_which_nothing_could_be_judged_has_no_share(database):
    database["objective"].insert({"run_id": 1, "metric": "tokens_per_s", "bound": 10.0})
    level(database)
    cut(database, 1, ended=5, first=1, last=4, tokens=3)  # how fast it would have been in the end is not known
    row = one(database, "level_summary")
    assert (row["good_requests"], row["good_ratio"], row["goodput_per_s"]) == (0, None, 0)
    (study,) = selection.choose(database, [], [])
    assert shares(database, study, {"tokens_per_s": 10.0}) == {}


@pytest.mark.parametrize("tokens", [1, 2])
def test_a_reply_that_came_at_once_misses_no_speed(database, tokens):
    """It has no gap, so no rate: what it can be held against is its wait."""
    level(database, concurrency=2)
    for metric, bound in (("tokens_per_s", 10), ("ttft_s", 2)):
        database["objective"].insert({"run_id": 1, "metric": metric, "bound": bound})
    request(database, 1, first=1.0, last=1.0, tokens=tokens)
    request(database, 2, first=3.0, last=3.0, tokens=tokens)
    assert one(database, "level_summary")["good_requests"] == 1
    (study,) = selection.choose(database, [], [])
    assert shares(database, study, {"tokens_per_s": 10.0, "ttft": 2.0}) == {1: 0.5}


def test_without_objectives_there_is_no_share(database):
    level(database)
    request(database, 1, first=1, last=2, tokens=3)
    row = one(database, "level_summary")
    assert (row["good_requests"], row["good_ratio"], row["goodput_per_s"]) == (None, None, None)


def test_an_interrupted_level_is_superseded_by_a_finished_one_of_its_kind(database):
    kinds = [(1, 4, 1, "cold", "interrupted"), (2, 4, 1, "warm", "interrupted"), (3, 4, 2, "cold", "interrupted"), (4, 8, 1, "cold", "interrupted"),
             (5, 4, 1, "cold", "interrupted"), (6, 4, 1, "cold", "finished"), (7, 8, 1, None, "interrupted"), (8, 8, 1, None, "finished")]
    for level_id, concurrency, repeat, cache, status in kinds:
        level(database, level_id, concurrency, repeat=repeat, cache=cache, status=status)
    assert [row["level_id"] for row in database.query("SELECT level_id FROM level_summary WHERE superseded ORDER BY 1")] == [1, 5, 7]


def test_a_level_that_slept_is_superseded_by_one_that_did_not(database):
    for level_id, concurrency, slept_s in ((1, 4, 30.0), (2, 4, 0.0), (3, 8, 30.0), (4, 8, 10.0), (5, 16, 0.0), (6, 16, None), (7, 32, 5.0), (8, 32, None)):
        level(database, level_id, concurrency, cache="cold", slept_s=slept_s)
    assert [row["level_id"] for row in database.query("SELECT level_id FROM level_summary WHERE superseded ORDER BY 1")] == [1, 7]


def test_cache_effect_tells_how_much_was_hit(database):
    level(database, 1, cache="cold")
    level(database, 2, cache="warm")
    for level_id, first, cached in ((1, 2.0, (10, None)), (2, 0.5, (90, 70))):
        for number, hit in enumerate(cached, 1):
            request(database, number, first=first, last=3, tokens=5, level_id=level_id, prompt_tokens=100, cached_tokens=hit)
    row = one(database, "cache_effect")
    assert (row["cold_cached_ratio"], row["warm_cached_ratio"], row["ttft_saved_ratio"]) == (0.1, 0.8, 0.75)
