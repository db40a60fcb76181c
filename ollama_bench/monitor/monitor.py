"""monitor.py - watches the server's processes, the machine and its power while a run goes on.

    python monitor.py                          # Ollama on port 11434, until Ctrl-C
    sudo python monitor.py --duration 60       # with power; root is dropped after the start
    python monitor.py --pid 4711 --interval 0.5
    python monitor.py --powermetrics-log log   # store what powermetrics wrote elsewhere

Fills process, process_sample, system_sample, power_source, power_sample and event. All of
it happens in threads of its own: what fails here is a NULL and one line, never an error of
the run. Energy comes from `power.py`; here its samples are checked, counted and stored.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import platform
import queue
import re
import statistics
import sys
import threading
import time
from typing import Any, Callable, Iterator, Sequence

if "SUDO_UID" in os.environ and hasattr(os, "geteuid") and os.geteuid() == 0:
    sys.dont_write_bytecode = True  # a __pycache__ of root's in your clone would be in your way

try:
    from ollama_bench.terminal import (
        standard,
    )  # first: it says so where Python is too old or lacks the packages
except ModuleNotFoundError as error:
    sys.exit(
        f"{error}: start it without PYTHONSAFEPATH, -P and -I, which hide this tool's own files"
    )
import psutil

from ollama_bench.platforms import awake
from ollama_bench.platforms import conditions
from ollama_bench.platforms import darwin
from ollama_bench.storage import db
from ollama_bench.monitor import machine
from ollama_bench.power import power
from ollama_bench.privilege import privilege
from ollama_bench.terminal.interrupt import Interrupt, on_interrupt

INTERVAL_S = 1.0  # between two looks; finer buys nothing: NVML and powermetrics average 1 s
RESCAN_S = 2.0  # between two looks for new processes: each walks all processes, 3 ms here
SEARCH_S = 10.0  # between two searches for a server that is not there: they cost more
SAME_START_S = 2.0  # a pid with another start is another process; psutil's follows the clock
FORK_S = (
    1.0  # a child younger than this, with its parent's command line, is about to become another
)
PORT = 11434  # Ollama's
FIRST_DOCUMENT_S = 15.0  # powermetrics' first takes 1.3 s; a loaded machine gets ten times that
STALL_INTERVALS = 3  # so many without a sample are a stall (or a sleep, when one spans them)
STALL_S = 5.0  # but never fewer seconds than this
RESTARTS = 3  # of a sampler in one run
RESTART_EVERY_S = 60.0
ENERGIES = ("energy_j", "gpu_energy_j", "cpu_energy_j")
DEAD_RAIL_SAMPLES = 3  # so many successive zeros of energy ...
DEAD_RAIL_S = 3.0  # ... over so long are a dead sensor; the M5's counters step every 2.2 s
BUSY_RATIO = 0.2  # a GPU with less to do may take less than its counter's step, and say 0 J
BARE_SAMPLES = 5  # so many in a row without any energy are told of
READ_BYTES = 1 << 20
SAY_LENGTH = 200  # of a message; a sampler's usage text has pages, and is kept as an event
CONDITIONS = {
    "on_battery": ("on mains", "on battery"),  # what is so when it is 0 and 1
    "low_power_mode": ("low power mode is off", "low power mode is on"),
}
JOIN_S = 8.0  # for a thread to end; a sampler gets power.STOP_S of it


# -- the server's processes -------------------------------------------------------------


def is_serve(cmdline: list[str]) -> bool:
    """Whether a command line is an Ollama server, by Ollama's own rule."""
    name = os.path.basename(cmdline[0]).lower() if cmdline else ""
    words = [word for word in cmdline[1:] if not word.startswith("-")]
    return name in ("ollama", "ollama.exe") and words[:1] in (["serve"], ["start"])


def listens(process: psutil.Process, port: int) -> bool:
    try:
        sockets = (
            getattr(process, "net_connections", None) or process.connections
        )  # before psutil 6
        return any(
            s.status == psutil.CONN_LISTEN and s.laddr.port == port for s in sockets(kind="tcp")
        )
    except power.REFUSALS:
        return False


def cmdline_of(process: psutil.Process) -> list[str] | None:
    """The command line; None where it may not be read or the process is gone."""
    return machine.ask(process.cmdline)


def find_roots(port: int | None, pid: int | None) -> list[psutil.Process]:
    """The processes that are the server: the one named by pid, else Ollama's or any other that
    listens on the port, else (its sockets may not be ours to see) every Ollama there is."""
    if pid is not None:
        named = machine.ask(psutil.Process, pid) if pid >= 0 else None
        return [named] if named else []
    others = [process for process in all_processes() if process.pid != os.getpid()]
    servers = [process for process in others if is_serve(cmdline_of(process) or [])]
    return (
        [server for server in servers if listens(server, port)]
        or listeners(port, others)
        or servers
    )


