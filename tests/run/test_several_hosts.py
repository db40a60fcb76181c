"""Several servers as one service: who gets what, what that is worth, and a host that dies."""

import threading
import time
from itertools import pairwise
from types import SimpleNamespace

import pytest

from ollama_bench.protocols.registry import PROTOCOLS
from ollama_bench.run import model_names
from ollama_bench.run.server import ServerError
from tests.run.programs import QUICK, rows, run
from tests.support.studies import change

TARGETS = "SELECT host FROM target ORDER BY id"

pytestmark = pytest.mark.faults
EXACT = {"profile": "exact", "ttft": 20, "itl": 8, "tokens": 10}
HOSTS = "SELECT * FROM host_summary ORDER BY level_id, slots"
LEVELS = """
SELECT level_summary.* FROM level_summary JOIN level ON level.id = level_id ORDER BY level_id"""


@pytest.fixture(scope="module")
def small(module_sim):
    """It answers one request at a time."""
    return module_sim(**EXACT, slots=1)


@pytest.fixture(scope="module")
def large(module_sim):
    return module_sim(**EXACT, slots=8)


def bench(folder, hosts, *words):
    named = [word for host in hosts for word in ("--host", host.url)]
    return run(*words, *named, *QUICK, "--no-monitor", cwd=folder)


def test_the_fewest_in_flight_get_more_from_unequal_servers_than_turns(
    small, large, tmp_path
):
    levels, shares = {}, {}
    for policy in ("round-robin", "least-in-flight"):
        folder = tmp_path / policy
        folder.mkdir()
        code, _, said = bench(
            folder,
            (small, large),
            *("8", "--requests", "48", "--balance", policy),
        )
        assert (code, said) == (0, "")
        (level,), hosts = rows(folder, LEVELS), rows(folder, HOSTS)
        assert (level["hosts"], level["balance"]) == (2, policy)
        for column in ("requests", "completed", "errors", "output_tokens"):
            assert sum(row[column] for row in hosts) == level[column]
        levels[policy] = level
        shares[policy] = {row["host"]: row for row in hosts}
    in_turn, fewest = shares["round-robin"], shares["least-in-flight"]
    assert [row["completed"] for row in in_turn.values()] == [24, 24]
    # the small one holds nearly all of what is in flight
    assert in_turn[small.url]["in_flight_peak"] > 5
    assert (
        fewest[large.url]["completed"]
        > 1.5 * fewest[small.url]["completed"]
    )
    # in turn both are as slow as the small one: 2 against 5
    rates, waits = (
        [levels[policy][column] for policy in levels]
        for column in ("output_tokens_per_s", "ttft_mean_s")
    )
    assert rates[1] > 1.4 * rates[0]
    assert waits[1] < waits[0] / 1.4


def test_least_in_flight_is_the_default_and_a_seed_repeats_chance(
    small, large, tmp_path
):
    assert bench(tmp_path, (small, large), "4")[0] == 0
    for _ in range(2):
        words = ("4", "--balance", "random", "--seed", "7")
        assert bench(tmp_path, (small, large), *words)[0] == 0
    levels = rows(tmp_path, LEVELS)
    assert [level["balance"] for level in levels] == [
        *("least-in-flight", "random", "random")
    ]
    drawn = [
        [
            row["requests"]
            for row in rows(tmp_path, HOSTS)
            if row["level_id"] == level["level_id"]
        ]
        for level in levels
    ]
    assert drawn[0] == [2, 2] and drawn[1] == drawn[2]


def test_people_stay_with_their_conversations_on_one_host(
    small, large, tmp_path
):
    turns = '{"turns": ["a", "b", "c"]}\n'
    (tmp_path / "talks.jsonl").write_text(turns * 4)
    code, _, said = bench(
        tmp_path,
        (small, large),
        *("4", "--think-time", "0.1:fixed", "--duration", "3"),
        *("--prompts", "talks.jsonl"),
    )
    assert (code, said) == (0, "")
    found = rows(
        tmp_path,
        """SELECT person, turn, target_id FROM request
        WHERE status = 'completed' ORDER BY person, sent_ns""",
    )
    places = {row["target_id"] for row in found}
    assert len(places) == 2 and max(row["turn"] for row in found) == 3
    for before, after in pairwise(found):
        if after["turn"] > 1:
            assert after["target_id"] == before["target_id"]


