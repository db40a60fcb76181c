"""bench_statistics.py - how often the tool concludes something wrong, on data of a known truth.

    # or: make bench-statistics; some minutes
    python benchmarks/bench_statistics.py
    python benchmarks/bench_statistics.py --only comparison --seed 7

Each line has the share that is promised; the exit code is 1 when one is not kept. The table in
docs/statistics.md is what this prints.
"""

from __future__ import annotations

import argparse
import importlib
import pathlib
import pkgutil
import sys

# the programs are files, not an installed package
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import numpy

from benchmarks import simulations
from benchmarks.simulations import Finding, Simulation

SUBJECTS = sorted(
    module.name for module in pkgutil.iter_modules(simulations.__path__)
)


def main() -> int:
    """Run the simulations and return 1 when a promise is not kept."""
    options = make_parser().parse_args()
    print("| simulation | truth | share | promised | trials | |")
    print("|---|---|---|---|---|---|")
    is_kept = True
    for subject in options.only:
        module = importlib.import_module(
            f"benchmarks.simulations.{subject}"
        )
        for simulation in module.SIMULATIONS:
            is_kept &= run(simulation, options.seed)
    return 0 if is_kept else 1


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench_statistics.py",
        description="how often the tool concludes something wrong, on data of a known truth.",
    )
    parser.add_argument(
        "--only", nargs="+", choices=SUBJECTS, default=SUBJECTS
    )
    parser.add_argument("--seed", type=int, default=1)
    return parser


def run(simulation: Simulation, seed: int) -> bool:
    """Print each finding of a simulation; tell whether all keep their promise."""
    findings = []
    for finding in simulation.run(numpy.random.default_rng(seed)):
        print(format_row(simulation.name, finding), flush=True)
        findings.append(finding.is_kept)
    return all(findings)


def format_row(name: str, finding: Finding) -> str:
    verdict = "" if finding.is_kept else "NOT KEPT"
    return (
        f"| {name} | {finding.case} | {finding.share:.1%} "
        f"| {format_promise(finding)} | {finding.trials} | {verdict} |"
    )


def format_promise(finding: Finding) -> str:
    least, most = finding.at_least * 100, finding.at_most * 100
    if least <= 0 and most >= 100:
        return "none"
    if most >= 100:
        return f"at least {least:g} %"
    if least <= 0:
        return f"at most {most:g} %"
    return f"{least:g} to {most:g} %"


if __name__ == "__main__":
    sys.exit(main())
