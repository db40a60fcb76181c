"""verdict.py - what the numbers of a study say: the answers as sentences, the warnings as values.

    for sentence in verdict.answers(study, limits): print(sentence)
    for warning in verdict.warnings(study): warning.seen, warning.cause, warning.option
    law = verdict.fit_law([(1, 53.0), (2, 61.0), ...])     # the Universal Scalability Law
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Callable

from console import short_time as seconds  # one way to write a duration, in tables, sentences and on the page
from selection import Study

ENOUGH_RATIO = 0.95     # a level serves its people when this share of its requests met every objective
NEAR_BEST_RATIO = 0.9   # from here on more load buys little: the practical knee
FALLING_RATIO = 0.95    # less than this of the best at the highest level is a fall
LAW_LEVELS = 4          # three parameters and one more: below, any curve fits
LAW_ERROR_RATIO = 0.1   # a fit that misses by more, rms, is not shown: its parameters mean little then
JUMP_RATIO = 3.0        # a wait that grows so much from one level to the next has jumped ...
JUMP_S = 0.5            # ... if people can notice it
SLOW_LOAD_S = 1.0       # a model in memory is found in milliseconds
CACHED_RATIO = 0.1      # of the prompt's tokens; a chat template alone caches a few
VARYING_RATIO = 2.0     # longest to shortest reply: beyond this levels do different work
CPU_BUSY_RATIO = 0.9    # a processor this busy has nothing left
SERVER_CPU_RATIO = 0.5  # of all cores: with less, it is not the server that keeps the processor busy
OTHERS_CPU_RATIO = 0.2  # of all cores: what else may run on a busy machine without being told
GPU_BUSY_RATIO = 0.95   # a GPU this busy has nothing left
SWAP_BYTES = 256 << 20  # more swap than this during one level is not noise
P95_FLOOR, P99_FLOOR = 20, 100  # as in schema.sql


@dataclass
class Warning:
    """Something that makes a figure doubtful: what was seen, the likely cause, what helps."""
    seen: str
    cause: str
    option: str

    def __str__(self) -> str:
        return f"{self.seen}. {self.cause}. {self.option}."


@dataclass
class Verdict:
    """All that is said of a study."""
    study: Study
    objectives: dict[str, float]
    sentences: list[str]
    warnings: list[Warning]


@dataclass
class Service:
    """How the requests of one level fared by the objectives."""
    asked: int
    completed: int
    good: int                       # completed and met every objective
    met: dict[str, int]             # objective: how many of the completed met it
    worst: dict[str, float | None]  # objective: its worst value among the completed

    @property
    def share(self) -> float:
        return self.good / self.asked if self.asked else 0.0


NO_SERVICE = Service(0, 0, 0, {}, {})


@dataclass
class Law:
    """Gunther's Universal Scalability Law: X(N) = alone * N / (1 + contention (N-1) + crosstalk N (N-1))."""
    alone: float       # throughput of one
    contention: float  # share of the work that waits for its turn
    crosstalk: float   # cost of each pair that must agree
    error_ratio: float  # root mean square of the relative miss

    def at(self, n: float) -> float:
        return self.alone * n / (1 + self.contention * (n - 1) + self.crosstalk * n * (n - 1))

    @property
    def peak(self) -> float | None:
        """The N of the highest throughput; None when it rises for ever."""
        return ((1 - self.contention) / self.crosstalk) ** 0.5 if self.crosstalk > 0 and self.contention < 1 else None


def answers(study: Study, objectives: dict[str, float], services: dict[int, Service]) -> list[str]:
    """The answers in sentences; services has each level_id's requests held against the objectives."""
    found = served(study, objectives, services)
    if not is_open(study):
        found += [movement(study), waits(study), knee(study), law_sentence(study), efficiency(study), cache_effect(study)]
    return [sentence for sentence in found + bottlenecks(study) if sentence]


def served(study: Study, objectives: dict[str, float], services: dict[int, Service]) -> list[str]:
    """The answer in short: what one gets alone, and how many can be served."""
    if is_open(study):
        return [at_rate(level, objectives, services.get(level["level_id"], NO_SERVICE)) for level in study.levels]
    return [sentence for sentence in (alone(study), capacity(study, objectives, services)) if sentence]


