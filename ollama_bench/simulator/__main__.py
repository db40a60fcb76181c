"""Run the simulator: python -m ollama_bench.simulator --help."""

import importlib.util
import sys

if sys.version_info < (3, 10):  # noqa: UP036
    version = "{}.{}".format(*sys.version_info[:2])
    sys.exit(
        f"Python 3.10 or newer is needed, and {sys.executable} is {version}: "
        "see docs/install.md"
    )

if importlib.util.find_spec("uvicorn") is None:
    sys.exit(
        "No module named 'uvicorn': start it with .venv/bin/python, or see docs/install.md"
    )

from ollama_bench.simulator.cli import main

if __name__ == "__main__":
    sys.exit(main())
