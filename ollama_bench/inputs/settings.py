"""The settings of one run of bench.py, frozen, split by who uses them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ollama_bench.inputs.fleet_settings import FleetSettings
from ollama_bench.inputs.objectives import Objectives
from ollama_bench.inputs.prompt_mix import PromptMix
from ollama_bench.statistics.think_time import ThinkTime

Cache = Literal["cold", "warm", "both"]
Balance = Literal["least-in-flight", "round-robin", "random"]
LoadKind = Literal["burst", "closed", "open", "people"]


@dataclass(frozen=True)
class ServerAddress:
    """A server: its base URL and the protocol it speaks (ollama or openai)."""

    url: str
    protocol: str


@dataclass(frozen=True)
class RequestSettings:
    """What is asked, and of whom."""

    # empty without a name: chosen among those that the server has
    models: tuple[str, ...]
    # empty with --demo: its simulator is not started yet
    servers: tuple[ServerAddress, ...]
    # names as given: one for all servers, or one for each
    protocols: tuple[str, ...]
    # what named the servers: --host, --config, OLLAMA_HOST or default
    named_by: str
    # nothing names server, protocol or model: they are looked for
    is_searched: bool
    prompt: str
    prompts_file: str | None
    # of made-up prompts: lengths that are levels of their own
    prompt_tokens: tuple[int, ...]
    mix: PromptMix | None  # beside them, prompts of several lengths
    trace_file: str | None
    tokens: int | None  # ceiling of a reply
    think: bool | None  # None: the server's default
    model_options: Mapping[str, object]
    cache: Cache
    pull: bool

    @property
    def prompt_lengths(self) -> list[int]:
        """Every length that a made-up prompt may have, rising; none without such prompts."""
        mixed = self.mix.lengths if self.mix else []
        return sorted({*self.prompt_tokens, *mixed})


@dataclass(frozen=True)
class LoadSettings:
    """How the requests of a level are sent; durations are in seconds."""

    levels: tuple[int, ...]
    # seconds of load; which levels then fit is found out
    budget_s: float | None
    kind: LoadKind
    requests: int | None
    duration_s: float | None
    rate_per_s: float | None
    # how requests are spread over several servers; None: there is one
    balance: Balance | None
    trace_speed: float | None  # times as fast as the trace was
    # coefficient of variation of the times between arrivals at a rate
    arrival_cv: float
    think_time: ThinkTime | None  # of people
    patience_s: float | None  # of people, for the first token
    ramp_s: float
    repeat: int
    seed: int
    warmup: int
    cooldown_s: float
    idle_s: float
    deadline_s: float | None
    stall_s: float | None
    kernel_stamps: bool


@dataclass(frozen=True)
class JudgingSettings:
    """What counts as served, and what decides the exit code."""

    objectives: Objectives
    find_capacity: bool  # of people, or requests at once
    find_rate: bool  # the most requests/s
    # seconds of a search; None: none is asked for
    search_budget_s: float | None
    fail_if: tuple[str, ...]
    report: bool


@dataclass(frozen=True)
class OutputSettings:
    """Where a run is kept and how it is shown."""

    db: str
    label: str | None
    resume: bool
    plain: bool
    live: bool  # the page of the run is shown while it runs


@dataclass(frozen=True)
class MonitorSettings:
    """What is watched beside the load."""

    enabled: bool
    pid: int | None


@dataclass(frozen=True)
class Settings:
    """Everything one start of bench.py was told."""

    request: RequestSettings
    load: LoadSettings
    judging: JudgingSettings
    output: OutputSettings
    monitor: MonitorSettings
    demo: bool
    self_check: bool
    # levels named more than once in LEVELS, fired once
    repeated_levels: tuple[int, ...]
    # option name: value, of all that is measured; --resume compares
    identity: Mapping[str, object]
    # of the command line, and what names the server and model that were found
    words: tuple[str, ...] = ()
    fleet: FleetSettings | None = None  # None: this process