def is_open(study: Study) -> bool:
    """Did the requests come at a rate? Then a level's number is the most that could be in flight, and no load."""
    return any(level["load"] == "open" for level in study.levels)


def at_rate(level: dict, objectives: dict[str, float], service: Service) -> str:
    """How those who came at a rate fared."""
    wish = " and ".join(wording(name, limit) for name, limit in objectives.items())
    waited = (f"; {level['pool_waits']} were due while all {level['concurrency']} places were taken, and the wait of those sent counts" if level["pool_waits"] else "")
    if level["never_sent"]:
        waited += f"; {level['never_sent']} that were due were never sent, for the level ended"
    speeds = (f"each gets {digits(level['tokens_per_s_mean'])} tokens/s and waits {seconds(level['ttft_mean_s'])} (longest {seconds(level['ttft_max_s'])}); "
              if level["tokens_per_s_mean"] is not None else "")
    rate = f"At {level['rate_per_s']:g} requests/s" if level["rate_per_s"] else "At no fixed rate"
    return f"{rate} {speeds}{service.good} of {service.asked} were served {wish}{waited}."


def alone(study: Study) -> str:
    levels = next(iter(study.by_concurrency().values()), [])
    rates = [level["tokens_per_s_mean"] for level in levels if level["tokens_per_s_mean"] is not None]
    if not rates:
        return ""
    n = levels[0]["concurrency"]
    first = [level["ttft_mean_s"] for level in levels if level["ttft_mean_s"] is not None]
    who = "One request alone gets" if n == 1 else f"With {n} at once, the fewest measured, each gets"
    return f"{who} {span(rates)} tokens/s and waits {span(first, seconds)}{f' ({len(rates)} measurements)' if len(rates) > 1 else ''}."


def capacity(study: Study, objectives: dict[str, float], services: dict[int, Service]) -> str:
    """How many can be served: the highest level below which none fails the objectives."""
    served, failed = None, None
    for n, levels in study.by_concurrency().items():
        worst = min((services.get(level["level_id"], NO_SERVICE) for level in levels), key=lambda service: service.share)
        if worst.share < ENOUGH_RATIO:
            failed = f"at {n}, {shortfall(worst, objectives)}; {percent(ENOUGH_RATIO)} must be served"
            break
        served = n
    wish = " and ".join(wording(name, limit) for name, limit in objectives.items())
    if failed is None:
        return f"{served} at once are served {wish}; more were not measured." if served else ""
    return f"Up to {served} at once are served {wish}; {failed}." if served else f"Nobody is served {wish}: {failed}."


def shortfall(service: Service, objectives: dict[str, float]) -> str:
    """What kept a level from serving its people: failures, or the objectives that were missed, with the worst value."""
    failed = service.asked - service.completed
    said = [f"{failed} of {service.asked} failed"] if failed > (1 - ENOUGH_RATIO) * service.asked else []
    for name, limit in objectives.items():
        if service.completed and service.met[name] < ENOUGH_RATIO * service.completed:
            said.append(f"only {service.met[name]} of {service.completed} {achieved(name, limit, service.worst[name])}")
    return " and ".join(said) or f"only {service.good} of {service.asked} met all of it"


def wording(name: str, limit: float) -> str:
    names = {"ttft": "within {} s to the first token", "ttfat": "within {} s to the first answer token", "e2e": "within {} s to the end",
             "tpot": "at {} s or less per token", "tokens_per_s": "at {} tokens/s or more"}
    return names[name].format(digits(limit))


def achieved(name: str, limit: float, worst: float | None) -> str:
    """What those did that met an objective, and the worst that was seen."""
    if name == "tokens_per_s":
        return f"got {digits(limit)} tokens/s (slowest {digits(worst)})"
    names = {"ttft": "had the first token within {} s", "ttfat": "had the first answer token within {} s", "e2e": "ended within {} s",
             "tpot": "took {} s or less per token"}
    return f"{names[name].format(digits(limit))} (longest {seconds(worst)})"


def movement(study: Study) -> str:
    """How the throughput of all goes with the number at once: its rise, and what comes after."""
    rates = study.mean("output_tokens_per_s")
    if len(rates) < 2:
        return ""
    low, top, flat = min(rates), max(rates), first_near(rates)
    turn = flat if low < flat < top else top
    text = f"From {low} to {turn} at once, all together go from {digits(rates[low])} to {digits(rates[turn])} tokens/s"
    rest = [rate for n, rate in rates.items() if n >= turn]
    return f"{text}, and from there to {top} they get {span(rest)}." if turn < top else f"{text}."


