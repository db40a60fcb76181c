"""Faults that answer at once with an error, without waiting for a slot."""

from __future__ import annotations

from http import HTTPStatus

from ollama_bench.simulator.faults.fault import Fault, FaultTable
from ollama_bench.simulator.reply import Reply

JSON = "application/json"
RETRY = "Retry-After: 7"
BAD_GATEWAY = b"<html><h1>502 Bad Gateway</h1><hr>nginx</html>\r\n"
NOT_FOUND_1 = b'{"error":"model \'x\' not found, try pulling it first"}'
NOT_FOUND_2 = b'{"error":"model \\"x\\" not found, try pulling it first"}'
KILLED = b'{"error":"llama runner process has terminated: signal: killed"}'
BUSY = b'{"error":"server busy, please try again.  maximum pending requests exceeded"}'


def refuse(
    status: int, content_type: str, body: bytes, *lines: str
) -> Fault:
    """Make a fault that answers with this; lines are further headers."""

    def action(reply: Reply) -> None:
        reply.refuse(status, content_type, body, *lines)

    summary = " ".join([f"{status} {HTTPStatus(status).phrase}", *lines])
    return Fault(summary, action)


FAULTS: FaultTable = {
    "html_502": refuse(502, "text/html", BAD_GATEWAY),
    "redirect": refuse(302, "text/html", b"", "Location: /elsewhere"),
    "401": refuse(401, JSON, b'{"error":"unauthorized"}'),
    "403_empty": refuse(403, "", b""),
    "404_style1": refuse(404, JSON, NOT_FOUND_1),
    "404_style2": refuse(404, JSON, NOT_FOUND_2),
    "404_text": refuse(404, "text/plain", b"404 page not found"),
    "429": refuse(429, JSON, b'{"error":"too many requests"}', RETRY),
    "500": refuse(500, JSON, KILLED),
    "503": refuse(503, JSON, BUSY, RETRY),
}
