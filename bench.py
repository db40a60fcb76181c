"""bench.py - fires rising levels of concurrent streaming requests and stores how each went.

How many people can this machine's model serve at once, how fast, and for how many joules?

    python bench.py 1,2,4,8,16,32          # Ollama on this machine, deepseek-r1:7b
    sudo python bench.py 1,2,4,19          # with watts: root only reads the power
    python bench.py --demo                 # no server needed: a simulated one

Fills run, target, level, request, reply and chunk of results.db; monitor.py fills the rest.
"""
from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import options as command_line

CONNECT_S, ANSWER_S = 5.0, 60.0  # for questions about the server, not for the load
ANSWER_BYTES = 16 << 20  # of an answer about the server
WARMUP_TOKENS = 8  # of a warm-up's reply: loading the model is what takes long
COME_BACK_S = 30.0  # a server that vanished may need so long to come back before a level
FIRST_SAMPLE_S = 15.0  # powermetrics' first document takes a second or two
IDLE_STEP_S = 0.1  # how soon a pause notices Ctrl-C
DEMO = ("--profile", "m2pro-7b", "--slots", "19", "--tokens", "45-75")  # short replies: under a minute in all
DEMO_INTERVAL_MS = 200  # of the demo's powermetrics; a demo level lasts seconds
SIMULATOR = "ollama-bench-sim"  # what a simulator says in the header Server
NOT_REPEATED = {"db", "label", "resume", "plain", "pid", "dropped", "no_monitor", "demo", "pull"}  # not what a run measures


class CannotRun(Exception):
    """The run cannot go on; str() is one line for the user."""


