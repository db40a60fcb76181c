"""The load of a level, or of the part of it that one of several processes sends."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ollama_bench.inputs.settings import LoadSettings
from ollama_bench.load import load
from ollama_bench.load.attempt import Limits, Task
from ollama_bench.load.part import WHOLE, Part
from ollama_bench.load.request import StopSignal
from ollama_bench.run.plan import Level
from ollama_bench.run.system_limits import raise_file_limit
from ollama_bench.run.tasks import TaskSource
from ollama_bench.transport.lines import Lines


def make_part(
    level: Level,
    source: TaskSource,
    limits: Limits,
    settings: LoadSettings,
    *,
    interrupt: StopSignal,
    part: Part,
    gate: Callable[[], None],
) -> load.Load:
    """Return the load of a part in the process that sends it. Raises RunError."""
    # one ready to follow for each in flight, and to each of several servers
    raise_file_limit(2 * level.concurrency * source.server_count)
    return make_load(
        level,
        source,
        limits,
        settings,
        in_bursts=False,
        interrupt=interrupt,
        part=part,
        gate=gate,
    )


def make_load(
    level: Level,
    source: TaskSource,
    limits: Limits,
    settings: LoadSettings,
    in_bursts: bool,
    *,
    interrupt: StopSignal,
    lines: Lines | None = None,
    part: Part = WHOLE,
    gate: Callable[[], None] | None = None,
) -> load.Load:
    """Return the load of a part. ``in_bursts`` and ``gate`` are those of Load.

    Several processes do not watch whether the queue grows: none of them sees all of it.
    """
    replay = source.replay
    planned = settings.requests if replay is None else len(replay)
    arrivals = find_arrivals(level, source, settings)
    seed = f"{settings.seed} {level.concurrency} {level.repeat}"
    people = None
    if settings.think_time is not None:
        people = load.People(
            level.concurrency, settings.think_time, seed, part
        )
    # a process balances its own part, each beginning with another server
    balancer = load.Balancer(
        source.server_count,
        settings.balance or "least-in-flight",
        seed,
        part.place,
    )

    def ask(own_number: int) -> Task:
        number = part.number(own_number)
        return source.task(number, balancer.choose(number))

    return load.Load(
        ask,
        limits,
        part.count(level.concurrency),
        arrivals=None if arrivals is None else part.pick(arrivals),
        ramp_s=settings.ramp_s,
        planned=None if planned is None else part.count(planned),
        until_s=settings.duration_s,
        people=people,
        in_bursts=in_bursts and settings.kind == "burst",
        is_watched=settings.rate_per_s is not None and part == WHOLE,
        balancer=balancer,
        interrupt=interrupt,
        lines=lines,
        gate=gate,
    )


def find_arrivals(
    level: Level, source: TaskSource, settings: LoadSettings
) -> Iterator[float] | None:
    """Return when each request of the whole level is due, seconds; None: when another ends."""
    if settings.rate_per_s:
        return load.gamma(
            settings.rate_per_s,
            settings.arrival_cv,
            settings.seed * 1000 + level.repeat,
        )
    return None if source.replay is None else source.replay.due_times()
