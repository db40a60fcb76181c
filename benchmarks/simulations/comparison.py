"""Comparisons of sides whose truth is known: false alarms, changes that are missed, gates.

The made-up levels have four concurrencies and four figures. All figures of a run share one random
shift (from run to run), each level of each repeat has another (2 %, of the wait 5 %).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

from numpy.random import Generator

from benchmarks.simulations import Finding, Simulation
from ollama_bench.analysis.comparison import Comparison, compare_studies
from ollama_bench.analysis.conditions import COLUMNS, parse_condition
from ollama_bench.analysis.gate import check_changes, exit_code
from ollama_bench.analysis.study import Row, Study

LEVELS = (1, 4, 16, 64)
TRIALS = 1000
GATE_TRIALS = 300
WITHIN_RATIO = {"ttft": 0.05}  # of one level of one repeat; else 2 %
IS_BETTER = {"ttft": -1.0, "joules_per_token": -1.0}
SHOWN = ("ttft", "tokens_per_s", "output_tokens_per_s", "joules_per_token")

# ratio by which a figure of a level is changed on the second side
Change = Mapping[tuple[int, str], float]


def make_study(
    chance: Generator,
    runs: int,
    repeats: int,
    run_ratio: float,
    change: Change | None = None,
    failing: float = 0.0,
    requests: int = 100,
) -> Study:
    """Return a side: so many runs with so many repeats of every level."""
    levels: list[Row] = []
    for run_id in range(runs):
        shift = chance.normal(0, run_ratio)
        for n in LEVELS:
            for repeat in range(1, repeats + 1):
                errors = int(chance.binomial(requests, failing))
                figures = {
                    COLUMNS[metric]: (change or {}).get((n, metric), 1.0)
                    * math.exp(draw(chance, metric, shift))
                    for metric in SHOWN
                }
                counts = {"errors": errors, "completed": requests - errors}
                levels.append(
                    make_level(run_id, n, repeat) | figures | counts
                )
    return Study("made:1b", [], levels, [], None, [], [], [], {})


def draw(chance: Generator, metric: str, shift: float) -> float:
    within = chance.normal(0, WITHIN_RATIO.get(metric, 0.02))
    return IS_BETTER.get(metric, 1.0) * shift + within


def make_level(run_id: int, n: int, repeat: int) -> Row:
    return {
        "run_id": run_id,
        "concurrency": n,
        "repeat": repeat,
        "status": "finished",
        "slept_s": 0.0,
        "gpu_joules_per_output_token": None,
    }


def changed(found: Comparison) -> bool:
    return any(change.verdict == "changed" for change in found.changes)


def is_lower(found: Comparison) -> bool:
    """Return whether a fall of the throughput over all levels is said."""
    return any(
        change.verdict == "changed" and change.ratio < 0
        for change in found.changes
        if change.metric == "output_tokens_per_s" and change.at is None
    )


def is_told(metric: str, n: int) -> Callable[[Comparison], bool]:
    """Return a test: is a change said of this figure at this level?"""
    return lambda found: any(
        change.verdict == "changed"
        for change in found.changes
        if change.metric == metric and change.at == n
    )


def is_called_noise(metric: str, n: int) -> Callable[[Comparison], bool]:
    """Return a test: is a change of this figure at this level said to be small or chance?"""
    return lambda found: any(
        change.verdict not in ("changed", "cannot tell")
        for change in found.changes
        if change.metric == metric and change.at == n
    )


def passes(condition: str) -> Callable[[Comparison], bool]:
    """Return a test: does a gate with this condition exit with 0?"""
    conditions = [parse_condition(condition)]
    return lambda found: exit_code(check_changes(found, conditions)) == 0


def fails(condition: str) -> Callable[[Comparison], bool]:
    """Return a test: does a gate with this condition exit with 1?"""
    conditions = [parse_condition(condition)]
    return lambda found: exit_code(check_changes(found, conditions)) == 1


def count(
    trials: int,
    make: Callable[[], tuple[Study, ...]],
    test: Callable[[Comparison], bool],
) -> float:
    """Return in which share of the trials a test holds; after two sides comes their history."""
    hits = 0
    for _ in range(trials):
        before, after, *history = make()
        hits += test(compare_studies(before, after, history=history))
    return hits / trials


def find_false_alarms(chance: Generator) -> Iterator[Finding]:
    """Compare equal servers."""
    for runs in (1, 2, 3):
        for repeats in (1, 3, 5):
            for ratio in (0.0, 0.01, 0.02, 0.03):

                def make(
                    shape: tuple[int, int, float] = (runs, repeats, ratio),
                ) -> tuple[Study, Study]:
                    one, other = (
                        make_study(chance, *shape) for _ in range(2)
                    )
                    return one, other

                case = (
                    f"equal servers, {runs} runs a side, {repeats} repeats, "
                    f"{ratio:.0%} from run to run"
                )
                yield Finding(
                    case,
                    count(TRIALS, make, changed),
                    TRIALS,
                    at_most=0.05,
                )


def find_false_alarms_by_history(chance: Generator) -> Iterator[Finding]:
    """Compare single runs of equal servers on a machine whose earlier runs are known."""
    for earlier in (5, 10, 30):
        for ratio in (0.01, 0.03, 0.1):

            def make(
                earlier: int = earlier, ratio: float = ratio
            ) -> tuple[Study, Study, Study]:
                one, other = (
                    make_study(chance, 1, 3, ratio) for _ in range(2)
                )
                return one, other, make_study(chance, earlier, 3, ratio)

            case = (
                f"equal servers, 1 run a side, 3 repeats, {earlier} earlier runs, "
                f"{ratio:.0%} from run to run"
            )
            yield Finding(
                case, count(TRIALS, make, changed), TRIALS, at_most=0.05
            )


def find_false_alarms_of_unlike_sides(
    chance: Generator,
) -> Iterator[Finding]:
    """Compare equal servers of which one was measured more often, or varies more."""
    for runs, ratios in (
        ((3, 10), (0.03, 0.01)),
        ((10, 3), (0.03, 0.03)),
        ((1, 5), (0.03, 0.03)),
        ((3, 3), (0.03, 0.01)),
    ):

        def make(
            runs: tuple[int, int] = runs,
            ratios: tuple[float, float] = ratios,
        ) -> tuple[Study, Study]:
            one, other = (
                make_study(chance, count, 1, ratio)
                for count, ratio in zip(runs, ratios, strict=True)
            )
            return one, other

        yield Finding(
            f"equal servers, {runs[0]} runs that vary by {ratios[0]:.0%}, "
            f"{runs[1]} that vary by {ratios[1]:.0%}",
            count(TRIALS, make, changed),
            TRIALS,
            at_most=0.05,
        )


def find_losses(chance: Generator) -> Iterator[Finding]:
    """Compare a server with one that loses 10 % of everything."""
    loss = {
        (n, metric): 0.9 ** IS_BETTER.get(metric, 1.0)
        for n in LEVELS
        for metric in SHOWN
    }
    for repeats in (1, 3):
        for test, name in (
            (is_lower, "said"),
            (fails("output_tokens_per_s<-5%"), "fails <-5%"),
        ):

            def make(repeats: int = repeats) -> tuple[Study, Study]:
                return (
                    make_study(chance, 3, repeats, 0.03),
                    make_study(chance, 3, repeats, 0.03, loss),
                )

            yield Finding(
                f"10 % less, 3 runs a side, {repeats} repeats, 3 % from run to run: {name}",
                count(TRIALS, make, test),
                TRIALS,
                at_least=0.9,
            )


def find_changes_of_a_level(chance: Generator) -> Iterator[Finding]:
    """Compare a server with one that is worse at one level."""
    for change, metric, n, name in (
        (
            {(16, "ttft"): 10.0},
            "ttft",
            16,
            "10 times the wait at one level",
        ),
        ({(16, "ttft"): 2.0}, "ttft", 16, "twice the wait at one level"),
        (
            {(64, "output_tokens_per_s"): 0.5},
            "output_tokens_per_s",
            64,
            "half the throughput at the top",
        ),
    ):
        for runs, repeats in ((1, 1), (1, 3), (3, 1), (3, 3)):

            def make(
                shape: tuple[int, int] = (runs, repeats),
                change: Change = change,
            ) -> tuple[Study, Study]:
                return (
                    make_study(chance, *shape, 0.02),
                    make_study(chance, *shape, 0.02, change),
                )

            bound = "ttft>10%" if metric == "ttft" else f"{metric}<-10%"
            where = f"{name}, {runs} runs a side, {repeats} repeats"
            yield Finding(
                f"{where}: changed",
                count(GATE_TRIALS, make, is_told(metric, n)),
                GATE_TRIALS,
                # a wait measured once varies too much to be sure of twice
                at_least=0.0 if "twice" in name and repeats == 1 else 0.9,
            )
            yield Finding(
                f"{where}: called noise",
                count(GATE_TRIALS, make, is_called_noise(metric, n)),
                GATE_TRIALS,
                at_most=0.0,
            )
            yield Finding(
                f"{where}: passes {bound}",
                count(GATE_TRIALS, make, passes(bound)),
                GATE_TRIALS,
                at_most=0.0,
            )


def find_gates_of_equals(chance: Generator) -> Iterator[Finding]:
    """Hold equal servers to a bound that is wider than what chance gives."""
    for runs, repeats in ((1, 1), (1, 3), (3, 1), (3, 3)):
        for bound in ("ttft>10%", "output_tokens_per_s<-5%"):

            def make(
                shape: tuple[int, int] = (runs, repeats),
            ) -> tuple[Study, Study]:
                one, other = (
                    make_study(chance, *shape, 0.02) for _ in range(2)
                )
                return one, other

            where = f"equal servers, {runs} runs a side, {repeats} repeats"
            yield Finding(
                f"{where}: exit 1 of {bound}",
                count(GATE_TRIALS, make, fails(bound)),
                GATE_TRIALS,
                at_most=0.05,
            )
            yield Finding(
                f"{where}: passes {bound}",
                count(GATE_TRIALS, make, passes(bound)),
                GATE_TRIALS,
                # levels that are measured once vary by as much
                at_least=0.8 if runs * repeats > 1 else 0.0,
            )


def find_gate_alarms(chance: Generator) -> Iterator[Finding]:
    """Hold equal servers to a bound, and one that sheds its load."""
    for requests in (20, 100, 400):
        yield from find_alarms_on_errors(chance, requests)
    for requests, failing in ((8, 0.01), (8, 0.05), (20, 0.05)):
        bound = "ttft>900%"
        equal = make_pairs(chance, requests, failing, failing)
        yield Finding(
            f"equal servers, {failing:.0%} of {requests} requests a level fail: "
            f"exit 1 or 3 of {bound}",
            1 - count(GATE_TRIALS, equal, passes(bound)),
            GATE_TRIALS,
            # two more of eight are a quarter of the load
            at_most=0.05 if failing < 0.05 else 0.25,
        )
    shed = make_pairs(chance, 32, 0.0, 0.47)
    yield Finding(
        "47 % of the load is shed: passes ttft>10%",
        count(GATE_TRIALS, shed, passes("ttft>10%")),
        GATE_TRIALS,
        at_most=0.0,
    )


def find_alarms_on_errors(
    chance: Generator, requests: int
) -> Iterator[Finding]:
    """Bound the error ratio of servers that fail alike, and of one that fails more."""
    bound = "error_ratio>0.01"
    equal = make_pairs(chance, requests, 0.01, 0.01)
    case = f"equal servers, 1 % of {requests} requests a level fail"
    yield Finding(
        f"{case}: exit 1 of {bound}",
        count(GATE_TRIALS, equal, fails(bound)),
        GATE_TRIALS,
        at_most=0.05,
    )
    yield Finding(
        f"{case}: exit 1 or 3",
        1 - count(GATE_TRIALS, equal, passes(bound)),
        GATE_TRIALS,
        at_most=0.05,
    )
    for failing in (0.1, 0.2):
        risen = make_pairs(chance, requests, 0.01, failing)
        yield Finding(
            f"1 % of {requests} requests a level fail, then {failing:.0%}: passes {bound}",
            count(GATE_TRIALS, risen, passes(bound)),
            GATE_TRIALS,
            # 2 more of 20 are what chance gives
            at_most=0.05 if requests >= 100 or failing > 0.1 else 1.0,
        )


def make_pairs(
    chance: Generator, requests: int, before: float, after: float
) -> Callable[[], tuple[Study, Study]]:
    """Return what makes two studies of servers that fail so large a part of a level's requests."""

    def make() -> tuple[Study, Study]:
        one, other = (
            make_study(
                chance, 1, 1, 0.02, failing=ratio, requests=requests
            )
            for ratio in (before, after)
        )
        return one, other

    return make


SIMULATIONS = (
    Simulation("a change is said of equal servers", find_false_alarms),
    Simulation(
        "a change is said of equal servers", find_false_alarms_by_history
    ),
    Simulation(
        "a change is said of equal servers",
        find_false_alarms_of_unlike_sides,
    ),
    Simulation("a loss of 10 % is found", find_losses),
    Simulation("a change at one level", find_changes_of_a_level),
    Simulation("gates on equal servers", find_gates_of_equals),
    Simulation("gates on failures", find_gate_alarms),
)