def waits(study: Study) -> str:
    """How the mean wait goes with the number at once, and where it jumps."""
    mean = study.mean("ttft_mean_s")
    if len(mean) < 2:
        return ""
    low, top = min(mean), max(mean)
    before, after = jump(mean) or (top, top)
    start, end = seconds(mean[low]), seconds(mean[before])
    rise = f"goes from {start} at {low} to {end} at {before}" if start != end else f"is {start} at {low} and at {before}"
    way = [rise] if before > low else []
    if after > before:
        way.append(f"jumps {'' if way else f'from {seconds(mean[low])} at {low} '}to {seconds(mean[after])} at {after}")
    if after < top:
        way.append(f"reaches {seconds(mean[top])} at {top}")
    return f"The mean wait {', '.join(way)}."


def jump(mean: dict[int, float]) -> tuple[int, int] | None:
    """The two neighbouring levels between which a wait grows most, where that is a jump."""
    steps = [(a, b) for a, b in zip(list(mean), list(mean)[1:]) if mean[b] >= JUMP_RATIO * mean[a] and mean[b] - mean[a] >= JUMP_S]
    return max(steps, key=lambda step: mean[step[1]] / max(mean[step[0]], 1e-9), default=None)


def knee(study: Study) -> str:
    """Where more at once stop to add throughput; empty when too little was measured to say."""
    rates = study.mean("output_tokens_per_s")
    if len(rates) < 3:
        return ""
    best = max(rates, key=rates.get)
    text = f"Throughput is best at {best} at once ({digits(rates[best])} tokens/s{failed_at(study, best)}){plateau(rates)}."
    sound = {n: rate for n, rate in rates.items() if not failed_at(study, n)}
    if sound and best not in sound:
        best = max(sound, key=sound.get)
        text += f" Where none failed it is best at {best} ({digits(sound[best])} tokens/s)."
    return text


def first_near(rates: dict[int, float]) -> int:
    """The fewest at once with a throughput near the best."""
    return min(n for n, rate in rates.items() if rate >= NEAR_BEST_RATIO * max(rates.values()))


def plateau(rates: dict[int, float]) -> str:
    """From where on the throughput is near the best, or, where it falls off again, how far."""
    best, first = max(rates, key=rates.get), first_near(rates)
    if first == best:
        return ""
    near = percent(1 - NEAR_BEST_RATIO)
    later = [rate / rates[best] for n, rate in rates.items() if n > first]
    if min(later) >= NEAR_BEST_RATIO:
        return f" and within {near} of that from {first} on"
    return f", first within {near} of that at {first}, then {span(later, percent)} of it"


def failed_at(study: Study, n: int) -> str:
    """", 9 of 48 failed" where some did, over all repeats of a level; else nothing."""
    levels = study.by_concurrency()[n]
    errors = sum(level["errors"] for level in levels)
    return f", {errors} of {sum(level['requests'] for level in levels)} failed" if errors else ""


def law_sentence(study: Study) -> str:
    """The Universal Scalability Law with its error; empty where it does not fit."""
    rates = study.mean("output_tokens_per_s")
    law = fit_law(list(rates.items()))
    if law is None:
        return ""
    falls = rates[max(rates)] < FALLING_RATIO * max(rates.values())  # a peak that was not passed is a guess
    peak = f"a peak near {law.peak:.0f}" if falls and law.peak and law.peak <= max(rates) else "no fall in the range measured"
    miss = {n: abs(law.at(n) / rate - 1) for n, rate in rates.items() if rate > 0}
    worst = max(miss, key=miss.get)
    measured = f" (measured {digits(rates[1])})" if 1 in rates else ""
    return (f"Universal Scalability Law: {digits(law.alone)} tokens/s alone{measured}, contention {law.contention:.3f}, "
            f"crosstalk {law.crosstalk:.2g}, {peak}; it misses by {percent(law.error_ratio)} (rms), by {percent(miss[worst])} at {worst}.")


