"""From the texts of the options to frozen Settings: converted, completed and checked together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ollama_bench.inputs import objectives, options, prompts, trace
from ollama_bench.inputs.fleet_settings import choose_fleet
from ollama_bench.inputs.options import Option
from ollama_bench.inputs.search import check_search, complete_search
from ollama_bench.inputs.settings import (
    Balance,
    JudgingSettings,
    LoadKind,
    LoadSettings,
    MonitorSettings,
    OutputSettings,
    RequestSettings,
    ServerAddress,
    Settings,
)
from ollama_bench.inputs.values import POISSON_CV, write_arrivals
from ollama_bench.protocols import ollama_options
from ollama_bench.protocols.addresses import host_url
from ollama_bench.protocols.names import OLLAMA
from ollama_bench.statistics.think_time import ThinkTime

DEMO_LEVELS = (1, 2, 4, 8, 19, 32)
HIGHEST_PROBE = 256  # of --find-capacity without LEVELS
QUICK_LEVELS = tuple(2**power for power in range(9))
BUDGET_S, QUICK_PAUSE_S = 60.0, 1.0
QUICK_IDLE_S = 3.0
QUICK_WARMUP = 2  # the second tells how fast tokens come
# what a run without LEVELS decides by itself
NEED_LEVELS = (
    "requests",
    "duration",
    "rate",
    "think_time",
    "patience",
    "ramp",
    "deadline",
)
# what gets the most out of unequal servers
DEFAULT_BALANCE: Balance = "least-in-flight"
MOST_REQUESTS = 999_999  # a request's id is level * 1,000,000 + number
PAUSE_S, DEMO_COOLDOWN_S, DEMO_IDLE_S = 10.0, 1.0, 2.0
# of a level of people without --duration: each asks about so many times
THINK_TIMES = 10
LEAST_PEOPLE_S = 60.0
# of a trace without LEVELS and without an end
TRACE_LEVEL, TRACE_S = 256, 600.0
# what a trace says itself
TRACE_SAYS = (
    "rate",
    "ramp",
    "think_time",
    "prompts",
    "prompt_tokens",
    "budget",
    "find_capacity",
    "find_rate",
    "mix",
)

Texts = Mapping[str, "str | list[str] | bool"]
Values = dict[str, Any]  # option name: converted value; only in this file


def resolve(
    typed: Texts, in_file: Texts, environment: Mapping[str, str]
) -> Settings:
    """Return the settings that these texts mean; the command line overrides the file.

    typed, in_file: option name -> its text, the texts of an option that may be repeated, or True
    for a switch. environment: OLLAMA_HOST is read from it. Raises ValueError.
    """
    texts = {**in_file, **typed}
    # what is typed also overrides what it excludes
    for name, other in (("levels", "budget"), ("budget", "levels")):
        if name in typed and other not in typed:
            texts.pop(other, None)
    values: Values = {
        option.name: convert(option, texts.get(option.name))
        for option in options.ALL
    }
    repeated = complete_levels(values)
    named_by = (
        "--host"
        if "host" in typed
        else "--config"
        if "host" in in_file
        else "default"
    )
    named_by = complete_request(values, environment, named_by)
    complete_load(values)
    complete_monitor(values)
    return Settings(
        request=request_settings(values, named_by),
        load=load_settings(values),
        judging=JudgingSettings(
            objectives=values["slo"],
            find_capacity=values["find_capacity"],
            find_rate=values["find_rate"],
            search_budget_s=values["search_budget"],
            fail_if=tuple(values["fail_if"]),
            report=values["report"],
        ),
        output=OutputSettings(
            values["db"],
            values["label"],
            values["resume"],
            values["plain"],
            values["live"],
        ),
        monitor=MonitorSettings(not values["no_monitor"], values["pid"]),
        demo=values["demo"],
        self_check=values["self_check"],
        repeated_levels=repeated,
        identity=identity(values),
        fleet=choose_fleet(values),
    )


def convert(option: Option, text: str | list[str] | bool | None) -> object:
    """Return an option's value, or its default. Raises ValueError that names the option."""
    if option.is_switch:
        return bool(text)
    if text is None:
        return [] if option.repeats else option.default
    if isinstance(text, list):
        return [convert_one(option, one) for one in text]
    return convert_one(option, str(text))


