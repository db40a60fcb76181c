"""HTTP messages: the head of a request, the head of an answer, and their JSON."""

from __future__ import annotations

import functools
import json
import urllib.parse
from dataclasses import dataclass
from http import HTTPStatus

# said in the header Server of every answer, so that a client can tell
SERVER_NAME = "ollama-bench-sim"

JsonObject = dict[str, object]


@dataclass(frozen=True)
class Head:
    """The head of a request; header names are in lower case."""

    method: str
    target: str
    version: str
    headers: dict[str, str]


@dataclass(frozen=True)
class Request:
    """One HTTP request, read to its end."""

    number: int
    head: Head
    body: bytes
    read_ns: int

    @property
    def method(self) -> str:
        return self.head.method

    @functools.cached_property
    def path(self) -> str:
        return urllib.parse.urlsplit(self.head.target).path

    @property
    def headers(self) -> dict[str, str]:
        return self.head.headers

    @functools.cached_property
    def keep_alive(self) -> bool:
        closes = self.headers.get("connection", "").lower() == "close"
        return self.head.version == "HTTP/1.1" and not closes

    def json(self) -> JsonObject:
        """Decode the body. Raises ValueError when it is not a JSON object."""
        value = json.loads(self.body)
        if not isinstance(value, dict):
            raise ValueError("invalid body: expected a JSON object")
        return value


def parse_head(data: bytes) -> Head:
    """Parse the head of a request. Raises ValueError when it is not HTTP."""
    first, *lines = data.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3:
        raise ValueError(f"invalid request line {first!r}")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    method, target, version = words
    return Head(method, target, version, headers)


def format_head(status: int, content_type: str, *lines: str) -> bytes:
    """Return the head of an answer; lines are further headers, an empty type is left out."""
    head = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        f"Server: {SERVER_NAME}",
    ]
    if content_type:
        head.append(f"Content-Type: {content_type}")
    return "\r\n".join([*head, *lines, "", ""]).encode()


# One for all: json.dumps makes a new one at each call, which costs as much as using it.
ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def dump(value: object) -> bytes:
    """Encode compact JSON."""
    return ENCODER.encode(value).encode()


def get_object(body: JsonObject, name: str) -> JsonObject:
    """Return a member that is an object; empty when it is missing. Raises TypeError."""
    value = body.get(name) or {}
    if not isinstance(value, dict):
        raise TypeError(
            f"invalid {name} {value!r}: expected a JSON object"
        )
    return value


def to_int(value: object) -> int:
    """Return a number as an integer, 0 for a missing one. Raises TypeError or ValueError."""
    if not value:
        return 0
    if isinstance(value, (int, float, str)):
        return int(value)
    raise TypeError(f"invalid value {value!r}: expected a number")