def main(argv: list[str] | None = None) -> int:
    options = command_line.parse(argv)
    import db  # here, so that --help and a wrong command line answer at once
    import privilege

    helper = None
    try:
        helper = privilege.split_off(sampler=not (options.no_monitor or options.demo))
        return bench(options, helper)
    except (CannotRun, db.ResultsError, privilege.PrivilegeError) as error:
        print(f"bench.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        if helper is not None:
            helper.stop()


def bench(options: argparse.Namespace, helper) -> int:
    """The whole run; returns the exit code."""
    import db
    from console import Console

    with contextlib.ExitStack() as stack:
        console = stack.enter_context(Console(options.plain))
        if helper is not None and helper.warning:
            console.warn(helper.warning)
        if options.dropped:
            console.warn(f"levels named twice are fired once: {', '.join(map(str, options.dropped))} (--repeat N fires all N times)")
        interrupt = stack.enter_context(on_interrupt(console))
        raise_file_limit(max(options.levels))
        simulator = stack.enter_context(Simulator()) if options.demo else None
        server = stack.enter_context(Server(options, simulator))
        server.check_models(console)
        writer = stack.enter_context(db.Writer(options.db, say=console.warn))
        run = open_run(options, server, writer, console, interrupt)
        monitor = stack.enter_context(watching(run, helper, simulator))
        status = "failed"
        try:
            prepare(run, monitor)
            fire_levels(run, monitor)
            status = "interrupted" if interrupt.is_set() else "finished"
        finally:
            close_run(run, status)
        print_outcome(run)
    return 130 if status == "interrupted" else 0 if run.served else 1


@dataclass
class Run:
    """What the parts of a run share."""

    id: int
    origin_ns: int  # time.perf_counter_ns of the run's zero
    started_unix: float
    options: argparse.Namespace
    server: "Server"
    writer: object
    console: object
    interrupt: threading.Event
    targets: dict[str, int] = field(default_factory=dict)  # model -> target id
    missing: list[tuple[str, int, int]] = field(default_factory=list)  # model, concurrency, repeat
    served: bool = True  # every level completed at least one request

    def now_ns(self) -> int:
        return time.perf_counter_ns() - self.origin_ns


# -- before the first level -------------------------------------------------------------

@contextlib.contextmanager
def on_interrupt(console):
    """An Event that Ctrl-C sets: what is finished is kept. A second Ctrl-C leaves at once."""
    interrupt = threading.Event()

    def handle(signum, _frame) -> None:
        if interrupt.is_set():
            os._exit(130)
        interrupt.set()
        os.write(2, b"\ninterrupted: saving what is finished (Ctrl-C again leaves at once)\n")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def raise_file_limit(deepest: int) -> None:
    """A stream is a descriptor: lift the soft limit, and say so when the hard one is too low."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    needed = deepest + 128
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= needed:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    except (ValueError, OSError):
        raise CannotRun(f"level {deepest} needs {needed} open files and the limit is {soft}: ulimit -n {needed}") from None


class Simulator:
    """The demo's server: sim.py as a process of our own."""

    def __enter__(self) -> "Simulator":
        self.script = str(Path(__file__).with_name("sim.py"))
        self._process = subprocess.Popen(
            [sys.executable, self.script, "--port", "0", "--parent-pid", str(os.getpid()), *DEMO],
            stdout=subprocess.PIPE, text=True, start_new_session=True)
        line = self._process.stdout.readline()
        if not line.startswith("listening on "):
            raise CannotRun(f"the simulator did not start: {line.strip() or 'see above'}")
        self.url = line.split()[-1]
        self.pid = self._process.pid
        self.powermetrics = [sys.executable, self.script, "powermetrics", "--port", str(urlsplit(self.url).port),
                             "-f", "plist", "-b", "0", "-i", str(DEMO_INTERVAL_MS)]
        return self

    def __exit__(self, *_) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._process.stdout.close()


class Server:
    """Questions to the server: what it is, which models it has. Not the load."""

    def __init__(self, options: argparse.Namespace, simulator: Simulator | None) -> None:
        import api
        import requests

        self.options = options
        self.protocol = api.SERVERS[options.api]
        self.url = simulator.url if simulator else options.host
        key = os.environ.get("OPENAI_API_KEY") if options.api == "openai" else None
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}  # never stored, never shown
        self.simulated = False
        self._session = requests.Session()
        self._session.trust_env = False  # requests would send 127.0.0.1 through HTTP_PROXY
        self._session.headers.update(self.headers)

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_) -> None:
        self._session.close()

    def get(self, path: str, body: dict | None = None) -> tuple[int, object]:
        """(HTTP status, decoded JSON or None). Raises CannotRun when nobody answers."""
        import requests

        try:
            with self._session.request("GET" if body is None else "POST", self.url + path, json=body, stream=True,
                                       timeout=(CONNECT_S, ANSWER_S), allow_redirects=False) as answer:
                self.simulated = self.simulated or answer.headers.get("Server") == SIMULATOR
                content = answer.raw.read(ANSWER_BYTES, decode_content=True)
        except (requests.RequestException, OSError) as error:
            raise CannotRun(self._absent(error)) from None
        except Exception as error:  # urllib3's own, from the raw body
            raise CannotRun(f"{self.url}{path}: {error}") from None
        try:
            return answer.status_code, json.loads(content)
        except ValueError:
            return answer.status_code, None

    def _absent(self, error: Exception) -> str:
        from load import words

        start = "start Ollama (ollama serve)" if self.options.api == "ollama" else "start the server"
        return f"no server answers at {self.url} ({words(error)}): {start}, name another with --host, or try --demo"

    def answers(self) -> bool:
        try:
            return self.get("/")[0] > 0
        except CannotRun:
            return False

    def check_models(self, console) -> None:
        """The server speaks the protocol and has the models. Raises CannotRun."""
        import api

        try:
            self.protocol.version(self.get)
        except api.ProtocolError as error:
            raise CannotRun(f"{self.url} {error}") from None
        there = self.protocol.models(self.get)
        for model in self.options.model:
            if any(api.same_model(name, model) for name in there) or self.options.api == "openai" and len(there) < 2:
                continue  # a llama-server serves its one model by any name
            if self.options.pull and self.options.api == "ollama":
                self._pull(model, console)
            else:
                pull = f"; ollama pull {model}, or --pull" if self.options.api == "ollama" else ""
                raise CannotRun(f"model {model!r} is not there, but {', '.join(there) or 'none'}{pull}")

    def _pull(self, model: str, console) -> None:
        """Download a model; one line for each step of it."""
        with self._session.post(f"{self.url}/api/pull", json={"model": model, "name": model}, stream=True,
                                timeout=(CONNECT_S, None)) as answer:
            last = None
            for line in answer.iter_lines():
                said = json.loads(line) if line.strip() else {}
                if said.get("error"):
                    raise CannotRun(f"model {model!r} could not be pulled: {said['error']}")
                if (status := said.get("status")) and status != last:
                    console.say(f"{model}: {status}")
                    last = status
        if last != "success":
            raise CannotRun(f"model {model!r} could not be pulled: the download ended early")

    def describe(self, model: str) -> dict:
        """Columns of the table target."""
        target = asdict(self.protocol.describe(self.get, model))
        target["thinks"] = None if target["thinks"] is None else int(target["thinks"])
        return {"host": self.url, "api": self.options.api, "model": model, **target}

    @property
    def port(self) -> int | None:
        """The port, when the server runs on this machine."""
        parts = urlsplit(self.url)
        local = parts.hostname in ("127.0.0.1", "::1", "localhost")
        return parts.port if local else None


