"""Fixtures of the load room."""

import pytest


@pytest.fixture(scope="module")
def exact(module_sim):
    return module_sim(profile="exact", ttft=100, itl=10, tokens=20)
