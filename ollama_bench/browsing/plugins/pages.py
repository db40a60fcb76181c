"""Gives Datasette the pages of results files from a clone, where nothing is installed.

datasette results.db --plugins-dir ollama_bench/browsing/plugins
"""

from __future__ import annotations

import sys
from pathlib import Path

from datasette.plugins import pm

NAME = "ollama_bench"  # its entry point, where the package is installed

if not pm.has_plugin(NAME):
    sys.path.append(str(Path(__file__).resolve().parents[3]))
    from ollama_bench.browsing import datasette_plugin

    pm.register(datasette_plugin, NAME)
