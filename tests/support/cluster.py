"""A Dask cluster of this machine: a scheduler and workers as processes of their own."""

import contextlib
import subprocess
import sys

from tests.run.programs import clean_environment


@contextlib.contextmanager
def running_cluster(workers, *more):
    """Start them; yield the scheduler's address and the processes by name.

    workers: name -> what its environment has besides. more: words of every worker's command.
    """
    processes = {}

    def begin(name, words, environment=None):
        processes[name] = subprocess.Popen(
            [sys.executable, "-m", "distributed.cli.dask_" + words[0]]
            + list(words[1:]),
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            env=clean_environment(environment),
        )
        return processes[name]

    def read_until(process, text):
        for line in process.stderr:
            if text in line:
                return line
        raise AssertionError(f"never said: {text}")

    own = ("--host", "127.0.0.1", "--no-dashboard")
    try:
        scheduler = begin("scheduler", ["scheduler", "--port", "0", *own])
        address = read_until(scheduler, "Scheduler at:").split()[-1]
        for name, environment in workers.items():
            words = ["worker", address, "--name", name, "--nthreads", "1"]
            words += ["--no-nanny", *own, *more]
            worker = begin(name, words, environment)
            read_until(worker, "Registered to:")
        yield address, processes
    finally:
        for one in reversed(processes.values()):
            one.kill()
            one.communicate()
