"""A results file with a run of bench.py that goes on."""

import pytest

# a monitor at work
from tests.monitor.conftest import watch as watch  # noqa: I001
from tests.prometheus.support import Bench


@pytest.fixture
def bench(tmp_path):
    with Bench(tmp_path / "results.db") as bench:
        yield bench
