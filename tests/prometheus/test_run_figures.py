"""What is counted of the runs in results.db: each request once, and nothing that is unknown."""

import json
import math
import sqlite3
import time

import pytest

from ollama_bench.prometheus import run_figures
from ollama_bench.storage.results_file import ResultsError
from tests.prometheus.support import Bench, Scraped, Shown

ENDED = "ollama_bench_requests_total"
LEVEL = "ollama_bench_level_concurrency"
WAITING = "ollama_bench_level_requests_waiting"
STREAMING = "ollama_bench_level_requests_streaming"
PACE = "ollama_bench_level_tokens_per_second"
TTFT = "gen_ai_client_operation_time_to_first_chunk_seconds"
TPOT = "gen_ai_server_time_per_output_token_seconds"
DURATION = "gen_ai_client_operation_duration_seconds"
TOKENS = "gen_ai_client_token_usage"


@pytest.fixture
def scraped(bench):
    scraped = Scraped(bench.path)
    yield scraped
    scraped.figures.close()


def test_all_series_are_there_at_0_before_a_request_ends(scraped):
    shown = scraped.scrape()
    assert shown.value(ENDED, status="completed") == 0
    assert shown.value(LEVEL, load="closed", run="1") == 4
    for name in (TTFT, TPOT, DURATION):
        assert shown.value(f"{name}_count") == 0
    assert shown.values(f"{TOKENS}_sum") == [0, 0]


def test_a_request_counts_once_when_it_has_ended(bench, scraped):
    bench.begin(1, 2, 3)
    shown = scraped.scrape()
    assert shown.value(ENDED) == 0
    bench.end(2)
    for _ in range(2):
        shown = scraped.scrape()
        assert shown.value(ENDED) == 1
    bench.begin(4, 5)
    bench.end(1, 3, 4)
    shown = scraped.scrape()
    assert shown.value(ENDED) == 4


def test_the_figures_are_those_of_the_rows(bench, scraped):
    bench.begin(1, 2)
    bench.end(1)
    bench.end(2, sent_ns=0, due_ns=10, output_tokens=None)
    shown = scraped.scrape()
    assert shown.value(f"{TTFT}_sum") == pytest.approx(0.5 + 1.5)
    assert shown.value(f"{TTFT}_bucket", le="0.64") == 1
    assert shown.value(f"{TTFT}_bucket", le="0.32") == 0
    assert shown.value(f"{TTFT}_bucket", le="+Inf") == 2
    # 1 s for ten tokens after the first
    assert shown.value(f"{TPOT}_sum") == pytest.approx(0.1)
    assert shown.value(f"{TPOT}_count") == 1
    assert shown.value(f"{TOKENS}_sum", gen_ai_token_type="input") == 40
    assert shown.value(f"{TOKENS}_sum", gen_ai_token_type="output") == 11
    assert shown.value(f"{TOKENS}_count", gen_ai_token_type="output") == 1


def test_what_went_wrong_has_its_own_series(bench, scraped):
    bench.begin(1, 2, 3)
    unknown = dict.fromkeys(
        ("first_text_ns", "last_text_ns", "output_tokens", "prompt_tokens")
    )
    bench.end(1, status="http_error", **unknown)
    bench.end(2, status="cancelled", abandoned=1, **unknown)
    bench.end(
        3, status="cancelled", due_ns=1, **unknown | {"sent_ns": None}
    )
    shown = scraped.scrape()
    for ending in ("http_error", "abandoned", "not_sent"):
        assert shown.value(ENDED, status=ending) == 1
    assert shown.value(ENDED, status="completed") == 0
    assert shown.value(f"{DURATION}_sum", error_type="http_error") == 2
    assert shown.value(f"{DURATION}_count", error_type="not_sent") == 0
    assert shown.value(f"{TTFT}_count") == 0


def test_rows_that_are_stored_out_of_order_are_all_counted(bench, scraped):
    bench.begin(1, 5)
    bench.end(5)
    assert scraped.scrape().value(ENDED) == 1
    bench.begin(2, 3, 4)
    shown = scraped.scrape()
    assert shown.value(ENDED) == 1
    bench.end(1, 2, 3, 4)
    assert scraped.scrape().value(ENDED) == 5