def arguments(options: argparse.Namespace) -> dict:
    """What a run measures, as it is stored and compared by --resume."""
    return {name: value for name, value in sorted(vars(options).items()) if name not in NOT_REPEATED}


def open_run(options, server: Server, writer, console, interrupt) -> Run:
    """The run's row, new or gone on with, and its targets."""
    import db

    found = interrupted_run(options, writer) if options.resume else None
    if options.resume and found is None:
        console.say("nothing to resume: no interrupted run of these arguments; starting a new one")
    started_unix = found["started_unix"] if found else time.time()
    row = {"status": "running", "seen_unix": time.time(), "pid": os.getpid(), "command": command(),
           "tool_version": db.TOOL_VERSION, "python_version": platform.python_version()}
    if found:
        run_id = found["id"]
        writer.update("run", run_id, row | {"ended_ns": None})
    else:
        run_id = writer.insert("run", row | {"label": options.label or ("demo" if options.demo else None), "source": "bench", "simulated": int(server.simulated),
                                             "started_unix": started_unix, "arguments": json.dumps(arguments(options))})
    writer.run_id = run_id
    origin_ns = time.perf_counter_ns() - int((time.time() - started_unix) * 1e9)
    run = Run(run_id, origin_ns, started_unix, options, server, writer, console, interrupt)
    remember_targets(run)
    done = finished_levels(writer, run_id)
    asked = [(model, level, repeat) for model in options.model for repeat in range(1, options.repeat + 1) for level in options.levels]
    run.missing = [entry for entry in asked if entry not in done]
    if found:
        console.say(f"going on with run {run_id}: {len(done)} of {len(asked)} levels are there")
    return run


def command() -> str:
    return " ".join(["python", *sys.argv]) if sys.argv[0].endswith(".py") else " ".join(sys.argv)


def query(writer, sql: str, values=()) -> list[dict]:
    """Rows of the results file as it is now."""
    import db

    database = db.connect(writer.path, readonly=True)
    try:
        return list(database.query(sql, values))
    finally:
        database.conn.close()


def interrupted_run(options, writer) -> dict | None:
    """The newest interrupted run of the same arguments."""
    rows = query(writer, "SELECT id, started_unix FROM run WHERE source = 'bench' AND status = 'interrupted' "
                         "AND arguments = ? ORDER BY id DESC LIMIT 1", [json.dumps(arguments(options))])
    return rows[0] if rows else None


def finished_levels(writer, run_id: int) -> set[tuple[str, int, int]]:
    rows = query(writer, "SELECT model, concurrency, repeat FROM level WHERE run_id = ? AND status = 'finished'", [run_id])
    return {(row["model"], row["concurrency"], row["repeat"]) for row in rows}


def remember_targets(run: Run) -> None:
    """A row of the table target for each model."""
    known = {row["model"]: row["id"] for row in query(run.writer, "SELECT id, model FROM target WHERE run_id = ?", [run.id])}
    for model in run.options.model:
        run.targets[model] = known.get(model) or run.writer.insert(
            "target", {"run_id": run.id, "host": run.server.url, "api": run.options.api, "model": model})


@contextlib.contextmanager
def watching(run: Run, helper, simulator: Simulator | None):
    """The monitor, started; None with --no-monitor."""
    import machine

    run.writer.update("run", run.id, {"machine_id": machine.remember(run.writer, machine.describe())})
    if run.options.no_monitor:
        yield None
        return
    import power
    from monitor import Monitor

    sources = power.sources(helper=helper, powermetrics_command=simulator.powermetrics if simulator else None)
    pid = run.options.pid or (simulator.pid if simulator else None)
    interval_s = DEMO_INTERVAL_MS / 1000 if simulator else 1.0
    monitor = Monitor(run.writer, run.id, run.origin_ns, sources=sources, port=run.server.port, pid=pid,
                      interval_s=interval_s, say=run.console.say)
    monitor.start()
    try:
        yield monitor
    finally:
        run.writer.update("run", run.id, monitor.stop())


def prepare(run: Run, monitor) -> None:
    """First sample, idle baseline, warm model, and what the server then says of it."""
    if monitor is not None and not monitor.wait_first_sample(FIRST_SAMPLE_S):
        run.console.warn("monitor: no sample yet; going on without waiting")
    if run.server.simulated:
        run.console.warn("simulated server: these are no measurements of a real machine")
    if monitor is not None and monitor.tracks and run.options.idle and run.missing:
        run.console.say(f"idle baseline, {run.options.idle:g} s ...")
        start_ns = run.now_ns()
        pause(run, run.options.idle)
        run.writer.update("run", run.id, {"idle_start_ns": start_ns, "idle_end_ns": run.now_ns()})
    for model in dict.fromkeys(model for model, _, _ in run.missing):
        warm(run, model)
        note_target(run, model, monitor)


