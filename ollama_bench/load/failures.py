"""Classifies and describes what a connection raises when it fails."""

from __future__ import annotations

import errno
import http.client
from collections.abc import Iterator
from typing import Literal

import requests
import urllib3

from ollama_bench.protocols.secret import NO_SECRET, Secret
from ollama_bench.protocols.text import MAX_ERROR_CHARS

FailureStatus = Literal["refused", "reset", "stream_error", "client_error"]

CLIENT_ERRNOS = (errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL)
REFUSED_ERRORS = (
    ConnectionRefusedError,
    urllib3.exceptions.NewConnectionError,
    requests.ConnectTimeout,
    requests.exceptions.SSLError,
)
RESET_ERRORS = (ConnectionError, http.client.IncompleteRead)
FRAMING_ERRORS = (
    http.client.HTTPException,
    urllib3.exceptions.DecodeError,
    urllib3.exceptions.InvalidChunkLength,
)
MAX_CHUNK_SIZE_CHARS = 50


def classify_failure(error: BaseException) -> FailureStatus:
    """Return the status of a request whose connection or stream failed."""
    causes = list(iterate_causes(error))
    if any(
        isinstance(cause, OSError) and cause.errno in CLIENT_ERRNOS
        for cause in causes
    ):
        return "client_error"
    if any(isinstance(cause, REFUSED_ERRORS) for cause in causes):
        return "refused"
    if any(isinstance(cause, RESET_ERRORS) for cause in causes):
        return "reset"
    if any(isinstance(cause, FRAMING_ERRORS) for cause in causes):
        return "stream_error"
    if isinstance(error, (OSError, urllib3.exceptions.HTTPError)):
        return "reset"
    return "stream_error"


def iterate_causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and every exception it was raised from or wraps."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        cause = waiting.pop()
        if isinstance(cause, BaseException) and id(cause) not in seen:
            seen.add(id(cause))
            yield cause
            reason = getattr(cause, "reason", None)
            waiting += [
                cause.__cause__,
                cause.__context__,
                reason,
                *cause.args,
            ]


def describe_failure(
    error: BaseException, secret: Secret = NO_SECRET
) -> str:
    """Return what the innermost exception says, as one line without the API key."""
    causes = list(iterate_causes(error))
    for cause in causes:
        if (
            isinstance(cause, urllib3.exceptions.InvalidChunkLength)
            and cause.length
        ):
            return f"invalid chunk size {shorten_chunk_size(cause.length, secret)!r}"
    for cause in causes:
        if isinstance(
            cause, http.client.IncompleteRead
        ) or "ended prematurely" in str(cause):
            return "connection closed in mid-stream"
    innermost = causes[-1]
    text = (
        getattr(innermost, "strerror", None)
        or str(innermost)
        or type(innermost).__name__
    )
    return " ".join(secret.mask(str(text)).split())[:MAX_ERROR_CHARS]


def shorten_chunk_size(size: object, secret: Secret) -> str:
    """Return what the server sent instead of the size of a chunk, masked and cut short."""
    text = size.decode("latin-1") if isinstance(size, bytes) else str(size)
    return secret.mask(text).strip()[:MAX_CHUNK_SIZE_CHARS]
