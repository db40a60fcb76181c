"""ollama-bench: how many a local language model serves at once, how fast, at what energy."""

import os
import sys

if (
    "SUDO_UID" in os.environ
    and hasattr(os, "geteuid")
    and os.geteuid() == 0
):
    # a __pycache__ owned by root would be in the user's way
    sys.dont_write_bytecode = True

__version__ = "1.1.0"