def test_a_level_that_comes_and_goes_between_two_scrapes_is_counted(
    bench, scraped
):
    scraped.scrape()
    bench.begin(1)
    bench.end(1)
    bench.end_level()
    level = bench.begin_level(8)
    bench.begin(1, 2, level=level)
    bench.end(1, 2, level=level)
    bench.end_level(level)
    shown = scraped.scrape()
    assert shown.value(ENDED) == 3
    # nothing is measured now
    assert not shown.values(LEVEL)
    assert scraped.scrape().value(ENDED) == 3


def test_no_look_goes_through_more_than_so_many_numbers(
    bench, scraped, monkeypatch
):
    monkeypatch.setattr(run_figures, "NUMBERS_AT_ONCE", 2)
    bench.begin(*range(1, 6))
    bench.end(*range(1, 6))
    bench.end_level()
    counts = [scraped.scrape().value(ENDED) for _ in range(4)]
    assert counts == [2, 4, 5, 5]


def test_a_new_start_counts_nothing_twice(bench, scraped, monkeypatch):
    monkeypatch.setattr(run_figures, "NUMBERS_AT_ONCE", 2)
    bench.begin(*range(1, 8))
    bench.end(1, 2, 6)
    restarted = Scraped(bench.path)
    assert restarted.scrape().value(ENDED) == 0
    bench.end(3, 7)
    assert restarted.scrape().value(ENDED) == 2
    restarted.figures.close()


def test_a_level_that_begins_while_the_file_is_opened_is_counted(
    bench, monkeypatch
):
    fetch = run_figures.RunFigures._fetch

    def begin_another(figures, sql, *values):
        rows = fetch(figures, sql, *values)
        if sql == run_figures.RUNNING_LEVELS:
            level = bench.begin_level(8)
            bench.begin(1, level=level)
            bench.end(1, level=level)
        return rows

    monkeypatch.setattr(run_figures.RunFigures, "_fetch", begin_another)
    scraped = Scraped(bench.path)
    assert scraped.scrape().value(ENDED) == 1
    scraped.figures.close()


def test_a_file_that_cannot_be_read_is_an_error_of_its_own(
    bench, monkeypatch
):
    def fail(*_):
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(run_figures.RunFigures, "_fetch", fail)
    with pytest.raises(ResultsError, match="results.db: database is lock"):
        Scraped(bench.path)


def test_imports_and_earlier_runs_are_not_counted(bench, scraped):
    bench.end_level()
    other = bench.begin_level(2, run=bench.begin_run("import"))
    bench.begin(1, level=other)
    bench.end(1, level=other)
    assert scraped.scrape().value(ENDED) == 0


def test_a_run_without_signs_of_life_is_not_shown_as_running(
    bench, scraped
):
    bench.begin(1, 2)
    bench.end(1)
    long_ago = {"seen_unix": time.time() - 20}
    bench.writer.update("run", bench.run, long_ago)
    bench.writer.flush()
    shown = scraped.scrape()
    assert not shown.values(LEVEL)
    assert shown.value(ENDED) == 1


def tell(bench, text):
    bench.writer.update("run", bench.run, {"live": text})
    bench.writer.flush()


def test_what_the_run_tells_of_now_is_shown(bench, scraped):
    level = {"waiting": 3, "streaming": 0, "tokens_per_s": 12.5}
    tell(bench, json.dumps({"level": level}))
    shown = scraped.scrape()
    assert shown.value(WAITING, run="1", load="closed") == 3
    assert shown.value(STREAMING) == 0 and shown.value(PACE) == 12.5
    tell(bench, None)
    shown = scraped.scrape()
    assert not shown.values(WAITING) and not shown.values(PACE)
    assert shown.value(LEVEL) == 4


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "null", '{"level": null}', '{"level": 7}'),
        '{"level": {"waiting": null, "streaming": "5", "tokens_per_s": []}}',
    ],
)
def test_what_no_run_of_ours_tells_is_absent(bench, scraped, text):
    tell(bench, text)
    shown = scraped.scrape()
    for name in (WAITING, STREAMING, PACE):
        assert not shown.values(name)
    assert shown.value(LEVEL) == 4