def test_a_warm_level_fills_the_cache_of_every_host(sim, large, tmp_path):
    other = sim(**EXACT, slots=8)
    before = {one.url: len(one.log()) for one in (large, other)}
    code, _, said = bench(tmp_path, (large, other), "4", "--cache", "warm")
    assert (code, said) == (0, "")
    (level,) = rows(tmp_path, LEVELS)
    assert level["completed"] == 4
    for one in (large, other):
        # a warm-up, each of four bodies, half of the level
        assert len(one.log()) - before[one.url] == 1 + 4 + 2


def test_a_balance_needs_several_servers(small, tmp_path):
    code, _, said = bench(tmp_path, (small,), "1", "--balance", "random")
    assert code == 2
    assert "--balance needs several servers" in said


@pytest.mark.parametrize(
    "column, values",
    [("digest", ("aa", "bb")), ("quantization", ("Q4_K_M", "Q8_0"))],
)
def test_one_service_has_one_model(column, values):
    def server(place, value):
        known = dict.fromkeys(model_names.IDENTITY) | {column: value}
        return SimpleNamespace(
            url=f"http://{place}",
            protocol=PROTOCOLS["ollama"],
            describe=lambda model: known,
        )

    pair = [server(*item) for item in zip("ab", values, strict=True)]
    with pytest.raises(ServerError) as caught:
        model_names.refuse_unlike("m:1b", pair)
    assert str(caught.value) == (
        f"m:1b is another model at http://b than at http://a "
        f"({column} {values[1]}, not {values[0]}): "
        "several servers are one service of the same model"
    )
    model_names.refuse_unlike("m:1b", [pair[0], server("c", None)])


def test_a_host_that_dies_fails_its_own_requests_and_the_rest_goes_on(
    sim, large, tmp_path
):
    dying = sim(**{**EXACT, "itl": 20}, slots=4)

    def kill_in_mid_level():
        until = time.monotonic() + 20
        # the warm-up is one request
        while dying.state()["active"] < 3 and time.monotonic() < until:
            time.sleep(0.01)
        dying.process.kill()

    killer = threading.Thread(target=kill_in_mid_level)
    killer.start()
    code, out, _ = bench(
        tmp_path, (dying, large), "8", "--requests", "120"
    )
    killer.join()
    assert code == 0
    found = rows(
        tmp_path,
        """SELECT host, status, error FROM request
        JOIN target ON target.id = target_id""",
    )
    failed = [row for row in found if row["status"] != "completed"]
    assert failed and {row["host"] for row in failed} == {dying.url}
    assert all(row["error"].startswith(f"{dying.url}: ") for row in failed)
    # it is left out once nobody can connect: not every other one fails
    assert len(failed) < 30 and len(found) == 120
    lost = {row["host"]: row["lost"] for row in rows(tmp_path, HOSTS)}
    assert lost == {dying.url: len(failed), large.url: 0}
    # said of the level, and in a caveat of the answer
    name = dying.url.removeprefix("http://")
    said = " ".join(out.split())
    assert said.count(f"{name} lost {len(failed)} of its") == 2
    # they count, though they failed before the steady part
    (level,) = rows(tmp_path, "SELECT * FROM level_summary")
    missed = (
        level["good_requests"] / level["good_ratio"]
        - level["good_requests"]
    )
    assert round(missed) == len(failed)
    if len(failed) > 6:
        assert "Not even 8 at once get" in said


def test_a_run_is_resumed_with_its_hosts_and_its_balance(
    small, large, tmp_path
):
    pair = (small, large)
    assert bench(tmp_path, pair, "1,2")[0] == 0
    change(
        tmp_path / "results.db",
        "UPDATE run SET status = 'interrupted'",
        "UPDATE level SET status = 'interrupted' WHERE id = 2",
    )
    code, _, said = bench(
        tmp_path, pair, "1,2", "--balance", "random", "--resume"
    )
    assert code == 2
    assert (
        "was measured with --balance least-in-flight; "
        "now with --balance random" in said
    )
    code, _, said = bench(tmp_path, (large,), "1,2", "--resume")
    assert code == 2 and f"--host {small.url} --host {large.url}" in said
    code, out, _ = bench(tmp_path, pair, "1,2", "--resume")
    assert code == 0 and "resuming run 1: 1 of 2 levels" in out
    assert [row["host"] for row in rows(tmp_path, TARGETS)] == [
        *(small.url, large.url)
    ]
