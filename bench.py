"""bench.py - fires rising levels of concurrent streaming requests and stores how each went.

How many people can this machine's model serve at once, how fast, and for how many joules?

    python bench.py 1,2,4,8,16,32          # Ollama on this machine, deepseek-r1:7b
    sudo python bench.py 1,2,4,19          # with watts: root only reads the power
    python bench.py --demo                 # no server needed: a simulated one

Fills run, objective, target, level, request, reply and chunk of results.db; monitor.py the rest.
"""
from __future__ import annotations

import os
import signal
import sys

if __name__ == "__main__":
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))  # until main begins there is nothing to put in order
if "SUDO_UID" in os.environ and hasattr(os, "geteuid") and os.geteuid() == 0:
    sys.dont_write_bytecode = True  # a __pycache__ of root's in your clone would be in your way

try:
    import standard  # first: it says so where Python is too old or lacks the packages
except ModuleNotFoundError as error:
    sys.exit(f"{error}: start it without PYTHONSAFEPATH, -P and -I, which hide this tool's own files")
import options as command_line

if __name__ == "__main__" and "SUDO_UID" not in os.environ:
    command_line.parse()  # --help and a wrong command line answer before the imports, which take a third of a second

import argparse
import contextlib
import hashlib
import itertools
import json
import platform
import random
import sqlite3
import time
from dataclasses import dataclass, field, replace
from typing import Iterator, NamedTuple

import analyze
import api
import awake
import compare
import console
import db
import load
import machine
import power
import privilege
import prompts
import selfcheck
import wire
from attempt import Limits, Outcome, Task
from interrupt import Interrupt, on_interrupt
from monitor import Monitor
from server import DEMO_INTERVAL_MS, Server, ServerError, Simulator

SAVING = "\ninterrupted: saving what is finished (Ctrl-C again leaves at once)\n"
WARMUP_TOKENS = 8  # of a warm-up's reply: loading the model is what takes long
COME_BACK_S = 30.0  # a server that vanished may need so long to come back before a level
LOOK_EVERY_S = 0.5  # between two looks whether a run gives a sign of life
FIRST_SAMPLE_S = 15.0  # powermetrics' first document takes a second or two
REQUEST_IDS = 1_000_000  # a request's id is its level's times this, plus its number
GOOD_RATIO = 0.95  # a level meets the objectives when so many of its requests do
HIT_RATIO = 0.1  # of the prompt's tokens more than cold: a chat template alone caches a few
SPARE_FILES = 128  # open files besides the streams
NOT_REPEATED = {"db", "label", "resume", "plain", "pid", "dropped", "no_monitor", "demo", "pull", "config", "report", "host_from",
                "fail_if", "self_check", "steady"}  # not what a run measures
CHUNKS_AT_ONCE = 16_384  # of a request, in one statement: its instants and kinds are unfolded in SQLite, without the interpreter's lock
CHUNK_ROWS = """INSERT INTO chunk (request_id, number, at_ns, is_reasoning)
  SELECT ?1, ?2 + key, value - ?3, substr(?5, key + 1, 1) = x'01' FROM json_each(?4)"""
LEVEL_ROWS = """SELECT level_summary.*, mean_w, mean_gpu_mhz, joules_per_output_token,
  gpu_power_w, gpu_joules_per_output_token
  FROM level_summary LEFT JOIN energy_summary USING (level_id)"""


class CannotRun(Exception):
    """The run cannot go on; str() is one line for the user."""


