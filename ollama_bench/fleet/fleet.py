"""The fleet of a run: a Dask cluster, its workers, and what must be alike on all of them.

    with open_fleet(FleetSettings(FleetAddress.parse("local:4"))) as fleet:
        fleet.members, fleet.tell(members, "start", contents), fleet.refuse_if_lost()

Dask starts, finds and secures the workers. Over its links each is asked by the coordinator
itself: the scheduler, which is on the way only to find them, delays nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import platform
import signal
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing import resource_tracker
from typing import Any, TypeVar

from ollama_bench import __version__
from ollama_bench.fleet import versions
from ollama_bench.fleet.agent import open_door
from ollama_bench.fleet.link import Link
from ollama_bench.fleet.member import Member, WorkerGoneError
from ollama_bench.inputs.fleet_settings import (
    FleetAddress,
    FleetSettings,
    is_exposed,
)

CONNECT_S = 15.0
ALIVE_S = 5.0
MOST_NAME_CHARS = 100
# what Dask would do all the time for tasks of its own, of which there are none
IDLE = {
    "distributed.admin.system-monitor.gil.enabled": False,
    "distributed.admin.system-monitor.interval": "10s",
    "distributed.admin.tick.interval": "1s",
    "distributed.scheduler.active-memory-manager.start": False,
    "distributed.scheduler.work-stealing": False,
    "distributed.worker.profile.enabled": False,
}
INSTALL = (
    "python -m pip install distributed, "
    "or pipx inject ollama-bench distributed"
)

Found = TypeVar("Found")


class FleetError(Exception):
    """A fleet cannot be used, or not any more; str() is one line for the user."""


class WorkerLostError(FleetError):
    """A worker was lost in the middle of a level; str() is one line with its name."""


class Fleet:
    """The workers of a run that are still there."""

    def __init__(self, client: Any, members: list[Member]) -> None:
        self._client = client
        self.members = members
        self._lines: list[Link] = []  # beside those of the levels

    def tell(
        self,
        members: Sequence[Member],
        word: str,
        contents: Sequence[bytes] | None = None,
    ) -> dict[Member, str]:
        """Tell each something at the same time; return who is gone, and why."""

        async def tell_all() -> list[object]:
            said = contents or [b""] * len(members)
            return await asyncio.gather(
                *(
                    member.ask(word, content)
                    for member, content in zip(members, said, strict=True)
                ),
                return_exceptions=True,
            )

        return self._find_gone(members, self._client.sync(tell_all))

    def compare_clocks(
        self, members: Sequence[Member]
    ) -> dict[Member, str]:
        """Make round trips to each, one after another; return who is gone, and why."""

        async def compare_all() -> list[object]:
            found: list[object] = []
            for member in members:
                found += await asyncio.gather(
                    member.compare_clocks(), return_exceptions=True
                )
            return found

        return self._find_gone(members, self._client.sync(compare_all))

    def _find_gone(
        self, members: Sequence[Member], found: Sequence[object]
    ) -> dict[Member, str]:
        gone = {}
        for member, result in zip(members, found, strict=True):
            if isinstance(result, WorkerGoneError):
                gone[member] = str(result)
            elif isinstance(result, BaseException):
                raise FleetError(
                    f"worker {member.name}: {type(result).__name__}: {result}"
                )
        return gone

    def schedule(self, work: Coroutine[Any, Any, Found]) -> Future[Found]:
        """Have a coroutine run beside this thread."""
        loop = self._client.loop.asyncio_loop
        return asyncio.run_coroutine_threadsafe(work, loop)

    def open_line(self, member: Member) -> Member:
        """Return a worker on a line of its own, beside that of the levels."""
        link = Link(member.address, self._client.connection_args)
        self._lines.append(link)
        return Member(member.name, member.address, link.ask)

    def hang_up(self) -> None:
        """Close the lines that open_line() has opened."""
        for link in self._lines:
            self._client.sync(link.close)
        self._lines = []

    def run_everywhere(
        self, function: Callable[[], Found]
    ) -> dict[Member, Found]:
        """Return what a function of the package returns in each worker that is there.

        Raises FleetError where the scheduler is lost.
        """
        addresses = [member.address for member in self.members]
        try:
            found = self._client.run(
                function, workers=addresses, on_error="ignore"
            )
        except OSError as error:
            self.refuse_if_lost()
            raise FleetError(
                f"the fleet does not answer: {error}"
            ) from None
        return {
            member: found[member.address]
            for member in self.members
            if member.address in found
        }

    def drop(self, members: Sequence[Member]) -> None:
        """Forget workers that are gone. Raises FleetError when none is left."""
        self.refuse_if_lost()
        self.members = [
            member for member in self.members if member not in members
        ]
        if not self.members:
            raise FleetError("no worker of the fleet is left")

    def refuse_if_lost(self) -> None:
        """Raise FleetError where the scheduler is gone."""

        async def ask() -> None:
            await asyncio.wait_for(
                self._client.scheduler.identity(), ALIVE_S
            )

        try:
            if self._client.status == "running":
                self._client.sync(ask)
                return
        except (OSError, TimeoutError, asyncio.TimeoutError):
            pass
        raise FleetError(
            "the scheduler of the fleet is lost; what came is kept, --resume goes on"
        )

    @property
    def is_connected(self) -> bool:
        """Whether the link to the scheduler stands, as far as it is known without asking."""
        return bool(self._client.status == "running")


@contextlib.contextmanager
def open_fleet(settings: FleetSettings) -> Iterator[Fleet]:
    """Start or find the workers, and compare what runs there with this. Raises FleetError."""
    dask = import_dask()
    silence_dask()
    with contextlib.ExitStack() as stack:
        try:
            fleet = make_fleet(dask, settings, stack)
        except (OSError, asyncio.TimeoutError, RuntimeError) as error:
            text = str(error).splitlines() or [type(error).__name__]
            raise FleetError(
                f"the fleet does not start: {text[0]}"
            ) from None
        yield fleet


def make_fleet(
    dask: Any, settings: FleetSettings, stack: contextlib.ExitStack
) -> Fleet:
    """Return the fleet, which the stack closes. Raises FleetError, and what a lost link raises."""
    address = settings.address
    client = connect_client(dask, address, stack)
    members = list_members(client, address.is_local, stack)
    if not members:
        raise FleetError(
            f"no worker at {address.scheduler}: start dask worker {address.scheduler}"
        )
    if not settings.admits_plain:
        refuse_exposed(members)
    compare_versions(client, members)
    client.run(
        open_door,
        ignores_interrupts=address.is_local,
        workers=[member.address for member in members],
    )
    fleet = Fleet(client, members)
    stack.callback(fleet.hang_up)
    return fleet


def import_dask() -> Any:
    """Return Dask's package. Raises FleetError."""
    try:
        import distributed
    except ImportError as error:
        raise FleetError(
            f"--fleet needs Dask ({error}): {INSTALL}"
        ) from None
    return distributed


