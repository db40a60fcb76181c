"""Run the import: python -m ollama_bench import --help."""

import os
import sys

if (
    "SUDO_UID" in os.environ
    and hasattr(os, "geteuid")
    and os.geteuid() == 0
):
    # a __pycache__ that belongs to root would be in the user's way
    sys.dont_write_bytecode = True

from ollama_bench.terminal import interpreter

# Python's version and the packages, before anything needs them
interpreter.check()
from ollama_bench.formats.study.importer import main

if __name__ == "__main__":
    sys.exit(main())
