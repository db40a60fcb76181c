"""When a reply has ended, whichever way it is received."""

import select
import time
import types

import pytest

from ollama_bench.load.request import Limits
from ollama_bench.transport import capabilities, reader, syscalls
from tests.load.levels import fire
from tests.load.played_server import (
    ANSWER,
    CHUNKED,
    END,
    EVENT,
    LAST,
    LINE,
    PAUSE_S,
    SLOW_ANSWER,
    Played,
    chunk,
)

# the reply is said to have ended, the answer goes on or hangs
OPEN_ENDS = {
    "chunks go on": [CHUNKED + chunk(LINE), PAUSE_S, chunk(LAST), 30.0],
    "more lines": [
        CHUNKED + chunk(LINE),
        PAUSE_S,
        chunk(LAST) + chunk(b"\n"),
        30.0,
    ],
    "length not reached": [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + LINE,
        PAUSE_S,
        LAST,
        30.0,
    ],
    "no end of file": [
        b"HTTP/1.1 200 OK\r\n\r\n" + LINE,
        PAUSE_S,
        LAST,
        30.0,
    ],
    "cut in the last line": [
        CHUNKED + chunk(LINE),
        PAUSE_S,
        chunk(LAST)[:30],
        PAUSE_S,
        chunk(LAST)[30:],
        30.0,
    ],
}


def in_events(data):
    """The same bytes in OpenAI's protocol, chunks of the same cut."""
    if data == chunk(LAST)[:30]:
        return chunk(b"data: [DONE]\n\n")[:9]
    if data == chunk(LAST)[30:]:
        return chunk(b"data: [DONE]\n\n")[9:]
    for old, new in ((LINE, EVENT), (LAST, b"data: [DONE]\n\n")):
        data = data.replace(chunk(old), chunk(new)).replace(old, new)
    return data


class FakeKqueue:
    """macOS' select.kqueue in the manner of its man page, over epoll."""

    def __init__(self):
        self._epoll, self._known = select.epoll(), set()

    def control(self, changes, most, timeout=None):
        for change in changes or ():
            if change.flags == 1:
                self._epoll.register(change.ident, select.EPOLLIN)
                self._known.add(change.ident)
            elif change.ident not in self._known:
                raise FileNotFoundError
            else:
                self._epoll.unregister(change.ident)
                self._known.remove(change.ident)
        if not most:
            return []
        found = self._epoll.poll(timeout)
        return [
            types.SimpleNamespace(ident=number) for number, _ in found
        ][:most]

    def close(self):
        self._epoll.close()


@pytest.mark.parametrize("name", OPEN_ENDS)
@pytest.mark.parametrize("api_name", ["ollama", "openai"])
@pytest.mark.parametrize(
    "way", [{}, {"planned": 6}], ids=["burst", "closed"]
)
def test_a_reply_has_ended_with_its_last_line(name, api_name, way):
    """Whether or not the server ends its framing; the line is dropped and nobody waits for it."""
    answer = OPEN_ENDS[name]
    if api_name == "openai":
        answer = [
            step if isinstance(step, float) else in_events(step)
            for step in answer
        ]
    with Played(answer) as server:
        began = time.perf_counter()
        level = fire(server.url, 2, api_name, Limits(stall_s=20), **way)
        assert time.perf_counter() - began < 5
    assert {o.status for o in level.seen} == {"completed"}, [
        o.error for o in level.seen
    ]
    assert all(
        0.9 * PAUSE_S < (o.ended_ns - o.sent_ns) / 1e9 < 1.5
        for o in level.seen
    )
    # none carried a second request
    assert server.connections >= len(level.seen)