def silence_dask() -> None:
    """Keep what Dask says of a lost link off the screen: it is told in one line."""
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] in ("distributed", "tornado"):
            logging.getLogger(name).setLevel(logging.CRITICAL)


def connect_client(
    dask: Any, address: FleetAddress, stack: contextlib.ExitStack
) -> Any:
    """Return a client of the cluster; the stack closes it. Raises FleetError."""
    where: Any = address.scheduler
    security = None
    if address.is_local:
        where = stack.enter_context(start_local(dask, address))
    elif address.is_plain:
        refuse_plain(address)
    else:
        security = read_certificates(dask)
    try:
        client = dask.Client(
            where,
            timeout=CONNECT_S,
            security=security,
            set_as_default=False,
        )
    except (OSError, asyncio.TimeoutError, TimeoutError) as error:
        text = str(error).splitlines() or [type(error).__name__]
        raise FleetError(
            f"cannot reach the scheduler {address.scheduler}: {text[0]}"
        ) from None
    stack.callback(client.close)
    return client


def refuse_plain(address: FleetAddress) -> None:
    """Raise FleetError where Dask's configuration forbids a link that is not encrypted.

    Dask itself would first wait half a minute.
    """
    from dask import config

    if config.get("distributed.comm.require-encryption", None):
        raise FleetError(
            f"Dask's configuration requires encryption, which {address.scheduler} lacks: "
            "use tls:// (docs/fleet.md)"
        )