def convert_one(option: Option, text: str) -> object:
    if option.choices and text not in option.choices:
        expected = f"expected one of {', '.join(option.choices)}"
        raise ValueError(f"invalid {option.flag} {text!r}: {expected}")
    try:
        return option.convert(text)
    except ValueError as error:
        if str(error).startswith("expected"):
            raise ValueError(
                f"invalid {option.flag} {text!r}: {error}"
            ) from None
        raise


def unique(found: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(found))


def complete_levels(values: Values) -> tuple[int, ...]:
    """Fill in LEVELS, or the budget of a run that finds them; return repeated ones."""
    named = values["levels"]
    complete_search(values)
    if named and values["budget"]:
        raise ValueError(
            "--budget and LEVELS exclude each other: a budget finds its own levels"
        )
    if named is None:
        if values["search_budget"]:
            named = (HIGHEST_PROBE,)
        elif values["trace"]:
            named = (TRACE_LEVEL,)
        elif values["demo"] and not values["budget"]:
            named = DEMO_LEVELS
        else:
            named = QUICK_LEVELS
            check_quick(values)
            fill(values, "budget", BUDGET_S)
    values["levels"] = unique(named)
    if values["trace"]:
        check_trace(values)
    elif values["trace_speed"]:
        raise ValueError("--trace-speed needs --trace FILE")
    return tuple(
        sorted({level for level in named if named.count(level) > 1})
    )


def check_quick(values: Values) -> None:
    """Raise ValueError for an option that makes no sense without LEVELS."""
    named = [
        f"{options.BY_NAME[name].flag} {write_value(values[name])}"
        for name in NEED_LEVELS
        if values[name]
    ]
    if values["repeat"] > 1:
        named.append(f"--repeat {values['repeat']}")
    if values["cache"] == "both":
        named.append("--cache both")
    if values["self_check"]:
        named.append("--self-check")
    lengths = values["prompt_tokens"] or ()
    if len(lengths) > 1:
        named.append(f"--prompt-tokens {join_lengths(lengths)}")
    elif lengths and values["mix"]:
        named.append(f"--mix {values['mix']}")
    if named:
        raise ValueError(f"{named[0]} needs LEVELS: try 1,2,4,8")


def join_lengths(lengths: Iterable[int]) -> str:
    return ",".join(map(str, lengths))


def check_trace(values: Values) -> None:
    """Refuse what a trace says itself, and fill in its speed and its end."""
    for name in TRACE_SAYS:
        if values.get(name):
            raise ValueError(
                f"--trace and {options.BY_NAME[name].flag} exclude each other: "
                "the trace says what is asked and when"
            )
    if values["prompt"] != options.STUDY_PROMPT:
        raise ValueError("--trace and --prompt exclude each other")
    if values["cache"] != "cold":
        raise ValueError(
            f"--trace and --cache {values['cache']} exclude each other: "
            "the cache holds what came before in the trace"
        )
    fill(values, "trace_speed", 1.0)
    if not values["requests"]:
        fill(values, "duration", TRACE_S)


def write_value(value: float | ThinkTime) -> str:
    return str(value) if isinstance(value, ThinkTime) else f"{value:g}"


def complete_request(
    values: Values, environment: Mapping[str, str], named_by: str
) -> str:
    """Fill in models, servers and objectives; return what named the servers."""
    named = ("host", "api", "model", "pull", "demo")
    values["is_searched"] = not any(values[name] for name in named)
    values["api"] = values["api"] or [OLLAMA]
    # else the servers are asked which they have
    is_known = values["demo"] or values["pull"]
    default = (
        [options.STUDY_MODEL]
        if OLLAMA in values["api"] and is_known
        else []
    )
    values["model"] = unique(values["model"] or default)
    if values["demo"] and values["host"]:
        raise ValueError(
            "--demo and --host exclude each other: --demo measures its own simulator"
        )
    hosts = [] if values["demo"] else list(values["host"])
    if not hosts and not values["demo"]:
        hosts, named_by = default_hosts(values["api"], environment)
    values["host"], values["api"] = pair(hosts, values["api"])
    check_balance(values)
    values["option"] = dict(values["option"])
    if OLLAMA in values["api"]:
        ollama_options.check_names(values["option"])
    values["think"] = {"on": True, "off": False, None: None}[
        values["think"]
    ]
    values["slo"] = objectives.parse(values["slo"] or objectives.DEFAULT)
    check_prompts(values)
    return named_by


