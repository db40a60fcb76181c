"""Simulators that serve a whole file of tests."""

import pytest


@pytest.fixture(scope="module")
def steady(module_sim):
    return module_sim(profile="exact", ttft=20, itl=10, tokens=30)


@pytest.fixture(scope="module")
def slow(module_sim):
    return module_sim(profile="exact", ttft=20, itl=20, tokens=90)


@pytest.fixture(scope="module")
def slower(module_sim):
    """Each reply takes three seconds: what is done meanwhile may take its time."""
    return module_sim(profile="exact", ttft=20, itl=50, tokens=60)


@pytest.fixture(scope="module")
def short(module_sim):
    return module_sim(
        "--profile", "exact", "--ttft", "5", "--itl", "1", "--tokens", "10"
    )
