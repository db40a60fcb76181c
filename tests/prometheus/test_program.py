"""monitor.py --prometheus as a program, with somebody who asks while it samples."""

import contextlib
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from ollama_bench.monitor.options import Address, parse_args
from ollama_bench.prometheus import families
from ollama_bench.storage.connection import connect
from tests.monitor.support import (
    PATIENCE_S,
    ROOT,
    free_port,
    only_row,
    posix,
    run_monitor,
)
from tests.prometheus.support import Bench


@contextlib.contextmanager
def serving(folder, *arguments):
    """Start monitor.py; yield the process and the URL that it tells."""
    command = [sys.executable, str(ROOT / "monitor.py"), *arguments]
    with subprocess.Popen(
        [*command, "--prometheus", str(free_port()), "--interval", "0.1"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            lines = iter(process.stderr.readline, "")
            told = next(line for line in lines if "metrics: " in line)
            yield process, told.split()[-1]
        finally:
            process.kill()


def scrape(url):
    """Return the families by their names, as the parser of Prometheus' client reads them."""
    with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
        text = answer.read().decode()
    return {
        family.name: family
        for family in text_string_to_metric_families(text)
    }


@posix
def test_a_run_beside_it_is_shown_and_both_are_stored(tmp_path):
    me = str(psutil.Process().pid)
    with (
        serving(tmp_path, "--pid", me) as (process, url),
        Bench(tmp_path / "results.db") as bench,
    ):
        bench.begin(1, 2, 3)
        bench.end(1, 2)
        until = time.monotonic() + PATIENCE_S
        ended = families.REQUESTS.name.removesuffix("_total")
        while (
            ended not in (found := scrape(url))
            or families.RESIDENT.name not in found
        ):
            assert time.monotonic() < until
        known = {one.name.removesuffix("_total") for one in declared()}
        assert set(found) <= known
        # beside it stand the processes that other tests have started
        (resident,) = [
            sample
            for sample in found[families.RESIDENT.name].samples
            if sample.labels["role"] == "serve"
        ]
        assert resident.value > 1e6
        assert found[ended].samples[0].value == 2
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 130
    # the reader has left no log behind that only a writer can remove
    assert [path.name for path in tmp_path.iterdir()] == ["results.db"]
    with contextlib.closing(
        connect(tmp_path / "results.db", readonly=True).conn
    ) as database:
        count = "SELECT count(*) FROM process_sample"
        assert database.execute(count).fetchone()[0] > 0


def declared():
    return [one for group in families.GROUPS.values() for one in group]


def test_a_taken_port_is_one_line_before_anything_starts(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run_monitor(tmp_path, "--prometheus", str(port))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()[-1:]
    assert line.startswith(f"monitor.py: --prometheus 127.0.0.1:{port}: ")
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_the_address_is_stored_with_the_run(tmp_path):
    with serving(tmp_path, "--duration", "0.3") as (process, url):
        assert process.wait(PATIENCE_S) == 0
    arguments = only_row(tmp_path / "results.db", "run")["arguments"]
    port = url.partition("127.0.0.1:")[2].partition("/")[0]
    assert f'"prometheus": ["127.0.0.1", {port}]' in arguments


@pytest.mark.parametrize(
    "text, address",
    [
        ("9464", ("127.0.0.1", 9464)),
        ("0.0.0.0:1", ("0.0.0.0", 1)),
        ("host.lan:65535", ("host.lan", 65535)),
        ("[::1]:9464", ("::1", 9464)),
    ],
)
def test_an_address_is_a_port_or_a_host_with_it(text, address):
    assert parse_args(["--prometheus", text]).prometheus == Address(
        *address
    )


@pytest.mark.parametrize(
    "text", ["", "x", "0", "65536", "-1", ":9464", "host:", "::1", "[]:1"]
)
def test_another_address_is_refused(text, capsys):
    with pytest.raises(SystemExit) as ended:
        parse_args(["--prometheus", text])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert f"invalid address '{text}': expected PORT or HOST:PORT" in said
