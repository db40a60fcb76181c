"""How to start the simulator as a child process, from any working directory.

    subprocess.Popen(child.command("--port", "0"), stdout=subprocess.PIPE, text=True)
    child.powermetrics_command(port, interval_ms=200)

A running server prints one line, "listening on URL", once it accepts connections.
"""

from __future__ import annotations

import sys
from pathlib import Path

PACKAGE_PARENT = Path(__file__).resolve().parents[2]

# `python -m` would search the working directory first, even before PYTHONPATH: a random.py or
# another ollama_bench there would be run. So the working directory is taken out of the path, and
# the directory of this very package is put first unless it is on the path already (site-packages).
START = (
    "import sys; folder = sys.argv.pop(1); sys.path[:1] = filter(None, sys.path[:1]); "
    "folder in sys.path or sys.path.insert(0, folder); "
    "from ollama_bench.simulator.cli import main; sys.exit(main())"
)


def command(*arguments: str) -> list[str]:
    """Return the command line that runs the simulator with these arguments."""
    return [sys.executable, "-c", START, str(PACKAGE_PARENT), *arguments]


def powermetrics_command(
    port: int, interval_ms: int, *more: str
) -> list[str]:
    """Return the command line of its powermetrics, for the server on this port, in plist format."""
    asked = [
        "--port",
        str(port),
        "-f",
        "plist",
        "-b",
        "0",
        "-i",
        str(interval_ms),
    ]
    return command("powermetrics", *asked, *more)