def all_processes() -> Iterator[psutil.Process]:
    """All there are. One that the system refuses to speak of is left out, not all after it."""
    for pid in machine.ask(psutil.pids) or []:
        if process := machine.ask(psutil.Process, pid):
            yield process


def listeners(port: int, processes: list[psutil.Process]) -> list[psutil.Process]:
    """Who listens on the port: one look at all sockets, or (macOS without root) at each process."""
    try:
        pids = {
            s.pid
            for s in psutil.net_connections(kind="tcp")
            if s.status == psutil.CONN_LISTEN and s.laddr.port == port
        }
        return [process for process in processes if process.pid in pids]
    except power.REFUSALS:
        return [process for process in processes if listens(process, port)]


class Member:
    """One process of the server: its row, and its CPU time when last seen."""

    def __init__(self, process: psutil.Process, role: str, name: str) -> None:
        self.process, self.role, self.name = process, role, name
        self.id: int | None = None
        self.last: tuple[int, float] | None = None  # at_ns, CPU seconds
        self.latest: dict = {}
        self.fds_denied = False
        self.title = f"{role} {name or '?'} ({process.pid})"

    def look(self, at_ns: int, memory_bytes: int | None) -> dict | None:
        """A row of process_sample; None when the process has ended."""
        try:
            with self.process.oneshot():
                if known(self.process.status) == psutil.STATUS_ZOMBIE:
                    return None  # it would read as a process that uses nothing
                times, memory = known(self.process.cpu_times), known(self.process.memory_info)
                threads = known(self.process.num_threads)
        except psutil.NoSuchProcess:
            return None
        except power.REFUSALS:  # nothing of it is ours to read
            return {"at_ns": at_ns}
        row = {
            "at_ns": at_ns,
            "threads": threads,
            "fds": self._fds(),
            "footprint_bytes": darwin.footprint_bytes(self.process.pid),
        }
        if memory:
            row |= {
                "memory_ratio": memory_bytes and memory.rss / memory_bytes,
                "rss_bytes": memory.rss,
                "vms_bytes": memory.vms,
            }
        return row | self._cpu(at_ns, times.user + times.system) if times else row

    def _cpu(self, at_ns: int, cpu_s: float) -> dict:
        """The CPU seconds until now, and how many a second there were since the last look."""
        last, self.last = self.last, (at_ns, cpu_s)
        ratio = None
        if last is not None and at_ns > last[0]:
            ratio = max(cpu_s - last[1], 0) * 1e9 / (at_ns - last[0])
        return {"cpu_s": cpu_s, "cpu_ratio": ratio}

    def _fds(self) -> int | None:
        count = getattr(self.process, "num_fds", None) or getattr(self.process, "num_handles", None)
        try:
            return None if self.fds_denied else count()
        except psutil.AccessDenied:
            self.fds_denied = True  # of another user, and will stay so
        except power.REFUSALS:
            pass
        return None

    def is_of(self, process: psutil.Process) -> bool:
        """Whether this is the process: a pid may be used again, but a start that psutil moved
        with the clock, or does not tell, makes no other."""
        before, now = created(self.process), created(process)
        return (
            self.process == process
            or before is None
            or now is None
            or abs(now - before) < SAME_START_S
        )


