"""Start the simulator as a child process, which ends with us."""

from __future__ import annotations

import os
import subprocess
import sys

from ollama_bench.run.error import RunError
from ollama_bench.simulator import child

END_PATIENCE_S = 10.0


class SimulatorProcess:
    """The simulator on a free port; ``url`` is its address, ``pid`` its process."""

    def __init__(self, *arguments: str) -> None:
        """Start it with these arguments. Raises RunError."""
        self._process = start(
            *("--port", "0", "--parent-pid", str(os.getpid())), *arguments
        )
        self.pid = self._process.pid
        try:
            self.url = self._read_url()
        except BaseException:  # Ctrl-C too: nobody else would end it
            self.end()
            raise

    def _read_url(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.startswith("listening on "):
            raise RunError(
                f"the simulator did not start: {line.strip() or 'see above'}"
            )
        return line.split()[-1]

    def end(self) -> None:
        """End it, politely first."""
        self._process.terminate()
        try:
            self._process.wait(END_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


def start(*arguments: str) -> subprocess.Popen[str]:
    """Start the simulator by the Python that runs this program. Raises RunError."""
    try:
        return subprocess.Popen(
            child.command(*arguments),
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for us to handle
            # the same on Windows
            creationflags=getattr(
                subprocess, "CREATE_NEW_PROCESS_GROUP", 0
            ),
        )
    except OSError as error:
        hint = ""
        # root was given up: root's own Python may be out of reach
        if isinstance(error, PermissionError) and "SUDO_UID" in os.environ:
            hint = "; use an environment that your user can read, not one in root's home"
        raise RunError(
            f"cannot start the simulator by {sys.executable}: {error.strerror}{hint}"
        ) from None
