"""Parse the command line of the server into Settings."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from ollama_bench.simulator.faults import registry
from ollama_bench.simulator.settings import (
    MODEL_LISTS,
    PROFILES,
    PROGRAM,
    Settings,
    complete_name,
)

Add = Callable[..., Any]  # a parser's add_argument


def parse_args(argv: list[str]) -> Settings:
    """Parse the arguments; print help or an error and exit where argparse does."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if "help" in args.fault:
        print(registry.list_faults())
        parser.exit()
    profile = PROFILES[args.profile]
    try:
        tokens = (
            parse_range(args.tokens) if args.tokens else profile.tokens
        )
        for fault in args.fault:
            registry.parse_fault(fault)
    except ValueError as error:
        parser.error(str(error))
    if args.speed <= 0 or args.slots == 0:
        parser.error(
            "invalid --speed or --slots: expected a number above 0"
        )
    if args.itl < 0 or args.ttft < 0:
        parser.error(
            "invalid --itl or --ttft: expected 0 or more milliseconds"
        )
    if not 0 <= args.port < 65536:
        parser.error(f"invalid --port {args.port}: expected 0 to 65535")
    names = args.model or [profile.model]
    return Settings(
        port=args.port,
        profile=profile,
        models=tuple(complete_name(name) for name in names),
        answers_as=args.answers_as,
        model_list=args.model_list,
        slots=args.slots or profile.slots or sys.maxsize,
        queue=args.queue,
        tokens=tokens,
        ttft_ms=args.ttft,
        itl_ms=args.itl,
        speed=args.speed,
        seed=args.seed,
        thinks=args.thinking == "on",
        faults=tuple(args.fault),
        api_key=args.api_key,
        tls=tuple(args.tls) if args.tls else None,
        log=args.log,
        report=args.report,
        parent_pid=args.parent_pid,
    )


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        text = " ".join(message.removeprefix("argument ").split())
        self.exit(2, f"{self.prog}: {text} (--help shows all)\n")


def build_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=PROGRAM,
        description="A stand-in model server with exact timing; `simulate powermetrics` stands in "
        "for powermetrics on the same machine.",
    )
    add_machine(parser.add_argument)
    add_timing(parser.add_argument)
    add_behaviour(parser.add_argument)
    add_process(parser.add_argument)
    return parser


def add_machine(add: Add) -> None:
    """Add what is simulated and where."""
    add(
        "--port",
        type=int,
        default=11434,
        help="port on 127.0.0.1; 0 picks a free one (default 11434)",
    )
    add(
        "--profile",
        choices=PROFILES,
        default="m2pro-7b",
        help="machine and model to simulate (default m2pro-7b)",
    )
    add(
        "--model",
        action="append",
        metavar="NAME",
        help="a model it has; may be repeated",
    )
    add(
        "--answers-as",
        metavar="NAME",
        help="answer OpenAI requests for any model by this name, as llama-server does",
    )
    add(
        "--model-list",
        choices=MODEL_LISTS,
        default="whole",
        help="how it answers /v1/models (default whole)",
    )
    add(
        "--slots",
        type=int,
        metavar="N",
        help="requests served at a time (default: the profile's)",
    )
    add(
        "--queue",
        type=int,
        metavar="N",
        help="requests that may wait; further ones get status 503 (default: no limit)",
    )
    add(
        "--tokens",
        metavar="N|MIN-MAX",
        help="length of a reply (default: the profile's)",
    )


def add_timing(add: Add) -> None:
    add(
        "--ttft",
        type=float,
        default=100,
        metavar="MS",
        help="profile exact: time to first token (default 100)",
    )
    add(
        "--itl",
        type=float,
        default=20,
        metavar="MS",
        help="profile exact: time between tokens (default 20)",
    )
    add(
        "--speed",
        type=float,
        default=1,
        metavar="X",
        help="run X times as fast (default 1)",
    )
    add(
        "--seed",
        type=int,
        default=0,
        help="seed of the lengths of replies (default 0)",
    )


def add_behaviour(add: Add) -> None:
    """Add what the server does and requires besides its timing."""
    add(
        "--thinking",
        choices=("on", "off"),
        default="on",
        help="whether the model reasons before it answers (default on)",
    )
    add(
        "--fault",
        action="append",
        default=[],
        metavar="NAME[:ARG]",
        help="misbehave in every reply; 'help' lists the faults",
    )
    add(
        "--api-key",
        metavar="K",
        help="bearer token that OpenAI requests must carry",
    )
    add(
        "--tls",
        nargs=2,
        metavar=("CERT", "KEY"),
        help="serve https with these PEM files",
    )


def add_process(add: Add) -> None:
    """Add what the process records, and when it ends."""
    add(
        "--log",
        metavar="FILE",
        help="append a JSON line per request: when each token was due and when it was written",
    )
    add(
        "--report",
        action="store_true",
        help="print the schedule error at exit",
    )
    add(
        "--parent-pid",
        type=int,
        metavar="PID",
        help="exit when this process has ended",
    )


def parse_range(text: str) -> tuple[int, int]:
    """Parse '20' to (20, 20) and '20-40' to (20, 40). Raises ValueError."""
    low, _, high = text.partition("-")
    try:
        shortest, longest = int(low), int(high or low)
    except ValueError:
        shortest, longest = -1, -1
    if not 0 <= shortest <= longest:
        raise ValueError(
            f"invalid --tokens {text!r}: expected N or MIN-MAX"
        )
    return shortest, longest
