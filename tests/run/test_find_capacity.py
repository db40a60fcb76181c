"""--find-capacity from the outside."""

import pytest

from tests.run.programs import (
    QUICK,
    rows,
    run,
)


def test_find_capacity_finds_the_simulators_slots(module_sim, tmp_path):
    six = module_sim(profile="exact", ttft=20, itl=10, tokens=20, slots=6)
    code, out, _ = run(
        "32",
        "--find-capacity",
        "--slo",
        "ttft=0.15,tokens_per_s=1",
        "--host",
        six.url,
        *QUICK,
        cwd=tmp_path,
    )
    assert (
        code == 0
        and "serves 6 at once within ttft=0.15,tokens_per_s=1" in out
        and max(map(len, out.splitlines())) <= 100
    )
    probes = [
        r["concurrency"]
        for r in rows(tmp_path, "SELECT concurrency FROM level ORDER BY id")
    ]
    assert probes == [1, 2, 4, 8, 6, 7]
    good = {
        r["concurrency"]: r["good_ratio"]
        for r in rows(
            tmp_path, "SELECT concurrency, good_ratio FROM level_summary"
        )
    }
    assert good[6] == 1.0 and good[7] < 0.95


@pytest.mark.faults
def test_a_search_in_which_nothing_can_be_judged_claims_nothing(
    module_sim, tmp_path
):
    long = module_sim(profile="exact", ttft=20, itl=20, tokens=500)
    code, out, _ = run(
        "4",
        "--find-capacity",
        "--slo",
        "e2e=60",
        "--deadline",
        "1",
        "--host",
        long.url,
        *QUICK,
        cwd=tmp_path,
    )
    assert (
        code == 1
        and "cannot judge" in out
        and "nobody" not in out.lower()
        and "serves" not in out
        and "served" not in out
    )
