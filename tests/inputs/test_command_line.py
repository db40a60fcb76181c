"""What a command line means, and the one line that a wrong one gets."""

import dataclasses
import json
import re

import pytest

from ollama_bench import __version__
from ollama_bench.inputs import command_line, options
from ollama_bench.monitor import options as monitor_options
from ollama_bench.report import options as report_options

parse = command_line.parse

WRONG = [
    (["1", "--budget", "9"], "--budget and LEVELS exclude each other"),
    (
        ["--find-rate", "--find-capacity"],
        "--find-rate and --find-capacity",
    ),
    (["--find-rate", "--rate", "2"], "--find-rate and --rate"),
    (["--find-rate", "--think-time", "2"], "--find-rate and --think-time"),
    (["--find-rate", "--repeat", "3"], "--find-rate repeats"),
    (["--budget", "0"], "invalid --budget '0': expected a number above 0"),
    (["--repeat", "3"], "--repeat 3 needs LEVELS: try 1,2,4,8"),
    (["--requests", "30"], "--requests 30 needs LEVELS"),
    (["--rate", "2", "--duration", "9"], "--duration 9 needs LEVELS"),
    (["--ramp", "1"], "--ramp 1 needs LEVELS"),
    (["--think-time", "2"], "--think-time 2:lognormal needs LEVELS"),
    (
        ["--think-time", "2:fixed", "--duration", "9"],
        "--duration 9 needs LEVELS",
    ),
    (["--deadline", "9"], "--deadline 9 needs LEVELS"),
    (["--trace-speed", "2"], "--trace-speed needs --trace FILE"),
    (["--trace", "f", "--rate", "2"], "--trace and --rate exclude"),
    (["--trace", "f", "--budget", "9"], "--trace and --budget exclude"),
    (["1", "--trace", "f", "--prompt", "x"], "--trace and --prompt excl"),
    (["--trace", "f", "--cache", "warm"], "--trace and --cache warm excl"),
    (["--trace", "/no/file"], "/no/file: No such file"),
    (["--cache", "both"], "--cache both needs LEVELS"),
    (["--self-check"], "--self-check needs LEVELS"),
    (["0"], "invalid level '0': expected an integer from 1 to 4096"),
    (["1", "--host", "ftp://x"], "http"),
    (["1", "--option", "x"], "invalid --option 'x': expected KEY=VALUE"),
    (
        ["1", "--option", "temprature=0"],
        "invalid model option 'temprature': did you mean temperature?",
    ),
    (
        ["1", "--option", "xyz=0"],
        "invalid model option 'xyz': expected one of draft_num_predict,",
    ),
    (
        ["1", "--tokens", "0"],
        "invalid --tokens '0': expected an integer from 1",
    ),
    (
        ["1", "--cooldown", "-1"],
        "invalid --cooldown '-1': expected seconds",
    ),
    (["1", "--cooldown", "nan"], "seconds"),
    (["1", "--model", " "], "empty"),
    ([""], "LEVELS is empty"),
    ([" "], "LEVELS is empty"),
    (["--demo", ""], "LEVELS is empty"),
    (["1", "--db", ""], "--db is empty"),
    (["1", "--host", ""], "--host is empty"),
    (["1", "--prompts="], "--prompts is empty"),
    (["1", "--config", ""], "--config is empty"),
    (["1", "--slo", ""], "--slo is empty"),
    (["1", "--api-key", "sk-1"], "OPENAI_API_KEY"),
    (["1", "--steady"], "--steady is no option any more"),
    (
        ["1", "--think-time", "0"],
        "invalid --think-time '0': expected seconds above 0, alone or as 30:lognormal,",
    ),
    (["1", "--think-time", "30:"], "30:exponential, 30:fixed"),
    (["1", "--think-time", "30:gauss"], "expected seconds above 0"),
    (
        ["1", "--think-time", "30", "--rate", "2", "--duration", "9"],
        "--think-time and --rate exclude each other",
    ),
    (
        ["1", "--think-time", "30", "--requests", "9"],
        "--think-time and --requests exclude each other",
    ),
    (
        ["1", "--think-time", "30", "--ramp", "9"],
        "--think-time and --ramp exclude each other",
    ),
    (["1", "--patience", "3"], "--patience needs people"),
    (["1", "--no-such\nforged"], "unrecognized"),
    (
        [
            "1",
            "--host",
            "a",
            "--host",
            "a",
            "--api",
            "ollama",
            "--api",
            "openai",
        ],
        "needs two names",
    ),
    (["1", "--api", "ollama", "--api", "openai"], "once for each"),
    (["--find-capacity", "--repeat", "3"], "--repeat 3"),
    (["--find-capacity", "--cache", "both"], "one cache"),
    (
        ["1", "--cache", "hot"],
        "invalid --cache 'hot': expected one of cold, warm, both",
    ),
    (["1", "--rate", "5"], "needs an end"),
    (
        ["1", "--arrivals", "gamma:2"],
        "--arrivals needs --rate R or --find-rate",
    ),
    (
        ["1", "--arrivals", "gamma"],
        "invalid --arrivals 'gamma': expected poisson, constant, or gamma:CV",
    ),
    (["1", "--arrivals", "gamma:11"], "from 0 to 10"),
    (["1", "--arrivals", "poisson:2"], "invalid --arrivals"),
    (["1", "--rate", "0", "--requests", "3"], "above 0"),
    (["1", "--prompts", "no-such-file"], "No such file"),
    (["1", "--slo", "speed=3"], "invalid objective 'speed=3'"),
    (["1", "--slo", "ttft=x"], "invalid objective"),
    (
        ["1", "--slo", "ttft=1e400"],
        "expected NAME=VALUE, a number above 0",
    ),
    (["1", "--no-monitor", "--pid", "7"], "--pid has no effect"),
    (["1", "--no-monitor", "--idle", "5"], "--idle has no effect"),
    (["1", "--duration", "0"], "above 0"),
    (["1", "--rate", "2", "--duration", "0"], "invalid --duration '0'"),
    (
        ["--find-rate", "--duration", "9"],
        "--find-rate and --duration exclude each other",
    ),
    (
        ["--find-capacity", "--rate", "3", "--duration", "9"],
        "--find-capacity and --rate exclude each other",
    ),
    (["1", "--slo", "ttft=2@95,ttft=1@50"], "expected ttft only once"),
    (["1", "--requests", "1000000"], "at most"),
    (["1", "--config", "no-such.toml"], "No such file"),
    (
        ["1", "--prompt", "hi", "--prompt-tokens", "9"],
        "--prompt and --prompt-tokens exclude",
    ),
    (
        ["1", "--prompt", "hi", "--mix", "9,8"],
        "--prompt and --mix exclude",
    ),
    (
        ["1", "--prompt-tokens", "9,0"],
        "invalid --prompt-tokens '9,0': expected integers from 1",
    ),
    (["1", "--prompt-tokens", "5,"], "invalid --prompt-tokens '5,'"),
    (
        ["1", "--mix", "500*9"],
        "invalid --mix '500*9': expected two lengths",
    ),
    (["--prompt-tokens", "9,8"], "--prompt-tokens 9,8 needs LEVELS"),
    (
        ["--prompt-tokens", "9", "--mix", "9,8"],
        "--mix 8*1,9*1 needs LEVELS",
    ),
    (["--demo", "--host", "a"], "exclude each other"),
    (["1,8", "--requests", "7"], "never makes 8 at once"),
    (
        [
            "1",
            "--host",
            "a",
            "--host",
            "b",
            "--host",
            "c",
            "--api",
            "ollama",
            "--api",
            "openai",
        ],
        "once for each",
    ),
    (["1", "--no-such"], "unrecognized"),
    (["1", "--label", "a\0b"], "without NUL"),
]


