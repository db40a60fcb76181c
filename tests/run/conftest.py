"""Simulators that serve a whole file of tests."""

import pytest


@pytest.fixture(scope="module")
def fast(module_sim):
    return module_sim(profile="exact", ttft=60, itl=5, tokens=30, slots=4)


@pytest.fixture(scope="module")
def slow(module_sim):
    return module_sim(profile="exact", ttft=20, itl=20, tokens=120)
