"""What a worker runs; Dask takes the code of this file along, so that it needs not be there."""

from __future__ import annotations


def read_package_version() -> str | None:
    """Return the version of this package where it is called; None where it is not there."""
    try:
        from ollama_bench import __version__
    except ImportError:
        return None
    return __version__
