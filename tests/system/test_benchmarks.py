"""The benchmarks find what they are made of."""

import importlib

import pytest

from benchmarks import bench_statistics


@pytest.mark.parametrize("subject", bench_statistics.SUBJECTS)
def test_every_subject_has_simulations(subject):
    module = importlib.import_module(f"benchmarks.simulations.{subject}")
    assert module.SIMULATIONS
