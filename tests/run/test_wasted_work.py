"""What a server generates for nobody: by its counter, from the outside and in the report."""

import threading
from types import SimpleNamespace

import pytest

from ollama_bench.protocols.work import Work
from ollama_bench.run import wasted_work
from ollama_bench.run.server import ServerError
from ollama_bench.run.wasted_work import WorkMeter
from tests.run.one_token import OneToken, serving
from tests.run.programs import QUICK, rows, run

TOKENS = 50  # that each question is answered with, whoever still listens


class Deaf(OneToken):
    """A server that generates whole replies and tells only the first who asks."""

    def do_GET(self):
        state = self.server.state
        page = f"vllm:generation_tokens_total {state.generated}\n"
        if self.path != "/metrics":
            page = '{"data": [{"id": "m", "owned_by": "vllm"}]}'
        self.answer(page)

    def do_POST(self):
        state = self.server.state
        self.rfile.read(int(self.headers["Content-Length"]))
        with state.lock:
            state.asked += 1
            state.generated += 1 if state.asked == 1 else TOKENS
            is_first = state.asked == 1
        if not is_first:
            # until the client has left
            self.rfile.read(1)
            return
        self.answer()


@pytest.fixture
def deaf():
    state = SimpleNamespace(asked=0, generated=1000, lock=threading.Lock())
    with serving(Deaf, state) as url:
        yield url


def test_what_is_generated_for_people_who_left_is_said(deaf, tmp_path):
    code, out, _ = run(
        "2", "--think-time", "0.2:fixed", "--patience", "0.2",
        "--duration", "1", "--api", "openai", "--host", deaf, "--model", "m",
        "--no-monitor", *QUICK[:2], "--plain", cwd=tmp_path,
    )  # fmt: skip
    (level,) = rows(tmp_path, "SELECT * FROM level_summary")
    left = level["abandoned"]
    assert left > 2 and level["wasted_tokens"] == TOKENS * left
    assert code == 1  # nobody got a reply
    said = " ".join(out.split())
    wasted = f"the server generated {TOKENS * left} tokens for nobody"
    assert (
        f"with 2 people {wasted}, 100 % of all that it generated" in said
    )
    assert f"\n        {wasted}\n" in out


def test_where_nothing_counts_nothing_is_known(fast, tmp_path):
    words = ["2", "--host", fast.url, *QUICK]
    for more in ([], ["--api", "openai", "--model", "deepseek-r1:7b"]):
        assert run(*words, *more, cwd=tmp_path)[0] == 0
    assert (
        rows(tmp_path, "SELECT wasted_tokens FROM level")
        == [{"wasted_tokens": None}] * 2
    )


class Counting:
    """A server that tells page after page."""

    protocol = SimpleNamespace(name="openai")

    def __init__(self, *pages):
        self.pages = list(pages)

    def get_text(self, path, within_s):
        page = self.pages.pop(0)
        if page is None:
            raise ServerError("gone")
        tokens, busy = page
        return 200, (
            f"vllm:generation_tokens_total {tokens}\n"
            f"vllm:num_requests_running {busy}\n"
        )


def count(server, received, was_cut=True):
    interrupt = SimpleNamespace(wait=lambda seconds: False)
    meter = WorkMeter([server], interrupt)
    return meter.count_wasted(meter.read(), received, was_cut)


def test_a_server_that_is_still_busy_is_waited_for():
    busy = Counting((100, 0), (150, 1), (170, 1), (180, 0))
    assert count(busy, 50) == 30 and not busy.pages
    assert count(Counting((100, 0), (150, 1)), 50, was_cut=False) == 0


def test_a_server_that_never_ends_is_not_waited_for_without_end(
    monkeypatch,
):
    monkeypatch.setattr(wasted_work, "IDLE_S", 0.0)
    assert count(Counting((100, 0), (170, 1)), 50) == 20


@pytest.mark.parametrize(
    "pages", [[None], [(100, 0), None], [(100, 0), (3, 0)]]
)
def test_a_counter_that_is_gone_or_restarted_tells_nothing(pages):
    assert count(Counting(*pages), 1) is None


def test_who_does_not_tell_is_not_asked_again():
    silent = Counting(None)
    meter = WorkMeter([silent], None)
    assert meter.read() is None and meter.read() is None
    ollama = SimpleNamespace(protocol=SimpleNamespace(name="ollama"))
    assert WorkMeter([ollama], None).read() is None


def test_servers_are_counted_together():
    meter = WorkMeter([Counting((1, 0)), Counting((2, 1))], None)
    assert meter.read() == Work(3, is_idle=False)
