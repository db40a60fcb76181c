"""server_watch.py - stores the server's processes and their samples."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ollama_bench.monitor.journal import Journal
from ollama_bench.monitor.process_sample import ServerProcess
from ollama_bench.monitor.process_tree import SEARCH_S, ProcessTree
from ollama_bench.monitor.store import Store


class ServerWatch:
    """The server's processes in this run; for the monitor's own thread."""

    def __init__(
        self,
        tree: ProcessTree,
        store: Store,
        journal: Journal,
        run_id: int,
        origin_ns: int,
    ) -> None:
        self.tree = tree
        # CPU seconds of all processes that were seen, by role and name
        self.cpu_s: dict[tuple[str, str], float] = {}
        self._store = store
        self._journal = journal
        self._run_id = run_id
        self._origin_ns = origin_ns

    @property
    def processes(self) -> Sequence[ServerProcess]:
        return list(self.tree.members.values())

    def rescan(self) -> None:
        """Look for processes, and note which appeared and vanished."""
        changes = self.tree.rescan(time.monotonic())
        for process in changes.vanished:
            self._journal.note("process_vanished", process.title)
        for process in changes.appeared:
            process.register(self._store, self._run_id)
            self._journal.note("process_appeared", process.title)
        if not self.tree.members:
            text = f"processes: no server {self.tree.place}; searching again every {SEARCH_S:g} s"
            self._journal.tell("processes", text)

    def sample(self, memory_bytes: int | None) -> None:
        """Store a sample of each process; memory_bytes: the machine's memory."""
        processes = self.processes
        for process in processes:
            self._sample_guarded(process, memory_bytes)
        if denied := sum(process.fds_denied for process in processes):
            noun = "process" if denied == 1 else "processes"
            text = f"processes: cannot read the open-file count of {denied} {noun}"
            self._journal.tell("fds", f"{text} (permission denied)")

    def _add_up_cpu(self, process: ServerProcess) -> None:
        used_s = process.take_cpu_s()
        if used_s is not None:
            before_s = self.cpu_s.get(process.kind, 0.0)
            self.cpu_s[process.kind] = before_s + used_s

    def _sample_guarded(
        self, process: ServerProcess, memory_bytes: int | None
    ) -> None:
        self._journal.guard(
            "processes", lambda: self._sample_one(process, memory_bytes)
        )

    def _sample_one(
        self, process: ServerProcess, memory_bytes: int | None
    ) -> None:
        at_ns = time.perf_counter_ns() - self._origin_ns
        sample = process.sample(at_ns, memory_bytes)
        self._add_up_cpu(process)
        if sample is None:
            self.tree.remove(process)
            self._journal.note("process_vanished", process.title)
        elif process.row_id is not None:
            row = {"process_id": process.row_id, **vars(sample)}
            self._store.add("process_sample", row)