@pytest.mark.parametrize(("argv", "words"), WRONG)
def test_usage_errors_exit_with_2_and_name_the_value(argv, words, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(argv)
    said = capsys.readouterr()
    assert caught.value.code == 2 and words in said.err and said.out == ""
    assert (
        len(said.err.strip().splitlines()) == 1 and "sk-1" not in said.err
    )


def test_defaults_are_those_of_the_study(monkeypatch):
    monkeypatch.delenv("OLLAMA_HOST", raising=False)
    found = parse(["1,2"])
    # the servers are asked which they have
    assert found.request.models == () and found.request.is_searched
    assert parse(["1", "--host", "a", "--host", "b"]).request.models == ()
    assert parse(["1", "--pull"]).request.models == ("deepseek-r1:7b",)
    assert parse(["--demo"]).request.models == ("deepseek-r1:7b",)
    assert [server.url for server in found.request.servers] == [
        "http://127.0.0.1:11434"
    ]
    assert (
        found.load.cooldown_s,
        found.load.idle_s,
        found.load.repeat,
    ) == (10.0, 10.0, 1)
    assert (
        found.request.prompt
        == "What is the philosophical definition of time?"
    )
    assert found.request.cache == "cold" and found.load.stall_s == 300.0
    json.dumps(found.identity)  # all of it can be stored


def test_a_run_without_levels_has_a_budget_and_short_pauses():
    found = parse([])
    assert (found.load.budget_s, found.load.levels[:3]) == (
        60.0,
        (1, 2, 4),
    )
    pauses = (found.load.cooldown_s, found.load.idle_s, found.load.warmup)
    assert pauses == (1.0, 3.0, 2)
    assert parse(["--budget", "20"]).load.budget_s == 20.0
    assert parse(["--demo"]).load.levels == (1, 2, 4, 8, 19, 32)
    assert parse(["--demo", "--budget", "20"]).load.levels[-1] == 256
    for argv in (["1"], ["--demo"]):
        assert parse(argv).load.budget_s is None
        assert parse(argv).load.warmup == 1


def test_a_search_has_a_budget_of_its_own():
    for flag in ("--find-capacity", "--find-rate"):
        found = parse([flag])
        assert found.judging.search_budget_s == 600.0
        # it is not that of a run that finds its own levels
        assert found.load.budget_s is None
        assert found.load.levels == (256,)
        assert (found.load.cooldown_s, found.load.warmup) == (1.0, 2)
        found = parse(["64", flag, "--budget", "30"])
        assert found.judging.search_budget_s == 30.0
        assert found.load.levels == (64,)
    assert parse(["1"]).judging.search_budget_s is None
    # how a rate or people are sent
    assert parse(["--find-rate"]).load.kind == "open"
    people = parse(["--find-capacity", "--think-time", "5"])
    assert (people.load.kind, people.load.duration_s) == ("people", None)
    # the budget may grow when a search is resumed
    assert parse(["--find-rate"]).identity == (
        parse(["--find-rate", "--budget", "30"]).identity
    )


@pytest.mark.parametrize(
    "argv",
    [["--host", "a"], ["--api", "openai"], ["--model", "m"], ["--demo"]],
)
def test_nothing_is_looked_for_where_anything_is_named(argv):
    assert not parse(["1", *argv]).request.is_searched


def test_settings_are_frozen():
    found = parse(["1"])
    for part in (
        found,
        found.request,
        found.load,
        found.judging,
        found.output,
        found.monitor,
    ):
        with pytest.raises(dataclasses.FrozenInstanceError):
            part.demo = True


def test_repeated_levels_are_measured_once_and_named():
    found = parse(["2,1,2,1,4"])
    assert (found.load.levels, found.repeated_levels) == (
        (2, 1, 4),
        (1, 2),
    )


def test_ollamas_own_variable_is_obeyed_and_host_overrides_it(monkeypatch):
    def asked(*argv):
        request = parse(["1", *argv]).request
        return request.servers[0].url, request.named_by

    monkeypatch.setenv("OLLAMA_HOST", "0.0.0.0:9999")
    assert asked() == ("http://127.0.0.1:9999", "OLLAMA_HOST")
    assert asked("--host", "10.0.0.7") == (
        "http://10.0.0.7:11434",
        "--host",
    )
    assert asked("--api", "openai") == (
        "http://127.0.0.1:11434",
        "default",
    )


@pytest.mark.parametrize(
    ("hosts", "apis", "servers"),
    [
        ("a a b", "ollama", "http://a:11434 ollama http://b:11434 ollama"),
        (
            "a b",
            "ollama openai",
            "http://a:11434 ollama http://b:11434 openai",
        ),
        (
            "a a b",
            "ollama ollama openai",
            "http://a:11434 ollama http://b:11434 openai",
        ),
        (
            "127.0.0.1 localhost",
            "ollama openai",
            "http://127.0.0.1:11434 ollama http://localhost:11434 openai",
        ),
    ],
)
def test_each_server_is_measured_once_by_its_protocol(
    hosts, apis, servers
):
    argv = [f"--host={host}" for host in hosts.split()] + [
        f"--api={api}" for api in apis.split()
    ]
    found = parse(["1", *argv]).request.servers
    assert (
        " ".join(f"{server.url} {server.protocol}" for server in found)
        == servers
    )


def test_model_options_have_json_values():
    texts = (
        "num_ctx=4096",
        "temperature=0.5",
        "stop=END",
        "use_mmap=true",
    )
    found = parse(["1", *(f"--option={text}" for text in texts)])
    expected = {
        "num_ctx": 4096,
        "temperature": 0.5,
        "stop": "END",
        "use_mmap": True,
    }
    assert found.request.model_options == expected


def test_help_fits_a_screen_and_names_every_option(capsys):
    with pytest.raises(SystemExit) as caught:
        parse(["--help"])
    said = capsys.readouterr().out
    lines = said.splitlines()
    assert caught.value.code == 0
    assert max(map(len, lines)) <= 80 and len(lines) <= 64
    shown = {
        option.flag for option in options.ALL if not option.is_hidden
    } - {"LEVELS"}
    named = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", said))
    assert (
        named == shown | {"-h", "--help", "--version"} and "LEVELS" in said
    )


def test_which_kind_of_load_is_meant():
    assert parse(["1"]).load.kind == "burst"
    assert parse(["9", "--requests", "9"]).load.kind == "closed"
    assert (
        parse(["1", "--rate", "2", "--duration", "5"]).load.kind == "open"
    )
    assert parse(["--find-capacity"]).load.levels == (256,)


def test_a_trace_needs_no_more_than_its_name(tmp_path):
    file = tmp_path / "trace.csv"
    file.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2024-05-12 00:00:00+00:00,9,3\n"
    )
    load = parse(["--trace", str(file)]).load
    assert (load.kind, load.levels, load.budget_s) == (
        "open",
        (256,),
        None,
    )
    assert (load.trace_speed, load.duration_s) == (1.0, 600.0)
    load = parse(["4", "--trace", str(file), "--requests", "1"]).load
    assert (load.levels, load.duration_s, load.requests) == ((4,), None, 1)


