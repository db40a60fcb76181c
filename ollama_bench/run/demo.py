"""The server of --demo: the simulator as a child process, which ends with us."""

from __future__ import annotations

import os
import subprocess
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
END_PATIENCE_S = 10.0


class DemoServer:
    """A simulated Ollama on a free port.

    ``url`` is its address, ``pid`` its process, ``powermetrics`` the command line of a simulated
    powermetrics that draws what it draws.
    """

    def __enter__(self) -> DemoServer:
        self._process = subprocess.Popen(
            child.command(
                "--port",
                "0",
                "--parent-pid",
                str(os.getpid()),
                *SHORT_REPLIES,
            ),
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for us to handle
            # the same on Windows
            creationflags=getattr(
                subprocess, "CREATE_NEW_PROCESS_GROUP", 0
            ),
        )
        try:
            self.url = self._read_url()
        except BaseException:  # Ctrl-C too: nobody else would end it
            self.__exit__()
            raise
        self.pid = self._process.pid
        port = urlsplit(self.url).port
        assert port is not None
        self.powermetrics = child.powermetrics_command(
            port, round(INTERVAL_S * 1000)
        )
        return self

    def _read_url(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.startswith("listening on "):
            raise RunError(
                f"the simulator did not start: {line.strip() or 'see above'}"
            )
        return line.split()[-1]

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(END_PATIENCE_S)
        if self._process.stdout is not None:
            self._process.stdout.close()
