"""Run the command as python -m ollama_bench."""

import sys

from ollama_bench.cli import main

if __name__ == "__main__":
    sys.exit(main())