class Tree:
    """The servers' processes with their roles, through restarts of a server and its runners.

    A server is looked for on each of the ports; pid names one process instead.
    """

    def __init__(self, ports: Sequence[int], pid: int | None) -> None:
        self.ports, self.pid = tuple(dict.fromkeys(ports)), pid
        self.members: dict[int, Member] = {}  # by pid
        self.searched_s = float("-inf")
        self._found: dict[int | None, list[psutil.Process]] = {
            port: [] for port in (self.ports if pid is None else (None,))
        }

    def rescan(self, now_s: float) -> tuple[list[Member], list[Member]]:
        """Looks for processes; returns who appeared and who vanished since the last time."""
        self._look_for_roots(now_s)
        seen = {process.pid: (process, role) for process, role in self._walk(self.roots)}
        vanished = [
            self.members.pop(pid)
            for pid, member in list(self.members.items())
            if pid not in seen or not member.is_of(seen[pid][0])
        ]
        appeared = [
            Member(process, role, name_of(process))
            for pid, (process, role) in seen.items()
            if pid not in self.members
        ]
        self.members |= {member.process.pid: member for member in appeared}
        return appeared, vanished

    def _look_for_roots(self, now_s: float) -> None:
        """Searches for servers that are not there: at once for one that has just gone, else now and then."""
        gone = False
        for port, roots in self._found.items():
            self._found[port] = [root for root in roots if still_runs(root)]
            gone |= bool(roots) and not self._found[port]
        if all(self._found.values()) or not gone and now_s - self.searched_s < SEARCH_S:
            return
        self.searched_s = now_s
        for port in [port for port, roots in self._found.items() if not roots]:
            self._found[port] = [
                root for root in find_roots(port, self.pid) if root.pid != os.getpid()
            ]

    @property
    def roots(self) -> list[psutil.Process]:
        return [root for roots in self._found.values() for root in roots]

    @property
    def where(self) -> str:
        if self.pid is not None:
            return f" with pid {self.pid}"
        return f" on port{'s' * (len(self.ports) > 1)} {' or '.join(map(str, self.ports))}"

    def slots(self, port: int | None = None) -> tuple[int | None, str | None]:
        """The parallel requests of the newest process that was started with a number of them, of the
        server on this port or of any."""
        roots = self._found.get(port, self.roots)
        walked = sorted(self._walk(roots), key=lambda found: created(found[0]) or 0, reverse=True)
        for process, role in walked:
            cmdline = cmdline_of(process) or []
            if count := parallel_option(cmdline):
                return count, f"command line of the {role}"
            if "--mlx-engine" in cmdline:
                return 1, machine.MLX_ENGINE
        for root in roots:
            if count := whole(environment_of(root).get("OLLAMA_NUM_PARALLEL")):
                return count, "OLLAMA_NUM_PARALLEL of the server"
        return None, None

    def drop(self, member: Member) -> None:
        self.members.pop(member.process.pid, None)

    def _walk(self, roots: list[psutil.Process]):
        """(process, role) of every root and all that descends from it."""
        for root in roots:
            yield root, "serve"
            own = cmdline_of(root)
            for child in descendants(root):
                cmdline = cmdline_of(child)
                age_s = time.time() - (created(child) or 0)  # below 0 where the clock was set
                just_forked = cmdline == own and abs(age_s) < FORK_S  # not yet itself
                if child.pid != os.getpid() and not just_forked and alive(child):
                    yield child, "runner" if is_runner(cmdline or []) else "helper"


def descendants(root: psutil.Process) -> list[psutil.Process]:
    """All that descend from a process; where psutil gives up over one of them, all others."""
    try:
        return root.children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    except power.REFUSALS:
        others = [(machine.ask(process.ppid), process) for process in all_processes()]
    family, found = {root.pid}, []
    while children := [
        process for parent, process in others if parent in family and process.pid not in family
    ]:
        found += children
        family |= {process.pid for process in children}
    return found


def is_runner(cmdline: list[str]) -> bool:
    return any(word == "--model" or word.startswith("--model=") for word in cmdline)


def parallel_option(cmdline: list[str]) -> int | None:
    """The slots in a runner's command line: -np of llama-server, --parallel of Ollama's own."""
    for word, following in zip(cmdline, [*cmdline[1:], ""]):
        name, _, value = word.partition("=")
        if name in ("-np", "--parallel"):
            return whole(value or following)
    return None


def whole(text: str | None) -> int | None:
    """A number of slots, as its owner typed it; None for anything else."""
    return int(text) if re.fullmatch("[0-9]{1,9}", text or "") and int(text) else None


def environment_of(process: psutil.Process) -> dict:
    """Its environment; empty where it may not be read."""
    return machine.ask(process.environ) or {}


def known(call: Callable[[], Any]) -> Any:
    """What psutil answers; None where it can't say. Raises what means that nothing will be said."""
    try:
        return call()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        raise
    except power.REFUSALS:
        return None