def test_a_number_without_end_breaks_no_scrape(bench, scraped):
    tell(bench, f'{{"level": {{"waiting": {"9" * 500}}}}}')
    assert scraped.scrape().value(WAITING) == math.inf


def test_people_are_a_load_of_their_own(bench, scraped):
    bench.end_level()
    bench.begin_level(9, think_time_s=30.0)
    assert scraped.scrape().value(LEVEL, load="people") == 9


def test_a_request_without_a_target_has_the_name_of_its_level(
    bench, scraped
):
    bench.begin(1, target=False)
    bench.end(1)
    shown = scraped.scrape()
    labels = {"gen_ai_request_model": "tiny", "server_address": ""}
    assert shown.value(ENDED, **labels) == 1


def test_a_query_that_fails_loses_nothing_and_counts_nothing_twice(
    bench, scraped, monkeypatch
):
    bench.begin(1, 2)
    bench.end(1)
    other = bench.begin_level(8)
    bench.begin(1, level=other)
    bench.end(1, level=other)
    fetch, failing = scraped.figures._fetch, []

    def fail(sql, *values):
        if sql == run_figures.COUNT_RANGE and values[0] == other:
            failing.append(sql)
            raise sqlite3.OperationalError("disk I/O error")
        return fetch(sql, *values)

    monkeypatch.setattr(scraped.figures, "_fetch", fail)
    with pytest.raises(sqlite3.OperationalError):
        scraped.figures.update()
    scraped.figures.forget_moment()
    shown = Shown(scraped)
    assert failing and not shown.values(LEVEL)
    monkeypatch.undo()
    assert scraped.scrape().value(ENDED) == 2


@pytest.mark.parametrize(
    "model, label",
    [
        ('a"} 1\nup{x="', 'a"} 1·up{x="'),
        ("back\\slash", "back\\slash"),
        ("\x1b[31mred\u202e", "·[31mred·"),
        ("x" * 10_000, "x" * 200 + "..."),
        ("", ""),
    ],
)
def test_hostile_names_stay_values_of_labels(tmp_path, model, label):
    with Bench(tmp_path / "results.db", model) as bench:
        scraped = Scraped(bench.path)
        bench.begin(1)
        bench.end(1)
        shown = scraped.scrape()
        scraped.figures.close()
    assert shown.value(ENDED, gen_ai_request_model=label) == 1
    assert shown.value(LEVEL, gen_ai_request_model=label) == 4


@pytest.mark.parametrize(
    "host, address, port",
    [
        ("http://127.0.0.1:8080", "127.0.0.1", "8080"),
        ("https://user:secret@example.org/v1", "example.org", "443"),
        ("http://[::1]:11434", "::1", "11434"),
        ("http://x:99999", "", ""),
        ("nonsense", "", ""),
    ],
)
def test_the_address_is_that_of_the_server(host, address, port):
    labels = run_figures.make_target_labels("openai", "m", host)
    assert labels == ("chat", "openai", "m", address, port)


def test_looking_uses_the_index(bench, scraped):
    """However many requests the file has, a look reads those that it asks for."""
    for sql in (run_figures.COUNT_RANGE, run_figures.NEWEST_NUMBER):
        values = (1, 2, 3)[: sql.count("?")]
        plan = scraped.figures._fetch(f"EXPLAIN QUERY PLAN {sql}", *values)
        assert any("USING" in row[3] and "INDEX" in row[3] for row in plan)
        assert not any(row[3].startswith("SCAN request") for row in plan)
    plan = scraped.figures._fetch(
        f"EXPLAIN QUERY PLAN {run_figures.COUNT_LIST}", 1, "[2]"
    )
    assert not any(row[3].startswith("SCAN request") for row in plan)
