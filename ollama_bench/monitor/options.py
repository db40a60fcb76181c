"""The options of monitor.py, as frozen Settings."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import NamedTuple

from ollama_bench import __version__
from ollama_bench.monitor.monitor import INTERVAL_S, PORT
from ollama_bench.terminal.command_line import (
    OneLineParser,
    add_version,
    name_program,
    refuse_nul,
)

LOOPBACK = "127.0.0.1"
SHORTEST_S = 0.05  # an interval or a duration


class Address(NamedTuple):
    """Where to listen."""

    host: str
    port: int


@dataclass(frozen=True)
class Settings:
    """What the command line asks for; stored with the run."""

    pid: int | None
    port: int
    interval: float
    duration: float | None
    db: str
    powermetrics_log: str | None
    prometheus: Address | None


def parse_args(argv: list[str] | None) -> Settings:
    """Parse the command line; exit with 2 if it is wrong."""
    parser = make_parser()
    arguments = parser.parse_args(argv)
    refuse_nul(parser, arguments)
    return Settings(**vars(arguments))


def make_parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog=name_program("monitor"),
        description="Watch the server's processes, the machine and its power while a run goes on.",
    )
    add_version(parser, __version__)
    parser.add_argument(
        "--pid", type=int, help="watch this process and its descendants"
    )
    parser.add_argument(
        "--port",
        type=parse_port,
        default=PORT,
        help="the server's port (%(default)s), which may open later",
    )
    parser.add_argument(
        "--interval",
        type=parse_seconds,
        default=INTERVAL_S,
        help="seconds between looks (%(default)s)",
    )
    parser.add_argument(
        "--duration",
        type=parse_seconds,
        help="seconds to watch (default: until Ctrl-C)",
    )
    parser.add_argument(
        "--db", default="results.db", help="results file (%(default)s)"
    )
    parser.add_argument(
        "--powermetrics-log",
        metavar="FILE",
        help="store what powermetrics wrote into FILE, and exit",
    )
    parser.add_argument(
        "--prometheus",
        metavar="PORT",
        type=parse_address,
        help="serve metrics to Prometheus on 127.0.0.1:PORT, or on HOST:PORT",
    )
    return parser


def parse_address(text: str) -> Address:
    """Return the address of PORT, HOST:PORT or [IPV6]:PORT."""
    host, colon, port = text.rpartition(":")
    if not colon:
        host = LOOPBACK
    elif host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    number = int(port) if port.isascii() and port.isdecimal() else 0
    if not host or not 0 < number < 65536:
        raise argparse.ArgumentTypeError(
            f"invalid address {text!r}: expected PORT or HOST:PORT, the port from 1 to 65535"
        )
    return Address(host, number)


def parse_port(text: str) -> int:
    port = int(text) if text.isascii() and text.isdecimal() else 0
    if not 0 < port < 65536:
        raise argparse.ArgumentTypeError(
            f"invalid port {text!r}: expected an integer from 1 to 65535"
        )
    return port


def parse_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not SHORTEST_S <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(
            f"invalid duration {text!r}: expected seconds, at least {SHORTEST_S}"
        )
    return seconds
