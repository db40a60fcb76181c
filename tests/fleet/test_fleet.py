"""What is looked at before a fleet may send anything, and what its members answer."""

import asyncio
import sys
import types

import dask
import pytest

from ollama_bench import __version__
from ollama_bench.fleet import fleet as fleets
from ollama_bench.fleet import member as members
from ollama_bench.fleet.fleet import (
    Fleet,
    FleetError,
    compare_versions,
    import_dask,
    name_worker,
    open_fleet,
    read_certificates,
    refuse_exposed,
    refuse_plain,
)
from ollama_bench.fleet.member import Member, WorkerGoneError
from ollama_bench.inputs.fleet_settings import FleetAddress, FleetSettings

HERE = "3.11.7.final.0"


class FakeClient:
    """A cluster of which the versions are known."""

    def __init__(self, python=HERE, package=__version__):
        self._python, self._package = python, package
        self.status = "running"

    def get_versions(self):
        return {"workers": {"tcp://a": {"host": {"python": self._python}}}}

    def run(self, _function, on_error):
        assert on_error == "ignore"  # of who has left
        return {"tcp://a": self._package}

    def sync(self, function):
        return asyncio.run(function())


def make_member(answer=None, address="tcp://a", name="far"):
    return Member(name, address, answer)


@pytest.fixture(autouse=True)
def python_311(monkeypatch):
    monkeypatch.setattr(
        fleets.platform, "python_version", lambda: "3.11.2"
    )


def test_equal_versions_pass_also_of_another_patch_of_python():
    compare_versions(FakeClient(), [make_member()])


def test_a_worker_that_has_left_has_no_version():
    members = [make_member(), make_member(address="tcp://gone")]
    compare_versions(FakeClient(), members)


@pytest.mark.parametrize(
    ("client", "said"),
    [
        (
            FakeClient(python="3.12.1.final.0"),
            "worker far has Python 3.12, here it is 3.11: install the same on all",
        ),
        (
            FakeClient(package="0.9"),
            f"worker far has ollama-bench 0.9, here it is {__version__}: "
            "install the same on all",
        ),
        (
            FakeClient(package=None),
            f"worker far has no ollama-bench: install {__version__} there",
        ),
    ],
)
def test_another_version_is_told_with_the_worker(client, said):
    with pytest.raises(FleetError) as error:
        compare_versions(client, [make_member()])
    assert str(error.value) == said


def test_a_worker_whose_link_others_can_read_is_refused():
    refuse_exposed(
        [
            make_member(address="tls://10.0.0.5:1"),
            make_member(address="tcp://127.0.0.1:1"),
        ]
    )
    with pytest.raises(
        FleetError, match="worker far at tcp://10.0.0.5:1 is not encrypted"
    ):
        refuse_exposed([make_member(address="tcp://10.0.0.5:1")])


def test_where_dask_requires_encryption_a_plain_link_is_refused_at_once():
    address = FleetAddress.parse("tcp://127.0.0.1:1")
    with (
        dask.config.set({"distributed.comm.require-encryption": True}),
        pytest.raises(FleetError, match="use tls://"),
    ):
        refuse_plain(address)
    refuse_plain(address)


def test_without_dask_one_line_names_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(FleetError) as error:
        import_dask()
    assert "pip install distributed, or pipx inject" in str(error.value)
    assert "\n" not in str(error.value)


async def answer_late(**_):
    await asyncio.sleep(60)


async def break_link(**_):
    raise OSError("in <TCP (closed)>") from ConnectionResetError(104)


async def answer_at_once(**_):
    return {"content": b"x", "received_ns": 5, "answered_ns": 5}


@pytest.mark.parametrize(
    ("answer", "why"),
    [(answer_late, "no answer for"), (break_link, "ConnectionReset")],
)
def test_who_is_gone_is_told_with_the_reason(monkeypatch, answer, why):
    monkeypatch.setattr(members, "STALLED_S", 0.01)
    gone, there = make_member(answer), make_member(answer_at_once)
    fleet = Fleet(FakeClient(), [gone, there])
    found = fleet.tell([gone, there], "clock")
    assert list(found) == [gone] and why in found[gone]


def test_one_batch_is_fetched_until_it_was_looked_at():
    """A coordinator that is behind holds one batch of each worker."""
    asked, got = [], []

    async def answer(word, content):
        asked.append(word)
        return {"content": b"x", "received_ns": 5, "answered_ns": 5}

    async def pump():
        member.is_wanted = True
        task = asyncio.ensure_future(member.pump(got.append))
        await asyncio.sleep(0.1)
        assert asked.count("take") == 1
        member.is_behind = False
        while asked.count("take") < 2:
            await asyncio.sleep(0.01)
        member.is_wanted = False
        await task

    member = make_member(answer)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(members, "FETCH_EVERY_S", 0.01)
        asyncio.run(pump())
    assert got == [b"x", b"x"]