def efficiency(study: Study) -> str:
    per_joule, watts, idle = (study.mean(column) for column in ("output_tokens_per_joule", "mean_w", "idle_w"))
    if not any(per_joule.values()):  # no source of power, or no token in any level
        return gpu_efficiency(study)
    best = max(per_joule, key=per_joule.get)
    rest = f", {digits(idle[best])} W of them idle" if best in idle else ""
    scopes = "; ".join(f"{source['name']} {source['device']}: {source['scope'] or 'what is in them is not known'}" for source in study.sources)
    return (f"Most tokens for the energy at {best} at once: {digits(per_joule[best])} tokens per joule at {digits(watts[best])} W{rest}"
            f"{failed_at(study, best)}. The watts are of {scopes}.")


def gpu_efficiency(study: Study) -> str:
    """The same of the GPU alone, where only that is known."""
    found = best_for_gpu(study)
    if found is None:
        return ""
    best, per_token_j = found
    names = " and ".join(f"{source['name']} {source['device']}" for source in study.sources)
    watts = study.mean("gpu_power_w").get(best)
    return (f"Most tokens for the energy of the GPU alone at {best} at once: "
            f"{digits(1 / per_token_j)} tokens per joule at {digits(watts)} W of the GPU{failed_at(study, best)}. "
            f"What the CPU took besides is not known ({names}).")


def best_for_gpu(study: Study) -> tuple[int, float] | None:
    """The number at once with the fewest joules of the GPU per token, and these; or None."""
    means = study.mean("gpu_joules_per_output_token")
    per_token = {n: mean for n, mean in means.items() if mean > 0}
    best = min(per_token, key=per_token.get, default=None)
    return None if best is None else (best, per_token[best])


def cache_effect(study: Study) -> str:
    """What a warm prompt cache changes at the highest level that was measured with both."""
    if not study.cache_effect:
        return ""
    top = study.cache_effect[-1]
    return (f"With a warm prompt cache a request waits {seconds(top['warm_ttft_mean_s'])} instead of {seconds(top['cold_ttft_mean_s'])} "
            f"at {top['concurrency']} at once; all other figures here are cold.")


def cost(study: Study, price_per_kwh: float, currency: str) -> str:
    """What a million tokens cost at the most efficient level."""
    per_joule = study.mean("output_tokens_per_joule")
    if not any(per_joule.values()):  # a server may say that its replies have no tokens
        if found := best_for_gpu(study):
            n, per_token_j = found
            million = 1e6 * per_token_j / 3.6e6 * price_per_kwh
            return (f"At {digits(price_per_kwh)} {currency}/kWh the GPU's energy alone for a million "
                    f"output tokens costs {digits(million)} {currency} at {n} at once; "
                    "what the CPU took besides is not known.")
        return "What a million output tokens cost is not known: no level has its energy and tokens."
    best = max(per_joule, key=per_joule.get)
    million = 1e6 / per_joule[best] / 3.6e6 * price_per_kwh
    scopes = [source["scope"].partition(";")[0] for source in study.sources if source["scope"]]
    counted = f", counting {' and '.join(dict.fromkeys(scopes))}" if scopes else ""
    return f"At {digits(price_per_kwh)} {currency}/kWh a million output tokens cost {digits(million)} {currency} at {best} at once{counted}."


def bottlenecks(study: Study) -> list[str]:
    """What limits the highest level, each only where samples show it."""
    if not study.levels:
        return []
    top = study.levels[-1]
    found = []
    if short_of_slots(top):
        found.append(f"The server's slots limit how many are answered: asked for {top['concurrency']} at once it answered {top['peak_streaming']} at a time.")
    found += filter(None, [gpu_limit(study)])
    if is_cpu_busy(top) and (share := server_cpu_share(study, top)) is not None and share >= SERVER_CPU_RATIO:
        found.append(f"The processor limits: {percent(top['mean_cpu_ratio'])} busy at {top['concurrency']} at once, {percent(share)} by the server.")
    if (top["swap_change_bytes"] or 0) >= SWAP_BYTES:
        found.append(f"Memory limits: swap moved by {top['swap_change_bytes'] / 2**30:.1f} GiB at {top['concurrency']} at once.")
    if top["client_limited"] and not top["slept_s"]:
        found.append(f"This client limits: {top['client_limited_why']}.")
    return found


