from ollama_bench.load.request import Outcome, Task
from ollama_bench.load.status import determine_status
from ollama_bench.protocols.chunks import StreamSummary
from ollama_bench.protocols.ollama import Ollama
from ollama_bench.protocols.openai_stream import OpenAIStream
from tests.protocols.helpers import ERROR_EVENTS, TEXT_EVENT, read_summary


def test_server_that_reports_an_error_and_then_stalls_has_reported_an_error():
    outcome = Outcome(Task(1, Ollama(), "", {}), http_status=200)
    cancelled = "stalled: nothing for 300 s"
    with_error = read_summary(OpenAIStream(), TEXT_EVENT + ERROR_EVENTS[0])
    status = determine_status(outcome, with_error, cancelled, None)
    assert status == ("stream_error", "out of memory")
    cut_by_us = read_summary(OpenAIStream(), TEXT_EVENT + b"data: {")
    status = determine_status(outcome, cut_by_us, cancelled, None)
    assert status == ("stalled", "nothing for 300 s")


def test_finished_stream_without_text_is_empty():
    outcome = Outcome(Task(1, Ollama(), "", {}), http_status=200)
    status = determine_status(
        outcome, StreamSummary(done=True), None, None
    )
    assert status == ("empty", "finished without any text")


def test_stream_without_last_line_is_truncated():
    outcome = Outcome(Task(1, Ollama(), "", {}), http_status=200)
    status = determine_status(outcome, StreamSummary(), None, None)
    assert status == ("truncated", "stream ended before its last line")
