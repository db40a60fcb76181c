"""What is said of the levels of one run, on servers of a known law."""

from __future__ import annotations

import math
import pathlib
import tempfile
from collections.abc import Callable, Iterator, Sequence

import numpy
from scipy.signal import lfilter
from sqlite_utils import Database

from benchmarks.simulations import Finding, Simulation
from ollama_bench.analysis import selection
from ollama_bench.analysis.bottlenecks import describe_slots
from ollama_bench.analysis.intervals import find_intervals
from ollama_bench.analysis.study import FULL_LOAD, Row, Study
from ollama_bench.analysis.trends import describe_best
from ollama_bench.load.tally import summarize_means
from ollama_bench.statistics.scaling_law import Law, fit_law, law_at
from ollama_bench.storage.connection import connect

S = 1_000_000_000
RATE = 20.0  # tokens/s of a stream
TOKENS = 300  # median of a reply
Draw = numpy.random.Generator


def open_made_up(folder: str) -> Database:
    """Return a results file with a run and nothing in it."""
    database = connect(str(pathlib.Path(folder) / "results.db"))
    database["run"].insert(
        {
            "id": 1,
            "source": "bench",
            "status": "finished",
            "started_unix": 1e9,
            "arguments": "{}",
            "tool_version": "0",
        }
    )
    return database


def add_level(
    database: Database, level_id: int, rows: Sequence[dict[str, float]]
) -> None:
    """Add a burst; a row has sent, first and last in seconds, and tokens."""
    database["level"].insert(
        {
            "id": level_id,
            "run_id": 1,
            "model": "made-up",
            "concurrency": len(rows),
            "load": "burst",
            "status": "finished",
            "started_ns": 0,
            "ended_ns": int(max(row["last"] for row in rows) * S),
        }
    )
    database["request"].insert_all(
        {
            "level_id": level_id,
            "number": number,
            "status": "completed",
            "sent_ns": int(row.get("sent", 0.0) * S),
            "first_text_ns": int(row["first"] * S),
            "last_text_ns": int(row["last"] * S),
            "output_tokens": int(row["tokens"]),
            "server_prefill_ns": int(row.get("prefill", 0.0) * S),
            "server_load_ns": int(row.get("load", 0.0) * S),
        }
        for number, row in enumerate(rows, 1)
    )


def scale_perfectly(draw: Draw, n: int) -> list[dict[str, float]]:
    """Return a burst in which each stream has the same rate, whatever its neighbours do."""
    tokens = TOKENS * draw.lognormal(0, 0.6, n)
    return [
        {"first": 0.3, "last": 0.3 + count / RATE, "tokens": count + 1}
        for count in tokens.round()
    ]


def efficiency(draw: Draw) -> Iterator[Finding]:
    trials = 100
    for view, column, promised in (
        ("full_load", "full_load_tokens_per_s", 0.95),
        ("level_summary", "output_tokens_per_s", 0.0),
    ):
        near = 0
        for _ in range(trials):
            with tempfile.TemporaryDirectory() as folder:
                database = open_made_up(folder)
                add_level(database, 1, scale_perfectly(draw, 1))
                add_level(database, 2, scale_perfectly(draw, 64))
                one, many = (
                    row[column]
                    for row in database.query(
                        f"SELECT {column} FROM {view} ORDER BY concurrency"
                    )
                )
                database.close()
            near += abs(many / one / 64 - 1) < 0.1
        case = f"a server that scales perfectly, lengths of sigma 0.6, by {column}"
        yield Finding(case, near / trials, trials, at_least=promised)


def cover(
    trials: int, truth: float, make: Callable[[], list[Row]]
) -> tuple[float, int]:
    """Return the share of intervals with the truth in them, and how many were said."""
    inside = known = 0
    for _ in range(trials):
        study = Study("made-up", [], make(), [], None, [], [], [], {})
        for level in find_intervals(study):
            if level.wait_s is not None:
                known += 1
                inside += level.wait_s.low <= truth <= level.wait_s.high
    return inside / known if known else 0.0, known


def hold(
    case: str, trials: int, truth: float, make: Callable[[], list[Row]]
) -> Finding:
    """Return how often an interval that is said has the truth in it."""
    share, known = cover(trials, truth, make)
    case = f"{case} (said in {known / trials:.0%})"
    return Finding(case, share, known, 0.93, 0.97)


def make_level(
    waits_s: Sequence[float], places: int | None = None, repeat: int = 1
) -> Row:
    """Return a level as it is stored, of requests with these waits."""
    figures = {
        "run_id": 1,
        "repeat": repeat,
        "concurrency": places or len(waits_s),
        "load": "closed" if places else "burst",
        "status": "finished",
        "slept_s": None,
        "completed": len(waits_s),
        "judged_completed": len(waits_s),
        "ttft_mean_s": float(numpy.mean(waits_s)),
        "tokens_per_s_mean": None,
    }
    return figures | dict(summarize_means(waits_s, waits_s, places))