def pause(run: Run, length_s: float) -> None:
    """Wait; less when interrupted."""
    run.interrupt.wait(length_s)


def warm(run: Run, model: str) -> None:
    """Load the model with the run's own options, so that no level begins cold. Raises CannotRun."""
    import load

    for number in range(run.options.warmup):
        if run.interrupt.is_set():
            return
        tokens = min(run.options.tokens or WARMUP_TOKENS, WARMUP_TOKENS)
        task = load.Task(1, run.server.url + run.server.protocol.path, body(run, model, unique_prefix(), tokens))
        if number == 0:
            run.console.say(f"warming {model} up ...")
        burst = load.Burst([task], run.server.protocol, limits(run), run.interrupt)
        burst.run()
        outcome = burst.outcomes[0]
        if outcome.status not in ("completed", "empty") and not run.interrupt.is_set():
            code = f" {outcome.http_status}" if outcome.http_status not in (None, 200) else ""
            raise CannotRun(f"the warm-up of {model!r} failed: {outcome.status}{code}: {outcome.error}")


def note_target(run: Run, model: str, monitor) -> None:
    """Store what the server says of a loaded model; advise where another setting would serve more."""
    import machine

    target = run.server.describe(model)
    if target["slots"] is None and monitor is not None:
        target["slots"], target["slots_source"] = getattr(monitor, "slots", lambda: (None, None))()
    run.writer.update("target", run.targets[model], target)
    machine_row = query(run.writer, "SELECT machine.* FROM machine JOIN run ON machine.id = machine_id WHERE run.id = ?", [run.id])
    if machine_row and (advice := machine.parallel_advice(machine_row[0], target)):
        run.console.warn(advice)


def body(run: Run, model: str, prefix: str | None, tokens: int | None) -> dict:
    """The JSON of one request."""
    options = run.options
    prompt = f"{prefix} {options.prompt}" if prefix else options.prompt
    return run.server.protocol.body(model, prompt, tokens, options.think, options.option)


def unique_prefix() -> str:
    """Put before a prompt it misses every prompt cache, and makes prefill real work."""
    return f"[{os.urandom(6).hex()}]"


def limits(run: Run):
    import load

    return load.Limits(run.options.stall or None, run.options.deadline, not run.options.user_stamps, run.server.headers)


# -- the levels -------------------------------------------------------------------------

def fire_levels(run: Run, monitor) -> None:
    """Every level that is missing, with a pause between."""
    total = len(run.missing)
    for position, (model, concurrency, repeat) in enumerate(run.missing, 1):
        if position > 1:
            pause(run, run.options.cooldown)
        if run.interrupt.is_set():
            return
        wait_for_server(run, model)
        again = f", time {repeat} of {run.options.repeat}" if run.options.repeat > 1 else ""
        run.console.level_started(f"{model}: level {position} of {total}, {concurrency} at once{again}")
        level_id = fire_level(run, monitor, model, concurrency, repeat)
        if level_id is not None:
            report_level(run, level_id)


def wait_for_server(run: Run, model: str) -> None:
    """A server that has gone gets time to come back; then its model is loaded again."""
    if run.server.answers():
        return
    run.console.warn(f"the server does not answer; waiting up to {COME_BACK_S:.0f} s for it")
    until = time.monotonic() + COME_BACK_S
    while time.monotonic() < until and not run.interrupt.is_set():
        if run.server.answers():
            run.console.say("the server is back")
            with contextlib.suppress(CannotRun):
                warm(run, model)
            return
        pause(run, 0.5)


def fire_level(run: Run, monitor, model: str, concurrency: int, repeat: int) -> int | None:
    """Fire one level and store it; its id, None when it was interrupted."""
    import load

    level_id = run.writer.insert("level", {"run_id": run.id, "model": model, "concurrency": concurrency, "repeat": repeat,
                                           "cache": run.options.cache, "status": "running"})
    url = run.server.url + run.server.protocol.path
    prefixes = [unique_prefix() if run.options.cache == "cold" else None for _ in range(concurrency)]
    tasks = [load.Task(number, url, body(run, model, prefix, run.options.tokens), prefix, run.targets[model])
             for number, prefix in enumerate(prefixes, 1)]
    request_ids = run.writer.insert_many("request", [
        {"level_id": level_id, "target_id": task.target_id, "number": task.number, "prefix": task.prefix} for task in tasks])
    burst = load.Burst(tasks, run.server.protocol, limits(run), run.interrupt)
    mark = monitor.mark if monitor is not None else lambda: None
    keeper = Keeper(run, level_id, request_ids)

    def tick(level) -> None:
        keeper.store(level)
        run.console.draw(level, monitor.latest() if monitor is not None else {})

    burst.run(tick, mark)
    mark()
    keeper.store(burst)
    keeper.close(burst)
    if monitor is not None:
        monitor.wait_covered(time.perf_counter_ns(), run.interrupt)
    return None if run.interrupt.is_set() else level_id


