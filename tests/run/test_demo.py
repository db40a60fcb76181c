"""The simulator as a child that cannot be started."""

import os
import subprocess
import sys

import pytest

from ollama_bench.run import demo, selfcheck
from ollama_bench.run.error import RunError
from tests.conftest import plain_user
from tests.system.attacks import ROOT, as_root


@pytest.mark.skipif(os.name == "nt", reason="file modes")
@pytest.mark.parametrize(
    "starting", [demo.start_server, lambda: selfcheck.Witness(10)]
)
def test_a_python_that_cannot_be_started_is_one_line(
    starting, tmp_path, monkeypatch
):
    python = tmp_path / "python"
    python.touch(mode=0o600)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(RunError) as caught, starting():
        pass
    assert str(caught.value) == (
        f"cannot start the simulator by {python}: Permission denied"
    )


@pytest.mark.faults
@as_root
@pytest.mark.parametrize(
    "asked", [["--demo"], ["1", "--self-check", "--no-monitor"]]
)
def test_a_python_in_roots_home_is_one_line_under_sudo(tmp_path, asked):
    """The interpreter that root started is out of the user's reach."""
    home = tmp_path / "root"
    home.mkdir(mode=0o700)
    python = home / "python"
    python.symlink_to(os.path.realpath(sys.executable))
    done = subprocess.run(
        [str(python), str(ROOT / "bench.py"), *asked],
        cwd="/tmp",
        capture_output=True,
        text=True,
        timeout=60,
        env={
            **os.environ,
            "SUDO_UID": str(plain_user().pw_uid),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        },
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert f"cannot start the simulator by {python}: Perm" in done.stderr
    assert "not one in root's home" in done.stderr