def short_of_slots(level: dict) -> bool:
    """Were fewer answered at a time than were there to be answered? Those that failed may never have been."""
    return level["load"] != "open" and 0 < (level["peak_streaming"] or 0) < min(level["concurrency"], level["completed"])


def gpu_limit(study: Study) -> str:
    """Is the GPU what stops the throughput? Only where it is busy there and was not while it still rose."""
    rates, busy = study.mean("output_tokens_per_s"), study.mean("mean_gpu_busy_ratio")
    stop = first_near(rates) if len(rates) > 1 else None
    if stop in (None, max(rates, default=None)) or busy.get(stop, 0) < GPU_BUSY_RATIO:
        return ""
    early = min((n for n in busy if n < stop and busy[n] >= GPU_BUSY_RATIO), default=None)
    if early is None:
        return f"The GPU limits the throughput: {percent(busy[stop])} busy at {stop} at once, where it stops rising."
    return (f"The GPU was {percent(busy[stop])} busy at {stop} at once, where throughput stops rising, but {percent(busy[early])} "
            f"at {early} already, where it still rose: this does not show that it limits.")


def is_cpu_busy(level: dict) -> bool:
    return (level["mean_cpu_ratio"] or 0) >= CPU_BUSY_RATIO


def server_cpu_share(study: Study, level: dict) -> float | None:
    """The share of all cores that the server's processes kept busy; None when unknown."""
    cores = (study.machine or {}).get("cpu_cores")
    return level["server_cpu_cores"] / cores if cores and level["server_cpu_cores"] is not None else None


def others_cpu_share(study: Study, level: dict) -> float:
    """The share of all cores that neither the server nor this client kept busy; 0 when the server's is unknown."""
    server = server_cpu_share(study, level)
    return 0.0 if server is None else level["mean_cpu_ratio"] - server - (level["client_cpu_ratio"] or 0) / study.machine["cpu_cores"]


# The Universal Scalability Law.

def fit_law(points: list[tuple[int, float]]) -> Law | None:
    """Least squares of the relative miss, contention and crosstalk not below zero.

    N / X is linear in (1, N-1, N(N-1)), so the fit has a closed form; where a parameter
    comes out negative, the best fit without it counts. None when there are fewer than
    LAW_LEVELS concurrencies or the best fit misses by more than LAW_ERROR_RATIO.
    """
    points = [(n, x) for n, x in points if x and x > 0]
    if len({n for n, _ in points}) < LAW_LEVELS:
        return None
    laws = []
    for kept in ((0, 1, 2), (0, 1), (0, 2), (0,)):
        rows = [[(1, n - 1, n * (n - 1))[i] * x / n for i in kept] for n, x in points]  # divided by N/X: each ought to be 1
        solved = solve([[sum(row[i] * row[j] for row in rows) for j in range(len(kept))] for i in range(len(kept))],
                       [sum(row[i] for row in rows) for i in range(len(kept))])
        if solved and solved[0] > 0 and min(solved) >= 0:
            a, b, c = (dict(zip(kept, solved)).get(i, 0.0) for i in range(3))
            law = Law(1 / a, b / a, c / a, 0.0)
            law.error_ratio = (sum((law.at(n) / x - 1) ** 2 for n, x in points) / len(points)) ** 0.5
            laws.append(law)
    best = min(laws, key=lambda law: law.error_ratio, default=None)
    return best if best and best.error_ratio <= LAW_ERROR_RATIO else None


def solve(matrix: list[list[float]], right: list[float]) -> list[float] | None:
    """The solution of a small linear system by elimination with pivots; None when it has none."""
    rows = [line + [value] for line, value in zip(matrix, right)]
    size = len(rows)
    for i in range(size):
        pivot = max(range(i, size), key=lambda k: abs(rows[k][i]))
        rows[i], rows[pivot] = rows[pivot], rows[i]
        if abs(rows[i][i]) < 1e-300:
            return None
        for k in range(size):
            if k != i:
                factor = rows[k][i] / rows[i][i]
                rows[k] = [left - factor * above for left, above in zip(rows[k], rows[i])]
    return [rows[i][size] / rows[i][i] for i in range(size)]


# Warnings.

def warnings(study: Study) -> list[Warning]:
    """What to know before trusting the figures, gravest first."""
    checks = (failures, unfinished, sleeps, client_limits, other_programs, unseen_server, spills, slots, cold_starts, heat, saving,
              cache_hits, cut_replies, lengths, words, uncovered_energy, gpu_alone, few_requests)
    return [warning for check in checks for warning in check(study)]


