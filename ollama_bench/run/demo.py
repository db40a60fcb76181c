"""The server of --demo: the simulator as a child process, which ends with us."""

from __future__ import annotations

from urllib.parse import urlsplit

from ollama_bench.run.simulator_process import SimulatorProcess
from ollama_bench.simulator import child

# under a minute
SHORT_REPLIES = (
    "--profile",
    "m2pro-7b",
    "--slots",
    "19",
    "--tokens",
    "45-75",
)
INTERVAL_S = 0.2  # of its powermetrics: a level of the demo lasts seconds


class DemoServer:
    """A simulated Ollama on a free port.

    ``url`` is its address, ``pid`` its process, ``powermetrics`` the command line of a simulated
    powermetrics that draws what it draws.
    """

    def __enter__(self) -> DemoServer:
        self._process = SimulatorProcess(*SHORT_REPLIES)
        self.url, self.pid = self._process.url, self._process.pid
        port = urlsplit(self.url).port
        assert port is not None
        self.powermetrics = child.powermetrics_command(
            port, round(INTERVAL_S * 1000)
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.end()
