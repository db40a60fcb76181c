"""Every option of bench.py, declared once: parsing, --help, settings files and --resume read it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import get_args

from ollama_bench.inputs import objectives, prompt_mix, values
from ollama_bench.inputs.fleet_settings import FleetAddress, parse_watch
from ollama_bench.inputs.settings import Balance
from ollama_bench.protocols.addresses import host_url
from ollama_bench.protocols.names import NAMES

STUDY_MODEL = "deepseek-r1:7b"
STUDY_PROMPT = "What is the philosophical definition of time?"


@dataclass(frozen=True)
class Option:
    """One option; a switch where it has no placeholder.

    ``convert`` turns its text into a value and raises ValueError with what it expected.
    ``is_measured`` tells whether it changes what a run measures: only a run of the same
    measured options can be resumed.
    """

    flag: str
    placeholder: str
    help: str
    convert: Callable[[str], object] = str
    default: object = None
    repeats: bool = False
    choices: tuple[str, ...] = ()
    is_measured: bool = True
    is_hidden: bool = False

    @property
    def name(self) -> str:
        """Its name in a settings file and among the stored arguments."""
        return self.flag.lstrip("-").replace("-", "_").lower()

    @property
    def is_positional(self) -> bool:
        return not self.flag.startswith("-")

    @property
    def is_switch(self) -> bool:
        return not (self.placeholder or self.is_positional)


@dataclass(frozen=True)
class Group:
    """Options that belong together, under one heading of --help."""

    heading: str
    options: tuple[Option, ...]


LEVELS = Option(
    "LEVELS",
    "",
    "concurrent requests: 1,2,4,19 or 1-8 or x2:256 (doubling)",
    values.levels,
)

REQUEST = Group(
    "what is asked",
    (
        LEVELS,
        Option(
            "--model",
            "NAME",
            "may be repeated (what is loaded or the only one)",
            repeats=True,
        ),
        Option(
            "--pull",
            "",
            "download a model that is missing",
            is_measured=False,
        ),
        Option(
            "--host",
            "URL",
            "may be repeated (OLLAMA_HOST, else what runs here)",
            host_url,
            repeats=True,
        ),
        Option(
            "--api",
            "NAME",
            "ollama (default) or openai, whose key is in OPENAI_API_KEY",
            repeats=True,
            choices=NAMES,
        ),
        Option(
            "--prompt",
            "TEXT",
            "the study's question about time",
            default=STUDY_PROMPT,
        ),
        Option(
            "--prompts",
            "FILE",
            "prompts and conversations, JSON lines or ShareGPT",
        ),
        Option(
            "--prompt-tokens",
            "N,...",
            "random prompts of N tokens; levels of each",
            values.prompt_lengths,
        ),
        Option(
            "--mix",
            "N*K,...",
            "random prompts: 500*9,8000*1 has a long one in ten",
            prompt_mix.parse,
        ),
        Option(
            "--tokens",
            "N",
            "longest reply (the model's own end)",
            values.integer(1),
        ),
        Option(
            "--think",
            "on|off",
            "reasoning (the server's default)",
            choices=("on", "off"),
        ),
        Option(
            "--option",
            "K=V",
            "a model option, may be repeated",
            values.model_option,
            repeats=True,
        ),
        Option(
            "--cache",
            "KIND",
            "cold: a unique prefix each (default); warm; both",
            default="cold",
            choices=("cold", "warm", "both"),
        ),
    ),
)

LOAD = Group(
    "how it is sent: all requests of a level at once, or",
    (
        Option(
            "--requests",
            "N",
            "N a level; a finished one is replaced at once",
            values.integer(1),
        ),
        Option(
            "--duration",
            "S",
            "the same for S seconds, then drain",
            values.seconds,
        ),
        Option(
            "--rate",
            "R",
            "R requests/s at random times; LEVELS limits them",
            values.positive,
        ),
        Option(
            "--arrivals",
            "LAW",
            "of a rate: poisson, constant, or gamma:2 in bursts",
            values.arrivals,
        ),
        Option(
            "--trace",
            "FILE",
            "requests as in a BurstGPT, Azure or Mooncake trace",
        ),
        Option(
            "--trace-speed",
            "X",
            "X times as fast as the trace was (1)",
            values.positive,
        ),
        Option(
            "--think-time",
            "S[:LAW]",
            "LEVELS are people: they read, think S seconds, ask again",
            values.think_time,
        ),
        Option(
            "--patience",
            "S",
            "people who have no first token after S seconds leave",
            values.positive,
        ),
        Option(
            "--balance",
            "POLICY",
            "over hosts: least-in-flight (default), round-robin, random",
            choices=get_args(Balance),
        ),
        Option(
            "--budget",
            "S",
            "seconds of load without LEVELS (60), or of a search (600)",
            values.positive,
        ),
        Option(
            "--ramp",
            "S",
            "spread a level's first requests over S seconds",
            values.seconds,
            0.0,
        ),
        Option(
            "--fleet",
            "WHERE",
            "by processes: local:N, or a Dask cluster, tls://HOST:8786",
            FleetAddress.parse,
            is_measured=False,
        ),
        Option(
            "--fleet-insecure",
            "",
            "tcp:// to other machines too, which anyone can read",
            is_measured=False,
        ),
        Option(
            "--watch",
            "WORKER=HOST",
            "WORKER is on HOST's machine, and reads its power there",
            parse_watch,
            repeats=True,
            is_measured=False,
        ),
        Option(
            "--repeat",
            "N",
            "every level N times, in random order",
            values.integer(1),
            1,
        ),
        Option(
            "--seed",
            "N",
            "seed of everything random (1)",
            values.integer(0),
            1,
        ),
        Option(
            "--warmup",
            "N",
            "requests before the first level (1)",
            values.integer(0),
        ),
        Option(
            "--cooldown", "S", "pause between levels (10)", values.seconds
        ),
        Option(
            "--idle",
            "S",
            "idle baseline before the first level (10)",
            values.seconds,
        ),
        Option(
            "--deadline",
            "S",
            "cut a level after S seconds (never)",
            values.seconds,
        ),
        Option(
            "--stall",
            "S",
            "cut a stream that is silent for S seconds (300)",
            values.seconds,
            300.0,
        ),
        # measures as where the kernel has no time stamps
        Option("--user-stamps", "", "", is_hidden=True),
    ),
)

JUDGING = Group(
    "what is judged",
    (
        Option(
            "--slo",
            "NAME=V,...",
            f"{objectives.DEFAULT}; also ttfat, e2e, tpot; ttft=2@99",
        ),
        Option(
            "--find-capacity",
            "",
            "the most at once, or people, that meet --slo (256)",
        ),
        Option(
            "--find-rate",
            "",
            "the most requests/s that meet --slo",
        ),
        Option(
            "--fail-if",
            "COND",
            "exit 1 if a level meets it, 3 if unknown: 'ttft>2'",
            repeats=True,
            is_measured=False,
        ),
        Option(
            "--report",
            "",
            "print the answer, draw charts and page at the end",
            is_measured=False,
        ),
        Option(
            "--self-check",
            "",
            "first measure this client's own error",
            is_measured=False,
        ),
    ),
)

OUTPUT = Group(
    "what is kept and shown",
    (
        Option(
            "--config",
            "FILE",
            "options from a TOML file",
            is_measured=False,
        ),
        Option(
            "--db",
            "FILE",
            "results file (results.db)",
            default="results.db",
            is_measured=False,
        ),
        Option("--label", "TEXT", "name of the run", is_measured=False),
        Option(
            "--resume",
            "",
            "continue the newest interrupted run of these options",
            is_measured=False,
        ),
        Option(
            "--demo", "", "measure a simulated server", is_measured=False
        ),
        Option(
            "--pid",
            "N",
            "the server's process, if not found",
            values.integer(1),
            is_measured=False,
        ),
        Option(
            "--no-monitor",
            "",
            "watch no processes and no power",
            is_measured=False,
        ),
        Option(
            "--live",
            "",
            "show the run as a page while it runs (loopback only)",
            is_measured=False,
        ),
        Option(
            "--plain",
            "",
            "plain lines instead of a live screen",
            is_measured=False,
        ),
    ),
)

GROUPS = (REQUEST, LOAD, JUDGING, OUTPUT)
ALL = tuple(option for group in GROUPS for option in group.options)
BY_NAME = {option.name: option for option in ALL}
