"""options.py - the command line of bench.py: what may be asked, and what is meant by it.

It imports nothing heavy, so that --help answers at once.
"""
from __future__ import annotations

import argparse
import json
import os
import sys

from ollama_bench.protocols import api
from ollama_bench.inputs import config
from ollama_bench.inputs import objectives
from ollama_bench.terminal import standard

DEEPEST_LEVEL = 4096  # a thread and a descriptor each; beyond, one client is the wrong tool
STUDY_MODEL = "deepseek-r1:7b"
STUDY_PROMPT = "What is the philosophical definition of time?"
DEMO_LEVELS = "1,2,4,8,19,32"
HIGHEST_PROBE = 256  # of --find-capacity, where nothing else is said
MOST_REQUESTS = 999_999  # a request's id is level * 1,000,000 + number

HELP = f"""bench.py LEVELS [options]

  python bench.py 1,2,4,8,16,32   Ollama on this machine, deepseek-r1:7b
  sudo python bench.py 1,2,4,19   the same with watts: root only reads power
  python bench.py --demo          no server needed: a simulated one, marked so

what is asked
  LEVELS             so many at once: 1,2,4,19 or 1-8 or x2:256 (doubling)
  --model NAME       may be repeated ({STUDY_MODEL}); --pull downloads it
  --host URL         server, may be repeated (OLLAMA_HOST or 127.0.0.1:11434)
  --api NAME         ollama (default) or openai, whose key is in OPENAI_API_KEY
  --prompt TEXT      what is asked (the study's question about time)
  --prompts FILE     prompts and conversations, JSON lines or ShareGPT's
  --prompt-tokens N  made-up prompts of about N tokens
  --tokens N         ceiling of a reply (the model's own end)
  --think on|off     reasoning (the server's default)
  --option K=V       a model option, may be repeated
  --cache KIND       cold: a unique prefix for each prompt (default); warm; both

how it is fired: all of a level at once, or
  --requests N       so many a level: who is done is replaced at once
  --duration S       the same for S seconds; what is in flight then may finish
  --rate R           R requests/s at random times; LEVELS is the most in flight
  --ramp S           the first requests of a level spread over S seconds
  --repeat N         every level N times, in random order from --seed N (1)
  --warmup N         requests before the first level (1)
  --cooldown S       pause between levels (10); --idle S idle baseline (10)
  --deadline S       cut a level after S seconds (never)
  --stall S          cut a stream that is silent for S seconds (300)

what is judged
  --slo ttft=2,...   objectives ({objectives.DEFAULT}); also ttfat, e2e, tpot
  --find-capacity    the highest level that meets them; LEVELS is the most (256)
  --steady           also show the part that neither filled nor drained
  --fail-if COND     exit 1 when a level is so: 'ttft>2' or 'error_ratio>0'
  --report           analyze.py at the end; --self-check tests this client first

what is kept and shown
  --config FILE      options from a TOML file; the command line goes first
  --db FILE          results file (results.db); --label TEXT names the run
  --resume           go on with the newest interrupted run of the same arguments
  --pid N            the server's process, where it can't be found
  --no-monitor       watch no processes and no power
  --plain            plain lines instead of a live screen; -h, --help shows this
"""


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line as a namespace; exits with 2 and one line when it is wrong."""
    parser = make_parser()
    argv = sys.argv[1:] if argv is None else argv
    if any(part.partition("=")[0] == "--api-key" for part in argv):
        parser.error("a key on the command line is everybody's to read: put it into OPENAI_API_KEY")
    options = parser.parse_args(argv)
    standard.refuse_nul(parser, options)
    try:
        "".join(argv).encode()  # bytes that are no UTF-8 can't be stored; UnicodeEncodeError is a ValueError
        refuse_empty(parser, options)
        named_host = bool(options.host)
        if options.config:
            options = with_config(parser, options, argv)
        settle(options)
        if options.host_from == "--host" and not named_host:
            options.host_from = "--config"
    except ValueError as error:
        parser.error(str(error))
    return options


class Parser(argparse.ArgumentParser):
    def error(self, message: str):
        """One line instead of the usage."""
        self.exit(2, f"{self.prog}: {api.flat(message)} (--help shows all)\n")

    def format_help(self) -> str:
        return HELP


def make_parser() -> argparse.ArgumentParser:
    """Every option; what each is for stands in HELP."""
    parser = Parser(prog="bench.py", add_help=False, allow_abbrev=False)
    parser.add_argument("levels", nargs="?")
    for add in (add_asked, add_fired, add_judged, add_kept):
        add(parser.add_argument)
    return parser


def with_config(parser: argparse.ArgumentParser, given: argparse.Namespace, argv: list[str]) -> argparse.Namespace:
    """The command line again, over what its file says. Raises ValueError."""
    checks = {"levels": levels, "slo": objectives.parse, "host": api.host_url, "option": option}
    found = config.read(given.config, parser, checks)
    found = {name: value for name, value in found.items() if not (isinstance(value, list) and getattr(given, name) is not None)}
    parser.set_defaults(**found)  # a list in it would be gone on with: the command line's replaces it
    return parser.parse_args(argv)


def refuse_empty(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """An empty value is an unset variable of a shell, and no wish for the default. Raises ValueError."""
    for action in parser._actions:
        value = getattr(options, action.dest, None)
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and not text.strip():
                raise ValueError(f"{action.option_strings[0]} is empty" if action.option_strings else "LEVELS is empty: try 1,2,4,8")


def add_asked(add) -> None:
    add("--model", action="append")
    add("--host", action="append")
    add("--api", action="append", choices=("ollama", "openai"))
    add("--prompt", default=STUDY_PROMPT)
    add("--prompts")
    add("--prompt-tokens", type=whole(1))
    add("--tokens", type=whole(1))
    add("--think", choices=("on", "off"))
    add("--option", action="append")
    add("--cache", choices=("cold", "warm", "both"), default="cold")
    add("--pull", action="store_true")


def add_fired(add) -> None:
    add("--requests", type=whole(1))
    add("--duration", type=seconds)
    add("--rate", type=positive)
    add("--ramp", type=seconds, default=0.0)
    add("--repeat", type=whole(1), default=1)
    add("--seed", type=whole(0), default=1)
    add("--warmup", type=whole(0), default=1)
    add("--cooldown", type=seconds)
    add("--idle", type=seconds)
    add("--deadline", type=seconds)
    add("--stall", type=seconds, default=300.0)


def add_judged(add) -> None:
    add("--slo")
    add("--find-capacity", action="store_true")
    add("--steady", action="store_true")
    add("--fail-if", action="append")
    add("--report", action="store_true")
    add("--self-check", action="store_true")


def add_kept(add) -> None:
    add("--config")
    add("--db", default="results.db")
    add("--label")
    add("--resume", action="store_true")
    add("--demo", action="store_true")
    add("--pid", type=whole(1))
    add("--no-monitor", action="store_true")
    add("--plain", action="store_true")
    add("--user-stamps", action="store_true", help=argparse.SUPPRESS)  # measure as where the kernel gives no stamps
    add("-h", "--help", action="help")


def settle(options: argparse.Namespace) -> None:
    """Turn texts into values and fill what depends on other options. Raises ValueError."""
    if options.levels is None and not (options.demo or options.find_capacity):
        raise ValueError("LEVELS is missing: try 1,2,4,8 (or --demo without a server)")
    if options.levels is None:
        options.levels = str(HIGHEST_PROBE) if options.find_capacity else DEMO_LEVELS
    options.levels, options.dropped = levels(options.levels)
    options.model = list(dict.fromkeys(options.model or [STUDY_MODEL]))
    options.api = options.api or ["ollama"]
    if options.demo and options.host:
        raise ValueError("--demo asks its own simulator: it and --host exclude each other")
    options.host_from = "--host" if options.host else "default"
    options.host, options.api = paired([] if options.demo else addresses(options), options.api)
    options.option = dict(option(text) for text in options.option or [])
    options.think = None if options.think is None else options.think == "on"
    options.slo = objectives.parse(options.slo or objectives.DEFAULT)
    settle_load(options)
    if options.no_monitor and (options.pid or options.idle):
        raise ValueError(f"--no-monitor watches nothing: {'--pid' if options.pid else '--idle'} has no effect")
    if options.cooldown is None:
        options.cooldown = 1.0 if options.demo else 10.0
    if options.idle is None:
        options.idle = 2.0 if options.demo else 10.0


def settle_load(options: argparse.Namespace) -> None:
    """Which prompts, and which load; what excludes each other is refused. Raises ValueError."""
    asked = {"--prompt": options.prompt != STUDY_PROMPT, "--prompts": options.prompts, "--prompt-tokens": options.prompt_tokens}
    if len(given := [name for name, value in asked.items() if value]) > 1:
        raise ValueError(f"{' and '.join(given)} exclude each other")
    if options.rate and not (options.requests or options.duration):
        raise ValueError("--rate needs an end: --requests N or --duration S")
    if options.rate and options.ramp:
        raise ValueError("--rate and --ramp exclude each other")
    if options.duration == 0:
        raise ValueError("--duration 0 sends nothing: seconds above 0 are meant")
    if options.requests and options.requests > MOST_REQUESTS:
        raise ValueError(f"--requests {options.requests} is more than {MOST_REQUESTS} a level")
    if options.requests and not options.rate and options.requests < max(options.levels):
        raise ValueError(f"--requests {options.requests} never makes {max(options.levels)} at once: more requests or lower LEVELS")
    options.load = "open" if options.rate else "closed" if options.requests or options.duration else "burst"
    if options.steady and options.load == "burst":
        raise ValueError("--steady needs a load that goes on: --requests N or --duration S")
    if options.find_capacity and options.repeat > 1:
        raise ValueError(f"--find-capacity fires each level once: --repeat {options.repeat} is for LEVELS")
    if options.find_capacity and options.cache == "both":
        raise ValueError("--find-capacity searches with one cache: --cache cold or --cache warm")
    if options.prompts:
        from ollama_bench.inputs import prompts

        prompts.read(options.prompts)  # so that a wrong file is told before anything begins


def addresses(options: argparse.Namespace) -> list[str]:
    """The servers' base URLs: --host, OLLAMA_HOST (Ollama's own variable), or this machine."""
    if options.host:
        return [api.host_url(text) for text in options.host]
    if options.api == ["ollama"] and (text := os.environ.get("OLLAMA_HOST", "").strip()):
        options.host_from = "OLLAMA_HOST"
        try:
            return [api.host_url(text)]
        except ValueError as error:
            raise ValueError(f"OLLAMA_HOST: {error}") from None
    return [api.host_url("127.0.0.1")]


def paired(hosts: list[str], apis: list[str]) -> tuple[list[str], list[str]]:
    """Every server once, and its protocol beside it, or one protocol for all. Raises ValueError."""
    if len(apis) == 1:
        return list(dict.fromkeys(hosts)), apis
    if len(apis) != len(hosts):
        raise ValueError("--api is given once for all hosts, or once for each")
    pairs = list(dict.fromkeys(zip(hosts, apis)))
    found = [host for host, _ in pairs]
    for host in found:
        if found.count(host) > 1:  # results.db tells servers apart by their address
            raise ValueError(f"{host} by both protocols needs two names, one for each: 127.0.0.1 and localhost, for instance")
    return found, [name for _, name in pairs]


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
