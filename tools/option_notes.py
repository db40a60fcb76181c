"""What docs/options.md says of an option beyond its line of --help."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

from ollama_bench.monitor.options import make_parser as monitor_parser
from ollama_bench.report.options import make_parser as analyze_parser
from ollama_bench.simulator.options import build_parser as simulator_parser


@dataclass(frozen=True)
class Program:
    """One of the commands beside the measurement."""

    command: str
    purpose: str
    make_parser: Callable[[], argparse.ArgumentParser]


PROGRAMS = (
    Program(
        "analyze",
        "The answer, the charts and the report from results.db. Exit code: "
        "0 done, 1 it could not or `--fail-if` holds, 2 wrong command "
        "line or `--verify` of no page, 3 `--fail-if` cannot be told.",
        analyze_parser,
    ),
    Program(
        "monitor",
        "Watches the server's processes, the machine and its power. It sends "
        "nothing, but for asking the server's own page of metrics with "
        "`--prometheus`.",
        monitor_parser,
    ),
    Program(
        "simulate",
        "A server that answers as Ollama and as OpenAI's protocol do, with "
        "no model: for trying and for tests.",
        simulator_parser,
    ),
)

EXIT_CODES = (
    "Exit code: 0 done, 1 it could not run, a level got no reply at "
    "all or `--fail-if` holds, 2 wrong command line, 3 `--fail-if` "
    "cannot be told, 130 interrupted (all that was finished is kept).\n"
)

NOTES = {  # by flag; those of another program by its word and the flag
    "LEVELS": (
        "Forms may be mixed: `1,2,4`, `1-8`, `x2:256`. The first level is "
        "measured once more at the end, as a control of the machine"
    ),
    "--model": (
        "What is stored is the name of what answers: a llama-server takes "
        "any name and is stored by its own. Replies that name another "
        "model than was asked for are told and stored "
        "(`request.reply_model`)"
    ),
    "--host": (
        "`OLLAMA_HOST` is read in all its forms. Repeated, the hosts are "
        "one service: its requests are spread over them (`--balance`), "
        "each must have the same model, and `host_summary` has a row for "
        "each level and host. A self-signed certificate is trusted "
        "through `REQUESTS_CA_BUNDLE=cert.pem`"
    ),
    "--balance": (
        "least-in-flight: to the host with the fewest requests in flight or "
        "made ready, among equals to the one that was sent the fewest; "
        "round-robin: in turn; random: by chance, from the seed. A "
        "conversation stays on its host, which has it in its prompt cache. "
        "A host that cannot be connected to is left out for 10 s. "
        "[Several servers](fleet.md#several-servers-as-one-service)"
    ),
    "--api": (
        "Once for all hosts or once for each, beside them (`--host "
        "127.0.0.1 --host localhost --api ollama --api openai` asks one "
        "Ollama by both). The key is read from `OPENAI_API_KEY` and from "
        "nowhere else: on a command line or in a settings file others "
        "could read it. It is sent to servers of OpenAI's protocol and "
        "stored nowhere"
    ),
    "--prompts": (
        'A line each: `{"prompt": "...", "system": "...", "tokens": 200}`, '
        '`{"turns": ["...", "..."]}` for a conversation, OpenAI\'s '
        "`messages` (and `tools`) or ShareGPT's form, in the seed's order. "
        "ShareGPT conversations that lack a question are skipped and "
        "counted. A conversation is a chat: on Ollama it goes through "
        "`/api/chat`, and each reply becomes the assistant's message of "
        "the next turn; a single prompt goes through `/api/generate`"
    ),
    "--prompt-tokens": (
        "± 3 % by the server's own count, template and prefix included, "
        "each prompt another. Some short requests of the warm-up measure "
        "how many tokens the server makes of words; where that fails it "
        "says that lengths are estimates. Several lengths, "
        "`500,4000,16000`, make levels of each, one length after another: "
        "each has its own answer, and above them stand wait, speed and "
        "capacity by length. `--find-capacity` searches for each"
    ),
    "--mix": (
        "Of ten prompts nine of 500 tokens and one of 8,000, in the seed's "
        "order; every ten have exactly these shares. Shown: what the long "
        "ones do to the short ones. Beside `--prompt-tokens` its levels "
        "follow those of the lengths"
    ),
    "--tokens": (
        "A ceiling only: Ollama has no way to make a model go on"
    ),
    "--option": ("For example `num_ctx=4096`"),
    "--cache": (
        "cold: prefill is real work; warm: prompts come again, and each "
        "level's own are sent once before it, uncounted; both: each level "
        "twice, and what the prompt cache saves"
    ),
    "--requests": (
        "A closed loop. Without it, and without `--duration` and `--rate`, "
        "every level is one burst"
    ),
    "--duration": ("What is in flight at its end may finish"),
    "--rate": (
        "An open loop of requests (of conversations, where the prompts are "
        "such; later turns are offered when they are sent). Latency counts "
        "from when a request was due, so a full pool hides nothing; what "
        "was due and not sent when the level ended has a row and has "
        "failed (`not_sent`). A level whose queue grows is saturated: it "
        "is ended early, who waits for a first token then is not awaited "
        "(`cancelled`, judged by the wait so far), and the growth is told "
        "with its interval. Said beside it: requests/s offered and "
        "answered; a level is called saturated as well where 10 % fewer "
        "are answered, and more than chance explains"
    ),
    "--arrivals": (
        "Poisson: at random, each alone. `gamma:CV`: the times between "
        "arrivals have a gamma law of that coefficient of variation, from "
        "0 to 10; 2 comes in bursts. `constant`: even times"
    ),
    "--trace": (
        "Replays BurstGPT's CSV files, those of Azure LLM inference (2023, "
        "2024) or Mooncake's JSON lines; the first line tells which. "
        "Requests leave when the trace says, counted from its first one, "
        "and latency counts from then, as with `--rate`; LEVELS (256) "
        "limits them. It ends with `--duration` (600 s), with `--requests` "
        "or with the trace, and no more of the file is read. Prompts are "
        "made-up words of as many tokens; the same `hash_ids` are the same "
        "text, so that a prompt cache finds what it found then. A reply "
        "ends at the trace's length; vLLM and llama-server are told to go "
        "on to it (`ignore_eos`), on others the model may end it earlier, "
        "and the answer says by how much. Requests without a reply, which "
        "failed then, and those longer than the context are left out and "
        "counted"
    ),
    "--think-time": (
        "Each asks, reads the reply to its end, thinks S seconds on "
        "average, asks again, for `--duration` (without it ten think "
        "times, at least a minute). Think times are drawn from the seed: "
        "log-normal, or `30:exponential`, `30:fixed`. At the start all are "
        "in the middle of thinking, so nobody asks at once. A person's "
        "next turn of a conversation leaves after the thinking. Latency "
        "counts from when the person asked; `people_law` holds each level "
        "against people = requests/s × (response time + think time)"
    ),
    "--patience": (
        "Such a person's connection is closed; the person thinks and asks "
        "again. The request has ended `abandoned`: never good, counted in "
        "`level_summary.abandoned`. What the server goes on generating for "
        "nobody is counted where it tells (vLLM; llama-server with "
        "`--metrics`): `wasted_tokens`"
    ),
    "--fleet": (
        "A worker sends what is dealt to its places of a level. It needs the "
        "extra `ollama-bench[fleet]`; see [fleet.md](fleet.md)"
    ),
    "--fleet-insecure": "Who writes to a worker can run code there",
    "--watch": (
        "May be repeated, and is needed only where the addresses of the worker's "
        "machine do not tell: [Power where it is used](fleet.md#power-where-it-is-used)"
    ),
    "--seed": ("The same seed, the same run"),
    "--warmup": ("With the run's own options"),
    "--cooldown": (
        "After a level of which requests were cut, single requests that "
        "are not counted wait first for the work that a server goes on "
        "with for who has left, at most a minute (none with `--warmup 0`)"
    ),
    "--deadline": (
        "What is cut is `cancelled` and judged by what was seen of it: a "
        "wait already too long, or all tokens so far / the time since the "
        "first one below the objective. The rest is undecided; a level "
        "with more than 5 % undecided is not called served"
    ),
    "--stall": (
        "Waiting for a slot is no silence while others are answered"
    ),
    "--slo": (
        "95 % of a level's requests must meet all of these. `ttft=2@99` is "
        "judged alone: 99 % must meet it; the level is served where each "
        "of the two is so. `level_summary` has `good_ratio` and "
        "`goodput_per_s` of the requests that met every objective, "
        "`demand_summary` each demand"
    ),
    "--find-capacity": (
        "Doubling, then bisection by what looks good, in steps as small as "
        "the budget can tell apart; then the two loads at the edge are "
        "tried again, in bursts without pauses, until it is 95 % sure that "
        "95 % of the requests of one meet the objectives and of the other "
        "do not. What is not sure gives way to the next load and is named. "
        "With `--think-time` it "
        "counts people (in steps of 5 % above 20), with `--requests` or "
        "`--duration` requests of a closed loop"
    ),
    "--find-rate": (
        "As --find-capacity, with requests that come at random, in steps "
        "of 5 %; `--arrivals gamma:CV` makes them burstier, LEVELS limits "
        "those in flight"
    ),
    "--budget": (
        "A search that it ends says what stayed open, and how much longer "
        "that would take"
    ),
    "--fail-if": (
        "`<`, `<=`, `>`, `>=` and a mean (`ttft`, `tokens_per_s`, `e2e`, "
        "`joules_per_token`, `gpu_joules_per_token`, `error_ratio`) or any "
        "figure of `level_summary`, e.g. `ttft_p99_s>2`, "
        "`goodput_per_s<1`, `client_limited>0`. What is not known, an "
        "interrupted level and one that slept cannot be told; with "
        "failures as infinite (`ttft_p95_with_errors_s`) they are"
    ),
    "--config": (
        'For example `levels = [1, 4]`, `model = ["a", "b"]`, `think = '
        "true`, a table `[slo]` or `[option]`; what the command line names "
        "goes first"
    ),
    "--live": (
        "Prints the address of a page of this machine alone (port 8001, or a "
        "free one) that shows each request as it begins and ends; it is the "
        "run's page in `datasette results.db`, which shows a running run in "
        "the same way. Datasette runs as a process of its own with the "
        "low priority, as the user who typed sudo. In a terminal the page "
        "stays after the run until Ctrl-C, else it ends with the run. A "
        "browser on the measured machine takes some of its watts"
    ),
    "--resume": (
        "Also of one that slept; one that was killed is waited for 15 s"
    ),
    "--demo": ("Marked as simulated wherever it is shown"),
    "analyze --verify": ("What that proves: [proof](proof.md)"),
    "analyze --compare": (
        "The run is the unit: no repeat within a run shows what differs "
        "between runs. See [statistics](statistics.md)"
    ),
}
