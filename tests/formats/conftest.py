import pytest


@pytest.fixture
def database(tmp_path):
    """The results file that is imported into; it is not there yet."""
    return str(tmp_path / "imported.db")