def read_certificates(dask: Any) -> Any:
    """Return what Dask's own configuration says of certificates. Raises FleetError."""
    try:
        security = dask.Security(require_encryption=True)
        found = security.get_connection_args("client")
    except (OSError, ValueError) as error:
        raise FleetError(
            f"tls:// cannot use its certificates: {error}"
        ) from None
    if found.get("ssl_context") is None:
        raise FleetError(
            "tls:// needs certificates, and Dask's configuration names none: see docs/fleet.md"
        )
    return security


def start_local(dask: Any, address: FleetAddress) -> Any:
    """Return processes of this machine, which no other machine can reach. Raises FleetError."""
    from dask import config

    config.set(IDLE)
    start = functools.partial(
        dask.LocalCluster,
        n_workers=address.local_workers,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        # any free port, also of what only says that it is well
        dashboard_address="127.0.0.1:0",
        worker_dashboard_address="127.0.0.1:0",
        # Dask would pause or kill a worker for the memory of its replies
        memory_limit=0,
        silence_logs=logging.CRITICAL,
    )
    if hasattr(signal, "pthread_sigmask"):
        # it unblocks signals where it is started
        resource_tracker.ensure_running()
    with ThreadPoolExecutor(1, initializer=block_interrupts) as pool:
        return pool.submit(start).result()


def block_interrupts() -> None:
    """Have what this thread starts never see the Ctrl-C that a terminal sends to all."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])


def list_members(
    client: Any, is_local: bool, stack: contextlib.ExitStack
) -> list[Member]:
    """Return the workers that the scheduler knows, by name; the stack hangs up."""
    workers = client.scheduler_info(n_workers=-1)["workers"]
    members = []
    for address, facts in workers.items():
        link = Link(address, client.connection_args)
        stack.callback(client.sync, link.close)
        name = name_worker(facts.get("name", address), is_local)
        members.append(Member(name, address, link.ask))
    return sorted(
        members, key=lambda member: (len(member.name), member.name)
    )


def name_worker(name: object, is_local: bool) -> str:
    """Return how a worker is called: as the cluster does, or by its number, from 1."""
    if isinstance(name, int):
        return f"{'local' if is_local else 'worker'}-{name + 1}"
    shown = str(name)[:MOST_NAME_CHARS]
    return "".join(one if one.isprintable() else "?" for one in shown)


def refuse_exposed(members: Sequence[Member]) -> None:
    """Raise FleetError where others can read what a worker is told."""
    for member in members:
        if is_exposed(member.address):
            raise FleetError(
                f"worker {member.name} at {member.address} is not encrypted: use tls:// "
                f"(docs/fleet.md), or --fleet-insecure in a network that you trust"
            )


def compare_versions(client: Any, members: Sequence[Member]) -> None:
    """Raise FleetError where a worker has another version of the package or of Python.

    One that has left meanwhile is missed before the first level.
    """
    # which Dask needs and brings
    import cloudpickle

    facts = client.get_versions()["workers"]
    own = shorten_version(platform.python_version())
    there = [one for one in members if one.address in facts]
    for member in there:
        theirs = shorten_version(facts[member.address]["host"]["python"])
        refuse_other(member, "Python", theirs, own)
    # code is taken along only where Python is the same
    cloudpickle.register_pickle_by_value(versions)
    found = client.run(versions.read_package_version, on_error="ignore")
    for member in there:
        if member.address in found:
            theirs = found[member.address]
            refuse_other(member, "ollama-bench", theirs, __version__)


def refuse_other(
    member: Member, what: str, theirs: str | None, own: str
) -> None:
    """Raise FleetError where a worker has another version of something, or none."""
    if theirs != own:
        raise FleetError(
            f"worker {member.name} has {what} {theirs}, here it is {own}: "
            f"install the same on all"
            if theirs
            else f"worker {member.name} has no {what}: install {own} there"
        )


def shorten_version(python: str) -> str:
    """Return what of a version of Python must be the same: 3.11 of 3.11.7."""
    return ".".join(python.split(".")[:2])
