"""options.py - the command line of bench.py: what may be asked, and what is meant by it.

It imports nothing heavy, so that --help answers at once.
"""
from __future__ import annotations

import argparse
import json
import os

import api

DEEPEST_LEVEL = 4096  # a thread and a descriptor each; beyond, one client is the wrong tool
STUDY_MODEL = "deepseek-r1:7b"
STUDY_PROMPT = "What is the philosophical definition of time?"
DEMO_LEVELS = "1,2,4,8,19,32"

EXAMPLES = """\
python bench.py 1,2,4,8,16,32                 Ollama on this machine, deepseek-r1:7b
sudo python bench.py 1,2,4,19 --model llama3.2  with watts and joules (root only reads power)
python bench.py 1-8 --api openai --host http://127.0.0.1:8080 --model qwen2
python bench.py --demo                        no server needed: a simulated one, marked as such
"""


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line as a namespace; exits with 2 and one line when it is wrong."""
    parser = argparse.ArgumentParser(
        prog="bench.py", usage="bench.py LEVELS [options]", epilog=EXAMPLES,
        description="How many people can this machine's model serve at once, how fast, for how many joules?",
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("levels", nargs="?", metavar="LEVELS", help="concurrent requests: 1,2,4,19 or 1-8 or x2:256 (doubling)")
    add_asked(parser.add_argument_group("what is asked"))
    add_fired(parser.add_argument_group("how it is fired"))
    add_kept(parser.add_argument_group("what is kept and shown"))
    options = parser.parse_args(argv)
    try:
        settle(options)
    except ValueError as error:
        parser.error(str(error))
    return options


def add_asked(group) -> None:
    group.add_argument("--model", action="append", metavar="NAME", help=f"model, may be repeated (default {STUDY_MODEL})")
    group.add_argument("--host", metavar="URL", help="server (default OLLAMA_HOST, else http://127.0.0.1:11434)")
    group.add_argument("--api", choices=("ollama", "openai"), default="ollama", help="protocol (default %(default)s); a key comes from OPENAI_API_KEY")
    group.add_argument("--prompt", default=STUDY_PROMPT, metavar="TEXT", help="default: the study's question about time")
    group.add_argument("--tokens", type=whole(1), metavar="N", help="ceiling of a reply (default: the model's own end)")
    group.add_argument("--think", choices=("on", "off"), help="reasoning (default: the server's)")
    group.add_argument("--option", action="append", default=[], metavar="KEY=VALUE", help="model option, may be repeated")
    group.add_argument("--cache", choices=("cold", "warm"), default="cold", help="cold: a unique prefix for each prompt (default)")
    group.add_argument("--pull", action="store_true", help="download the model when it is missing")


def add_fired(group) -> None:
    group.add_argument("--repeat", type=whole(1), default=1, metavar="N", help="fire every level N times")
    group.add_argument("--warmup", type=whole(0), default=1, metavar="N", help="requests before the first level (default 1)")
    group.add_argument("--cooldown", type=seconds, metavar="S", help="pause between levels (default 10)")
    group.add_argument("--idle", type=seconds, metavar="S", help="idle baseline for the power (default 10, 0: none)")
    group.add_argument("--deadline", type=seconds, metavar="S", help="cut a level after S seconds (default: never)")
    group.add_argument("--stall", type=seconds, default=300.0, metavar="S", help="cut a stream silent for S seconds (default 300)")


def add_kept(group) -> None:
    group.add_argument("--db", default="results.db", metavar="FILE", help="results file (default %(default)s)")
    group.add_argument("--label", metavar="TEXT", help="a name for this run")
    group.add_argument("--resume", action="store_true", help="go on with the newest interrupted run of the same arguments")
    group.add_argument("--demo", action="store_true", help="against a simulated M2 Pro")
    group.add_argument("--pid", type=whole(1), metavar="N", help="the server's process, where it can't be found")
    group.add_argument("--no-monitor", action="store_true", help="watch no processes and no power")
    group.add_argument("--plain", action="store_true", help="plain lines instead of a live screen")
    group.add_argument("--user-stamps", action="store_true", help=argparse.SUPPRESS)  # measure as where the kernel gives no stamps


def settle(options: argparse.Namespace) -> None:
    """Turn texts into values and fill what depends on other options. Raises ValueError."""
    if options.levels is None and not options.demo:
        raise ValueError("LEVELS is missing: try 1,2,4,8 (or --demo without a server)")
    options.levels, options.dropped = levels(options.levels or DEMO_LEVELS)
    options.model = list(dict.fromkeys(options.model or [STUDY_MODEL]))
    if any(not model.strip() for model in options.model):
        raise ValueError("--model is empty")
    options.host = None if options.demo else address(options)
    options.option = dict(option(text) for text in options.option)
    options.think = None if options.think is None else options.think == "on"
    if options.cooldown is None:
        options.cooldown = 1.0 if options.demo else 10.0
    if options.idle is None:
        options.idle = 2.0 if options.demo else 10.0


def address(options: argparse.Namespace) -> str:
    """The server's base URL: --host, OLLAMA_HOST (Ollama's own variable), or this machine."""
    if options.host is not None:
        return api.host_url(options.host)
    if options.api == "ollama" and (text := os.environ.get("OLLAMA_HOST", "").strip()):
        try:
            return api.host_url(text)
        except ValueError as error:
            raise ValueError(f"OLLAMA_HOST: {error}") from None
    return api.host_url("127.0.0.1")


def levels(text: str) -> tuple[list[int], list[int]]:
    """Concurrencies in the order given, without doubles, and the doubles. Raises ValueError.

    1,2,4 or 1-8 (every number) or x2:256 (1, 2, 4 ... 256), also mixed; blanks are allowed.
    """
    found: list[int] = []
    for part in text.replace(",", " ").split():
        found += span(part)
    if not found:
        raise ValueError("LEVELS is empty: try 1,2,4,8")
    unique = list(dict.fromkeys(found))
    return unique, sorted({level for level in found if found.count(level) > 1})


def span(part: str) -> list[int]:
    """The numbers that one part of LEVELS means."""
    if part.startswith("x2:"):
        highest = concurrency(part[3:])
        return [2**i for i in range(highest.bit_length())]
    if "-" in part[1:]:
        low, _, high = part.partition("-")
        low, high = concurrency(low), concurrency(high)
        if low > high:
            raise ValueError(f"{part!r} is no range: {high}-{low} is meant")
        return list(range(low, high + 1))
    return [concurrency(part)]


def concurrency(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 9 or not 1 <= int(text) <= DEEPEST_LEVEL:
        raise ValueError(f"{text!r} is no level: a whole number from 1 to {DEEPEST_LEVEL} is meant")
    return int(text)


def option(text: str) -> tuple[str, object]:
    """KEY=VALUE, the value as JSON where it is any, else as text. Raises ValueError."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ValueError(f"--option {text!r}: KEY=VALUE is meant, e.g. num_ctx=4096")
    try:
        return key.strip(), json.loads(value)
    except ValueError:
        return key.strip(), value


def whole(least: int):
    """A type for argparse: a whole number of at least so much."""
    def convert(text: str) -> int:
        if not (text.isascii() and text.isdigit()) or len(text) > 9 or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r}: a whole number from {least} on is meant")
        return int(text)
    return convert


def seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r}: seconds are meant")
    return value
