"""bench_real.py - one battery against real servers: our numbers beside their own counters.

    # or: make real SERVERS=servers.toml; a minute or two for each server
    python benchmarks/bench_real.py servers.toml

Nothing is downloaded. The file names servers that run, or says how to start them; only those
that it starts are killed in the middle of a level. For example:

    [[server]]
    name = "llama-server"
    url = "http://127.0.0.1:8080"
    api = "openai"            # or ollama
    model = "smollm2"
    slots = 4                 # requests that it answers at once
    context = 2048            # tokens of one slot; without it no prompt is too long
    start = ["llama-server", "-m", "smollm2.gguf", "--port", "8080", "--metrics"]
    env = {}                  # variables beside this shell's

Exit code 1 when something is not as it should be.
"""

from __future__ import annotations

import argparse
import pathlib
import signal
import sys
import tempfile

# the programs are files, not an installed package
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from benchmarks.real_servers.checks import CHECKS, Bench, Row
from benchmarks.real_servers.settings import (
    RealServer,
    SettingsError,
    read_settings,
    running,
)

NAMES = [check.__name__.removeprefix("check_") for check in CHECKS]


def main(argv: list[str] | None = None) -> int:
    """Run the battery and return the exit code."""
    options = make_parser().parse_args(argv)
    # a server that was started ends with us
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = pathlib.Path(tempfile.mkdtemp(prefix="real-servers-"))
    try:
        servers = read_settings(options.servers)
    except SettingsError as error:
        print(f"bench_real.py: {error}", file=sys.stderr)
        return 2
    print(f"results files and servers' logs: {folder}\n")
    print("| server | check | what | ours | expected | |")
    print("|---|---|---|---|---|---|")
    is_right = True
    for server in servers:
        is_right &= check_server(server, folder, options.only)
    return 0 if is_right else 1


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench_real.py",
        description="one battery against real servers: our numbers beside their own counters.",
    )
    parser.add_argument("servers", type=pathlib.Path, help="a TOML file")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES)
    return parser


def check_server(
    server: RealServer, folder: pathlib.Path, only: list[str]
) -> bool:
    """Print a row for each thing that was checked; tell whether all are right."""
    is_right = True
    try:
        with running(server, folder) as started:
            bench = Bench(started, folder)
            for name, check in zip(NAMES, CHECKS, strict=True):
                if name not in only:
                    continue
                for row in check(bench):
                    print_row(server, row)
                    is_right &= row.is_right
    except SettingsError as error:
        print_row(server, Row("start", str(error), "", "", False))
        return False
    return is_right


def print_row(server: RealServer, row: Row) -> None:
    verdict = "ok" if row.is_right else "WRONG"
    ours, expected = shorten(row.ours), shorten(row.expected)
    print(
        f"| {server.name} | {row.check} | {row.what} "
        f"| {ours} | {expected} | {verdict} |",
        flush=True,
    )


def shorten(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return " ".join(map(shorten, value))
    return str(value).replace("|", "/")


if __name__ == "__main__":
    sys.exit(main())