def failures(study: Study) -> list[Warning]:
    found, together = [], {}
    for row in sorted(study.outcomes, key=lambda row: row["concurrency"]):
        together.setdefault((row["concurrency"], row["status"], row["http_status"]), []).append(row)  # the repeats of a level
    for (concurrency, status, _), rows in together.items():
        said = next((f": {row['example']}" for row in rows if row["example"]), "")
        found.append(Warning(
            f"{sum(row['requests'] for row in rows)} of the requests at {concurrency} at once ended {status}{said}",
            "Each counts as an error and in no speed or wait",
            "Lower the level, raise --deadline, or look into the server's log"))
    return found


def unfinished(study: Study) -> list[Warning]:
    return [Warning(f"run {run['run_id']} is {run['status']}", "What it had finished is shown", "bench.py --resume goes on with it")
            for run in study.runs if run["status"] != "finished"]


def sleeps(study: Study) -> list[Warning]:
    return [Warning(f"the machine slept for {seconds(level['slept_s'])} in the level"
                    f" at {level['concurrency']} at once",
                    "None of its figures can be trusted, and it does not count as served",
                    "Leave the lid open, have the machine on mains power; bench.py --resume fires it again")
            for level in study.levels if level["slept_s"]]


def client_limits(study: Study) -> list[Warning]:
    return [Warning(f"at {level['concurrency']} at once this client was the bottleneck ({level['client_limited_why']})",
                    "The server may be faster than shown", "Run bench.py on another machine, or with a lower level")
            for level in study.levels if level["client_limited"] and not level["slept_s"]]


def other_programs(study: Study) -> list[Warning]:
    shares = [(level, share) for level in study.levels if is_cpu_busy(level) and (share := others_cpu_share(study, level)) >= OTHERS_CPU_RATIO]
    if not shares:
        return []
    return [Warning(f"other programs kept {span([share for _, share in shares], percent)} of the processor busy at {listed([level for level, _ in shares])} at once",
                    "Speeds may be lower and watts higher than the machine's own", "Stop them and run it again")]


def unseen_server(study: Study) -> list[Warning]:
    busy = [level for level in study.levels if is_cpu_busy(level) and server_cpu_share(study, level) is None]
    return [Warning(f"the processor was busy ({span([level['mean_cpu_ratio'] for level in busy], percent)}) at {listed(busy)} at once",
                    "How much of that was the server is not known: none of its processes was seen here",
                    "--pid N names the server's process")] if busy else []


def spills(study: Study) -> list[Warning]:
    parts = [f"{percent(target['vram_bytes'] / target['size_bytes'])} of the model is in GPU memory at {target['host']}" for target in study.targets
             if target["size_bytes"] and target["vram_bytes"] is not None and target["vram_bytes"] < target["size_bytes"]]
    return [Warning(part, "The rest runs on the processor, several times slower", "Take a smaller model, context or number of slots")
            for part in dict.fromkeys(parts)]


def slots(study: Study) -> list[Warning]:
    short = [level for level in study.levels if short_of_slots(level)]
    if not short:
        return []
    most = max(level["peak_streaming"] for level in short)
    return [Warning(f"the server answered at most {most} at a time at {listed(short)} at once",
                    "It has fewer slots than were asked for; the others wait in its queue",
                    "OLLAMA_NUM_PARALLEL gives it more, where memory allows")]


def cold_starts(study: Study) -> list[Warning]:
    cold = [level for level in study.levels if (level["max_load_s"] or 0) > SLOW_LOAD_S]
    if not cold:
        return []
    longest = max(level["max_load_s"] for level in cold)
    return [Warning(f"a request waited {seconds(longest)} for the model to load at {listed(cold)} at once",
                    "The model was loaded within the level, or pushed out by another one", "--warmup N loads it before")]


def heat(study: Study) -> list[Warning]:
    hot = [level for level in study.levels if level["hot_samples"]]
    return [Warning(f"the system reported thermal pressure at {listed(hot)} at once",
                    "A hot machine runs slower", "--cooldown S pauses longer between levels")] if hot else []


