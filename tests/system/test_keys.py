"""An API key is sent to its server, and neither stored nor printed."""

import json

import pytest

from ollama_bench.inputs import command_line
from ollama_bench.run.error import RunError
from ollama_bench.run.server import make_servers
from tests.support.beginnings import QUICK
from tests.system.attacks import (
    KEY,
    run,
    server,
)


def leaks(folder, done):
    """Where the key can be read."""
    found = [
        path.name
        for path in folder.rglob("*")
        if path.is_file() and KEY.encode() in path.read_bytes()
    ]
    return found + [
        name for name in ("stdout", "stderr") if KEY in getattr(done, name)
    ]


def measure(url, folder, levels, model="m"):
    """Run bench.py with the key against a server of OpenAI's protocol."""
    asked = ("--api", "openai", "--host", url, "--model", model)
    return run(
        *("bench.py", levels, *asked, *QUICK),
        cwd=folder,
        OPENAI_API_KEY=KEY,
    )


@pytest.mark.faults
def test_a_key_is_sent_and_nowhere_kept(tmp_path):
    seen = []

    def answer(method, path, headers):
        seen.append(headers.get("Authorization"))
        if method == "GET":
            return 200, {}, b'{"data": [{"id": "m"}]}'
        return (
            200,
            {},
            b'data: {"choices": [{"delta": {"content": "x"}}]}\n\ndata: [DONE]\n\n',
        )

    with server(answer) as (url, _):
        done = measure(url, tmp_path, "1,2")
    assert (
        done.returncode == 0
        and set(seen) == {f"Bearer {KEY}"}
        and leaks(tmp_path, done) == []
    )
    assert (
        run("analyze.py", "--charts", "none", cwd=tmp_path).returncode == 0
        and leaks(tmp_path, done) == []
    )


@pytest.mark.faults
def test_a_server_that_repeats_the_key_in_its_error(tmp_path):
    def answer(method, path, headers):
        if method == "GET":
            return 200, {}, b'{"data": [{"id": "m"}]}'
        return (
            401,
            {},
            b'{"error": {"message": "Incorrect API key provided: %s"}}'
            % headers["Authorization"].encode(),
        )

    with server(answer) as (url, _):
        done = measure(url, tmp_path, "1")
    assert (
        done.returncode == 1
        and "Incorrect API key" in done.stdout
        and leaks(tmp_path, done) == []
    )


@pytest.mark.faults
def test_a_server_that_repeats_the_key_in_all_it_says(tmp_path):
    hidden = "\u200b".join(KEY)

    def answer(method, path, headers):
        if method == "GET":
            return (
                200,
                {"Server": KEY},
                json.dumps(
                    {
                        "data": [
                            {
                                "id": "m",
                                "owned_by": KEY,
                                "meta": {"ftype": "x" * 90 + KEY},
                            },
                            {"id": hidden},
                        ],
                        "total_slots": 1,
                        "build_info": hidden,
                    }
                ).encode(),
            )
        deltas = [
            {"reasoning_content": hidden},
            *(
                {"content": part}
                for part in ("so ", KEY[:9], KEY[9:], hidden)
            ),
        ]
        events = [{"choices": [{"delta": one}]} for one in deltas] + [
            {"choices": [{"delta": {}, "finish_reason": KEY}]}
        ]
        return (
            200,
            {},
            b"".join(
                b"data: %s\n\n" % json.dumps(event).encode()
                for event in events
            )
            + b"data: [DONE]\n\n",
        )

    with server(answer) as (url, _):
        done = measure(url, tmp_path, "1")
        other = measure(url, tmp_path, "1", model="other")
    kept = (
        b"".join(
            path.read_bytes()
            for path in tmp_path.rglob("*")
            if path.is_file()
        )
        + (
            done.stdout + done.stderr + other.stdout + other.stderr
        ).encode()
    )
    assert (
        done.returncode == 0
        and other.returncode == 1
        and "found: m, ***" in other.stderr
        and b"***" in kept
    )
    assert KEY[:9].encode() not in kept and hidden[:9].encode() not in kept


@pytest.mark.parametrize("ending", ["\n", "\r\nX: y", "é", "\x01"])
@pytest.mark.faults
def test_a_key_that_is_no_header_is_not_repeated(tmp_path, ending):
    with server(lambda *_: (200, {}, b'{"data": [{"id": "m"}]}')) as (
        url,
        _,
    ):
        done = run(
            "bench.py",
            "1",
            "--api",
            "openai",
            "--host",
            url,
            "--model",
            "m",
            *QUICK,
            cwd=tmp_path,
            OPENAI_API_KEY=KEY + ending,
        )
    assert done.returncode == 1 and leaks(tmp_path, done) == []


@pytest.mark.faults
def test_a_redirect_is_not_followed_with_the_key(tmp_path):
    with (
        server(lambda *_: (200, {}, b"{}")) as (elsewhere, asked),
        server(
            lambda method, *_: (
                (200, {}, b'{"data": [{"id": "m"}]}')
                if method == "GET"
                else (307, {"Location": elsewhere}, b"")
            )
        ) as (url, _),
    ):
        measure(url, tmp_path, "1")
    assert asked == []


def test_a_key_that_no_header_can_hold_stops_only_who_needs_it(
    monkeypatch,
):
    monkeypatch.setenv("OPENAI_API_KEY", "schlüssel")
    words = ["1", "--host", "127.0.0.1:9"]
    asked = command_line.parse(words).request
    (made,) = make_servers(asked)
    with made:
        assert made.headers == {}
    asked = command_line.parse([*words, "--api", "openai"]).request
    with pytest.raises(RunError, match="OPENAI_API_KEY contains"):
        make_servers(asked)
