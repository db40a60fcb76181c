"""bench_client.py - how exact is the client, and what does it cost? Beside the plain way to write
one.

    python benchmarks/bench_client.py                             # or: make bench
    python benchmarks/bench_client.py --streams 19,256 --runs 5   # medians of five
    # as where the kernel gives no stamps
    python benchmarks/bench_client.py --user-stamps
    python benchmarks/bench_client.py --parts --streams 256       # or: make bench-parts

A simulator of known timing streams to two clients in turn, each a process of its own: the product
(bench.py with console, monitor and results file) and the plain way (requests and
iter_lines in threads, json.loads for each line). The simulator's log says when it read each request
and wrote each token; what the clients report is compared with that. An error is reported minus
true, its p99 is of absolute values; it holds the network, and that the simulator reads a burst
one request after the other: more than the client's own. LAG is noted minus written. CPU is the
slope between two lengths of burst, so that starting up is not in it, and of the whole process.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import threading

ROOT = pathlib.Path(__file__).resolve().parent.parent
# the programs are files, not an installed package
sys.path.insert(0, str(ROOT))

from ollama_bench.protocols.registry import PROTOCOLS
from ollama_bench.run import selfcheck  # noqa: E402

try:
    import pty
except ImportError:  # Windows: the console prints plain lines then
    pty = None

CLIENT = pathlib.Path(__file__).with_name("client_process.py")
STREAMS = [1, 19, 64, 256, 1024]
# length of the burst before the last to the last one's: the slope needs two
SHORT_RATIO = 0.2
# of the first burst, which loads modules and is not counted
FIRST_TOKENS = 2
SLOPE_TOKENS = 10_000  # between the two: from fewer the slope is noise
# in a real run; the collector is off while streams come in
ON = {"console", "monitor", "writer"}
PARTS = [
    ("as it is", ON),
    ("no console", ON - {"console"}),
    ("no monitor", ON - {"monitor"}),
    ("no writer", ON - {"writer"}),
    ("collector on", ON | {"gc"}),
    ("none of them", set()),
]
COLUMNS = (  # figure, factor to its unit, heading, digits
    ("ttft_error_mean_s", 1e3, "mean", 2),
    ("ttft_error_p99_s", 1e3, "p99", 2),
    ("ttft_error_max_s", 1e3, "max", 2),
    ("itl_error_p99_s", 1e3, "p99", 2),
    ("itl_error_max_s", 1e3, "max", 1),
    ("lag_p99_s", 1e3, "p99", 2),
    ("send_skew_s", 1e3, "ms", 1),
    ("cpu_s_per_million_tokens", 1, "s/M", 0),
    ("peak_bytes", 1e-6, "MB", 0),
    ("schedule_error_p99_s", 1e3, "p99", 1),
)
HEADING = (
    f"{'':13}{'TTFT ERROR, ms':^21}{'ITL ERROR':^14}{'LAG':>7}"
    f"{'SKEW':>6}{'CPU':>5}{'PEAK':>5}{'SERVER':>8}"
)
WIDTHS = (7, 7, 7, 7, 7, 7, 6, 5, 5, 8)
# a client may take so many times as long as its bursts before it is given up
SLOWEST_RATIO = 4
PATIENCE_S = 60.0


def main(argv: list[str] | None = None) -> int:
    wanted = parse_args(argv)
    rows = []
    try:
        for protocol in wanted.api:
            if not wanted.json:
                print(
                    f"{protocol}, {wanted.rate:g} tokens/s a stream, bursts of "
                    f"{wanted.seconds:g} s, "
                    f"{'user' if wanted.user_stamps or wanted.parts else 'kernel'} stamps "
                    f"where there are any,\n"
                    f"{'medians of ' + str(wanted.runs) if wanted.runs > 1 else 'one run each'}; "
                    f"load average {load_average()}"
                )
                print(heading())
            rows += (
                measure_parts(wanted, protocol)
                if wanted.parts
                else measure_levels(wanted, protocol)
            )
    except (selfcheck.SelfCheckError, ClientError) as error:
        print(f"bench_client.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if wanted.json:
        print(json.dumps(rows, indent=1))
    return 0


class ClientError(Exception):
    """A client ended badly; str() is one line for the user."""


def measure_levels(
    wanted: argparse.Namespace, protocol: str
) -> list[dict]:
    """Either way at every number of streams."""
    rows = []
    for streams in wanted.streams:
        for way in ("product", "plain"):
            row = measure(
                wanted, protocol, streams, way, ON, wanted.user_stamps
            )
            rows.append(row)
            show(wanted, f"{streams:>5} {way}", row)
    if not wanted.json:
        print(where_it_ends(rows, wanted.rate))
    return rows


def measure_parts(wanted: argparse.Namespace, protocol: str) -> list[dict]:
    """The product with parts of it on or off, in turn so that a slower minute meets all of them.
    The kernel's stamps would hide what they do.
    """
    rows = []
    for streams in wanted.streams:
        runs: dict[str, list[dict]] = {name: [] for name, _ in PARTS}
        for _ in range(wanted.runs):
            for name, parts in PARTS:
                runs[name].append(
                    one_run(
                        wanted, protocol, streams, "product", parts, True
                    )
                )
        for name, _ in PARTS:
            row = {
                "api": protocol,
                "concurrency": streams,
                "parts": name,
                **medians(runs[name]),
            }
            changes = sorted(
                run["lag_p99_s"] - whole["lag_p99_s"]
                for run, whole in zip(runs[name], runs[PARTS[0][0]])
            )
            row["lag_p99_change_s"] = {
                "least": changes[0],
                "median": statistics.median(changes),
                "most": changes[-1],
            }
            rows.append(row)
            show(wanted, name, row)
            if not wanted.json and name != PARTS[0][0]:
                least, median, most = (
                    change * 1e3
                    for change in row["lag_p99_change_s"].values()
                )
                print(
                    f"{'':13}lag's p99 {median:+.2f} ms, run by run {least:+.2f} to {most:+.2f}"
                )
    return rows


def measure(
    wanted: argparse.Namespace,
    protocol: str,
    streams: int,
    way: str,
    parts: set[str],
    user_stamps: bool,
) -> dict:
    """Medians of some runs of a client."""
    runs = [
        one_run(wanted, protocol, streams, way, parts, user_stamps)
        for _ in range(wanted.runs)
    ]
    whys = [
        run["client_limited_why"]
        for run in runs
        if run.get("client_limited_why")
    ]
    return {
        "api": protocol,
        "concurrency": streams,
        "way": way,
        **medians(runs),
        "client_limited_why": whys[0] if whys else None,
    }


def medians(runs: list[dict]) -> dict:
    """The median of each figure over some runs."""
    found = {
        name: statistics.median(run[name] for run in runs)
        for name in runs[0]
        if isinstance(runs[0][name], (int, float))
    }
    return {"cpu_s_per_million_tokens": None} | found


def one_run(
    wanted: argparse.Namespace,
    protocol: str,
    streams: int,
    way: str,
    parts: set[str],
    user_stamps: bool,
) -> dict:
    """Start a simulator and a client; what the client noted against what the simulator logged."""
    tokens = [
        FIRST_TOKENS,
        *(
            max(2, int(wanted.rate * wanted.seconds * ratio))
            for ratio in (SHORT_RATIO, 1)
        ),
    ]
    with (
        selfcheck.Witness(1000 / wanted.rate) as witness,
        tempfile.TemporaryDirectory() as folder,
    ):
        out = pathlib.Path(folder, "result.json")
        words = ["--url", witness.url, "--server-pid", witness.pid]
        words += ["--api", protocol, "--streams", streams]
        words += ["--tokens", ",".join(map(str, tokens))]
        words += ["--parts", ",".join(sorted(parts)), "--out", out]
        words += ["--user-stamps"] * user_stamps
        run_client(
            [way, *map(str, words)],
            PATIENCE_S + SLOWEST_RATIO * len(tokens) * wanted.seconds,
        )
        result = json.loads(out.read_text(encoding="utf-8"))
        found = selfcheck.errors(
            result.pop("streams"), witness.truth(len(tokens) * streams)
        )
    if found["streams"] < streams:
        raise ClientError(
            f"{way}, {streams} streams: {streams - found['streams']} were not answered in full"
        )
    _, short_s, long_s = result.pop("cpu_s")
    between = streams * (tokens[2] - tokens[1])
    return {
        **result,
        **found,
        "cpu_s_per_million_tokens": (long_s - short_s) * 1e6 / between
        if between >= SLOPE_TOKENS
        else None,
    }


def run_client(arguments: list[str], patience_s: float) -> None:
    """Run client_process.py to its end, in a terminal of its own so that its console is live."""
    command = [sys.executable, str(CLIENT), *arguments]
    with (
        terminal() as screen,
        subprocess.Popen(
            command,
            stdout=screen,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"TERM": "xterm"},
        ) as process,
    ):
        try:
            _, complaint = process.communicate(timeout=patience_s)
        except subprocess.TimeoutExpired:
            raise ClientError(
                f"{arguments[0]} did not end within {patience_s:.0f} s"
            ) from None
        finally:
            process.kill()
    if process.returncode:
        raise ClientError(
            f"{' '.join(arguments[:1])} ended with {process.returncode}: "
            f"{complaint.strip().splitlines()[-1:]}"
        )


@contextlib.contextmanager
def terminal():
    """A descriptor to write to: a terminal that somebody reads and forgets."""
    if pty is None:
        yield subprocess.DEVNULL
        return
    reader, screen = pty.openpty()
    thread = threading.Thread(target=drain, args=(reader,), daemon=True)
    thread.start()
    try:
        yield screen
    finally:
        os.close(screen)
        thread.join()
        os.close(reader)


def drain(reader: int) -> None:
    # Linux' way to say that the other side is closed
    with contextlib.suppress(OSError):
        while os.read(reader, 65_536):
            pass


def heading() -> str:
    names = "".join(
        f"{name:>{width}}"
        for (_, _, name, _), width in zip(COLUMNS, WIDTHS)
    )
    return f"{HEADING}\n{'STREAMS':<13}{names}"


def show(wanted: argparse.Namespace, name: str, row: dict) -> None:
    if not wanted.json:
        cells = [
            f" {'-':>{width - 1}}"
            if row[figure] is None
            else f" {row[figure] * factor:>{width - 1}.{digits}f}"
            for (figure, factor, _, digits), width in zip(COLUMNS, WIDTHS)
        ]
        print(f"{name:<13}{''.join(cells)}", flush=True)


def where_it_ends(rows: list[dict], rate: float) -> str:
    """From which number of streams on the client, or the simulator, can't keep up."""
    ours = [row for row in rows if row["way"] == "product"]
    sentences = []
    if limited := [row for row in ours if row["client_limited_why"]]:
        sentences.append(
            f"From {limited[0]['concurrency']} streams on this client does not drive {rate:g} "
            f"tokens/s each well: "
            f"{limited[0]['client_limited_why']}."
        )
    else:
        sentences.append(
            f"This client drives all of these at {rate:g} tokens/s each."
        )
    if late := [
        row for row in ours if row["schedule_error_p99_s"] > 1 / rate
    ]:
        sentences.append(
            f"The simulator itself is late from {late[0]['concurrency']} streams on."
        )
    return "\n".join(sentences)