def alive(process: psutil.Process) -> bool:
    """Whether it has not ended; one that may not be asked has not."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except power.REFUSALS:
        return True


def still_runs(process: psutil.Process) -> bool:
    """Whether it is alive, and its pid not used again."""
    return machine.ask(process.is_running) is not False and alive(process)


def created(process: psutil.Process) -> float | None:
    """When it started, seconds since 1970."""
    return machine.ask(process.create_time)


def name_of(process: psutil.Process) -> str | None:
    return machine.ask(process.name)


# -- the machine ------------------------------------------------------------------------


class System:
    """Rows of system_sample."""

    def __init__(self) -> None:
        self._last = machine.ask(psutil.cpu_times)
        self.memory_bytes = machine.memory_bytes()

    def look(self, at_ns: int) -> dict:
        return {
            "at_ns": at_ns,
            "cpu_ratio": self._cpu_ratio(),
            "memory_used_bytes": machine.memory_used_bytes(),
            "swap_used_bytes": machine.swap_used_bytes(),
            "memory_pressure": memory_pressure(),
        }

    def _cpu_ratio(self) -> float | None:
        last, self._last = self._last, machine.ask(psutil.cpu_times)
        if last is None or self._last is None:
            return None
        spent, passed = (
            after - before
            for after, before in zip(busy_and_total(self._last), busy_and_total(last))
        )
        return min(max(spent / passed, 0), 1) if passed > 0 else None


def busy_and_total(times) -> tuple[float, float]:
    """Seconds that all cores worked, and all seconds. Linux counts guests in user already."""
    total = sum(times) - getattr(times, "guest", 0) - getattr(times, "guest_nice", 0)
    return total - times.idle - getattr(times, "iowait", 0), total


def memory_pressure() -> str | None:
    """macOS: normal, warn or critical; Linux: the share of the last 10 s in which a task waited."""
    if sys.platform == "darwin":
        level = darwin.sysctl_integer("kern.memorystatus_vm_pressure_level")
        return {1: "normal", 2: "warn", 4: "critical"}.get(level)
    text = power.read_text("/proc/pressure/memory") or ""
    return text.split(" avg60", 1)[0] or None


# -- power ------------------------------------------------------------------------------


class Rail:
    """Tells an energy counter that steps slowly from a dead one.

    An M5's steps every 2.2 s, so that samples of 1 s read 0 and double in turn: kept. On some
    Macs with macOS 27 the CPU's stays 0: no running machine takes 0 J for three seconds, nor does
    a GPU that is busy. So it is not known then, and neither is the sum.
    """

    def __init__(self, part: str, works: Callable[[dict], bool]) -> None:
        self.part, self.column = part, f"{part}_energy_j"
        self.lives: bool | None = None
        self._works = works  # whether a sample shows that part at work
        self._zeros, self._since_ns = 0, 0  # in a row

    def waits(self, sample: dict) -> bool:
        """Takes a sample in; whether its zero can't be judged yet."""
        if sample.get(self.column):
            self.lives = True
        if sample.get(self.column) != 0 or not self._works(sample):
            self._zeros = 0
            return False
        if self.lives is False:
            return False
        if not self._zeros:
            self._since_ns = sample["start_ns"]
        self._zeros += 1
        if self._zeros < DEAD_RAIL_SAMPLES or sample["end_ns"] - self._since_ns < DEAD_RAIL_S * 1e9:
            return True
        self.lives, self._zeros = False, 0
        return False

    def settle(self, sample: dict) -> None:
        """Makes a zero NULL that is of a dead counter, or of one that was never seen to move."""
        unproven = self.lives is None and self._works(sample)
        if sample.get(self.column) == 0 and (self.lives is False or unproven):
            sample.update({self.column: None, "energy_j": None})


class Rails:
    """The counters of a source. Samples are held back while a zero can't be judged."""

    def __init__(self) -> None:
        self.each = (
            Rail("cpu", lambda sample: True),
            Rail("gpu", lambda sample: (sample.get("gpu_busy_ratio") or 0) >= BUSY_RATIO),
        )
        self._held: list[dict] = []

    @property
    def holds(self) -> bool:
        return bool(self._held)

    @property
    def dead(self) -> set[str]:
        return {rail.part for rail in self.each if rail.lives is False}

    def sift(self, sample: dict) -> list[dict]:
        """The samples that may be stored now."""
        self._held.append(sample)
        waiting = [rail.waits(sample) for rail in self.each]
        return [] if any(waiting) else self.release()

    def release(self) -> list[dict]:
        held, self._held = self._held, []
        for sample in held:
            for rail in self.each:
                rail.settle(sample)
        return held


