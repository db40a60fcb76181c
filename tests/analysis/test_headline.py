"""What bench.py says at its end: the answer in short, and what analyze.py warns of."""

from __future__ import annotations

from ollama_bench.analysis.caveats import find_caveats
from ollama_bench.analysis.headline import headline
from tests.support import made_up_results
from tests.support.studies import SLO, read


def test_bench_warns_of_what_analyze_warns_of(results):
    made_up_results.write(results, levels=(1, 2, 4, 8))
    study, _ = read(results)
    found = headline(str(results), 1, SLO)
    (verdict,) = found
    assert verdict.answer.first and verdict.caveats
    assert verdict.caveats == find_caveats(study)