def load_average() -> str:
    return (
        f"{os.getloadavg()[0]:.1f}"
        if hasattr(os, "getloadavg")
        else "unknown"
    )


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    def numbers(text: str) -> list[int]:
        return [int(part) for part in text.split(",")]

    parser = argparse.ArgumentParser(
        prog="bench_client.py",
        description=(
            "how exact is the client, and what does it cost? Beside the plain way to write one."
        ),
    )
    add = parser.add_argument
    add(
        "--streams",
        type=numbers,
        default=STREAMS,
        metavar="N,N",
        help=f"concurrent streams (default {','.join(map(str, STREAMS))})",
    )
    add(
        "--rate",
        type=float,
        default=50.0,
        help="tokens a second of a stream (default %(default)g)",
    )
    add(
        "--seconds",
        type=float,
        default=3.0,
        help="length of the longer burst (default %(default)g)",
    )
    add(
        "--runs",
        type=int,
        default=1,
        help="of each; the median is shown (default %(default)s)",
    )
    add(
        "--api",
        action="append",
        choices=tuple(PROTOCOLS),
        help="default: one after the other",
    )
    add(
        "--user-stamps",
        action="store_true",
        help="without the kernel's receive times",
    )
    add(
        "--parts",
        action="store_true",
        help="console, monitor, writer and garbage collector on and off",
    )
    add(
        "--json",
        action="store_true",
        help="all figures as JSON instead of a table",
    )
    wanted = parser.parse_args(argv)
    wanted.api = wanted.api or (
        ["ollama"] if wanted.parts else list(PROTOCOLS)
    )
    if (
        min(wanted.streams) < 1
        or wanted.rate <= 0
        or wanted.seconds <= 0
        or wanted.runs < 1
    ):
        parser.error(
            "--streams, --rate, --seconds and --runs must be above 0"
        )
    return wanted


if __name__ == "__main__":
    sys.exit(main())
