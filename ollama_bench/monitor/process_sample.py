"""process_sample.py - samples one process of the server: rows of process and process_sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import psutil

from ollama_bench.monitor.processes import read_name, read_start_time
from ollama_bench.monitor.refusals import REFUSALS, ask_living
from ollama_bench.monitor.store import Store
from ollama_bench.platforms import darwin

# a greater difference is another process; psutil's start follows the clock
SAME_START_S = 2.0

Role = Literal["serve", "runner", "helper"]


@dataclass(frozen=True)
class ProcessSample:
    """A row of process_sample without process_id; None is unknown."""

    at_ns: int
    cpu_s: float | None = None
    # CPU seconds a second since the last sample
    cpu_ratio: float | None = None
    rss_bytes: int | None = None
    vms_bytes: int | None = None
    footprint_bytes: int | None = None  # what macOS charges to the process
    memory_ratio: float | None = None
    threads: int | None = None
    fds: int | None = None


@dataclass(frozen=True)
class CpuReading:
    at_ns: int
    cpu_s: float


class ServerProcess:
    """One process of the server, its row and its latest sample.

    All of it belongs to the monitor's own thread; other threads only read `latest`.
    """

    def __init__(
        self, process: psutil.Process, role: Role, name: str | None
    ) -> None:
        self.process = process
        self.role = role
        self.name = name
        # id in the table process, once it is stored
        self.row_id: int | None = None
        self.latest: ProcessSample | None = None
        self.fds_denied = False
        self._last_cpu: CpuReading | None = None
        self._taken_cpu_s = 0.0

    @property
    def kind(self) -> tuple[str, str]:
        """Return its role and its name, as all of its kind have them."""
        return self.role, self.name or "?"

    @property
    def title(self) -> str:
        return f"{self.role} {self.name or '?'} ({self.process.pid})"

    def register(self, store: Store, run_id: int) -> None:
        """Insert the row of this process."""
        row = {
            "run_id": run_id,
            "pid": self.process.pid,
            "created_unix": read_start_time(self.process),
            "role": self.role,
            "name": self.name,
        }
        self.row_id = store.insert("process", row)

    def sample(
        self, at_ns: int, memory_bytes: int | None
    ) -> ProcessSample | None:
        """Return a sample, None when the process has ended.

        memory_bytes: the machine's memory, of which memory_ratio is a share.
        """
        try:
            sample = self._read(at_ns, memory_bytes)
        except psutil.NoSuchProcess:
            return None
        except REFUSALS:  # the process belongs to another user
            sample = ProcessSample(at_ns)
        if sample is not None:
            self.latest = sample
        return sample

    def _read(
        self, at_ns: int, memory_bytes: int | None
    ) -> ProcessSample | None:
        with self.process.oneshot():
            if ask_living(self.process.status) == psutil.STATUS_ZOMBIE:
                return None  # it would read as a process that uses nothing
            times = ask_living(self.process.cpu_times)
            memory = ask_living(self.process.memory_info)
            threads = ask_living(self.process.num_threads)
        cpu_s = times.user + times.system if times else None
        return ProcessSample(
            at_ns=at_ns,
            cpu_s=cpu_s,
            cpu_ratio=None
            if cpu_s is None
            else self._measure_cpu_ratio(at_ns, cpu_s),
            rss_bytes=memory.rss if memory else None,
            vms_bytes=memory.vms if memory else None,
            footprint_bytes=darwin.read_footprint_bytes(self.process.pid),
            memory_ratio=memory.rss / memory_bytes
            if memory and memory_bytes
            else None,
            threads=threads,
            fds=self._count_fds(),
        )

    def _measure_cpu_ratio(self, at_ns: int, cpu_s: float) -> float | None:
        last, self._last_cpu = self._last_cpu, CpuReading(at_ns, cpu_s)
        if last is None or at_ns <= last.at_ns:
            return None
        return max(cpu_s - last.cpu_s, 0) * 1e9 / (at_ns - last.at_ns)

    def take_cpu_s(self) -> float | None:
        """Return the CPU seconds that were not taken yet, at first since the process started."""
        if self._last_cpu is None:
            return None
        taken_s = self._taken_cpu_s
        self._taken_cpu_s = max(taken_s, self._last_cpu.cpu_s)
        return self._taken_cpu_s - taken_s

    def _count_fds(self) -> int | None:
        """Return the number of open files, on Windows of handles."""
        if self.fds_denied:
            return None
        count = getattr(self.process, "num_fds", None) or getattr(
            self.process, "num_handles", None
        )
        if count is None:
            return None
        try:
            return int(count())
        except psutil.AccessDenied:
            # it is another user's process, and will remain so
            self.fds_denied = True
        except REFUSALS:
            pass
        return None

    def is_same_process(self, process: psutil.Process) -> bool:
        """Return whether this is the process, whose pid might have been reused.

        A start that psutil moved with the clock, or does not tell, makes no other process.
        """
        if self.process == process:
            return True
        before, now = (
            read_start_time(self.process),
            read_start_time(process),
        )
        return (
            before is None
            or now is None
            or abs(now - before) < SAME_START_S
        )


def make_server_process(
    process: psutil.Process, role: Role
) -> ServerProcess:
    return ServerProcess(process, role, read_name(process))