class Track:
    """What becomes of one power source in this run; every sample passes keep()."""

    def __init__(self, monitor: Monitor, source) -> None:
        self.monitor, self.source = monitor, source
        self.name = f"{source.name} {source.device}"
        self.interval_s = getattr(source, "interval_s", monitor.interval_s)
        self.samples = 0
        self.latest: dict = {}
        self.stored_end_ns = (
            0  # of the last sample that is in the file: latest's is later when some are held back
        )
        self.heard_s = time.monotonic()
        self._rails = Rails()
        self._bare = 0  # samples without any energy, in a row
        self._told_bare = False
        self._lock = threading.Lock()  # of the rails: release() comes from the run's thread
        self.id = monitor.writer.insert(
            "power_source",
            {
                "run_id": monitor.run_id,
                "name": source.name,
                "device": source.device,
                "kind": source.kind,
                "scope": source.scope,
                "status": source.status,
            },
        )

    @property
    def live(self) -> bool:
        return self.source.status == "ok"

    @property
    def patience_s(self) -> float:
        """How long the sample over this instant may take to be stored: an interval, with as much again
        for a late one; two more while it is held back, for an M5's CPU counter shows no sooner that it lives."""
        return (4 if self._rails.holds else 2) * self.interval_s

    def keep(self, sample: dict, slept: bool = False) -> None:
        """Checks a sample, whose instants are perf_counter_ns, and stores it."""
        self.heard_s = time.monotonic()
        self._check_energy(sample)
        self._check_gap(sample, slept)
        self._note_thermal(sample)
        self.latest = sample
        with self._lock:
            dead_before = self._rails.dead
            self._store(self._rails.sift(sample))
            newly_dead = self._rails.dead - dead_before
        for part in sorted(newly_dead):
            what = {"cpu": "running CPU", "gpu": "busy GPU"}[part]
            said = f"{self.name} says 0 J for a {what}: it and the sum are NULL"
            self.monitor.note(
                f"{part}_power_zero",
                said + getattr(self.source, "advice", ""),
                say=True,
                at_ns=sample["end_ns"],
            )

    def _check_energy(self, sample: dict) -> None:
        """A source whose samples come without any energy is told of once."""
        known = any(sample.get(column) is not None for column in ENERGIES)
        self._bare = 0 if known else self._bare + 1
        if self._bare == BARE_SAMPLES and not self._told_bare:
            self._told_bare = True
            why = ""
            if self.source.name == "powermetrics" and hasattr(self.source, "launcher"):  # no log
                why = ": a virtual machine has no power sensors" * bool(conditions.is_virtual())
            self.monitor.note(
                "no_energy",
                f"{self.name} gives samples without any energy{why}",
                say=True,
                at_ns=sample["end_ns"],
            )

    def _check_gap(self, sample: dict, slept: bool) -> None:
        """A sample that spans a sleep, in which one of two clocks stood still, has no energy to
        be trusted. A counter that was only read late is exact."""
        span_ns = sample["end_ns"] - sample["start_ns"]
        elapsed_ns = sample.pop("elapsed_ns", span_ns)
        span_s = max(span_ns, elapsed_ns) / 1e9
        slept |= elapsed_ns > 2 * span_ns
        if slept or span_s > STALL_INTERVALS * self.interval_s and self.source.kind != "counter":
            sample.update({column: None for column in ENERGIES if column in sample})
            self.monitor.note(
                "gap",
                f"{self.name}: a sample of {span_s:.1f} s"
                f"{' over a sleep' if slept else ''}; its energy is NULL",
                at_ns=sample["end_ns"],
            )

    def _note_thermal(self, sample: dict) -> None:
        word, before = sample.get("thermal"), self.latest.get("thermal")
        if word and word != before and (before or word.lower() not in ("nominal", "none")):
            self.monitor.note("thermal", f"{self.name}: {word}", at_ns=sample["end_ns"])

    def _store(self, samples: list[dict]) -> None:
        origin_ns = self.monitor.origin_ns
        for sample in samples:
            self.samples += 1
            self.stored_end_ns = sample["end_ns"]
            self.monitor.writer.add(
                "power_sample",
                {
                    **sample,
                    "source_id": self.id,
                    "start_ns": sample["start_ns"] - origin_ns,
                    "end_ns": sample["end_ns"] - origin_ns,
                },
            )

    def release(self) -> None:
        """Stores what is held back: nothing more is waited for."""
        with self._lock:
            self._store(self._rails.release())

    def silent(self, now_s: float, limit_s: float = 0) -> float | None:
        """The limit in seconds when nothing was heard for longer, else None."""
        limit_s = limit_s or max(STALL_INTERVALS * self.interval_s, STALL_S)
        return limit_s if self.live and now_s - self.heard_s > limit_s else None

    def fail(self, why: str, successor: str = "") -> None:
        """Ends this source for the run."""
        self.source.status = why
        goes_on = f", {successor} goes on" if successor else ""
        self.monitor.note(
            "sampler_failed", f"{self.name} gives nothing more{goes_on}: {why}", say=True
        )

    def finish(self) -> None:
        self.release()
        self.monitor.writer.update(
            "power_source",
            self.id,
            {
                "kind": self.source.kind,
                "status": self.source.status,
                "samples": self.samples,
                "dropped": self.source.dropped,
            },
        )


