"""A server shared by all tests of the simulator."""

import pytest

from tests.conftest import sims


@pytest.fixture(scope="session")
def quick(tmp_path_factory):
    """An exact server, ready at once, 6 tokens."""
    with sims(tmp_path_factory.mktemp("quick")) as start:
        yield start(
            "--profile",
            "exact",
            "--ttft",
            "20",
            "--itl",
            "2",
            "--tokens",
            "6",
        )