@pytest.mark.parametrize(
    "typed, cv, stored",
    [
        ([], 1.0, None),
        (["--arrivals", "poisson"], 1.0, None),
        (["--arrivals", "gamma:1"], 1.0, None),
        (["--arrivals", "gamma:2.5"], 2.5, "gamma:2.5"),
        (["--arrivals", "gamma:0"], 0.0, "constant"),
        (["--arrivals", "constant"], 0.0, "constant"),
    ],
)
def test_laws_of_arrivals_are_told_by_their_variation(typed, cv, stored):
    settings = parse(["1", "--rate", "2", "--duration", "5", *typed])
    assert settings.load.arrival_cv == cv
    assert settings.identity["arrivals"] == stored
    assert parse(["--find-rate", *typed]).load.arrival_cv == cv


@pytest.mark.parametrize(
    "typed, think_time, duration_s",
    [
        (["--think-time", "30"], "30:lognormal", 300.0),
        (["--think-time", "2:fixed"], "2:fixed", 60.0),
        (
            ["--think-time", "0.5:exponential", "--duration", "7"],
            "0.5:exponential",
            7.0,
        ),
    ],
)
def test_people_are_watched_for_ten_think_times(
    typed, think_time, duration_s
):
    settings = parse(["4", *typed])
    assert settings.load.kind == "people"
    assert str(settings.load.think_time) == think_time
    assert settings.load.duration_s == duration_s
    # it is stored and compared as JSON
    assert json.loads(json.dumps(settings.identity)) == settings.identity
    assert settings.identity["think_time"] == think_time


@pytest.mark.parametrize(
    "read",
    [
        command_line.parse,
        report_options.parse_args,
        monitor_options.parse_args,
    ],
)
def test_every_program_tells_the_tools_version(read, capsys):
    with pytest.raises(SystemExit) as left:
        read(["--version"])
    assert left.value.code == 0
    assert capsys.readouterr().out == f"ollama-bench {__version__}\n"