class Feed:
    """Reads one sampler's output in a thread, and starts it again when it ends or stalls."""

    def __init__(self, track: Track, first_document_s: float) -> None:
        self.track = track
        self.first_document_s = first_document_s
        self._restarts_s: list[float] = []
        self._stalled = ""
        self._stopping = threading.Event()

    def run(self) -> None:
        """Until stop(), or until the sampler is given up."""
        try:
            self._follow()
        except Exception as error:  # a source must not be waited for that nobody reads
            self.track.fail(f"{type(error).__name__}: {error}")

    @property
    def source(self):
        return self.track.source

    def _follow(self) -> None:
        why = ""  # it is started again
        while self.track.live and not self._stopping.is_set():
            self.track.heard_s = time.monotonic()
            output = self.source.start()
            if output is None:
                why = self._not_started(why)
                continue
            if self._stopping.is_set():
                self.source.kill()  # stop() came before there was anything to stop
            elif why:
                self.track.monitor.note(
                    "sampler_restarted", f"{self.track.name} is started again: {why}", say=True
                )
            with output:
                self._read(output)
            if not self._stopping.is_set():
                why, self._stalled = self._recover(self._stalled or self.source.complaint()), ""

    def _not_started(self, why: str) -> str:
        if not self._stopping.is_set():
            self._give_up(
                f"{why}, and it can't be started again"
                if why
                else self.source.complaint() or "it can't be started"
            )
        return ""

    def _read(self, output) -> None:
        descriptor = output.fileno()
        while data := os.read(descriptor, READ_BYTES):
            for sample in self.source.feed(data, time.perf_counter_ns()):
                self.track.keep(sample)
        self.source.finish()

    def _recover(self, why: str) -> str:
        """Before another start: rests, for it comes at most once a minute; returns what is to be said of it then.
        A sampler that gave nothing at all gets a simpler command, if it was refused; else it is given up."""
        if not self.track.latest:
            if not self.source.refused(why):
                self._give_up(why)
            return ""
        if len(self._restarts_s) >= RESTARTS:
            self._give_up(f"{why}, after {RESTARTS} restarts")
            return ""
        if self._restarts_s:
            self.track.heard_s = float("inf")  # nothing to hear while it rests
            self._stopping.wait(self._restarts_s[-1] + RESTART_EVERY_S - time.monotonic())
        self._restarts_s.append(time.monotonic())
        return why

    def _give_up(self, why: str) -> None:
        """Ends the source for the run; where another knows the same, that one is followed from now on."""
        failed, successor = self.track, self.source.successor and self.source.successor()
        if successor:
            self.track, self._restarts_s = Track(failed.monitor, successor), []
            failed.monitor.tracks.append(self.track)
        failed.fail(why, successor.name if successor else "")

    def watch(self, now_s: float) -> None:
        """Called by the monitor's own thread: ends a sampler that says nothing any more."""
        limit_s = self.track.silent(now_s, 0 if self.track.latest else self.first_document_s)
        if limit_s and not self._stopping.is_set():
            self._stalled = f"no sample in {limit_s:g} s"
            self.track.heard_s = now_s
            kill = functools.partial(self.track.monitor._safely, "sampler", self.source.kill)
            threading.Thread(
                target=kill, name="sampler's end", daemon=True
            ).start()  # it may take seconds

    def stop(self) -> None:
        self._stopping.set()
        self.source.stop()