class Keeper:
    """Stores a level's requests as they end."""

    def __init__(self, run: Run, level_id: int, request_ids: list[int]) -> None:
        self.run, self.level_id, self.request_ids = run, level_id, request_ids
        self._stored: set[int] = set()

    def store(self, level) -> None:
        """Rows of the requests that ended since the last time."""
        writer, origin_ns = self.run.writer, self.run.origin_ns
        for outcome in list(level.outcomes):
            if outcome.task.number in self._stored:
                continue
            self._stored.add(outcome.task.number)
            request_id = self.request_ids[outcome.task.number - 1]
            writer.update("request", request_id, outcome.row(origin_ns))
            if outcome.answer or outcome.reasoning:
                writer.add("reply", {"request_id": request_id, "reasoning": outcome.reasoning or None, "answer": outcome.answer or None})
            count = len(outcome.chunk_ns)
            if count:
                writer.add_many("chunk", ("request_id", "number", "at_ns", "is_reasoning"), list(zip(
                    [request_id] * count, range(count), [at - origin_ns for at in outcome.chunk_ns], outcome.chunk_is_reasoning)))

    def close(self, level) -> None:
        """The level's own row: its window, its inter-token latency, how exact the client was."""
        import load

        run = self.run
        last = [o.chunk_ns[-1] if len(o.chunk_ns) else o.ended_ns for o in level.outcomes]
        ended_ns = max([at for at in last if at is not None], default=level.ended_ns)
        run.writer.update("level", self.level_id, {
            "status": "interrupted" if run.interrupt.is_set() else "finished",
            "started_ns": level.started_ns - run.origin_ns, "ended_ns": ended_ns and ended_ns - run.origin_ns,
            **load.itl_figures(level.outcomes), **level.client_figures()})
        run.writer.flush()
        run.served = run.served and any(outcome.status == "completed" for outcome in level.outcomes)


LEVEL_ROWS = """SELECT level_summary.*, mean_w, mean_gpu_mhz, joules_per_output_token
  FROM level_summary LEFT JOIN energy_summary USING (level_id)"""


def report_level(run: Run, level_id: int) -> None:
    """The level's line, and what went wrong in it."""
    run.writer.flush()
    run.console.level_finished(query(run.writer, f"{LEVEL_ROWS} WHERE level_id = ?", [level_id])[0])
    for row in query(run.writer, "SELECT outcomes.* FROM outcomes JOIN level_summary USING (run_id, model, concurrency, repeat) "
                                 "WHERE level_id = ? AND outcomes.status != 'completed'", [level_id]):
        code = f" {row['http_status']}" if row["http_status"] not in (None, 200) else ""
        run.console.warn(f"        {row['requests']} {row['status']}{code}: {row['example'] or ''}")


def close_run(run: Run, status: str) -> None:
    moved_s = (time.time() - run.started_unix) - run.now_ns() / 1e9  # by somebody who set the clock
    run.writer.update("run", run.id, {"status": status, "ended_ns": run.now_ns(), "seen_unix": time.time(), "clock_step_s": moved_s})
    run.writer.flush()


def print_outcome(run: Run) -> None:
    """The answer in a sentence, and what to type next."""
    import db
    import selection
    import verdict

    database = db.connect(run.writer.path, readonly=True)
    try:
        run.console.table(list(database.query(f"{LEVEL_ROWS} WHERE level_summary.run_id = ? ORDER BY level_id", [run.id])))
        with contextlib.suppress(db.ResultsError):
            for study in selection.choose(database, [], [run.id]):
                run.console.say("")
                for sentence in [verdict.alone(study), verdict.movement(study)]:
                    run.console.say(sentence, "bold")
    finally:
        database.conn.close()
    where = "" if run.options.db == "results.db" else f" --db {run.options.db}"
    run.console.say(f"\nrun {run.id} is in {run.options.db}. Next:\n  python analyze.py{where}     the answer, charts and a page"
                    f"\n  datasette {run.options.db}     browse the raw data")


if __name__ == "__main__":
    sys.exit(main())
