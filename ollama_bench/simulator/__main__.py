"""Run the simulator: python -m ollama_bench.simulator --help."""

import sys

from ollama_bench.simulator.cli import main

if __name__ == "__main__":
    sys.exit(main())
