"""Results files that the tests of the analysis share."""

from __future__ import annotations

import pytest

from tests.support import made_up_results


@pytest.fixture
def results(tmp_path):
    return tmp_path / "results.db"


@pytest.fixture
def pair(tmp_path):
    path = tmp_path / "results.db"
    made_up_results.write(path, label="before", rate=90.0, levels=(2, 8))
    made_up_results.write(
        path,
        label="after",
        rate=60.0,
        levels=(2, 8, 16),
        started_unix=1.9e9,
    )
    return path


@pytest.fixture
def write(tmp_path):
    """write(label, ...) adds a run and gives the file."""

    def add(label, **more):
        made_up_results.write(
            tmp_path / "results.db",
            label=label,
            started_unix=1e9 + add.runs,
            chunks=False,
            **more,
        )
        add.runs += 1
        return tmp_path / "results.db"

    add.runs = 0
    return add
