"""A sampler as a child."""

import os
import sys

from ollama_bench.power.sampler import Child


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_child_output_complaint_and_exit_code():
    child = Child(
        [
            python(
                "import sys; print('out');"
                " sys.exit('powermetrics must be invoked as the superuser')"
            )
        ]
    )
    with child.start() as output:
        assert output.read() == f"out{os.linesep}".encode()
    assert (
        child.complaint()
        == "powermetrics must be invoked as the superuser exit code 1"
    )
    child.stop()


def test_child_that_is_missing_or_has_no_other_command():
    child = Child([["/nonexistent/powermetrics"]])
    assert child.start() is None
    assert "nonexistent" in child.complaint()
    assert child.start(1) is None
    child.stop()


def test_child_is_killed_and_its_cpu_time_known():
    child = Child(
        [
            python(
                "import time; sum(range(10**6)); print(1, flush=True); time.sleep(60)"
            )
        ]
    )
    with child.start() as output:
        assert output.readline().strip() == b"1"
        child.kill()
        assert output.read() == b""
    child.stop()
    assert child.cpu_s > 0