@pytest.mark.parametrize(
    "api_name, text",
    [
        ("ollama", b'{"response": "true, [DONE]", "done": false}\n'),
        ("ollama", b'{"response": "\\"done\\": true", "done": false}\n'),
        (
            "openai",
            b'data: {"choices": [{"delta": {"content": "data: [DONE]"}}]}\n\n',
        ),
    ],
)
def test_words_that_look_like_the_end_are_none(api_name, text):
    end = LAST if api_name == "ollama" else b"data: [DONE]\n\n"
    with Played(
        [
            CHUNKED + chunk(text),
            0.1,
            chunk(text) + chunk(end) + b"0\r\n\r\n",
        ]
    ) as server:
        level = fire(server.url, 2, api_name)
    assert [o.status for o in level.seen] == ["completed"] * 2
    assert [len(o.chunk_ns) for o in level.seen] == [2, 2]
    assert all(o.chunk_ns[1] - o.chunk_ns[0] > 0.08e9 for o in level.seen)


def test_a_last_line_of_many_reads_ends_the_reply_when_it_has_come_whole():
    """Ollama's may hold the whole context: 'done' comes long before its end."""
    last = (
        b'{"done": true, "context": ['
        + b"1," * 200_000
        + b'1], "eval_count": 7}\n'
    )
    head, rest = chunk(last)[:1000], chunk(last)[1000:]
    with Played([CHUNKED + chunk(LINE) + head, 0.1, rest, 30.0]) as server:
        level = fire(server.url, 2, limits=Limits(stall_s=20))
    assert [(o.status, o.summary.output_tokens) for o in level.seen] == [
        ("completed", 7)
    ] * 2
    assert all(o.ended_ns - o.sent_ns > 0.09e9 for o in level.seen)


@pytest.mark.parametrize(
    "before",
    [
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 2,
        b"HTTP/1.1 102 Processing\n\nHTTP/1.1 199 x\r\nContent-Length: 900\r\n\r\n",
    ],
)
def test_informational_answers_are_skipped(before):
    with Played([before, PAUSE_S, *ANSWER]) as server:
        level = fire(server.url, 2, planned=6)
    assert [(o.status, o.http_status) for o in level.seen] == [
        ("completed", 200)
    ] * 6
    assert all(
        (o.first_byte_ns - o.sent_ns) / 1e9 > 0.9 * PAUSE_S
        for o in level.seen
    )  # of the answer itself


@pytest.mark.skipif(
    not hasattr(select, "epoll"), reason="the stand-in is made of it"
)
@pytest.mark.parametrize("name", ["more lines", "whole"])
def test_a_mac_reads_with_kqueue_and_its_own_clock(monkeypatch, name):
    monkeypatch.setattr(
        reader,
        "select",
        types.SimpleNamespace(
            kqueue=FakeKqueue,
            KQ_FILTER_READ=-1,
            KQ_EV_ADD=1,
            KQ_EV_DELETE=2,
            kevent=lambda ident, filter, flags: types.SimpleNamespace(
                ident=ident, filter=filter, flags=flags
            ),
        ),
    )
    answer = OPEN_ENDS.get(name) or SLOW_ANSWER
    with Played(answer) as server:
        level = fire(
            server.url,
            4,
            limits=Limits(stall_s=20, kernel_stamps=False),
            planned=16,
        )
    assert [o.status for o in level.seen] == ["completed"] * 16
    assert level.client_figures()["client_stamps"] == "user"


@pytest.mark.parametrize("kernel_stamps", [True, False])
def test_a_system_without_such_calls_reads_with_a_thread_for_each_stream(
    monkeypatch, kernel_stamps
):
    """Windows, and a Python without ctypes."""
    monkeypatch.setattr(syscalls, "AVAILABLE", False)
    monkeypatch.setattr(capabilities, "READS_TOGETHER", False)
    # long, as a thread of a busy machine reads late
    slow = [CHUNKED + chunk(LINE), 0.15, chunk(LAST) + END]
    with Played(slow) as server:
        level = fire(
            server.url,
            4,
            limits=Limits(stall_s=20, kernel_stamps=kernel_stamps),
            planned=16,
        )
    assert [o.status for o in level.seen] == ["completed"] * 16
    assert all(
        (o.chunk_ns[0] - o.sent_ns) >= 0
        and (o.ended_ns - o.chunk_ns[0]) / 1e9 > 0.05
        for o in level.seen
    )
