"""Connections: many requests, slow ones, and TLS."""

import ssl
import subprocess
import time

import pytest

from tests.simulator.reader import (
    MODEL,
    connect,
    fetch,
    lines_of,
    receive,
    request_bytes,
)


@pytest.mark.parametrize(
    "path", ["/", "/api/tags", "/nothing", "/v1/models"]
)
def test_every_answer_says_that_it_is_simulated(quick, path):
    assert fetch(quick, path).headers["server"] == "ollama-bench-sim"


def test_a_connection_serves_many_requests(quick):
    body = {"model": MODEL, "prompt": "x"}
    with connect(quick) as sock:
        for _ in range(3):
            sock.sendall(request_bytes("/api/generate", body))
            assert receive(sock).how == "whole"
        # pipelined
        sock.sendall(
            request_bytes("/api/version") + request_bytes("/api/version")
        )
        time.sleep(0.2)
        assert sock.recv(1 << 16).count(b"200 OK") == 2
        sock.sendall(
            request_bytes("/api/generate", body, ["Connection: close"])
        )
        assert receive(sock).how == "eof"
    with connect(quick) as sock:
        sock.sendall(
            request_bytes(
                "/api/generate",
                {**body, "stream": False},
                ["Connection: close"],
            )
        )
        assert receive(sock).how == "whole" and sock.recv(1) == b""


def test_a_request_may_come_byte_by_byte(quick):
    with connect(quick) as sock:
        for byte in request_bytes("/api/show", {"model": MODEL}):
            sock.send(bytes([byte]))
        assert receive(sock).status == 200


def test_nothing_is_sent_before_the_first_token(sim):
    server = sim("--profile", "exact", "--ttft", "400", "--tokens", "3")
    with connect(server) as sock:
        sock.sendall(
            request_bytes("/api/generate", {"model": MODEL, "prompt": "x"})
        )
        sent_ns = time.perf_counter_ns()
        answer = receive(sock)
    first_ns, first_end = answer.reads[0]
    assert first_ns - sent_ns > 0.3e9
    assert b'"thinking":' in answer.raw[:first_end], (
        "the headers came without the first token"
    )


def test_https(sim, tmp_path):
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    try:
        subprocess.run(
            [
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-subj",
                "/CN=localhost",
                "-days",
                "2",
                "-keyout",
                key,
                "-out",
                cert,
            ],
            check=True,
            capture_output=True,
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no openssl to make a certificate")
    server = sim(
        "--profile", "exact", "--tls", str(cert), str(key), "--tokens", "3"
    )
    context = ssl.create_default_context(cafile=cert)
    with context.wrap_socket(
        connect(server), server_hostname="localhost"
    ) as sock:
        sock.sendall(
            request_bytes("/api/generate", {"model": MODEL, "prompt": "x"})
        )
        assert lines_of(receive(sock).body)[-1]["done"]