def check_balance(values: Values) -> None:
    """Refuse a balance of one server, and fill in that of several."""
    if len(values["host"]) > 1:
        fill(values, "balance", DEFAULT_BALANCE)
    elif values["balance"]:
        raise ValueError(
            "--balance needs several servers: use --host URL for each"
        )


def default_hosts(
    apis: list[str], environment: Mapping[str, str]
) -> tuple[list[str], str]:
    """Return the server without --host, and what named it: OLLAMA_HOST, else this machine."""
    variable = environment.get("OLLAMA_HOST", "").strip()
    if apis != [OLLAMA] or not variable:
        return [host_url("127.0.0.1")], "default"
    try:
        return [host_url(variable)], "OLLAMA_HOST"
    except ValueError as error:
        raise ValueError(f"OLLAMA_HOST: {error}") from None


def pair(
    hosts: Sequence[str], apis: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Return every server once, with its protocol at the same place, or one for all."""
    if len(apis) == 1:
        return unique(hosts), list(apis)
    if len(apis) != len(hosts):
        raise ValueError(
            "--api must be given once for all hosts, or once for each"
        )
    pairs = unique(zip(hosts, apis, strict=True))
    found = [host for host, _ in pairs]
    for host in found:
        # results.db tells servers apart by their address
        if found.count(host) > 1:
            raise ValueError(
                f"{host} by both protocols needs two names, one for each, "
                "e.g. 127.0.0.1 and localhost"
            )
    return found, [name for _, name in pairs]


def check_prompts(values: Values) -> None:
    given = {
        "--prompt": values["prompt"] != options.STUDY_PROMPT,
        "--prompts": values["prompts"],
        "--prompt-tokens": values["prompt_tokens"],
        "--mix": values["mix"],
    }
    names = [name for name, value in given.items() if value]
    if names == ["--prompt-tokens", "--mix"]:
        return
    if len(names) > 1:
        raise ValueError(f"{' and '.join(names)} exclude each other")
    if values["prompts"]:
        # a damaged file is refused before anything begins
        found = prompts.read(values["prompts"])
        if OLLAMA in values["api"]:
            for prompt in found:
                ollama_options.check_names(prompt.options)


def complete_load(values: Values) -> None:
    """Decide which kind of load it is; refuse what makes none."""
    requests, rate, duration = (
        values["requests"],
        values["rate"],
        values["duration"],
    )
    if duration == 0:
        raise ValueError(
            "invalid --duration '0': expected seconds above 0"
        )
    if rate and not (requests or duration):
        raise ValueError(
            "--rate needs an end: --requests N or --duration S"
        )
    has_rate = rate or values["find_rate"]
    if values["arrivals"] is not None and not has_rate:
        raise ValueError("--arrivals needs --rate R or --find-rate")
    fill(values, "arrivals", POISSON_CV)
    if rate and values["ramp"]:
        raise ValueError("--rate and --ramp exclude each other")
    if values["think_time"]:
        check_people(values)
    elif values["patience"]:
        raise ValueError(
            "--patience needs people, who can leave: use --think-time S"
        )
    highest = max(values["levels"])
    if requests and requests > MOST_REQUESTS:
        raise ValueError(
            f"invalid --requests '{requests}': expected at most {MOST_REQUESTS}"
        )
    is_free = rate or values["trace"] or values["search_budget"]
    if requests and not is_free and requests < highest:
        raise ValueError(
            f"--requests {requests} never makes {highest} at once: "
            "use more requests or lower LEVELS"
        )
    if values["trace"]:
        # a damaged file is refused before anything begins
        trace.read(
            values["trace"], values["trace_speed"], duration, requests
        )
    values["load"] = load_kind(values)
    if values["search_budget"]:
        check_search(values)
    is_short = values["budget"] or values["search_budget"]
    fill(values, "warmup", QUICK_WARMUP if is_short else 1)
    pause_s = QUICK_PAUSE_S if is_short else PAUSE_S
    fill(
        values, "cooldown", DEMO_COOLDOWN_S if values["demo"] else pause_s
    )


def load_kind(values: Values) -> LoadKind:
    if values["think_time"]:
        return "people"
    if values["rate"] or values["trace"] or values["find_rate"]:
        return "open"
    return (
        "closed" if values["requests"] or values["duration"] else "burst"
    )


def check_people(values: Values) -> None:
    """Refuse what people do not do, and fill in how long they are watched."""
    for name in ("rate", "requests", "ramp"):
        if values[name]:
            raise ValueError(
                f"--think-time and --{name} exclude each other: "
                "people ask when they have thought, until --duration is over"
            )
    if values["search_budget"]:  # ends each by itself
        return
    mean_s = values["think_time"].mean_s
    fill(values, "duration", max(LEAST_PEOPLE_S, THINK_TIMES * mean_s))


def complete_monitor(values: Values) -> None:
    if values["no_monitor"] and (values["pid"] or values["idle"]):
        useless = "--pid" if values["pid"] else "--idle"
        raise ValueError(
            f"{useless} has no effect with --no-monitor, which watches nothing"
        )
    idle_s = QUICK_IDLE_S if values["budget"] else PAUSE_S
    fill(values, "idle", DEMO_IDLE_S if values["demo"] else idle_s)


def fill(values: Values, name: str, default: object) -> None:
    if values[name] is None:
        values[name] = default


def request_settings(values: Values, named_by: str) -> RequestSettings:
    hosts, apis = values["host"], values["api"]
    protocols = apis * len(hosts) if len(apis) == 1 else apis
    return RequestSettings(
        models=tuple(values["model"]),
        servers=tuple(map(ServerAddress, hosts, protocols)),
        protocols=tuple(apis),
        named_by=named_by,
        is_searched=values["is_searched"],
        prompt=values["prompt"],
        prompts_file=values["prompts"],
        prompt_tokens=values["prompt_tokens"] or (),
        mix=values["mix"],
        trace_file=values["trace"],
        tokens=values["tokens"],
        think=values["think"],
        model_options=values["option"],
        cache=values["cache"],
        pull=values["pull"],
    )


def load_settings(values: Values) -> LoadSettings:
    return LoadSettings(
        levels=tuple(values["levels"]),
        budget_s=values["budget"],
        kind=values["load"],
        requests=values["requests"],
        duration_s=values["duration"],
        rate_per_s=values["rate"],
        balance=values["balance"],
        trace_speed=values["trace_speed"],
        arrival_cv=values["arrivals"],
        think_time=values["think_time"],
        patience_s=values["patience"],
        ramp_s=values["ramp"],
        repeat=values["repeat"],
        seed=values["seed"],
        warmup=values["warmup"],
        cooldown_s=values["cooldown"],
        idle_s=values["idle"],
        deadline_s=values["deadline"],
        stall_s=values["stall"] or None,
        kernel_stamps=not values["user_stamps"],
    )


def identity(values: Values) -> dict[str, object]:
    """Return what a run measures, as it is stored and compared by --resume."""
    measured = {
        option.name for option in options.ALL if option.is_measured
    } | {"load"}
    found = {name: values[name] for name in sorted(measured)}
    # as runs before shares of their own
    found["slo"] = {
        name: objective.bound
        if objective.share is None
        else objectives.write_one(objective)
        for name, objective in values["slo"].items()
    }
    if values["think_time"]:
        found["think_time"] = str(values["think_time"])
    # one length is stored as the number that it is
    lengths = [*(values["prompt_tokens"] or ())]
    found["prompt_tokens"] = lengths if len(lengths) > 1 else None
    if len(lengths) == 1:
        found["prompt_tokens"] = lengths[0]
    found["mix"] = str(values["mix"]) if values["mix"] else None
    found["arrivals"] = write_arrivals(values["arrivals"])
    return found
