"""The JSON of `vllm bench serve`: its keys, units and definitions."""

import math

import numpy
import pytest

from ollama_bench.storage.connection import connect
from tests.formats.exporting import export, read_vllm
from tests.support import made_up_results

# what vLLM 0.32 wrote of a level with --save-detailed and --percentile-metrics ttft,tpot,itl,e2el
KEYS = """
date endpoint_type backend label model_id tokenizer_id num_prompts request_rate burstiness
max_concurrency duration completed failed total_input_tokens total_output_tokens
request_throughput request_goodput output_throughput total_token_throughput input_lens
output_lens ttfts itls latencies start_times queue_times generated_texts errors
max_output_tokens_per_s max_concurrent_requests mean_ttft_ms median_ttft_ms std_ttft_ms
p99_ttft_ms mean_tpot_ms median_tpot_ms std_tpot_ms p99_tpot_ms mean_itl_ms median_itl_ms
std_itl_ms p99_itl_ms mean_e2el_ms median_e2el_ms std_e2el_ms p99_e2el_ms rtfx
"""
PER_REQUEST = (
    "input_lens output_lens ttfts itls latencies start_times queue_times "
    "generated_texts errors"
)
METADATA = {
    "tool",
    "server",
    "server_version",
    "quantization",
    "gpu",
    "chip",
    "load",
    "simulated",
}


def change(folder, *statements):
    database = connect(str(folder / "results.db"))
    for sql in statements:
        database.execute(sql)
    database.conn.commit()
    database.close()


def test_every_key_of_vllm_is_there_and_ours_are_texts(tmp_path):
    found = read_vllm(export(tmp_path, "vllm", levels=(1, 2)), 2)
    keys = set(KEYS.split())
    assert set(found) >= keys
    more = set(found) - keys
    assert {key for key in more if not key.startswith("p95_")} <= METADATA
    assert all(isinstance(found[key], str) for key in more & METADATA)
    assert found["simulated"] == "true"
    assert found["request_rate"] == "inf" and found["max_concurrency"] == 2


def test_the_figures_follow_from_the_lists_by_vllm_s_definitions(tmp_path):
    found = read_vllm(export(tmp_path, "vllm", levels=(1, 8)), 8)
    ttfts, latencies = (
        numpy.array(found[key]) for key in ("ttfts", "latencies")
    )
    lens = numpy.array(found["output_lens"])
    gaps = [gap for itl in found["itls"] for gap in itl]
    for name, seconds in {
        "ttft": ttfts,
        "e2el": latencies,
        "tpot": (latencies - ttfts) / (lens - 1),
        "itl": gaps,
    }.items():
        milliseconds = numpy.array(seconds) * 1000
        assert found[f"mean_{name}_ms"] == pytest.approx(
            milliseconds.mean()
        )
        assert found[f"p99_{name}_ms"] == pytest.approx(
            numpy.percentile(milliseconds, 99)
        )
        assert found[f"std_{name}_ms"] == pytest.approx(milliseconds.std())
    # the made-up chunks are up to a quarter of a gap late
    assert [sum(itl) for itl in found["itls"]] == pytest.approx(
        list(latencies - ttfts), abs=max(gaps)
    )
    assert found["output_throughput"] == pytest.approx(
        lens.sum() / found["duration"]
    )
    assert found["completed"] == found["num_prompts"] == 8


def test_the_figures_are_those_of_level_summary(tmp_path):
    export(tmp_path, "vllm", levels=(1, 8))
    found = read_vllm(tmp_path, 8)
    database = connect(str(tmp_path / "results.db"), readonly=True)
    [level] = database.query(
        "SELECT * FROM level_summary WHERE concurrency = 8"
    )
    database.close()
    for key, column in {
        "mean_ttft_ms": "ttft_mean_s",
        "mean_e2el_ms": "e2e_mean_s",
    }.items():
        assert found[key] == pytest.approx(level[column] * 1000)
    for key, column in {
        "duration": "duration_s",
        "output_throughput": "output_tokens_per_s",
        "request_throughput": "requests_per_s",
        "request_goodput": "goodput_per_s",
        "total_output_tokens": "output_tokens",
    }.items():
        assert found[key] == level[column]


def test_a_failed_request_is_as_vllm_has_it(tmp_path):
    found = read_vllm(export(tmp_path, "vllm", levels=(8,), failures=3), 8)
    assert (found["completed"], found["failed"]) == (5, 3)
    failed = [n for n, error in enumerate(found["errors"]) if error]
    assert len(failed) == 3
    for n in failed:
        assert (found["output_lens"][n], found["latencies"][n]) == (0, 0.0)
        assert found["generated_texts"][n] == ""
    assert {len(found[key]) for key in PER_REQUEST.split()} == {8}


def test_what_is_not_known_has_no_key(tmp_path):
    made_up_results.write(
        tmp_path / "results.db", levels=(2,), chunks=False
    )
    change(tmp_path, "UPDATE request SET prompt_tokens = NULL")
    found = read_vllm(export(tmp_path, "vllm"), 2)
    absent = "itls mean_itl_ms max_output_tokens_per_s total_input_tokens total_token_throughput"
    assert not {*absent.split()} & set(found)
    assert found["input_lens"] == [None, None]


def test_a_level_without_a_reply_has_no_latency(tmp_path):
    found = read_vllm(
        export(tmp_path, "vllm", levels=(1, 8), failures=0), 8
    )
    assert "mean_ttft_ms" in found
    change(
        tmp_path,
        """UPDATE request SET status = 'reset', output_tokens = NULL WHERE level_id =
        (SELECT id FROM level WHERE concurrency = 8)""",
    )
    (tmp_path / "vllm" / "tiny-7b" / "concurrency-8").rename(
        tmp_path / "old"
    )
    found = read_vllm(export(tmp_path, "vllm"), 8)
    assert (found["completed"], found["failed"]) == (0, 8)
    assert not [key for key in found if key.endswith("_ms")]


def test_an_open_load_has_its_rate_and_the_wait_in_this_client(tmp_path):
    made_up_results.write(tmp_path / "results.db", levels=(4,))
    change(
        tmp_path,
        "UPDATE level SET load = 'open', rate_per_s = 2.5",
        "UPDATE request SET due_ns = sent_ns - 500000000",
    )
    found = read_vllm(export(tmp_path, "vllm"), 4)
    assert (found["request_rate"], found["burstiness"]) == (2.5, 1)
    for cv, burstiness in ((2, 0.25), (0, "inf")):
        change(tmp_path, f"UPDATE level SET arrival_cv = {cv}")
        found = read_vllm(export(tmp_path, "vllm"), 4)
        assert found["burstiness"] == burstiness
    assert found["queue_times"] == pytest.approx([0.5] * 4)
    assert found["ttfts"] == pytest.approx([0.2] * 4)


def test_no_value_is_infinite_or_no_number(tmp_path):
    found = read_vllm(export(tmp_path, "vllm", levels=(1,)), 1)
    numbers = [
        value for value in found.values() if isinstance(value, float)
    ]
    assert numbers and all(map(math.isfinite, numbers))