class Monitor:
    """Samples the server, the machine and its power in threads until stop().

    Nothing it meets raises into the caller; say() is called once per kind of problem.
    """

    def __init__(
        self,
        writer,
        run_id: int,
        origin_ns: int,
        *,
        sources: list,
        ports: Sequence[int] = (),
        pid: int | None = None,
        interval_s: float = INTERVAL_S,
        say=None,
        first_document_s: float = FIRST_DOCUMENT_S,
    ) -> None:
        self.writer, self.run_id, self.origin_ns = writer, run_id, origin_ns
        self.interval_s = interval_s
        self.say = say or print_line
        self._said: set[str] = set()
        self._cpu_s: list[float] = []  # CPU seconds of each thread that has ended
        self._edges: queue.SimpleQueue = queue.SimpleQueue()  # mark() puts, the thread takes
        self._stopping = threading.Event()
        self._looked = threading.Event()
        self.tree = Tree(ports, pid) if ports or pid is not None else None
        self._system = System()
        self._clocks = (time.time(), awake.continuous_ns(), awake.slept_ns())
        self._conditions = conditions.Watch()
        self.tracks = [Track(self, source) for source in sources]
        self._feeds = [
            Feed(track, first_document_s) for track in self.tracks if hasattr(track.source, "feed")
        ]
        self._polled = [track for track in self.tracks if hasattr(track.source, "read")]
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        for track in self.tracks:
            if not track.live:
                self.tell(track.source.name, f"power: {track.name} {track.source.status}")
        if not self.tracks:
            self.tell("power", "power: this machine shows no sensor that could be read")
        if self.tree is None:
            self.tell("remote", "processes: not watched, the server runs on another machine")
        for work, name in [
            (self._poll, "monitor"),
            *((feed.run, feed.track.source.name) for feed in self._feeds),
        ]:
            thread = threading.Thread(target=self._account, args=(work,), name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def wait_first_sample(self, timeout_s: float = FIRST_DOCUMENT_S) -> bool:
        """Waits until every source that works has given a sample; False when time ran out."""
        until_s = time.monotonic() + timeout_s
        while time.monotonic() < until_s:
            if self._looked.is_set() and all(
                track.latest or not track.live for track in self.tracks
            ):
                return True
            time.sleep(0.02)
        return False

    def mark(self) -> None:
        """Says that a level begins or ends: counters are read and processes looked for at once."""
        self._edges.put(True)

    def wait_covered(self, at_ns: int, interrupt: Interrupt | None = None) -> bool:
        """Waits until the stored power samples reach at_ns (perf_counter_ns); False when they did not.

        A level's energy is known only when the samples over its end have come: one interval
        later, a few when its CPU counter is slow. Never waits longer than that, nor for a
        source that gives none; what is held back then is stored as it is.
        """
        waiting, began_s = (
            [track for track in self.tracks if track.live and track.latest],
            time.monotonic(),
        )
        while late := [track for track in waiting if track.live and track.stored_end_ns < at_ns]:
            out_of_time = time.monotonic() - began_s > max(track.patience_s for track in late)
            if out_of_time or interrupt is not None and interrupt.is_set():
                for track in late:
                    self._safely("power", track.release)
                return False
            time.sleep(0.01)
        return True

    def slots(self, port: int | None = None) -> tuple[int | None, str | None]:
        """How many requests at a time the server on this port (or any) is set to, and where that was read."""
        try:
            return self.tree.slots(port) if self.tree else (None, None)
        except power.REFUSALS:
            return None, None

    def latest(self) -> dict:
        """What was seen last: power_w, gpu_power_w, gpu_mhz, gpu_busy_ratio, thermal, rss_bytes,
        footprint_bytes, cpu_ratio."""
        now_ns, fresh = time.perf_counter_ns(), []
        for track in self.tracks:
            if (
                track.latest
                and now_ns - track.latest["end_ns"] < (STALL_S + track.interval_s) * 1e9
            ):
                fresh.append(track.latest)
        members = (
            [member.latest for member in list(self.tree.members.values())] if self.tree else []
        )
        return {
            "power_w": total(watts(sample, "energy_j") for sample in fresh),
            "gpu_power_w": total(watts(sample, "gpu_energy_j") for sample in fresh),
            "gpu_mhz": largest(sample.get("gpu_mhz") for sample in fresh),
            "gpu_busy_ratio": largest(sample.get("gpu_busy_ratio") for sample in fresh),
            "thermal": next((sample["thermal"] for sample in fresh if sample.get("thermal")), None),
            "rss_bytes": total(row.get("rss_bytes") for row in members),
            "footprint_bytes": total(row.get("footprint_bytes") for row in members),
            "cpu_ratio": total(row.get("cpu_ratio") for row in members),
        }

    def stop(self) -> dict:
        """Ends all threads and samplers, stores what is left; returns what watching cost."""
        self._stopping.set()
        self._edges.put(False)
        for feed in self._feeds:
            self._safely("sampler", feed.stop)
        until_s = time.monotonic() + JOIN_S
        for thread in self._threads:
            thread.join(max(until_s - time.monotonic(), 0))
        for track in self.tracks:
            self._safely("power", track.source.stop)
            self._safely("power", track.finish)
        samplers = [
            track.source.launcher for track in self.tracks if hasattr(track.source, "launcher")
        ]
        return {
            "monitor_cpu_s": sum(self._cpu_s),
            "sampler_cpu_s": sum(launcher.cpu_s for launcher in samplers),
        }

    def note(self, kind: str, detail: str, say: bool = False, at_ns: int | None = None) -> None:
        """Stores an event, of now unless at_ns says when; with say it is also told, for it concerns a power source."""
        at_ns = time.perf_counter_ns() if at_ns is None else at_ns
        self.writer.add(
            "event",
            {
                "run_id": self.run_id,
                "at_ns": at_ns - self.origin_ns,
                "kind": kind,
                "detail": detail,
            },
        )
        if say:
            self.tell(kind, f"power: {detail:.{SAY_LENGTH}}")

    def tell(self, kind: str, text: str) -> None:
        """One line for the user, once per kind."""
        if kind not in self._said:
            self._said.add(kind)
            self.say(text)

    def _account(self, work) -> None:
        """Runs a thread's work and notes the CPU time that it took."""
        self._safely(threading.current_thread().name, work)
        self._cpu_s.append(time.thread_time())

    def _safely(self, kind: str, work) -> None:
        """Whatever goes wrong in watching must not reach the run."""
        try:
            work()
        except Exception as error:
            self.tell(f"{kind} failed", f"monitor: {kind}: {type(error).__name__}: {error}")

    def _poll(self) -> None:
        due_s = rescan_s = time.monotonic()
        while not self._stopping.is_set():
            now_s = time.monotonic()
            tick = now_s >= due_s
            if not tick and not self._wait_for_edge(due_s - now_s):
                continue
            self._read_polled()
            if not tick or now_s >= rescan_s:
                self._safely("processes", self._rescan)
                rescan_s = now_s + RESCAN_S
            if tick:
                self._look()
                due_s = max(due_s + self.interval_s, time.monotonic())
        self._read_polled()  # up to the very end

    def _wait_for_edge(self, timeout_s: float) -> bool:
        try:
            return self._edges.get(timeout=timeout_s)
        except queue.Empty:
            return False

    def _look(self) -> None:
        self._look_at_processes()
        self._safely("machine", self._look_at_machine)
        self._safely("conditions", self._look_at_conditions)
        self._safely("power", self._look_for_silence)
        self._looked.set()

    def _look_for_silence(self) -> None:
        for feed in self._feeds:
            feed.watch(time.monotonic())
        for track in self._polled:
            if limit_s := track.silent(time.monotonic()):
                track.heard_s = float("inf")  # said once; keep() hears it again
                self.note("sampler_silent", f"{track.name}: no sample in {limit_s:g} s", say=True)

    def _read_polled(self) -> None:
        slept = self._slept()
        for track in self._polled:
            self._safely(track.name, functools.partial(self._read_one, track, slept))

    def _read_one(self, track: Track, slept: bool) -> None:
        sample = track.source.read(time.perf_counter_ns())
        if sample:
            track.keep(sample, slept)

    def _slept(self) -> bool:
        """Whether the machine slept since the last look; that its clock was set is noted too."""
        before, now = self._clocks, (time.time(), awake.continuous_ns(), awake.slept_ns())
        self._clocks = now
        slept_s = awake.slept_s(before[2], now[2])
        moved_s = (now[0] - before[0]) - (now[1] - before[1]) / 1e9
        if slept_s:
            self.note("sleep", f"the machine slept for {slept_s:.1f} s")
        if abs(moved_s) <= max(STALL_S, STALL_INTERVALS * self.interval_s):
            return bool(slept_s)
        if slept_s is None:  # a system without clocks that tell them apart
            self.note("sleep", f"the machine slept, or its clock was set, by {moved_s:.0f} s")
            return True
        self.note("clock_set", f"the clock was set by {moved_s:+.0f} s")
        return bool(slept_s)

    def _rescan(self) -> None:
        if self.tree is None:
            return
        appeared, vanished = self.tree.rescan(time.monotonic())
        for member in vanished:
            self.note("process_vanished", member.title)
        for member in appeared:
            member.id = self.writer.insert(
                "process",
                {
                    "run_id": self.run_id,
                    "pid": member.process.pid,
                    "created_unix": created(member.process),
                    "role": member.role,
                    "name": member.name,
                },
            )
            self.note("process_appeared", member.title)
        if not self.tree.members:
            self.tell(
                "processes",
                f"processes: no server{self.tree.where}; looking again every {SEARCH_S:g} s",
            )

    def _look_at_processes(self) -> None:
        members = list(self.tree.members.values()) if self.tree else []
        for member in members:
            self._safely("processes", functools.partial(self._look_at_one, member))
        if denied := sum(member.fds_denied for member in members):
            self.tell(
                "fds",
                f"processes: open files of {denied} process{'es' * (denied > 1)} are not ours to count: NULL",
            )

    def _look_at_one(self, member: Member) -> None:
        row = member.look(time.perf_counter_ns() - self.origin_ns, self._system.memory_bytes)
        if row is None:
            self.tree.drop(member)
            self.note("process_vanished", member.title)
            return
        member.latest = row
        if member.id is not None:
            self.writer.add("process_sample", {"process_id": member.id, **row})

    def _look_at_machine(self) -> None:
        row = self._system.look(time.perf_counter_ns() - self.origin_ns)
        self.writer.add("system_sample", {"run_id": self.run_id, **row})

    def _look_at_conditions(self) -> None:
        for name, is_so in self._conditions.look(time.perf_counter_ns()):
            self.note(name, CONDITIONS[name][is_so])
            if is_so:
                self.tell(name, f"machine: {CONDITIONS[name][True]}: many machines are slower so")

    def conditions_since(self, since_ns: int) -> dict[str, int | None]:
        """Columns of a level that began at since_ns (perf_counter_ns) and ends now."""
        return self._conditions.since(since_ns)


def watts(sample: dict, rail: str) -> float | None:
    energy_j = sample.get(rail)
    return None if energy_j is None else energy_j * 1e9 / (sample["end_ns"] - sample["start_ns"])


def total(values) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def largest(values) -> float | None:
    return max((value for value in values if value is not None), default=None)


def print_line(text: str) -> None:
    with contextlib.suppress(OSError):  # nobody reads it
        print(standard.clean_line(text), file=sys.stderr, flush=True)
