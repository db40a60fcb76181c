"""Builds streams as servers send them and reads them."""

import json
from pathlib import Path

RECORDED_STREAMS = Path(__file__).parents[1] / "fixtures" / "streams"

TEXT_EVENT = b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n'
DONE_EVENT = b"data: [DONE]\n\n"

# every way servers report an error in a stream that began with status 200
ERROR_EVENTS = [
    # llama-server until 2025
    b'error: {"code":500,"message":"out of memory","type":"server_error"}\n\n',
    b"error: out of memory\n\n",
    b'data: {"error":{"code":500,"message":"out of memory"}}\n\n',
    b'data: {"error":"out of memory"}\n\n',
    # vLLM until 2025
    b'data: {"object":"error","message":"out of memory","type":"x","code":400}\n\n',
    # FastAPI
    b'data: {"detail":"out of memory"}\n\n',
    b'data: {"choices":[{"delta":{},"error":{"message":"out of memory"},'
    b'"finish_reason":"error"}]}\n\n',
    b'event: error\ndata: {"error":{"message":"out of memory"}}\n\n',
    b'event: error\ndata: {"message":"out of memory"}\n\n',
    b"event:error\ndata: out of memory\n\n",
    b"event: error\ndata: out of\ndata: memory\n\n",
    b'event: error\ndata: "out of memory"\n\n',
    b'data: {"message":"out of memory"}\nevent: error\n\n',
    b'{"error":{"message":"out of memory"}}\n',
    b'{"object":"error","message":"out of memory"}\n',
    b'{"detail":"out of memory"}\n',
]


def read_recorded(name):
    """Return the body of a recorded response, without its chunked framing."""
    head, _, rest = (
        (RECORDED_STREAMS / name).read_bytes().partition(b"\r\n\r\n")
    )
    if b"chunked" not in head.lower():
        return rest
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        body += rest[:length]
        rest = rest[length + 2 :]
    return body


def read(stream, *pieces):
    """Feed the pieces to a stream and close it; return the kinds of its chunks and the stream."""
    kinds = b"".join([*map(stream.feed, pieces), stream.close()])
    return kinds, stream


def read_summary(stream, *pieces):
    """Feed the pieces to a stream, close it and return its summary."""
    return read(stream, *pieces)[1].summary


def result_of(stream):
    return (
        stream.answer,
        stream.reasoning,
        stream.tool_calls,
        stream.summary,
    )


def json_lines(*objects):
    """A stream of Ollama's protocol."""
    return b"".join(
        json.dumps(entry).encode() + b"\n" for entry in objects
    )


def event(**fields):
    """One event of the OpenAI protocol."""
    return b"data: " + json.dumps(fields).encode() + b"\r\n\r\n"


def delta(**fields):
    """An event with one choice."""
    return event(choices=[{"index": 0, "delta": fields}])


def answers_of(answers):
    """A server that answers these paths, and any other with 404."""
    return lambda path, body=None: answers.get(path, (404, None))
