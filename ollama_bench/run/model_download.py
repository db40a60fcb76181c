"""Have Ollama download a model, and tell each step of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping

import requests
import urllib3

from ollama_bench.load.attempt import read_error_body
from ollama_bench.load.failures import describe_failure
from ollama_bench.protocols.errors import error_text, quote_line
from ollama_bench.protocols.secret import NO_SECRET, Secret
from ollama_bench.protocols.text import one_line
from ollama_bench.transport.session import Session

CONNECT_S = 5.0
MAX_LINE_BYTES = 1 << 20  # of one step
READ_BYTES = 4096  # read at once, so that a step is told when it comes


class DownloadError(Exception):
    """A download failed; str() says why."""


def download_model(
    url: str,
    model: str,
    headers: Mapping[str, str],
    secret: Secret,
    say: Callable[[str], None],
) -> None:
    """Download a model, saying each new step. Raises DownloadError."""
    last = ""
    try:
        with (
            Session(records=False) as session,
            session.post(
                f"{url}/api/pull",
                json={"model": model, "name": model},
                stream=True,
                headers={**headers, "Accept-Encoding": "identity"},
                timeout=(CONNECT_S, None),
                allow_redirects=False,
            ) as answer,
        ):
            if answer.is_redirect:
                raise DownloadError(read_error_body(answer, secret))
            for line in read_lines(answer.raw):
                status = read_step(line, secret)
                if status and status != last:
                    say(f"{model}: {status}")
                    last = status
    except (
        requests.RequestException,
        urllib3.exceptions.HTTPError,
        OSError,
        ValueError,
    ) as error:
        raise DownloadError(describe_failure(error, secret)) from None
    if last != "success":
        raise DownloadError(
            "the download ended early; run again with --pull to continue it"
        )


def read_lines(raw: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    """Yield the lines of a body as they come. Raises DownloadError for an endless one."""
    tail = b""
    for data in raw.stream(READ_BYTES):
        *whole, tail = (tail + data).split(b"\n")
        yield from whole
        if len(tail) > MAX_LINE_BYTES:
            raise DownloadError(
                f"the server sent a line of over {MAX_LINE_BYTES >> 20} MiB"
            )
    yield tail


def read_step(line: bytes, secret: Secret = NO_SECRET) -> str:
    """Return what a line says of the download, "" for nothing. Raises DownloadError."""
    if not line.strip():
        return ""
    try:
        step = json.loads(line)
    except (ValueError, RecursionError):
        step = None
    if not isinstance(step, dict):
        quoted = quote_line(line, secret)
        raise DownloadError(
            f"expected a step of the download, got {quoted!r}"
        )
    if step.get("error"):
        raise DownloadError(error_text(step, secret))
    status = step.get("status")
    return one_line(secret.mask(status)) if isinstance(status, str) else ""
