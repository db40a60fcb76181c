"""client_process.py - one client as a process of its own, to be measured by bench_client.py.

    python benchmarks/client_process.py product --url http://127.0.0.1:11434 --streams 64 \\
        --tokens 25,150 --out out.json
    python benchmarks/client_process.py plain ...

``product`` is bench.py with its console, monitor and results file. ``plain`` is
what most people write: requests and iter_lines in threads, json.loads for each line. Either fires
one burst for each number of tokens, and says what it noted of the last and what each took.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

ROOT = pathlib.Path(__file__).resolve().parent.parent
# the programs are files, not an installed package
sys.path.insert(0, str(ROOT))

import psutil  # noqa: E402
import requests  # noqa: E402

import bench  # noqa: E402
from ollama_bench.load import interpreter  # noqa: E402
from ollama_bench.power.sources import find_sources
from ollama_bench.protocols.registry import PROTOCOLS
from ollama_bench.run.selfcheck import MODEL  # noqa: E402
from ollama_bench.run.system_limits import raise_file_limit  # noqa: E402
from ollama_bench.simulator import child  # noqa: E402
from ollama_bench.storage import writer  # noqa: E402
from ollama_bench.storage.connection import connect
from ollama_bench.terminal.screen import Console

# of the simulated powermetrics, as of the real one
POWER_INTERVAL_MS = 1000
PARTS = ("console", "monitor", "writer", "gc")


def main(argv: list[str] | None = None) -> int:
    wanted = parse_args(argv)
    raise_file_limit(wanted.streams)
    result = product(wanted) if wanted.way == "product" else plain(wanted)
    pathlib.Path(wanted.out).write_text(
        json.dumps(result | {"peak_bytes": peak_bytes()}), encoding="utf-8"
    )
    return 0


def product(wanted: argparse.Namespace) -> dict:
    """Runs of bench.py, each with one level."""
    switch_parts(wanted)
    with tempfile.TemporaryDirectory() as folder:
        path, cpu_s = os.path.join(folder, "results.db"), []
        for tokens in wanted.tokens:
            before_s = time.process_time()
            code = bench.main(
                [
                    str(wanted.streams),
                    "--host",
                    wanted.url,
                    "--api",
                    wanted.api,
                    "--model",
                    MODEL,
                    "--tokens",
                    str(tokens),
                    "--cooldown",
                    "0",
                    "--db",
                    path,
                ]
                + (
                    ["--idle", "0", "--pid", str(wanted.server_pid)]
                    if "monitor" in wanted.parts
                    else ["--no-monitor"]
                )
                + ["--user-stamps"] * wanted.user_stamps
            )
            cpu_s.append(time.process_time() - before_s)
            if code:
                sys.exit(code)
        return {
            "cpu_s": cpu_s,
            "peak_bytes": peak_bytes(),
            **stored(path),
        }  # the peak before the chunks are read back


def switch_parts(wanted: argparse.Namespace) -> None:
    """Turn parts of the product off; watch with a simulated powermetrics, as on a Mac."""
    port = wanted.url.rsplit(":", 1)[1]
    powermetrics = child.powermetrics_command(int(port), POWER_INTERVAL_MS)
    bench.find_sources = lambda **_: find_sources(
        powermetrics_command=powermetrics
    )
    if "console" not in wanted.parts:
        Console.draw = lambda *_: None
    if "writer" not in wanted.parts:
        # it sleeps until somebody waits for it, which is after the streams
        writer.COMMIT_EVERY_S = 1e6
    if "gc" in wanted.parts:
        interpreter.gc = WithCollector()


class WithCollector:
    """The module gc for a level that leaves the collector as it is."""

    def __getattr__(self, name: str):
        return lambda: None


def stored(path: str) -> dict:
    """What the results file says of its last level: the streams on this machine's clock, and its
    own row.
    """
    database = connect(path, readonly=True)
    level = next(
        database.query(
            "SELECT level.*, run.started_unix FROM level JOIN run ON run.id = run_id ORDER "
            "BY level.id DESC LIMIT 1"
        )
    )
    origin_ns = time.perf_counter_ns() - int(
        (time.time() - level["started_unix"]) * 1e9
    )  # as bench.py makes it
    streams: dict[str, tuple[int, list[int]]] = {}
    for row in database.query(
        "SELECT prefix, sent_ns, at_ns FROM request JOIN chunk ON request_id = request.id "
        "WHERE level_id = ? AND status = 'completed' ORDER BY request_id, chunk.number",
        [level["id"]],
    ):
        streams.setdefault(
            row["prefix"], (row["sent_ns"] + origin_ns, [])
        )[1].append(row["at_ns"] + origin_ns)
    database.conn.close()
    return {
        "streams": streams,
        **{
            name: value
            for name, value in level.items()
            if name.startswith("client_")
        },
    }


def plain(wanted: argparse.Namespace) -> dict:
    """Bursts as a script of twenty lines would fire them."""
    cpu_s = []
    for tokens in wanted.tokens:
        before_s = time.process_time()
        streams: dict[str, tuple[int, list[int]]] = {}
        with ThreadPoolExecutor(wanted.streams) as pool:
            for number in range(wanted.streams):
                pool.submit(
                    plain_request,
                    wanted,
                    f"[plain-{tokens}-{number}]",
                    tokens,
                    streams,
                )
        cpu_s.append(time.process_time() - before_s)
    return {"cpu_s": cpu_s, "streams": streams}


def plain_request(
    wanted: argparse.Namespace, prefix: str, tokens: int, streams: dict
) -> None:
    protocol = PROTOCOLS[wanted.api]
    body = protocol.build_body(MODEL, f"{prefix} plain", tokens)
    at_ns = []
    with requests.Session() as session:
        session.trust_env = False
        sent_ns = time.perf_counter_ns()
        with session.post(
            wanted.url + protocol.path, json=body, stream=True
        ) as response:
            for line in response.iter_lines():
                found = (
                    json.loads(line.removeprefix(b"data: "))
                    if line.rstrip(b"[DONE]")[-1:] == b"}"
                    else {}
                )
                if has_text(found):
                    at_ns.append(time.perf_counter_ns())
    streams[prefix] = (sent_ns, at_ns)


def has_text(found: dict) -> bool:
    """Whether a decoded line of either protocol carries a token."""
    for choice in found.get("choices") or ():
        delta = choice.get("delta") or {}
        return bool(
            delta.get("content")
            or delta.get("reasoning")
            or delta.get("reasoning_content")
        )
    return bool(found.get("response") or found.get("thinking"))


def peak_bytes() -> int:
    """The most memory this process has held."""
    try:
        import resource
    except ImportError:  # Windows
        return psutil.Process().memory_info().peak_wset
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="client_process.py",
        description="one client as a process of its own, to be measured by bench_client.py.",
    )
    add = parser.add_argument
    add("way", choices=("product", "plain"))
    add("--url", required=True, help="of the simulator")
    add("--server-pid", type=int, help="its process")
    add("--api", choices=tuple(PROTOCOLS), default="ollama")
    add("--streams", type=int, required=True)
    add(
        "--tokens",
        required=True,
        type=lambda text: [int(part) for part in text.split(",")],
        help="of a reply, a burst for each number",
    )
    add(
        "--parts",
        default="console,monitor,writer",
        type=lambda text: text.split(","),
        help=f"of {', '.join(PARTS)}: what is on",
    )
    add("--user-stamps", action="store_true")
    add(
        "--out",
        required=True,
        metavar="FILE",
        help="where the result goes, as JSON",
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
