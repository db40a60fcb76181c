"""Questions to servers that drip, flood, answer nonsense or call their models strangely."""

import contextlib
import errno
import json
import os
import socket
import sys
import threading
import time

import pytest

from ollama_bench.load.attempt import make_request
from ollama_bench.load.request import Outcome, Task
from ollama_bench.privilege.variables import DroppedVariables
from ollama_bench.protocols.registry import PROTOCOLS
from ollama_bench.protocols.secret import Secret
from ollama_bench.run import server
from ollama_bench.transport.exchange import Exchange
from ollama_bench.transport.session import Session

JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"


@contextlib.contextmanager
def raw_server(answer):
    """A server that reads each request's head, then calls answer(connection, path); its URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    connections = []

    def serve(connection):
        with connection, contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(65536)
            answer(connection, head.split()[1].decode())

    def accept():
        with contextlib.suppress(OSError):
            while True:
                connections.append(listener.accept()[0])
                threading.Thread(
                    target=serve, args=[connections[-1]], daemon=True
                ).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def saying(**answers):
    """answer() of a server that says these: version={...} at /api/version."""

    def answer(connection, path):
        body = answers.get(path.rpartition("/")[2], b"{}")
        body = (
            body if isinstance(body, bytes) else json.dumps(body).encode()
        )
        connection.sendall(
            JSON + b"Content-Length: %d\r\n\r\n" % len(body) + body
        )

    return answer


def dripping(before):
    """answer() of a server that goes on with a byte ten times a second."""

    def answer(connection, path):
        connection.sendall(before)
        for _ in range(600):
            connection.sendall(b"x")
            time.sleep(0.1)

    return answer


def ask(url, question):
    with server.Server(url, PROTOCOLS["ollama"], None) as made:
        return question(made)


def refused(url, question):
    """The one line of the ServerError."""
    with pytest.raises(server.ServerError) as caught:
        ask(url, question)
    assert (
        len(str(caught.value).splitlines()) == 1
        and len(str(caught.value)) < 5000
    )
    return str(caught.value)


@pytest.mark.parametrize(
    "before",
    [
        JSON + b"Content-Length: 100000\r\n\r\n{",
        JSON + b"\r\n{",
        b"HTTP/1.1 200 OK\r\nX-Long: ",
        b"",
    ],
    ids=["body", "until the end of file", "head", "status line"],
)
def test_an_answer_that_drips_is_cut(before, monkeypatch):
    monkeypatch.setattr(server, "ANSWER_S", 0.7)
    monkeypatch.setattr(server, "ALIVE_S", 0.7)
    with raw_server(dripping(before)) as url:
        began = time.monotonic()
        assert "no whole answer to /api/version within 0.7 s" in refused(
            url, lambda made: made.check_model("m", False, print, print)
        )
        assert "no whole answer" in refused(
            url, lambda made: made.describe("m")
        )
        assert ask(url, lambda made: made.answers()) is False
        # the drip goes on for a minute
        assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    ("status", "is_ready"),
    [("200 OK", True), ("404 Not Found", True), ("503 Loading", False)],
)
def test_a_server_that_loads_its_model_does_not_answer(status, is_ready):
    """A llama-server has a page for people meanwhile."""

    def answer(sock, path):
        line = "200 OK" if path == "/" else status
        head = f"HTTP/1.1 {line}\r\nContent-Length: 2\r\n\r\n{{}}"
        sock.sendall(head.encode())

    with raw_server(answer) as url:
        assert ask(url, lambda made: made.answers()) is is_ready


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 99999999999999999999999\r\n\r\n{}",
        b"Content-Length: -7\r\n\r\n{}",
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
    ],
)
def test_a_length_that_is_none_is_no_traceback(head, monkeypatch):
    monkeypatch.setattr(server, "ANSWER_S", 1.0)
    with (
        raw_server(
            lambda connection, path: connection.sendall(JSON + head)
        ) as url,
        contextlib.suppress(server.ServerError),
    ):
        ask(url, lambda made: made.get_json("/api/version"))


def test_names_of_models_are_one_line_and_not_endless():
    tags = {
        "models": [
            {"name": "a\n\n$ forged line\u2028b"},
            {"name": "x" * 15_000_000},
            *({"name": f"m{i}"} for i in range(500)),
        ]
    }
    with raw_server(saying(tags=tags)) as url:
        said = refused(
            url, lambda made: made.check_model("mine", False, print, print)
        )
    assert (
        "found: a $ forged line b, xxx" in said
        and "m17 and 482 more; run ollama pull mine" in said
    )


def test_no_model_at_all():
    with raw_server(saying(tags={"models": []})) as url:
        assert "found: none;" in refused(
            url, lambda made: made.check_model("mine", False, print, print)
        )


PULLS = [
    b"null",
    b"[]",
    b"7",
    b'"x"',
    b"not json",
    b"[" * 100_000,
    b'{"status":' + b"[" * 100_000,
    b'{"error": "a\\nb"}',
    b'{"error": {"a": []}}',
    b'{"status": ["success"]}',
    b'{"status": 1}',
    b"",
    b"\xff\xfe",
]


@pytest.mark.parametrize("body", PULLS, ids=range(len(PULLS)))
def test_a_download_that_says_nonsense(body):
    with raw_server(saying(tags={"models": []}, pull=body)) as url:
        assert "cannot pull model 'mine': " in refused(
            url, lambda made: made.check_model("mine", True, print, print)
        )


@pytest.mark.parametrize("status", [302, 307])
def test_a_download_goes_nowhere_else(status):
    asked = []
    with raw_server(
        lambda connection, path: asked.append(path)
    ) as elsewhere:

        def answer(connection, path):
            if path != "/api/pull":
                return saying(tags={"models": []})(connection, path)
            connection.sendall(
                b"HTTP/1.1 %d x\r\nLocation: %s/x\r\nContent-Length: 0\r\n\r\n"
                % (status, elsewhere.encode())
            )

        with raw_server(answer) as url:
            assert (
                f"cannot pull model 'mine': redirects to {elsewhere}/x"
                in refused(
                    url,
                    lambda made: made.check_model(
                        "mine", True, print, print
                    ),
                )
            )
    assert asked == []


def test_a_downloads_line_without_an_end_is_cut():
    sent = []

    def answer(connection, path):
        if path != "/api/pull":
            return saying(tags={"models": []})(connection, path)
        connection.sendall(JSON + b"\r\n")
        for _ in range(64):
            connection.sendall(b"x" * (1 << 20))
            sent.append(1)

    with raw_server(answer) as url:
        assert "line of over 1 MiB" in refused(
            url, lambda made: made.check_model("mine", True, print, print)
        )
    assert len(sent) < 64


def test_a_download_is_told_step_by_step():
    steps = [
        {"status": "pulling manifest"},
        {"status": "pulling\nabc"},
        {"status": "pulling\nabc", "completed": 5},
        {},
        {"status": "success"},
    ]
    said = []
    with raw_server(
        saying(
            tags={"models": []},
            pull=b"\n".join(json.dumps(one).encode() for one in steps),
        )
    ) as url:
        ask(
            url,
            lambda made: made.check_model(
                "mine", True, said.append, said.append
            ),
        )
    assert said == [
        "mine: pulling manifest",
        "mine: pulling abc",
        "mine: success",
    ]


KEY = "sk-secret-4711-never-to-be-seen"


def ask_with_key(url, question, protocol="openai"):
    """What is answered or refused, as text."""
    with server.Server(url, PROTOCOLS[protocol], KEY) as made:
        try:
            return str(question(made))
        except server.ServerError as error:
            return str(error)


HTTP = b"HTTP/1.1 %s\r\nConnection: close\r\n"
LEAKS = [
    b"HTTP/1.1 200 OK\r\n\r\n"
    + json.dumps(
        {
            "data": [
                {
                    "id": "\u200b".join(KEY),
                    "owned_by": KEY,
                    "meta": {"ftype": "x" * 90 + KEY},
                },
                {"id": "x" * 110 + KEY},
            ]
        }
    ).encode(),
    b"HTTP/1.1 200 OK\r\n\r\n"
    + json.dumps(
        {
            "total_slots": 1,
            "build_info": f"{'x' * 80} {KEY}",
            "data": [{"id": 1}],
            KEY: KEY,
        }
    ).encode(),
    b"HTTP/1.1 200 " + KEY.encode() + b"\r\n\r\n{}",
    b"GARBLED " + KEY.encode() + b"\r\n\r\n",
    KEY.encode() + b"\r\n\r\n",
    b"HTTP/1.1 " + KEY.encode() + b" x\r\n\r\n",
    b"X" * 480 + KEY.encode() + b"\r\n\r\n",
    b"HTTP/1.1 307 x\r\nLocation: http://127.0.0.1:1/"
    + KEY.encode()
    + b"\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    + b"z" * 30
    + KEY.encode()
    + b"\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: " + KEY.encode() + b"\r\n\r\nx",
    b"HTTP/1.1 200 OK\r\nContent-Length: " + KEY.encode() + b"\r\n\r\nx",
    b'HTTP/1.1 200 OK\r\n\r\n{"error": "'
    + b"x" * 480
    + KEY.encode()
    + b'"}',
    b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 90 + KEY.encode(),
    b'HTTP/1.1 200 OK\r\n\r\n{"status": "' + KEY.encode() + b'"}\n',
    b"HTTP/1.1 500 x\r\n\r\n"
    + b" " * 65_500
    + b"the key is "
    + KEY.encode()
    + b"y" * 99,
]


@pytest.mark.parametrize("raw", LEAKS, ids=range(len(LEAKS)))
def test_a_server_that_repeats_the_key_is_not_repeated(raw):
    said = []
    questions = (
        lambda made: made.check_model(
            "m", False, said.append, said.append
        ),
        lambda made: made.describe("m"),
        lambda made: made.get_json("/x"),
        lambda made: made._pull("m", said.append),
    )
    with raw_server(
        lambda connection, path: connection.sendall(raw)
    ) as url:
        for protocol in PROTOCOLS:
            said.extend(
                [
                    ask_with_key(url, question, protocol)
                    for question in questions
                ]
            )
            said += [
                f"{outcome.status} {outcome.error} {outcome.answer}"
                for outcome in [one_request(url, protocol)]
            ]
    assert len(said) >= 10 and not [
        text for text in said if "sk-" in text or KEY[-8:] in text
    ]


def one_request(url, protocol):
    outcome = Outcome(
        Task(
            1,
            PROTOCOLS[protocol],
            f"{url}/x",
            {},
            {"Authorization": f"Bearer {KEY}"},
            secret=Secret(KEY),
        )
    )
    with contextlib.closing(Session()) as session:
        make_request(outcome, session, Exchange())
    return outcome


@pytest.mark.parametrize("body", [b"", b" \n"])
def test_a_list_of_models_without_a_body_is_no_failure(body):
    """mlx_lm.server answers so where it has no folder of models: any name may be right."""
    with raw_server(saying(models=body, props=b"", version=b"")) as url:
        with server.Server(url, PROTOCOLS["openai"], None) as made:
            told = []
            made.check_model("any", False, print, told.append)
            assert told == [
                f"{url} responded with nothing to /v1/models; "
                "asking it for any all the same"
            ]
            assert made.describe("any")["server"] is None
        assert "not an Ollama server" in refused(
            url, lambda made: made.check_model("any", False, print, print)
        )


@pytest.mark.parametrize(
    "unknown, words",
    [
        (
            {"OPENAI_API_KEY"},
            "; sudo drops OPENAI_API_KEY; if you set it, run with sudo --preserve-env=",
        ),
        (set(), "set OPENAI_API_KEY"),
    ],
)
def test_a_401_under_sudo_says_that_the_key_may_have_been_dropped(
    unknown, words
):
    dropped = DroppedVariables(unknown=frozenset(unknown))
    with raw_server(
        lambda connection, path: connection.sendall(
            b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\n{}"
        )
    ) as url:
        for key in (None, "sk-123456789"):
            with (
                server.Server(
                    url, PROTOCOLS["openai"], key, dropped
                ) as made,
                pytest.raises(server.ServerError) as caught,
            ):
                made.check_model("m", False, print, print)
            assert (words in str(caught.value)) == (
                key is None or not unknown
            ) and len(str(caught.value).splitlines()) == 1
            assert (made.advice(401, "no key") != "") == (
                key is None and bool(unknown)
            ) and made.advice(500, "broken") == ""


@pytest.mark.parametrize(
    "platform, address, hinted",
    [
        ("darwin", "192.168.1.7", True),
        ("darwin", "10.0.0.2", True),
        ("darwin", "fe80::1%2", True),
        ("darwin", "fd00::1", True),
        ("darwin", "127.0.0.1", False),
        ("darwin", "8.8.8.8", False),
        ("darwin", None, False),
        ("linux", "192.168.1.7", False),
    ],
)
def test_a_mac_that_keeps_a_program_from_the_local_network_is_told_apart(
    monkeypatch, platform, address, hinted
):
    """macOS says No route to host where its own privacy setting is in the way."""

    def resolve(host, port, *_, **__):
        if address is None:
            raise socket.gaierror(8, "nodename nor servname provided")
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
        ]

    def unreachable(*_, **__):
        raise OSError(errno.EHOSTUNREACH, os.strerror(errno.EHOSTUNREACH))

    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(server.socket, "getaddrinfo", resolve)
    monkeypatch.setattr(Session, "send", unreachable)
    said = refused(
        "http://studio.local:11434",
        lambda made: made.check_model("m", False, print, print),
    )
    assert (
        "No route to host" in said
        and (server.LOCAL_NETWORK in said) is hinted
    )
    with server.Server(
        "http://studio.local:11434", PROTOCOLS["ollama"], None
    ) as made:
        assert (
            made.advice(None, "No route to host") != ""
        ) is hinted and made.advice(None, "Connection refused") == ""
