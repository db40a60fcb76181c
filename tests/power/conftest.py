"""Fixtures shared by the tests of power sources."""

import sys

import pytest

from ollama_bench.power import sources


@pytest.fixture(autouse=True)
def linux(monkeypatch):
    """Linux without an NVIDIA driver."""
    monkeypatch.setattr(sources, "load_nvml", lambda: None)
    monkeypatch.setattr(sys, "platform", "linux")
