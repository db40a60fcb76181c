from ollama_bench.protocols.chunks import StreamSummary


def test_first_description_of_a_broken_stream_is_kept():
    summary = StreamSummary()
    summary.record_broken_stream("first")
    summary.record_broken_stream("second")
    assert (summary.error, summary.error_is_from_server) == (
        "first",
        False,
    )
