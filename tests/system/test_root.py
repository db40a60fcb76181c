"""Links and variables laid for root, and the helper that stays root."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ollama_bench.power.powermetrics_command import (
    SAMPLERS,
    build_arguments,
)
from ollama_bench.privilege.helper import STARTS
from ollama_bench.privilege.helper_process import CLEAN_ENVIRONMENT
from ollama_bench.storage.connection import connect
from tests.conftest import plain_user
from tests.system.attacks import (
    ROOT,
    as_root,
)

PRELUDE = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import json, os, psutil, sqlite_utils
from ollama_bench.power import sources
from ollama_bench.privilege.helper import split_off
from ollama_bench.storage.connection import connect
from ollama_bench.storage.results_file import ResultsError
sqlite_utils.Database(memory=True)  # it imports more when it is first used
"""
OPENING = """
helper = split_off(sampler=False)
try:
    connect("results.db")
except ResultsError as error:
    print("refused:", error)
helper.stop()
"""


def as_user_in(folder, code, **environment):
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("SUDO_")
    }
    return subprocess.run(
        [sys.executable, "-c", PRELUDE + code],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=30,
        env={**clean, **environment},
    )


@pytest.fixture
def crowded():
    """A folder that everybody may write to, with a user of little power."""
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o1777)
    yield folder, plain_user()
    shutil.rmtree(folder)


@as_root
def test_a_link_laid_for_root_is_followed_by_nobody_with_power(crowded):
    folder, user = crowded
    victim = folder / "victim"
    victim.write_text("precious")
    victim.chmod(0o600)
    (folder / "results.db").symlink_to(victim)
    done = as_user_in(
        folder,
        OPENING,
        SUDO_UID=str(user.pw_uid),
    )
    assert (
        done.stdout.startswith("refused:")
        and len(done.stdout.splitlines()) == 1
    ), done.stderr
    assert (
        victim.read_text() == "precious"
        and stat.S_IMODE(victim.stat().st_mode) == 0o600
    )


@as_root
def test_a_link_that_leads_nowhere_makes_a_file_of_the_user_or_none(
    crowded,
):
    folder, user = crowded
    target = Path("/var") / f"laid-by-{folder.name}"
    (folder / "results.db").symlink_to(target)
    done = as_user_in(
        folder,
        OPENING,
        SUDO_UID=str(user.pw_uid),
    )
    assert (
        not target.exists()
        and "refused:" in done.stdout
        and "Traceback" not in done.stderr
    )


@as_root
@pytest.mark.parametrize(
    "variable",
    [
        "TMPDIR",
        "PATH",
        "LD_PRELOAD",
        "DYLD_INSERT_LIBRARIES",
        "PYTHONSTARTUP",
        "BASH_ENV",
        "IFS",
        "HOME",
    ],
)
def test_nothing_of_the_environment_reaches_the_sampler(crowded, variable):
    folder, user = crowded
    code = (
        "helper = split_off(commands=[['/usr/bin/env']])\n"
        "output = helper.start()\n"
        "print(json.dumps(output.read().decode())); helper.stop()"
    )
    done = as_user_in(
        folder,
        code,
        SUDO_UID=str(user.pw_uid),
        **{
            variable: os.environ.get(variable, str(folder))
            + (":/evil" if variable == "PATH" else "")
        },
    )
    said = done.stdout
    assert (
        "evil" not in said
        and str(folder) not in said
        and "LC_ALL=C" in said
    ), done.stderr


@as_root
def test_the_helper_takes_five_letters_and_no_argument(crowded):
    folder, user = crowded
    code = (
        "helper = split_off(commands=[['/bin/echo', 'fixed']])\n"
        "os.write(helper._control, b'/bin/sh -c id')\n"
        "pid, status = os.waitpid(helper._pid, 0)\n"
        "said = [os.read(end, 99).decode() for end in helper._outputs]\n"
        "print(json.dumps([status, said])); helper.stop()"
    )
    done = as_user_in(folder, code, SUDO_UID=str(user.pw_uid))
    assert json.loads(done.stdout) == [0, [""] * STARTS], (
        done.stdout + done.stderr
    )  # the first false letter ends it, nothing was run


def test_what_runs_as_root_is_named_in_full():
    assert all(
        build_arguments(step)[0] == "/usr/bin/powermetrics"
        for step in range(len(SAMPLERS))
    )
    assert (
        CLEAN_ENVIRONMENT.keys() == {"PATH", "LC_ALL"} and connect
    )  # fixed, whatever the caller's is