def test_the_clock_is_compared_four_times_a_second_not_with_each_batch():
    asked = []

    async def answer(word, content):
        asked.append(word)
        return {"content": b"", "received_ns": 5, "answered_ns": 5}

    async def pump():
        member.is_wanted = True
        await member.pump(look)

    def look(_):
        member.is_behind = False
        member.is_wanted = asked.count("take") < 5

    member = make_member(answer)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(members, "FETCH_EVERY_S", 0)
        patch.setattr(members, "EVERY_S", 1e6)
        asyncio.run(pump())
    assert asked == ["clock"] + ["take"] * 5


def test_a_scheduler_that_does_not_answer_ends_the_run():
    client = FakeClient()
    client.status = "closed"
    with pytest.raises(FleetError, match="scheduler of the fleet is lost"):
        Fleet(client, [make_member()]).refuse_if_lost()


def test_nothing_goes_on_without_any_worker():
    async def identity():
        return {}

    client = FakeClient()
    client.scheduler = types.SimpleNamespace(identity=identity)
    one, other = make_member(), make_member()
    fleet = Fleet(client, [one, other])
    fleet.drop([one])
    assert fleet.members == [other]
    with pytest.raises(FleetError, match="no worker of the fleet is left"):
        fleet.drop([other])


def test_a_worker_that_is_gone_says_so_once():
    async def answer(**_):
        raise OSError("gone")

    got, member = [], make_member(answer)
    member.is_wanted = True
    asyncio.run(member.pump(got.append))
    assert [type(one) for one in got] == [WorkerGoneError]


def make_asking_fleet(run):
    client = FakeClient()
    client.run, client.status = run, "closed"
    return Fleet(client, [make_member()])


def test_what_a_lost_worker_would_have_told_is_left_out():
    def run(function, workers, on_error="raise"):
        if on_error == "raise":
            raise OSError("in <TCP (closed) Scheduler Broadcast>")
        return {}

    assert make_asking_fleet(run).run_everywhere(len) == {}


def test_a_scheduler_that_is_lost_while_workers_are_asked_is_one_line():
    def run(*_, **__):
        raise OSError("Timed out trying to connect")

    with pytest.raises(FleetError, match="scheduler of the fleet is lost"):
        make_asking_fleet(run).run_everywhere(len)


def test_tls_without_certificates_is_one_line():
    import distributed

    with pytest.raises(FleetError, match="tls:// needs certificates"):
        read_certificates(distributed)


def test_tls_with_a_certificate_that_is_not_there_is_one_line():
    import dask
    import distributed

    names = {
        "distributed.comm.tls.ca-file": "/nowhere/ca.pem",
        "distributed.comm.tls.client.cert": "/nowhere/fleet.pem",
        "distributed.comm.tls.client.key": "/nowhere/fleet.key",
    }
    with (
        dask.config.set(names),
        pytest.raises(FleetError, match="cannot use its certificates"),
    ):
        read_certificates(distributed)


@pytest.mark.faults
def test_a_scheduler_that_is_not_there_is_one_line(monkeypatch):
    monkeypatch.setattr(fleets, "CONNECT_S", 0.5)
    settings = FleetSettings(FleetAddress(scheduler="tcp://127.0.0.1:1"))
    with (
        pytest.raises(
            FleetError,
            match="cannot reach the scheduler tcp://127.0.0.1:1",
        ),
        open_fleet(settings),
    ):
        raise AssertionError("nobody answers there")


@pytest.mark.parametrize(
    ("name", "is_local", "shown"),
    [
        (0, True, "local-1"),
        (0, False, "worker-1"),
        ("mac", False, "mac"),
        ("\x1b[2J" + "x" * 200, False, "?[2J" + "x" * 96),
    ],
)
def test_a_worker_is_called_as_the_cluster_calls_it(name, is_local, shown):
    assert name_worker(name, is_local) == shown


def test_workers_that_cannot_be_started_are_one_line(monkeypatch):
    class Broken:
        @staticmethod
        def LocalCluster(**_):
            raise RuntimeError("Nanny failed to start\nworker process")

    monkeypatch.setattr(fleets, "import_dask", lambda: Broken)
    settings = FleetSettings(FleetAddress(2))
    with (
        pytest.raises(FleetError) as error,
        open_fleet(settings),
    ):
        raise AssertionError("nothing runs there")
    said = "the fleet does not start: Nanny failed to start"
    assert str(error.value) == said