def cover_bursts(draw: Draw) -> Iterator[Finding]:
    """Independent requests of one burst."""
    for n in (4, 19, 64):
        for sigma in (0.1, 0.3, 0.6, 1.0):

            def make(n: int = n, sigma: float = sigma) -> list[Row]:
                return [make_level(draw.lognormal(0, sigma, n).tolist())]

            case = f"{n} independent requests, log-normal of sigma {sigma}"
            yield hold(case, 6000, math.exp(sigma**2 / 2), make)


def say_of_few(draw: Draw) -> Iterator[Finding]:
    """Of less no interval holds for requests that are skewed: none is said."""
    trials = 1000
    for repeats, n in ((1, 3), (2, 1), (2, 8), (3, 1), (3, 3)):

        def make(repeats: int = repeats, n: int = n) -> list[Row]:
            return make_repeats(draw, repeats, n, 1.0)

        _, known = cover(trials, 1.0, make)
        case = f"{repeats} times {n} requests: an interval is said"
        yield Finding(case, known / trials, trials, at_most=0.0)


def make_repeats(
    draw: Draw, repeats: int, n: int, sigma: float
) -> list[Row]:
    """Return repeats of a level whose requests share a state that varies by 5 % between them."""
    states = draw.normal(1, 0.05, repeats)
    return [
        make_level(
            (state * draw.lognormal(0, sigma, n)).tolist(), repeat=repeat
        )
        for repeat, state in enumerate(states, 1)
    ]


def cover_repeats(draw: Draw) -> Iterator[Finding]:
    """Means of levels whose requests share a state that varies by 5 % between repeats."""
    for repeats, sizes in ((3, (4, 19, 64)), (4, (1, 2)), (5, (1, 4, 19))):
        for n in sizes:
            for sigma in (0.1, 0.6, 1.0):

                def make(
                    repeats: int = repeats,
                    n: int = n,
                    sigma: float = sigma,
                ) -> list[Row]:
                    return make_repeats(draw, repeats, n, sigma)

                case = (
                    f"{repeats} repeats of {n} requests, sigma {sigma}, "
                    "a shared state of 5 %"
                )
                yield hold(case, 3000, math.exp(sigma**2 / 2), make)


def cover_loops(draw: Draw) -> Iterator[Finding]:
    """Requests of a closed loop, neighbours of which share a state that wanders by 5 %."""
    places = 8
    for n in (40, 400, 2000):
        for correlation in (0.0, 0.8):

            def make(n: int = n, r: float = correlation) -> list[Row]:
                kicks = draw.normal(0, 0.05 * math.sqrt(1 - r**2), n)
                kicks[0] = draw.normal(0, 0.05)
                state = lfilter([1.0], [1.0, -r], kicks)
                requests = draw.lognormal(0, 0.3, n)
                return [
                    make_level(((1 + state) * requests).tolist(), places)
                ]

            case = (
                f"a loop of {n} requests, {places} at once, "
                f"neighbours correlated by {correlation}"
            )
            yield hold(case, 2000, math.exp(0.3**2 / 2), make)


CONCURRENCIES = (1, 2, 4, 8, 16, 32)


def make_study(rates: Sequence[float], control: float | None) -> Study:
    """Return a study of one run in rising order, with a control of this rate."""
    figures = {
        "run_id": 1,
        "cache": "cold",
        "status": "finished",
        "slept_s": None,
        "errors": 0,
        "requests": 1,
        "load": "burst",
        "output_tokens_mean": 60.0,
        "tokens_per_s_mean": None,
        "hot_samples": None,
        "mean_gpu_mhz": None,
        "peak_streaming": None,
        "waiting_s": None,
    }
    levels = [
        {**figures, "level_id": place, "concurrency": n, FULL_LOAD: rate}
        for place, (n, rate) in enumerate(
            zip(CONCURRENCIES, rates, strict=True)
        )
    ]
    study = Study("made-up", [], levels, [], None, [], [], [], {})
    if control is not None:
        study.controls = [
            {**levels[0], "level_id": 99, FULL_LOAD: control}
        ]
    return study


def heat(draw: Draw) -> Iterator[Finding]:
    """Throughput rises to the top, the machine becomes slower, and half of it has faded at last."""
    trials = 2000
    truth = numpy.array([40.0, 60.0, 80.0, 100.0, 102.0, 106.0])
    for loss in (0.2, 0.1, 0.0):
        lost = 1 - loss * numpy.array([0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 0.5])
        for has_control in (False, True) if loss else (True,):
            wrong = 0
            for _ in range(trials):
                noise = draw.normal(1, 0.01, len(truth) + 1)
                seen = [*truth, truth[0]] * lost * noise
                study = make_study(
                    seen[:-1], seen[-1] if has_control else None
                )
                said = describe_best(study)
                wrong += (
                    "best with " in said and "best with 32 " not in said
                )
            how = "with a control" if has_control else "without a control"
            case = f"best at 32, {loss:.0%} lost by heat, {how}"
            most = 0.05 if has_control else 1.0
            yield Finding(case, wrong / trials, trials, at_most=most)


