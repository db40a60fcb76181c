"""The benchmarks find what they are made of."""

import importlib


def test_every_subject_has_simulations():
    # SciPy's statistics take a second to load: not in every process
    bench_statistics = importlib.import_module(
        "benchmarks.bench_statistics"
    )
    assert "levels" in bench_statistics.SUBJECTS
    for subject in bench_statistics.SUBJECTS:
        module = importlib.import_module(
            f"benchmarks.simulations.{subject}"
        )
        assert module.SIMULATIONS, subject
