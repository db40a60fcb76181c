"""Fixtures of the monitor's tests."""

from __future__ import annotations

import contextlib
import sys

import pytest

from ollama_bench.power.powermetrics_command import SAMPLERS
from ollama_bench.power.sources import find_sources
from tests.monitor.support import (
    FAKE,
    Watched,
    document,
)


@pytest.fixture
def fake(tmp_path):
    """fake(mode) -> the source of a powermetrics that behaves so, ten documents a second."""
    (tmp_path / "fake.py").write_text(FAKE)
    (tmp_path / "document").write_bytes(document())

    def source(mode):
        command = [
            sys.executable,
            str(tmp_path / "fake.py"),
            str(tmp_path),
            mode,
            "--samplers",
            SAMPLERS[0],
            "-i",
            "100",
        ]
        return find_sources(powermetrics_command=command)[0]

    return source


@pytest.fixture
def watch(tmp_path):
    """watch(sources, **options) -> Watched, started; stopped and closed at the end."""
    with contextlib.ExitStack() as stack:

        def start(sources=(), **options):
            watched = Watched(
                tmp_path / "results.db", list(sources), options
            )
            stack.callback(watched.writer.close)
            stack.callback(watched.monitor.stop)
            watched.monitor.start()
            return watched

        yield start