def small_drift(draw: Draw) -> Iterator[Finding]:
    """A machine that does not change must not forbid the sentence."""
    trials = 2000
    truth = numpy.array([40.0, 60.0, 85.0, 110.0, 104.0, 90.0])
    for noise in (0.005, 0.01, 0.02):
        silent = 0
        for _ in range(trials):
            seen = [*truth, truth[0]] * draw.normal(
                1, noise, len(truth) + 1
            )
            said = describe_best(make_study(seen[:-1], seen[-1]))
            silent += "best with 8 " not in said
        case = (
            f"best at 8 by 6 %, no drift, levels that vary by {noise:.1%}"
        )
        most = 0.05 if noise <= 0.01 else 1.0
        yield Finding(case, silent / trials, trials, at_most=most)


def serve(
    draw: Draw,
    n: int,
    slots: int,
    prefill_s: float,
    tokens: float,
    load_s: float = 0.0,
) -> list[dict[str, float]]:
    """Return a burst to a server that evaluates one prompt after another, in free slots.

    First it loads the model, for load_s seconds.
    """
    free = [load_s] * slots
    processor, rows = load_s, []
    for _ in range(n):
        free.sort()
        prefill = prefill_s * draw.uniform(0.8, 1.2)
        # between two prompts the server does a step of decoding
        begin = max(free[0], processor) + draw.uniform(0, 0.02)
        first = processor = begin + prefill
        count = max(2, round(tokens * draw.lognormal(0, 0.4)))
        last = free[0] = first + count / RATE
        rows.append(
            {
                "first": first,
                "last": last,
                "tokens": count,
                "prefill": prefill,
                "load": load_s,
            }
        )
    return rows


def slots(draw: Draw) -> Iterator[Finding]:
    trials = 100
    for n, places, prefill_s, tokens, load_s, least, most in (
        (8, 16, 0.5, 40, 0.0, 0.0, 0.0),
        (19, 32, 1.0, 60, 0.0, 0.0, 0.0),
        (32, 40, 0.2, 20, 0.0, 0.0, 0.0),
        (8, 16, 0.5, 40, 20.0, 0.0, 0.0),
        (32, 8, 0.1, 100, 0.0, 0.95, 1.0),
        (32, 8, 0.1, 100, 2.0, 0.95, 1.0),
        (8, 1, 0.1, 100, 0.0, 0.95, 1.0),
    ):
        said = 0
        for _ in range(trials):
            with tempfile.TemporaryDirectory() as folder:
                database = open_made_up(folder)
                rows = serve(draw, n, places, prefill_s, tokens, load_s)
                add_level(database, 1, rows)
                (study,) = selection.choose(database, [], [])
                database.close()
            said += "slots" in describe_slots(study.levels[-1])
        case = f"{n} at once, {places} slots, {prefill_s} s of prefill, serial"
        if load_s:
            case += f", after {load_s:g} s of loading"
        yield Finding(case, said / trials, trials, least, most)


LOADS = (1, 2, 4, 8, 16, 32, 64)


def measure_law(
    draw: Draw, rates: Sequence[float], noise: float
) -> Law | None:
    seen = numpy.asarray(rates) * draw.normal(1, noise, len(rates))
    return fit_law(list(zip(LOADS, seen.tolist(), strict=True)))


def law_covers(draw: Draw) -> Iterator[Finding]:
    trials = 500
    for contention, crosstalk in ((0.1, 0.0), (0.05, 5e-4), (0.02, 2e-3)):
        rates = [law_at((50.0, contention, crosstalk), n) for n in LOADS]
        for noise in (0.01, 0.03):
            laws = [measure_law(draw, rates, noise) for _ in range(trials)]
            found = [law.contention_range for law in laws if law]
            inside = sum(low <= contention <= high for low, high in found)
            case = (
                f"contention {contention}, crosstalk {crosstalk:g}, noise {noise:.0%} "
                f"(said in {len(found) / trials:.0%})"
            )
            yield Finding(case, inside / len(found), len(found), 0.9)


def law_of_nothing(draw: Draw) -> Iterator[Finding]:
    trials = 500
    shapes = {
        "in proportion": [50.0 * n for n in LOADS],
        "faster than in proportion": [50.0 * n**1.05 for n in LOADS],
        **{
            f"a cap of {slots} slots": [
                law_at((50.0, 0.03, 0.0), min(n, slots)) for n in LOADS
            ]
            for slots in (4, 8, 16)
        },
    }
    for shape, rates in shapes.items():
        for noise in (0.01, 0.03):
            laws = [measure_law(draw, rates, noise) for _ in range(trials)]
            said = sum(law is not None for law in laws) / trials
            case = f"{shape}, noise {noise:.0%}"
            yield Finding(case, said, trials, at_most=0.05)


SIMULATIONS = (
    Simulation("efficiency at 64 within 10 % of 1", efficiency),
    Simulation("an interval with the truth in it", cover_bursts),
    Simulation("an interval with the truth in it", cover_repeats),
    Simulation("an interval with the truth in it", cover_loops),
    Simulation("an interval of too few", say_of_few),
    Simulation("a level called the best that is not", heat),
    Simulation("the slots called the limit", slots),
    Simulation("the law's contention is in its range", law_covers),
    Simulation("a law where there is none", law_of_nothing),
    Simulation("no level called the best though one is", small_drift),
)