def saving(study: Study) -> list[Warning]:
    """Levels in which this machine saved power."""
    found = []
    for column, how, what in (("on_battery", "on battery", "Plug it in"),
                              ("low_power_mode", "in low power mode", "Turn that off")):
        if levels := [level for level in study.levels if level[column]]:
            found.append(Warning(f"this machine ran {how} at {listed(levels)} at once",
                                 "Many machines are slower so", f"{what} and run it again"))
    return found


def cache_hits(study: Study) -> list[Warning]:
    hits = [level for level in study.levels if level["cache"] != "warm" and level["prompt_tokens"]
            and (level["cached_tokens"] or 0) > CACHED_RATIO * level["prompt_tokens"]]
    return [Warning(f"prompt tokens came from the cache at {listed(hits)} at once",
                    "Prefill and time to first token are better than for new prompts",
                    "--cache cold gives each prompt a prefix of its own")] if hits else []


def cut_replies(study: Study) -> list[Warning]:
    cut = [level for level in study.levels if 0 < (level["cut_by_length"] or 0) < level["completed"]]
    return [Warning(f"some replies, not all, were cut at the limit of tokens at {listed(cut)} at once",
                    "Short and long replies share a level", "A lower --tokens makes them alike")] if cut else []


def lengths(study: Study) -> list[Warning]:
    shortest = min((level["min_output_tokens"] for level in study.levels if level["min_output_tokens"]), default=None)
    longest = max((level["max_output_tokens"] for level in study.levels if level["max_output_tokens"]), default=None)
    if not shortest or longest <= VARYING_RATIO * shortest:
        return []
    return [Warning(f"replies have {shortest:,} to {longest:,} tokens", "Levels with longer replies do more work",
                    "--tokens N, or a fixed seed (--option seed=1), makes them more alike")]


def words(study: Study) -> list[Warning]:
    return [Warning("tokens are a count of words", "The original tool split the text on blanks", "Run bench.py to have the server's count")
            ] if any(run["source"] == "import" for run in study.runs) else []


def uncovered_energy(study: Study) -> list[Warning]:
    bare = [level for level in study.levels
            if level["mean_w"] is not None and level["energy_j"] is None
            or is_of_gpu(level) and level["gpu_energy_j"] is None]
    return [Warning(f"power samples cover too little of the levels at {listed(bare)} at once",
                    "Below 95 % a level has no energy, only mean watts",
                    "Longer replies (--tokens) make longer levels with more samples")] if bare else []


def gpu_alone(study: Study) -> list[Warning]:
    levels = list(filter(is_of_gpu, study.levels))
    return [Warning(f"watts and joules are of the GPU alone at {listed(levels)} at once",
                    "What the CPU took besides could not be read",
                    "Started with sudo it is read on most machines")] if levels else []


def is_of_gpu(level: dict) -> bool:
    """Are the GPU's watts known, and no others?"""
    return level["mean_w"] is None and level["gpu_power_w"] is not None


def few_requests(study: Study) -> list[Warning]:
    few = [level for level in study.levels if level["completed"] < P95_FLOOR]
    return [Warning(f"fewer than {P95_FLOOR} requests completed at {listed(few)} at once",
                    f"A percentile needs {P95_FLOOR} (p95) or {P99_FLOOR} (p99) requests of one level and is blank below",
                    "Read the mean and the longest wait there")] if few else []


# How figures are written.

def listed(levels: list[dict]) -> str:
    """The concurrencies of some levels, e.g. "1, 2 and 4"."""
    numbers = [str(n) for n in sorted({level["concurrency"] for level in levels})]
    return " and ".join(filter(None, [", ".join(numbers[:-1]), numbers[-1]]))


def digits(value: float | None) -> str:
    """Three significant digits, whole numbers in full; a dash for unknown."""
    if value is None:
        return "-"
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 0.001 else f"{value:.2g}"


def percent(ratio: float) -> str:
    value = round(ratio * 100, 1)
    return f"{value:.0f} %" if value >= 10 or value == int(value) else f"{value} %"


def span(values: list[float], written: Callable[[float], str] = digits) -> str:
    """The least and the most, or the one that both are, e.g. "82 to 100 %"."""
    low, high = written(min(values)), written(max(values))
    if low == high:
        return low
    number, _, unit = low.partition(" ")
    return f"{number if unit and high.endswith(f' {unit}') else low} to {high}"