def main(argv: list[str] | None = None) -> int:
    helper = None
    standard.prepare()
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        privilege.recover_variables()
        with privilege.users_files():
            options = command_line.parse(argv)
        for condition in options.fail_if or ():  # a wrong one is told now, not after hours
            if compare.condition(condition).is_change:
                raise argparse.ArgumentTypeError(f"{condition!r} is a change and a run alone has none: give a value here, "
                                                 f"or compare two runs with analyze.py --compare")
        helper = privilege.split_off(sampler=not (options.no_monitor or options.demo))
        return bench(options, helper)
    except (CannotRun, ServerError, load.LoadError, db.ResultsError, privilege.PrivilegeError) as error:
        print(standard.clean(f"bench.py: {error}"), file=sys.stderr)
        return 1
    except argparse.ArgumentTypeError as error:
        print(f"bench.py: --fail-if {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    finally:
        if helper is not None:
            helper.stop()


def bench(options: argparse.Namespace, helper) -> int:
    """The whole run; returns the exit code."""
    with contextlib.ExitStack() as stack:
        screen = stack.enter_context(console.Console(options.plain))
        if helper is not None and helper.warning:
            screen.warn(helper.warning)
        if options.dropped:
            screen.warn(f"levels named twice are fired once: {', '.join(map(str, options.dropped))} (--repeat N fires all N times)")
        interrupt = stack.enter_context(on_interrupt(SAVING))
        screen.on_left = interrupt.type
        if options.report and sys.flags.optimize > 1:  # told now, not after hours
            raise CannotRun("no charts with -OO or PYTHONOPTIMIZE=2: start without it, or leave out --report")
        raise_file_limit(most_connections(options))
        refuse_too_many_threads(max(options.levels))
        if not options.demo:
            name_servers(options, screen)
        if options.self_check:
            check_self(options, screen)
        simulator = stack.enter_context(Simulator()) if options.demo else None
        servers = [stack.enter_context(server) for server in make_servers(options, simulator)]
        for server in servers:
            for model in options.model:
                server.check_model(model, options.pull, screen.say)
        if not options.demo:  # which takes a minute
            stack.enter_context(awake.kept(screen.warn))
        writer = stack.enter_context(db.Writer(options.db, say=screen.warn))
        run = open_run(options, servers, writer, screen, interrupt)
        measure(run, helper, simulator)
        print_outcome(run)
    if run.status == "interrupted":
        return 130
    return max(0 if run.served else 1, judge(run))


def measure(run: Run, helper, simulator: Simulator | None) -> None:
    """All that is fired and watched; however it ends, the run is closed with its status."""
    try:
        settle(run)
        with watching(run, helper, simulator) as monitor:
            prepare(run, monitor)
            run.status = "interrupted"  # from here on it can be resumed, whatever ends it
            fire_levels(run, monitor)
            if not run.interrupt.is_set():
                run.status = "finished"
    finally:
        run.lines.close()
        close_run(run)


class Level(NamedTuple):
    """One level to fire."""

    model: str
    concurrency: int
    repeat: int
    cache: str


@dataclass
class Run:
    """What the parts of a run share."""

    id: int
    origin_ns: int  # time.perf_counter_ns of the run's zero
    started_unix: float
    options: argparse.Namespace
    servers: list[Server]
    writer: db.Writer
    screen: console.Console
    interrupt: Interrupt
    has_baseline: bool = False
    is_resumed: bool = False
    targets: dict[tuple[str, str], int] = field(default_factory=dict)  # model and host -> target id
    measured_targets: set[int] = field(default_factory=set)  # by levels before --resume
    questions: list[prompts.Prompt] = field(default_factory=list)
    order: list[int] = field(default_factory=list)  # of the questions
    done: set[Level] = field(default_factory=set)
    lines: wire.Lines = field(default_factory=wire.Lines)  # connections that its levels share
    advised: set[str] = field(default_factory=set)  # what was said of failed requests, once
    served: bool = True  # every level completed at least one request
    status: str = "failed"  # of the run's row, when it ends

    def now_ns(self) -> int:
        return time.perf_counter_ns() - self.origin_ns

    @property
    def simulated(self) -> bool:
        return any(server.simulated for server in self.servers)


# -- before the first level -------------------------------------------------------------

def most_connections(options: argparse.Namespace) -> int:
    """A connection to each host for each request in flight, and for each that is ready to replace one in a load that goes on."""
    return max(options.levels) * max(1, len(options.host)) * (1 if options.load == "burst" else 2)


def raise_file_limit(connections: int) -> None:
    """A connection is a descriptor: lift the soft limit. Raises CannotRun when the hard one is too low."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    needed = connections + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    except (ValueError, OSError):
        raise CannotRun(f"these levels need {needed} open files and the limit is {soft}: ulimit -n {needed}") from None


def refuse_too_many_threads(level: int) -> None:
    """Each request in flight has a thread. Raises CannotRun where macOS gives a process too few."""
    most = machine.sysctl("kern.num_taskthreads") if sys.platform == "darwin" else None
    if most and most.isascii() and most.isdigit() and level > int(most) - load.SPARE_THREADS:
        raise CannotRun(f"level {level} needs {level} threads and macOS gives a process {most}"
                        f" (kern.num_taskthreads): fire {max(1, int(most) - load.SPARE_THREADS)} at once at most")


def name_servers(options: argparse.Namespace, screen: console.Console) -> None:
    """Which servers are asked and what named them: sudo has its own environment."""
    came_back = ", which sudo had dropped" if options.host_from in privilege.recovered else ""
    screen.say(f"server: {', '.join(options.host)} ({options.host_from}{came_back})")
    matter = {"OLLAMA_HOST": options.host_from == "default" and options.api == ["ollama"],
              "OPENAI_API_KEY": "openai" in options.api,
              "REQUESTS_CA_BUNDLE": any(host.startswith("https:") for host in options.host)}
    if hint := privilege.dropped_hint(*(name for name, matters in matter.items() if matters)):
        screen.warn(hint)


def check_self(options: argparse.Namespace, screen: console.Console) -> None:
    """What this computer can measure: the client's own error against a simulator that logs its writes."""
    screen.say("this client's own error at these levels, against a simulator that logs each write:")
    rows = [selfcheck.measure(level, kernel_stamps=not options.user_stamps) for level in options.levels]
    for line in selfcheck.table(rows):
        screen.say(line)
    screen.say("")


def make_servers(options: argparse.Namespace, simulator: Simulator | None) -> list[Server]:
    """One for each host, each with its protocol. A key is for OpenAI's alone."""
    hosts = [simulator.url] if simulator else options.host
    names = options.api * len(hosts) if len(options.api) == 1 else options.api
    key = os.environ.get("OPENAI_API_KEY", "").strip()
    if not (key.isascii() and key.isprintable()):  # requests would say so with the key in its words
        raise CannotRun("OPENAI_API_KEY holds characters that no key has: set it anew")
    return [Server(host, api.SERVERS[name], key if name == "openai" else None) for host, name in zip(hosts, names)]


def arguments(options: argparse.Namespace) -> dict:
    """What a run measures, as it is stored and compared by --resume."""
    found = {name: value for name, value in sorted(vars(options).items()) if name not in NOT_REPEATED}
    if options.prompts:  # a file that was edited since asks something else
        found["prompts_sha256"] = hashlib.sha256(repr(questions(options)).encode()).hexdigest()
    return found


def open_run(options, servers: list[Server], writer: db.Writer, screen, interrupt) -> Run:
    """The run with its row, new or gone on with."""
    found = resumable_run(options, writer, screen) if options.resume else None
    if options.resume and found is None:
        screen.say("nothing to resume: no interrupted run of these arguments; starting a new one")
    started_unix = found["started_unix"] if found else time.time()
    row = {"status": "running", "seen_unix": time.time(), "pid": os.getpid(), "command": " ".join(["python", *sys.argv]),
           "tool_version": db.TOOL_VERSION, "python_version": platform.python_version(), "ended_ns": None}
    if found:
        run_id = found["id"]
        refuse_changed_targets(run_id, options, servers, writer)
        if not writer.take_over(run_id, found["seen_unix"], row):
            raise CannotRun(f"run {run_id} is still running")
    else:
        run_id = writer.insert("run", row | {
            "label": options.label or ("demo" if options.demo else None), "source": "bench", "started_unix": started_unix,
            "simulated": int(any(server.simulated for server in servers)), "arguments": json.dumps(arguments(options))})
        for name, bound in options.slo.items():
            writer.add("objective", {"run_id": run_id, "metric": command_line.objectives.COLUMNS[name][0], "bound": bound})
    writer.run_id = run_id
    passed_ns = max(int((time.time() - started_unix) * 1e9), found["last_ns"] if found else 0)  # a clock set back must not lay a level on another
    origin_ns = time.perf_counter_ns() - passed_ns
    return Run(run_id, origin_ns, started_unix, options, servers, writer, screen, interrupt,
               has_baseline=bool(found and found["idle_end_ns"]), is_resumed=bool(found),
               status="interrupted" if found else "failed")


def settle(run: Run) -> None:
    """The run's questions and targets, and what is there of it."""
    run.questions = questions(run.options)
    run.order = prompts.shuffled(len(run.questions), run.options.seed)
    remember_targets(run)
    run.done = finished_levels(run)
    if run.is_resumed:
        there = f"{len(run.done)} probes" if run.options.find_capacity else f"{len(run.done)} of {len(plan(run))} levels"
        run.screen.say(f"going on with run {run.id}: {there} are there")


def questions(options: argparse.Namespace) -> list[prompts.Prompt]:
    """What is asked; made-up text is made anew for each request."""
    if options.prompts:
        return prompts.read(options.prompts)
    return [prompts.Prompt((options.prompt,))]


def query(run_or_writer, sql: str, values=()) -> list[dict]:
    """Rows of the results file as it is now."""
    writer = getattr(run_or_writer, "writer", run_or_writer)
    database = db.connect(writer.path, readonly=True)
    try:
        return list(database.query(sql, values))
    except sqlite3.Error as error:
        raise db.ResultsError(f"{writer.path}: {error}") from None
    finally:
        database.conn.close()


def resumable_run(options, writer: db.Writer, screen) -> dict | None:
    """The newest run of the same arguments that did not end, once it is surely dead.

    Raises CannotRun where it gives a sign of life.
    """
    found = unended_run(options, writer)
    if found is None or found["status"] != "running":
        return found
    age_s = max(time.time() - found["alive_unix"], 0.0)  # below 0: its clock is another computer's
    left_s = db.DEAD_AFTER_S - age_s
    if left_s > 0:
        screen.say(f"run {found['id']} gave a sign of life {age_s:.0f} s ago; waiting up to"
                   f" {left_s:.0f} s for another before resuming it (Ctrl-C leaves)")
    until = time.monotonic() + left_s
    while time.monotonic() < until:
        time.sleep(LOOK_EVERY_S)
        now = unended_run(options, writer)
        if now is None or now["id"] != found["id"] or now["status"] != "running":
            return resumable_run(options, writer, screen)  # it has ended meanwhile
        if now["alive_unix"] != found["alive_unix"]:
            raise CannotRun(f"run {found['id']} is still running")
    return found


def unended_run(options, writer: db.Writer) -> dict | None:
    """The newest run of the same arguments that is interrupted or running, or has a level in
    which the machine slept and that was not fired again."""
    rows = query(writer, """SELECT id, status, started_unix, seen_unix,
            coalesce(seen_unix, started_unix) AS alive_unix, idle_end_ns, max(coalesce(ended_ns, 0),
            coalesce((SELECT max(at_ns) FROM system_sample WHERE run_id = run.id), 0),
            coalesce((SELECT max(coalesce(request.ended_ns, sent_ns)) FROM request
              JOIN level ON level.id = level_id WHERE run_id = run.id), 0)) AS last_ns
        FROM run WHERE source = 'bench' AND arguments = ? AND (status IN ('interrupted', 'running')
          OR status = 'finished' AND EXISTS (SELECT 1 FROM level
            WHERE run_id = run.id AND level.status = 'finished'
            GROUP BY model, concurrency, repeat, cache HAVING min(coalesce(slept_s, 0)) > 0))
        ORDER BY id DESC LIMIT 1""", [json.dumps(arguments(options))])
    return rows[0] if rows else None


def refuse_changed_targets(run_id: int, options, servers: list[Server], writer: db.Writer) -> None:
    """Raise CannotRun where a model or a server is not the one that the run has measured."""
    rows = query(writer, "SELECT * FROM target WHERE run_id = ?", [run_id])
    stored = {(row["model"], row["host"]): row for row in rows}
    changed = []
    for model, server in itertools.product(options.model, servers):
        if (before := stored.get((model, server.url))) is None:
            continue
        now = server.describe(model)
        words = {"digest": f"digest of {model}", "server_version": "version of the server"}
        for column, what in words.items():
            if None not in (before[column], now[column]) and before[column] != now[column]:
                changed.append(f"the {what} at {server.url} changed from {before[column]}"
                               f" to {now[column]}")
    if changed:
        raise CannotRun(api.flat(f"run {run_id} cannot be resumed: {'; '.join(changed)};"
                                 f" start a new run without --resume"))


def finished_levels(run: Run) -> set[Level]:
    """The levels that are there; one in which the machine slept is fired again."""
    rows = query(run, """SELECT DISTINCT model, concurrency, repeat, cache FROM level
        WHERE run_id = ? AND status = 'finished' AND coalesce(slept_s, 0) = 0""", [run.id])
    return {Level(**row) for row in rows}


def remember_targets(run: Run) -> None:
    """A row of the table target for each model on each host; a measured one stays as it is."""
    rows = query(run, """SELECT id, model, host,
            EXISTS (SELECT 1 FROM request WHERE target_id = target.id) AS is_measured
        FROM target WHERE run_id = ?""", [run.id])
    known = {(row["model"], row["host"]): row["id"] for row in rows}
    run.measured_targets = {row["id"] for row in rows if row["is_measured"]}
    for model in run.options.model:
        for server in run.servers:
            run.targets[model, server.url] = known.get((model, server.url)) or run.writer.insert(
                "target", {"run_id": run.id, "host": server.url, "api": server.protocol.name, "model": model})


@contextlib.contextmanager
def watching(run: Run, helper, simulator: Simulator | None):
    """The monitor, started; None with --no-monitor."""
    run.writer.update("run", run.id, {"machine_id": machine.remember(run.writer, machine.describe())})
    if run.options.no_monitor:
        yield None
        return
    sources = power.sources(helper=helper, powermetrics_command=simulator.powermetrics if simulator else None)
    pid = run.options.pid or (simulator.pid if simulator else None)
    ports = [server.port for server in run.servers if server.port]
    interval_s = DEMO_INTERVAL_MS / 1000 if simulator else 1.0
    monitor = Monitor(run.writer, run.id, run.origin_ns, sources=sources, ports=ports, pid=pid, interval_s=interval_s, say=run.screen.say)
    monitor.start()
    try:
        yield monitor
    finally:
        run.writer.update("run", run.id, monitor.stop())


def prepare(run: Run, monitor: Monitor | None) -> None:
    """First sample, idle baseline, warm models, and what the servers then say of them."""
    if monitor is not None and not monitor.wait_first_sample(FIRST_SAMPLE_S):
        run.screen.warn("monitor: no sample yet; going on without waiting")
    if not wire.RECORDS:
        run.screen.warn("this urllib3 has no place to record a stream: instants are read live, less exactly")
    if run.simulated:
        run.screen.warn("simulated server: these are no measurements of a real machine")
    left = missing(run)
    if monitor is not None and monitor.tracks and run.options.idle and left and not run.has_baseline:
        run.screen.say(f"idle baseline, {run.options.idle:g} s ...")
        start_ns = run.now_ns()
        run.interrupt.wait(run.options.idle)
        run.writer.update("run", run.id, {"idle_start_ns": start_ns, "idle_end_ns": run.now_ns()})
    for model in dict.fromkeys(level.model for level in left):
        for server in run.servers:
            warm(run, server, model)
            note_target(run, server, model, monitor)


def warm(run: Run, server: Server, model: str) -> None:
    """Load the model with the run's own options, so that no level begins cold. Raises CannotRun."""
    for number in range(run.options.warmup):
        if run.interrupt.is_set():
            return
        if number == 0:
            run.screen.say(f"warming {model} up{f' at {server.url}' if len(run.servers) > 1 else ''} ...")
        tokens = min(run.options.tokens or WARMUP_TOKENS, WARMUP_TOKENS)
        body = server.protocol.body(model, f"{unique_prefix()} {run.options.prompt}", tokens, run.options.think, run.options.option)
        task = Task(1, server.protocol, server.url + server.protocol.path, body, server.headers, secret=server.secret)
        burst = load.Burst([task], limits(run.options), run.interrupt, run.lines)
        burst.run()
        if not burst.outcomes:  # Ctrl-C came before it was sent
            return
        outcome = burst.outcomes[0]
        if outcome.status not in ("completed", "empty") and not run.interrupt.is_set():
            code = f" {outcome.http_status}" if outcome.http_status not in (None, 200) else ""
            raise CannotRun(f"the warm-up of {model!r} failed: {outcome.status}{code}: {outcome.error}"
                            f"{server.advice(outcome.http_status, outcome.error)}")


def note_target(run: Run, server: Server, model: str, monitor: Monitor | None) -> None:
    """Store what the server says of a loaded model; advise where another setting would serve more."""
    target = server.describe(model)
    if target["slots"] is None and monitor is not None and server.port is not None:
        target["slots"], target["slots_source"] = monitor.slots(server.port)
    if run.targets[model, server.url] not in run.measured_targets:
        run.writer.update("target", run.targets[model, server.url], target)
    here = query(run, "SELECT machine.* FROM machine JOIN run ON machine.id = machine_id WHERE run.id = ?", [run.id])
    if here and server.port is not None and (advice := machine.parallel_advice(here[0], target)):
        run.screen.warn(advice)


def unique_prefix() -> str:
    """Put before a prompt it misses every prompt cache, and makes prefill real work."""
    return f"[{os.urandom(6).hex()}]"


def limits(options: argparse.Namespace) -> Limits:
    return Limits(options.stall or None, options.deadline, not options.user_stamps)


# -- the levels -------------------------------------------------------------------------

def plan(run: Run) -> list[Level]:
    """Every level of the run in its order: as typed, or shuffled by the seed when there are repeats."""
    options, levels = run.options, []
    caches = ["cold", "warm"] if options.cache == "both" else [options.cache]
    for model in options.model:
        for repeat in range(1, options.repeat + 1):
            block = [Level(model, concurrency, repeat, cache) for concurrency in options.levels for cache in caches]
            if options.repeat > 1:
                random.Random(f"{options.seed} {model} {repeat}").shuffle(block)
            levels += block
    return levels


def missing(run: Run) -> list[Level]:
    """The levels of the plan that are not there; all where a search will tell which are needed."""
    return [level for level in plan(run) if run.options.find_capacity or level not in run.done]


def fire_levels(run: Run, monitor: Monitor | None) -> None:
    """Every level that is missing, with a pause between."""
    if run.options.find_capacity:
        return find_capacity(run, monitor)
    left = missing(run)
    for position, level in enumerate(left, 1):
        if run.interrupt.is_set():
            return
        fire_one(run, monitor, level, f"level {position} of {len(left)}", position > 1)


def find_capacity(run: Run, monitor: Monitor | None) -> None:
    """One number for each model, or how far the search came."""
    wish = ",".join(f"{name}={bound:g}" for name, bound in run.options.slo.items())
    for model in run.options.model:
        good, bad, highest = search(run, monitor, model)
        many = f"{good} or more" if good == highest else str(good or "nobody")
        if bad - good == 1:
            run.screen.sentence(f"{model} serves {many} at once within {wish} ({GOOD_RATIO:.0%} of the requests).")
        elif good or bad <= highest:
            run.screen.say(f"search interrupted: {model} serves {f'{good} or more' if bad > highest else f'between {good} and {bad - 1}'}"
                           f" at once within {wish}.")


def search(run: Run, monitor: Monitor | None, model: str) -> tuple[int, int, int]:
    """Double until the objectives are missed, then bisect; each probe is a level.

    The highest that met them, the lowest that missed them, the highest to try. The first two
    are further than 1 apart when the search was interrupted, or a probe could not be judged.
    """
    cache = "warm" if run.options.cache == "warm" else "cold"
    highest = max(run.options.levels)
    good, bad, has_fired = 0, highest + 1, False
    while bad - good > 1:
        size = min(max(1, 2 * good), highest) if bad > highest else (good + bad) // 2
        level = Level(model, size, 1, cache)
        is_new = level not in run.done
        title = f"probe between {good} and {min(bad, highest)}"
        ratio = fire_one(run, monitor, level, title, has_fired) if is_new else stored_ratio(run, level)
        if ratio is None:
            if not run.interrupt.is_set():
                run.screen.warn(f"{size} at once could not be judged: the machine slept, or all were cut"
                                f" before they met or missed an objective (a longer --deadline helps)")
            break
        has_fired = has_fired or is_new
        good, bad = (size, bad) if ratio >= GOOD_RATIO else (good, size)
    return good, bad, highest


def stored_ratio(run: Run, level: Level) -> float | None:
    """What a probe that was fired before an interruption found."""
    rows = query(run, """SELECT good_ratio FROM level_summary WHERE status = 'finished' AND coalesce(slept_s, 0) = 0 AND run_id = ?
        AND (model, concurrency, repeat, cache) = (?, ?, ?, ?) ORDER BY level_id DESC""", [run.id, *level])
    return rows[0]["good_ratio"] if rows else None


def fire_one(run: Run, monitor: Monitor | None, level: Level, title: str, after_another: bool) -> float | None:
    """Cool down, fire and report a level; the share of its requests that met the objectives.

    None when it was interrupted or slept through, or nothing could be judged.
    """
    if level.cache == "warm":
        prime(run, level)
    if after_another or level.cache == "warm":
        run.interrupt.wait(run.options.cooldown)
    if run.interrupt.is_set():
        return None
    for server in run.servers:
        wait_for_server(run, server, level.model)
    extra = f", time {level.repeat} of {run.options.repeat}" if run.options.repeat > 1 else ""
    extra += f", {level.cache} cache" if run.options.cache == "both" else ""
    run.screen.level_started(f"{level.model}: {title}, {level.concurrency} at once{extra}")
    level_id = fire_level(run, monitor, level)
    return report_level(run, level_id) if level_id is not None else None


def prime(run: Run, level: Level) -> None:
    """Send a warm level's own bodies once, as many at once as it will, so that the prompt cache can hit. Nothing is stored."""
    for server in run.servers:
        wait_for_server(run, server, level.model)
    bodies, together = first_turns(run, level), level.concurrency
    if not run.interrupt.is_set():
        run.screen.say(f"{level.model}: filling the prompt cache ({len(bodies)} of its requests, not counted) ...")
    while bodies and not run.interrupt.is_set():
        batch = [replace(task, number=place, follow=None) for place, task in enumerate(bodies[:together], 1)]
        load.Burst(batch, limits(run.options), run.interrupt, run.lines).run()
        bodies = bodies[together:]


def first_turns(run: Run, level: Level) -> list[Task]:
    """The first questions of a level, as it will send them; of those beyond its concurrency only what was not there yet."""
    options, asker = run.options, Asker(run, level)
    count = options.requests or level.concurrency
    if options.duration and not options.requests:  # who knows how far it will come
        count = max(count, len(run.order) * len(run.servers))
    found, seen = [], set()
    for number in range(1, count + 1):
        task = asker.task(number)
        key = task.url, json.dumps(task.body)
        if number <= level.concurrency or key not in seen:  # each slot has a cache of its own
            found.append(task)
        seen.add(key)
    return found


def wait_for_server(run: Run, server: Server, model: str) -> None:
    """A server that has gone gets time to come back; then its model is loaded again."""
    if server.answers():
        return
    run.screen.warn(f"{server.url} does not answer; waiting up to {COME_BACK_S:.0f} s for it")
    until = time.monotonic() + COME_BACK_S
    while time.monotonic() < until and not run.interrupt.wait(0.5):
        if server.answers():
            run.screen.say("the server is back")
            with contextlib.suppress(CannotRun):
                warm(run, server, model)
            return


def fire_level(run: Run, monitor: Monitor | None, level: Level) -> int | None:
    """Fire one level and store it; its id, None when it was interrupted."""
    options = run.options
    level_id = run.writer.insert("level", {
        "run_id": run.id, "model": level.model, "concurrency": level.concurrency, "repeat": level.repeat, "cache": level.cache,
        "load": options.load, "rate_per_s": options.rate, "ramp_s": options.ramp or None, "status": "running"})
    arrivals = load.poisson(options.rate, options.seed * 1000 + level.repeat) if options.rate else None
    under_way = load.Load(Asker(run, level).task, limits(options), level.concurrency, arrivals=arrivals, ramp_s=options.ramp or 0.0,
                          planned=options.requests, until_s=options.duration, interrupt=run.interrupt, lines=run.lines)
    keeper = Keeper(run, level_id, monitor)
    try:
        under_way.run(keeper)
    except BaseException:
        run.writer.update("level", level_id, {"status": "interrupted"})  # it is no part of the answer
        raise
    keeper.close(under_way)
    if monitor is not None:
        monitor.wait_covered(time.perf_counter_ns(), run.interrupt)
    return None if run.interrupt.is_set() else level_id


class Asker:
    """Makes the tasks of a level: hosts in turn, questions in the seed's order, a unique prefix where asked."""

    def __init__(self, run: Run, level: Level) -> None:
        self.run, self.level = run, level

    def task(self, number: int) -> Task:
        """The task of the n-th question, from 1 on: the same for the same number, whoever asks first, but for the prefix."""
        run = self.run
        place = run.order[(number - 1) % len(run.order)]
        question = run.questions[place]
        if run.options.prompt_tokens:
            draw = random.Random(f"{run.options.seed} {self.level.concurrency} {self.level.repeat} {number}")
            question = prompts.made_up(run.options.prompt_tokens, draw)
        prefix = unique_prefix() if self.level.cache == "cold" else None
        server = run.servers[(number - 1) % len(run.servers)]
        return self._turn(number, server, question, place + 1 if run.options.prompts else None, prefix, 1, ())

    def _turn(self, number: int, server: Server, question: prompts.Prompt, prompt_number: int | None, prefix: str | None,
              turn: int, history: tuple) -> Task:
        """One turn of a conversation; what was said before goes with it."""
        options, text = self.run.options, question.turns[turn - 1]
        said = f"{prefix} {text}" if prefix and turn == 1 else text
        body = server.protocol.body(self.level.model, said, question.tokens or options.tokens, options.think,
                                    {**options.option, **question.options}, question.system, history)

        def follow(next_number: int, outcome: Outcome) -> Task:
            return self._turn(next_number, server, question, prompt_number, prefix, turn + 1, (*history, (said, outcome.answer)))

        return Task(number, server.protocol, server.url + server.protocol.path, body, server.headers, prefix,
                    self.run.targets[self.level.model, server.url], prompt_number, turn, follow if turn < len(question.turns) else None, server.secret)


class ChunkRows:
    """What a request's rows of the table chunk are made of, made as they are written: an endless answer has millions."""

    def __init__(self, request_id: int, outcome: Outcome, origin_ns: int) -> None:
        self._request_id, self._origin_ns = request_id, origin_ns
        self._at_ns, self._kinds = outcome.chunk_ns, outcome.chunk_is_reasoning

    def __iter__(self) -> Iterator[tuple]:
        for start in range(0, len(self._at_ns), CHUNKS_AT_ONCE):
            part = slice(start, start + CHUNKS_AT_ONCE)
            instants = f"[{','.join(map(str, self._at_ns[part]))}]"
            yield self._request_id, start, self._origin_ns, instants, bytes(self._kinds[part])


class Keeper(load.Observer):
    """Stores a level's requests as they begin and end, and shows it."""

    def __init__(self, run: Run, level_id: int, monitor: Monitor | None) -> None:
        self.run, self.level_id, self.monitor = run, level_id, monitor
        self._begun: set[int] = set()

    def ready(self, tasks: list[Task]) -> None:
        """Rows of what is in flight come before the first byte leaves: they show even after a crash."""
        for task in tasks:
            self.begun(task)
        with contextlib.suppress(db.ResultsError):  # what calls this must not be left in the middle: see tick()
            self.run.writer.flush()
        self._mark()

    def begun(self, task: Task) -> None:
        self._begun.add(task.number)
        self.run.writer.add("request", {
            "id": self._id(task), "level_id": self.level_id, "target_id": task.target_id, "number": task.number,
            "prompt_number": task.prompt_number, "turn": task.turn, "prefix": task.prefix})

    def ended(self, outcome: Outcome) -> None:
        if outcome.task.number not in self._begun:
            self.begun(outcome.task)  # it failed before it could be sent
        writer, origin_ns, request_id = self.run.writer, self.run.origin_ns, self._id(outcome.task)
        writer.update("request", request_id, outcome.row(origin_ns))
        if outcome.answer or outcome.reasoning:
            writer.add("reply", {"request_id": request_id, "reasoning": outcome.reasoning or None, "answer": outcome.answer or None})
        if outcome.chunk_ns:
            writer.execute_many(CHUNK_ROWS, ChunkRows(request_id, outcome, origin_ns))
        outcome.answer = outcome.reasoning = ""  # stored: a long run need not hold them

    def tick(self, level: load.Load) -> None:
        if self.run.writer.failure:
            self.run.interrupt.set()  # what comes now can't be stored: close() says why
        self.run.screen.draw(level, self.monitor.latest() if self.monitor is not None else {})

    def close(self, level: load.Load) -> None:
        """The level's own row: its window, its inter-token latency, how exact the client was."""
        self._mark()
        run, tally = self.run, level.tally
        ended_ns = tally.last_ns or level.ended_ns
        steady = {name: value - run.origin_ns for name, value in level.steady_figures().items()}
        run.writer.update("level", self.level_id, {
            "status": "interrupted" if run.interrupt.is_set() else "finished",
            "started_ns": level.started_ns - run.origin_ns, "ended_ns": ended_ns and ended_ns - run.origin_ns,
            "pool_waits": level.pool_waits if run.options.rate else None, "never_sent": level.never_sent if run.options.rate else None, **steady, **tally.itl_figures(),
            **tally.interval_figures(run.options.seed), **level.client_figures(),
            **(self.monitor.conditions_since(level.started_ns) if self.monitor else {})})
        run.writer.flush()
        run.served = run.served and tally.completed > 0

    def _id(self, task: Task) -> int:
        return self.level_id * REQUEST_IDS + task.number

    def _mark(self) -> None:
        if self.monitor is not None:
            self.monitor.mark()


# -- what came of it --------------------------------------------------------------------

def report_level(run: Run, level_id: int) -> float | None:
    """The level's line, and what went wrong in it; the share of its requests that met the objectives."""
    run.writer.flush()
    rows = query(run, f"{LEVEL_ROWS} WHERE level_id = ?", [level_id])
    if not rows:
        raise CannotRun(f"run {run.id} is no longer in {run.options.db}: another program has deleted it")
    row = rows[0]
    run.screen.level_finished(row)
    for bad in query(run, "SELECT * FROM outcomes WHERE level_id = ? AND status != 'completed'", [level_id]):
        tell_failures(run, bad)
    if run.options.rate and row["pool_waits"]:
        run.screen.warn(f"        {row['pool_waits']} requests were due while all {row['concurrency']} were in flight: the wait of those sent counts")
    if row["never_sent"]:
        run.screen.warn(f"        {row['never_sent']} requests were due before the end and never sent: they count nowhere else")
    if run.options.steady:
        for steady in query(run, "SELECT * FROM steady_summary WHERE level_id = ?", [level_id]):
            run.screen.say(console.steady_line(steady))
    return None if row["slept_s"] else row["good_ratio"]


def tell_failures(run: Run, bad: dict) -> None:
    """One line for requests that ended alike, and what may help, once in a run."""
    code = f" {bad['http_status']}" if bad["http_status"] not in (None, 200) else ""
    run.screen.warn(f"        {bad['requests']} {bad['status']}{code}: {bad['example'] or ''}")
    advice = {server.advice(bad["http_status"], bad["example"]) for server in run.servers}
    for text in sorted(advice - run.advised - {""}):
        run.screen.warn(f"        {text.removeprefix('; ')}")
        run.advised.add(text)


def close_run(run: Run) -> None:
    """The run's last words, and all that was said before, are committed. Raises ResultsError."""
    moved_s = (time.time() - run.started_unix) - run.now_ns() / 1e9  # by somebody who set the clock
    run.writer.update("run", run.id, {"status": run.status, "ended_ns": run.now_ns(), "seen_unix": time.time(), "clock_step_s": moved_s})
    run.writer.flush()


def print_outcome(run: Run) -> None:
    """The table, the answer in a sentence, and what to type next."""
    run.screen.table(query(run, f"{LEVEL_ROWS} WHERE level_summary.run_id = ? AND NOT superseded ORDER BY level_id", [run.id]))
    pairs = """SELECT * FROM cache_effect WHERE run_id = ? AND NOT EXISTS (
        SELECT 1 FROM level WHERE id IN (cold_level_id, warm_level_id) AND slept_s > 0)"""
    for row in query(run, pairs, [run.id]) if run.options.cache == "both" else ():
        run.screen.say(console.cache_line(row) + no_hits(row))
    if len(run.servers) > 1:
        for row in query(run, "SELECT * FROM host_summary WHERE run_id = ?", [run.id]):
            run.screen.say(console.host_line(row))
    if run.writer.rejected:
        run.screen.warn(f"{run.writer.rejected} rows were rejected: they are not in {run.options.db}")
    run.screen.say("")
    for sentence in analyze.headline(run.options.db, run.id, run.options.slo):
        run.screen.sentence(sentence)
    file = standard.quoted(run.options.db)
    where = "" if run.options.db == "results.db" else f" --db {file}"
    where += "" if run.status == "finished" else f" --run {run.id}"  # by itself analyze.py takes a finished one
    run.screen.say(f"\nrun {run.id} is in {run.options.db}. Next:\n  python analyze.py{where}     the answer, charts and a page"
                   f"\n  datasette {file}     browse the raw data")


def no_hits(row: dict) -> str:
    """What a row of cache_effect adds where the server's own count shows that the warm prompts did not hit."""
    cold, warm = row["cold_cached_ratio"] or 0.0, row["warm_cached_ratio"]
    return f", no hits: {warm:.0%} of the prompt tokens came from it" if warm is not None and warm - cold < HIT_RATIO else ""


def judge(run: Run) -> int:
    """analyze.py with --report, its conditions with --fail-if; the exit code."""
    if not (run.options.report or run.options.fail_if):
        return 0
    conditions = [part for condition in run.options.fail_if or () for part in ("--fail-if", condition)]
    charts = [] if run.options.report else ["--no-charts"]
    return analyze.main(["--run", str(run.id), "--db", run.options.db, *conditions, *charts])


if __name__ == "__main__":
    sys.exit(main())
