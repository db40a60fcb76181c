"""What is stored and said of the server's processes."""

from __future__ import annotations

from ollama_bench.monitor.journal import Journal
from ollama_bench.monitor.process_sample import ServerProcess
from ollama_bench.monitor.process_tree import ProcessTree
from ollama_bench.monitor.server_watch import ServerWatch
from tests.monitor.support import Denied, Rows


def test_processes_whose_files_are_not_ours_to_count_are_counted_and_said_once():
    said, rows = [], Rows()
    tree = ProcessTree([1], None)
    tree.members = {
        number: ServerProcess(Denied(False), "runner", "llama-server")
        for number in range(3)
    }
    watch = ServerWatch(
        tree, rows, Journal(rows, 1, 0, said.append), run_id=1, origin_ns=0
    )
    for _ in range(3):
        watch.sample(10**10)
    assert said == [
        "processes: cannot read the open-file count of 3 processes (permission denied)"
    ]
