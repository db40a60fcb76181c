from ollama_bench.load import attempt
from ollama_bench.protocols.openai_stream import OpenAIStream
from ollama_bench.protocols.secret import Secret
from tests.protocols.helpers import ERROR_EVENTS, TEXT_EVENT, read_summary


def test_server_that_reports_an_error_and_then_stalls_has_reported_an_error():
    outcome = attempt.Outcome(attempt.Task(1, None, "", {}), http_status=200)
    cancelled = "stalled: nothing for 300 s"
    outcome.final = read_summary(OpenAIStream(), TEXT_EVENT + ERROR_EVENTS[0])
    assert attempt.judge(outcome, cancelled, None) == ("stream_error", "out of memory")
    outcome.final = read_summary(OpenAIStream(), TEXT_EVENT + b"data: {")  # cut by ourselves
    assert attempt.judge(outcome, cancelled, None) == ("stalled", "nothing for 300 s")


def test_api_key_of_a_task_is_not_shown():
    key = "sk-secret-4711-never-to-be-seen"
    assert key not in repr(attempt.Task(1, None, "", {}, secret=Secret(key)))
