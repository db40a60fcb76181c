"""The live page answers to the names of this machine alone."""

import asyncio

import pytest


async def page(scope, receive, send):
    await send({"type": "http.response.start", "status": 200})


def ask(*headers, kind="http"):
    """Return the status of the answer."""
    # it loads Datasette, which takes two seconds: not in every process
    from ollama_bench.browsing.live_server import refuse_other_names

    sent = []

    async def send(message):
        sent.append(message)

    app = refuse_other_names(page)
    scope = {"type": kind, "headers": [*headers]}
    asyncio.run(app(scope, None, send))
    return sent[0]["status"]


@pytest.mark.parametrize(
    "host", [b"127.0.0.1:8001", b"localhost:9000", b"LOCALHOST"]
)
def test_it_answers_to_its_own_names(host):
    assert ask((b"accept", b"*/*"), (b"host", host)) == 200


@pytest.mark.parametrize(
    "host", [b"evil.example:8001", b"127.0.0.1.evil.example", b"[", b""]
)
def test_another_name_is_refused(host):
    """As that of a page of another site, whose name leads here."""
    assert ask((b"host", host)) == 403


def test_starting_and_ending_are_no_requests():
    assert ask(kind="lifespan") == 200
