"""The command line: a server by default, powermetrics when that is the first argument.

simulate                                an Ollama and OpenAI server, timed like an M2 Pro
simulate --profile exact --itl 20       every token exactly on time: to measure a client with
simulate --log sim.jsonl --report       record when each token was really written
simulate --fault stall:5                misbehave; --fault help lists the faults
simulate powermetrics -f plist -i 500   the powermetrics of the simulated machine
"""

from __future__ import annotations

import sys

from ollama_bench.simulator.settings import PROGRAM, SimulatorError


def main(argv: list[str] | None = None) -> int:
    """Run the program and return its exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    try:
        if arguments[:1] == ["powermetrics"]:
            return run_powermetrics(arguments[1:])
        return run_server(arguments)
    except SimulatorError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        # another Python than the one with the packages
        remedy = "start it with .venv/bin/python, or see docs/install.md"
        print(f"{error}: {remedy}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def run_powermetrics(arguments: list[str]) -> int:
    # Imported here so that neither program loads the libraries of the other.
    from ollama_bench.simulator.powermetrics import program

    return program.run(arguments)


def run_server(arguments: list[str]) -> int:
    from ollama_bench.simulator import options

    settings = options.parse_args(arguments)
    from ollama_bench.simulator import server

    return server.serve(settings)
