import errno

import pytest
import requests
import urllib3

from ollama_bench.load.failures import classify_failure, describe_failure
from ollama_bench.protocols.secret import Secret


def wrapped(error):
    """The error as requests raises it."""
    return requests.ConnectionError(
        urllib3.exceptions.ProtocolError("aborted", error)
    )


@pytest.mark.parametrize(
    "error, status",
    [
        (
            wrapped(OSError(errno.EMFILE, "Too many open files")),
            "client_error",
        ),
        (wrapped(ConnectionRefusedError()), "refused"),
        (requests.ConnectTimeout("slow"), "refused"),
        (wrapped(ConnectionResetError()), "reset"),
        (
            requests.exceptions.ContentDecodingError(
                urllib3.exceptions.DecodeError()
            ),
            "stream_error",
        ),
        (TimeoutError(), "reset"),
        (ValueError("Content-Length"), "stream_error"),
    ],
)
def test_failure_has_one_status(error, status):
    assert classify_failure(error) == status


@pytest.mark.parametrize(
    "error, text",
    [
        (
            wrapped(OSError(errno.EMFILE, "Too many open files")),
            "Too many open files",
        ),
        (wrapped(ConnectionResetError()), "ConnectionResetError"),
        (ValueError("two\nlines of sk-secret-4711"), "two lines of ***"),
    ],
)
def test_innermost_exception_is_described_on_one_line(error, text):
    assert describe_failure(error, Secret("sk-secret-4711")) == text


def test_exceptions_that_refer_to_each_other_end():
    first, second = ValueError("first"), ValueError("second")
    first.__context__, second.__context__ = second, first
    assert describe_failure(first) == "second"
