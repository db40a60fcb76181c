"""Heads and chunked bodies: they mean to us what they mean to http.client."""

import http.client
import io

from hypothesis import example, given
from hypothesis import strategies as st

from ollama_bench.transport.framing import Framing
from ollama_bench.transport.recorder import Recorder

SIZES = st.integers(-70, 70).map(
    lambda size: f"{size:x}".encode()
) | st.sampled_from(
    [b"0", b"+5", b"0x5", b"1_0", b" 5", b"", b"F" * 40, b"5;a=b", b"5 "]
)
BODIES = st.lists(
    st.tuples(
        SIZES,
        st.sampled_from([b"\r\n", b"\n", b""]),
        st.binary(max_size=6) | st.just(b"\r\n"),
        st.sampled_from([b"\r\n", b""]),
    ),
    max_size=8,
)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@given(
    BODIES.map(lambda parts: b"".join(b"".join(part) for part in parts)),
    st.lists(st.integers(1, 9), max_size=40),
)
@example(b"-6\r\n\r\n", [])
@example(b"-7\r\n\r\n", [])
@example(b"3\n\r\nabc\r\n0\r\n\r\n", [])
@example(b"3;a\nb\r\nabc\r\n0\r\n\r\n", [])
def test_a_chunked_body(body, cuts):
    """Its end is found in bounded time; http.client reads the same of what leaves its line."""
    recorder, raw = recorded(CHUNKED + body, cuts)
    if recorder.leaves_line:
        answer = http.client.HTTPResponse(FakeSocket(raw))
        answer.begin()
        assert answer.read() == b"".join(
            data for _, data in recorder.chunks()
        )


def recorded(raw, cuts=()):
    """A recorder that has got these bytes in reads of so many, and those that it took."""
    recorder, place = Recorder((), lambda _: False), 0
    for cut in [*cuts, len(raw)]:
        if place < len(raw) and recorder.note(
            memoryview(raw)[place : place + cut], 1 + place
        ):
            place = min(len(raw), place + cut)
            break
        place = min(len(raw), place + cut)
    else:
        recorder.note(memoryview(b""), 1 + place)
    recorder.settle(0)
    left = recorder.head_end
    while left > 0:
        left -= recorder.read(bytearray(left))[0]
    return recorder, raw[:place]


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=20),
    st.lists(st.integers(1, 60), max_size=40),
)
def test_a_whole_chunked_body_is_seen_as_whole(payloads, cuts):
    """Each chunk carries the instant of the read in which its last byte came."""
    raw = (
        CHUNKED
        + b"".join(
            b"%x\r\n%s\r\n" % (len(payload), payload)
            for payload in payloads
        )
        + b"0\r\n\r\n"
    )
    recorder, _ = recorded(raw, cuts)
    assert recorder.leaves_line
    starts, place = [], 0
    for cut in [*cuts, len(raw)]:
        starts.append(place)
        place += cut
    end = len(CHUNKED)
    for at, data in recorder.chunks():
        end += len(b"%x" % len(data)) + 2 + len(data)
        assert at == 1 + max(start for start in starts if start < end)
        end += 2
        payload, *payloads = payloads
        assert data == payload
    assert not payloads


STATUS_LINES = st.one_of(
    st.builds(
        b"HTTP/1.%d %b %b\r\n".__mod__,
        st.tuples(
            st.integers(0, 1),
            st.sampled_from([b"200", b"204", b"304", b"500", b"101"]),
            st.just(b"OK"),
        ),
    ),
    st.sampled_from(
        [
            b"HTTP/1.1 200\r\n",
            b"HTTP/1.1 200 OK\n",
            b"HTTP/1.1  200  OK\r\n",
            b"HTTP/1.1 2OO OK\r\n",
            b"HTTP/1.1\r\n",
            b"\r\n",
            b"HTTP/2 200 OK\r\n",
            b"http/1.1 200 OK\r\n",
            b"HTTP/1.1 99 x\r\n",
            b"HTTP/1.1 1000 x\r\n",
            b"HTTP/0.9 200 OK\r\n",
            b"ICY 200 OK\r\n",
            b"HTTP/1.1 -200 x\r\n",
            b"HTTP/1.1 +200 x\r\n",
        ]
    ),
)
HEADER_LINES = st.one_of(
    st.builds(
        b"%b:%b%b%b".__mod__,
        st.tuples(
            st.sampled_from(
                [
                    b"Content-Length",
                    b"content-length",
                    b"Transfer-Encoding",
                    b"transfer-encoding",
                    b"Connection",
                    b"X-Y",
                    b"Content-Length ",
                    b"Keep-Alive",
                ]
            ),
            st.sampled_from([b"", b" ", b"\t ", b"  "]),
            st.sampled_from(
                [
                    b"5",
                    b"0",
                    b"-1",
                    b"+5",
                    b"1_0",
                    b"5 ",
                    b"x",
                    b"",
                    b"chunked",
                    b"Chunked",
                    b"chunked ",
                    b"gzip, chunked",
                    b"close",
                    b"keep-alive",
                    b"Keep-Alive, x",
                    b"7, 7",
                ]
            ),
            st.sampled_from([b"\r\n", b"\n"]),
        ),
    ),
    st.sampled_from(
        [
            b" folded\r\n",
            b"\tfolded\n",
            b"no colon\r\n",
            b": empty\r\n",
            b"From x\r\n",
            b"X-Y: a\r\n b\r\n",
            b"Content-Length:5\r\r\n",
            b"\xff: x\r\n",
            b"A: \x85b\r\n",
            b"A: \x0bContent-Length: 3\r\n",
        ]
    ),
)


@given(
    st.integers(0, 2),
    STATUS_LINES,
    st.lists(HEADER_LINES, max_size=5),
    st.sampled_from([b"\r\n", b"\n"]),
)
@example(0, b"HTTP/0.9 200 OK\r\n", [b"Content-Length:5\r\r\n"], b"\r\n")
@example(0, b"HTTP/0.9 200 OK\r\n", [b"Content-Length: 5\r\n"], b"\r\n")
def test_a_head_means_to_us_what_it_means_to_http_client(
    informational, status, headers, blank
):
    """Else a stream would be waited for that http.client takes for ended, or vice versa."""
    before, raw = (
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * informational,
        status + b"".join(headers) + blank,
    )
    answer, framing = http.client.HTTPResponse(FakeSocket(raw)), Framing()
    is_over = framing.ends(bytearray(before + raw))
    try:
        answer.begin()
    except (http.client.HTTPException, ValueError):
        assert is_over and not framing.complete
        return
    assert framing.head_start == len(before) and framing.head_end > 0
    # no body; http.client would read chunks
    if answer.status in (101, 204, 304):
        assert framing.body_end == framing.head_end
        return
    assert framing.is_chunked == bool(answer.chunked)
    if not answer.chunked:
        length = (
            framing.body_end
            if framing.body_end < 0
            else framing.body_end - framing.head_end
        )
        assert length == (-1 if answer.length is None else answer.length)
        if answer.length is not None:
            assert framing.keeps <= (not answer.will_close)
    else:
        assert framing.keeps <= (not answer.will_close)


class FakeSocket:
    """What http.client needs of one."""

    def __init__(self, data):
        self.data = data

    def makefile(self, *_):
        return io.BytesIO(self.data)
