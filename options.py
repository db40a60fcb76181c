"""options.py - the command line of bench.py: what may be asked, and what is meant by it.

It imports nothing heavy, so that --help answers at once.
"""
from __future__ import annotations

import argparse
import json
import os
import sys

import api
import objectives

DEEPEST_LEVEL = 4096  # a thread and a descriptor each; beyond, one client is the wrong tool
STUDY_MODEL = "deepseek-r1:7b"
STUDY_PROMPT = "What is the philosophical definition of time?"
DEMO_LEVELS = "1,2,4,8,19,32"
HIGHEST_PROBE = 256  # of --find-capacity, where nothing else is said
MOST_REQUESTS = 999_999  # a request's id is level * 1,000,000 + number

USAGE = """bench.py LEVELS [options]

  python bench.py 1,2,4,8,16,32      Ollama on this machine, deepseek-r1:7b
  sudo python bench.py 1,2,4,19      the same with watts and joules: root only reads power
  python bench.py --demo             no server needed: a simulated one, marked as such"""
REPEATABLE = ("--model", "--host", "--api", "--option", "--fail-if")  # on the command line they replace the config's


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line as a namespace; exits with 2 and one line when it is wrong."""
    parser = make_parser()
    argv = sys.argv[1:] if argv is None else argv
    given = parser.parse_args(argv)
    try:
        "".join(argv).encode()  # bytes that are no UTF-8 can't be stored; UnicodeEncodeError is a ValueError
        options = parser.parse_args(from_config(given.config, argv) + argv) if given.config else given
        settle(options)
    except ValueError as error:
        parser.error(str(error))
    return options


class Parser(argparse.ArgumentParser):
    def error(self, message: str):
        """One line instead of the usage."""
        self.exit(2, f"{self.prog}: {message} (--help shows all)\n")


def make_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="bench.py", usage=USAGE, add_help=False, allow_abbrev=False,
                                     formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=26, width=100))
    group = parser.add_argument_group("what is asked")
    group.add_argument("levels", nargs="?", metavar="LEVELS", help="concurrent requests: 1,2,4,19 or 1-8 or x2:256 (doubling)")
    add_asked(group)
    add_fired(parser.add_argument_group("how it is fired"))
    add_judged(parser.add_argument_group("what is judged"))
    add_kept(parser.add_argument_group("what is kept and shown"))
    return parser


def add_asked(group) -> None:
    add = group.add_argument
    add("--model", action="append", metavar="NAME", help=f"model, may be repeated ({STUDY_MODEL})")
    add("--host", action="append", metavar="URL", help="server, may be repeated (OLLAMA_HOST or 127.0.0.1:11434)")
    add("--api", action="append", choices=("ollama", "openai"), help="protocol, once or once for each host (ollama); key: OPENAI_API_KEY")
    add("--prompt", default=STUDY_PROMPT, metavar="TEXT", help="what is asked (the study's question about time)")
    add("--prompts", metavar="FILE", help="prompts and conversations, JSON lines or ShareGPT's")
    add("--prompt-tokens", type=whole(1), metavar="N", help="made-up prompts of about N tokens")
    add("--tokens", type=whole(1), metavar="N", help="ceiling of a reply (the model's own end)")
    add("--think", choices=("on", "off"), help="reasoning (the server's default)")
    add("--option", action="append", metavar="KEY=VALUE", help="model option, may be repeated")
    add("--cache", choices=("cold", "warm", "both"), default="cold", help="cold: a unique prefix for each prompt (cold)")
    add("--pull", action="store_true", help="download a missing model")


def add_fired(group) -> None:
    add = group.add_argument
    add("--requests", type=whole(1), metavar="N", help="so many a level: who is done is replaced at once (one burst)")
    add("--duration", type=seconds, metavar="S", help="the same for S seconds; what is in flight then may finish")
    add("--rate", type=positive, metavar="R", help="R requests/s at random times (Poisson); LEVELS is the most in flight")
    add("--ramp", type=seconds, default=0.0, metavar="S", help="spread the first requests of a level over S seconds")
    add("--repeat", type=whole(1), default=1, metavar="N", help="every level N times, in random order")
    add("--seed", type=whole(0), default=1, metavar="N", help="of every random choice (1)")
    add("--warmup", type=whole(0), default=1, metavar="N", help="requests before the first level (1)")
    add("--cooldown", type=seconds, metavar="S", help="pause between levels (10)")
    add("--idle", type=seconds, metavar="S", help="idle baseline of the power (10; 0: none)")
    add("--deadline", type=seconds, metavar="S", help="cut a level after S seconds (never)")
    add("--stall", type=seconds, default=300.0, metavar="S", help="cut a stream that is silent for S seconds (300)")


def add_judged(group) -> None:
    add = group.add_argument
    add("--slo", metavar="NAME=VALUE,...", help=f"objectives: ttft, ttfat, e2e, tpot, tokens_per_s ({objectives.DEFAULT})")
    add("--find-capacity", action="store_true", help="search the highest level that meets them; LEVELS is the most to try (256)")
    add("--steady", action="store_true", help="also show the part in which all of a level were in flight")
    add("--fail-if", action="append", metavar="COND", help="exit 1 when a level's figure is so, e.g. 'ttft>2' or 'error_ratio>0'")
    add("--report", action="store_true", help="run analyze.py at the end")
    add("--self-check", action="store_true", help="first measure this client's own error at these levels")


def add_kept(group) -> None:
    add = group.add_argument
    add("--config", metavar="FILE", help="options from a TOML file; the command line goes first")
    add("--db", default="results.db", metavar="FILE", help="results file (results.db)")
    add("--label", metavar="TEXT", help="a name for this run")
    add("--resume", action="store_true", help="go on with the newest interrupted run of the same arguments")
    add("--demo", action="store_true", help="against a simulated M2 Pro")
    add("--pid", type=whole(1), metavar="N", help="the server's process, where it can't be found")
    add("--no-monitor", action="store_true", help="watch no processes and no power")
    add("--plain", action="store_true", help="plain lines instead of a live screen")
    add("--user-stamps", action="store_true", help=argparse.SUPPRESS)  # measure as where the kernel gives no stamps
    add("-h", "--help", action="help", help="show this")


def from_config(path: str, argv: list[str]) -> list[str]:
    """A TOML file as a command line. Raises ValueError."""
    try:
        import tomllib
    except ImportError:  # Python 3.10
        import tomli as tomllib
    try:
        with open(path, "rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        raise ValueError(f"--config {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"--config {path}: {error}") from None
    found = []
    for name, value in table.items():
        flag = "--" + name.replace("_", "-")
        if name == "levels":
            found += [] if any_levels(argv) else [value if isinstance(value, str) else ",".join(map(str, value))]
        elif flag in REPEATABLE and flag in argv:
            continue
        elif isinstance(value, dict):
            found += [part for key, one in value.items() for part in (flag, f"{key}={json.dumps(one)}")]
        elif isinstance(value, list):
            found += [part for one in value for part in (flag, str(one))]
        elif isinstance(value, bool):
            found += [flag] if value else []
        else:
            found += [flag, str(value)]
    return found


def any_levels(argv: list[str]) -> bool:
    """Does a command line name levels itself?"""
    return make_parser().parse_args(argv).levels is not None


def settle(options: argparse.Namespace) -> None:
    """Turn texts into values and fill what depends on other options. Raises ValueError."""
    if options.levels is None and not (options.demo or options.find_capacity):
        raise ValueError("LEVELS is missing: try 1,2,4,8 (or --demo without a server)")
    options.levels, options.dropped = levels(options.levels or (str(HIGHEST_PROBE) if options.find_capacity else DEMO_LEVELS))
    options.model = list(dict.fromkeys(options.model or [STUDY_MODEL]))
    if any(not model.strip() for model in options.model):
        raise ValueError("--model is empty")
    options.api = options.api or ["ollama"]
    options.host = [] if options.demo else addresses(options)
    if len(options.api) not in (1, len(options.host) or 1):
        raise ValueError("--api is given once for all hosts, or once for each")
    options.option = dict(option(text) for text in options.option or [])
    options.think = None if options.think is None else options.think == "on"
    options.slo = objectives.parse(options.slo or objectives.DEFAULT)
    settle_load(options)
    if options.cooldown is None:
        options.cooldown = 1.0 if options.demo else 10.0
    if options.idle is None:
        options.idle = 2.0 if options.demo else 10.0


def settle_load(options: argparse.Namespace) -> None:
    """Which prompts, and which load; what excludes each other is refused. Raises ValueError."""
    if options.prompts and options.prompt_tokens:
        raise ValueError("--prompts and --prompt-tokens exclude each other")
    if options.rate and not (options.requests or options.duration):
        raise ValueError("--rate needs an end: --requests N or --duration S")
    if options.rate and options.ramp:
        raise ValueError("--rate and --ramp exclude each other")
    if options.duration == 0:
        raise ValueError("--duration 0 sends nothing: seconds above 0 are meant")
    if options.requests and options.requests > MOST_REQUESTS:
        raise ValueError(f"--requests {options.requests} is more than {MOST_REQUESTS} a level")
    options.load = "open" if options.rate else "closed" if options.requests or options.duration else "burst"
    if options.prompts:
        import prompts

        prompts.read(options.prompts)  # so that a wrong file is told before anything begins


def addresses(options: argparse.Namespace) -> list[str]:
    """The servers' base URLs: --host, OLLAMA_HOST (Ollama's own variable), or this machine."""
    if options.host:
        return list(dict.fromkeys(api.host_url(text) for text in options.host))
    if options.api == ["ollama"] and (text := os.environ.get("OLLAMA_HOST", "").strip()):
        try:
            return [api.host_url(text)]
        except ValueError as error:
            raise ValueError(f"OLLAMA_HOST: {error}") from None
    return [api.host_url("127.0.0.1")]


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
        meant = json.loads(value)
        json.dumps(meant, allow_nan=False)  # NaN and 1e400 can be read but not sent
    except (ValueError, RecursionError):
        meant = value
    return key.strip(), meant


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


def positive(text: str) -> float:
    value = seconds(text)
    if value == 0:
        raise argparse.ArgumentTypeError("0: a number above 0 is meant")
    return value
