"""Preloaded by a Dask worker: it says that it runs on a machine of its own, and has a power meter.

TEST_MACHINE names the machine; TEST_WATTS is what it takes, without it nothing measures that.
"""

import os
import time

from ollama_bench.monitor import machine
from ollama_bench.run import machine_watch, places

NAME = os.environ["TEST_MACHINE"]
WATTS = float(os.environ.get("TEST_WATTS", 0))
# Dask loads this file more than once
describe_this = getattr(machine, "describe_this", machine.describe)


class Meter:
    """A counter of a package that takes the same at all times."""

    name, device, kind, status = "rapl", "package-0", "counter", "ok"
    scope, dropped = "CPU package", 0

    def __init__(self):
        self.last_ns = time.perf_counter_ns()

    def read(self, at_ns):
        start_ns, self.last_ns = self.last_ns, at_ns
        taken_j = WATTS * (at_ns - start_ns) / 1e9
        return {
            "start_ns": start_ns,
            "end_ns": at_ns,
            "energy_j": taken_j,
            "cpu_energy_j": taken_j,
        }

    def stop(self):
        pass


def describe():
    return {
        **describe_this(),
        "chip": NAME,
        "fingerprint": f'{{"chip": "{NAME}"}}',
    }


machine.describe_this, machine.describe = describe_this, describe
places.read_identity = lambda: NAME
machine_watch.find_sources = lambda: [Meter()] if WATTS else []
