"""The server of --demo: the simulator as a child process, which ends with us."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from ollama_bench.run.error import RunError
from ollama_bench.simulator import child

# with these the demo takes less than a minute
SHORT_REPLIES = (
    "--profile",
    "m2pro-7b",
    "--slots",
    "19",
    "--tokens",
    "45-75",
)
INTERVAL_S = 0.2  # of its powermetrics: a level of the demo lasts seconds


@dataclass(frozen=True)
class DemoServer:
    """A simulated Ollama on a free port, and a simulated powermetrics that draws what it draws."""

    url: str
    pid: int
    powermetrics: list[str]  # its command line


@contextlib.contextmanager
def start_server() -> Iterator[DemoServer]:
    """Run the server of a demo while the context lasts. Raises RunError."""
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(child.start(*SHORT_REPLIES))
        except child.StartError as error:
            raise RunError(str(error)) from None
        port = urlsplit(server.url).port
        assert port is not None
        powermetrics = child.powermetrics_command(
            port, round(INTERVAL_S * 1000)
        )
        yield DemoServer(server.url, server.pid, powermetrics)
