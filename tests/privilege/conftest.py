"""Fixtures shared by the tests of privileges."""

import contextlib
import os
import pathlib
import shutil
import tempfile
import types

import psutil
import pytest

from ollama_bench.privilege import variables
from ollama_bench.privilege.sudo import parse_sudo_uid
from ollama_bench.privilege.variables import PASSED_ON, recover_variables
from tests.privilege.programs import SAMPLER, nobody


@pytest.fixture
def home():
    """A folder that belongs to a plain user, with the sampler in it."""
    folder = pathlib.Path(tempfile.mkdtemp(dir="/tmp"))
    (folder / "sampler.py").write_text(SAMPLER)
    user = parse_sudo_uid({"SUDO_UID": str(nobody())})
    os.chown(folder, user.pw_uid, user.pw_gid)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def under_sudo(monkeypatch):
    """under_sudo(ancestors) recovers their variables; at_once=False leaves that to a program."""

    def recover(ancestors, at_once=True):
        monkeypatch.setattr(
            variables,
            "find_sudo_user",
            lambda: types.SimpleNamespace(pw_uid=501),
        )
        monkeypatch.setattr(
            variables, "act_as_user", contextlib.nullcontext
        )
        monkeypatch.setattr(
            psutil.Process, "parents", lambda self: ancestors
        )
        return recover_variables() if at_once else None

    for name in PASSED_ON:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return recover
