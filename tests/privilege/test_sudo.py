"""Who typed sudo, and how root becomes that user."""

import os

import pytest

from ollama_bench.privilege.sudo import PrivilegeError, parse_sudo_uid
from tests.privilege.programs import (
    PATIENCE_S,
    as_root,
    nobody,
    run,
    start,
)


def test_root_itself_has_nobody_to_become():
    assert parse_sudo_uid({}) is None
    assert parse_sudo_uid({"SUDO_UID": "0"}) is None


@pytest.mark.skipif(os.name != "posix", reason="needs pwd")
@pytest.mark.parametrize(
    "text",
    [
        "",
        "abc",
        "-1",
        "1000x",
        " 1000",
        "1e3",
        "00",
        "\u0663",
        "99999999999999999999",
        "3999999999",
        "9" * 5000,
    ],
)
def test_a_user_that_is_none_is_refused(text):
    with pytest.raises(PrivilegeError, match="SUDO_UID"):
        parse_sudo_uid({"SUDO_UID": text})


@as_root
def test_what_the_user_may_read_is_read_and_root_comes_back(home):
    (home / "own").write_text("words")
    os.chown(home / "own", nobody(), 0)
    (home / "own").chmod(0o400)
    found = run(
        home,
        """
before = os.getgroups(), os.getegid()
with act_as_user():
    ids, read = [os.getuid(), os.geteuid()], open("own").read()
back = os.geteuid() == 0 and (os.getgroups(), os.getegid()) == before
print(json.dumps({"ids": ids, "read": read, "back": back}))
""",
    )
    assert found == {"ids": [0, nobody()], "read": "words", "back": True}


@as_root
def test_root_comes_back_where_its_groups_do_not(home):
    found = run(
        home,
        """
def refuse(_groups):
    raise ValueError("too many groups")
os.setgroups = refuse
with act_as_user():
    pass
helper = split_off(commands=SAMPLER)
print(json.dumps({"uid": os.getuid()}))
helper.stop()
""",
    )
    assert found == {"uid": nobody()}


@as_root
def test_a_false_user_stops_before_anything_is_started(home):
    with start(
        home, "split_off(commands=SAMPLER)", SUDO_UID="4000000001"
    ) as process:
        _, errors = process.communicate(timeout=PATIENCE_S)
    assert (
        process.returncode == 1 and "SUDO_UID" in errors.splitlines()[-1]
    )


@as_root
@pytest.mark.parametrize("call", ["initgroups", "setgid", "setuid"])
def test_root_that_cannot_be_given_up_is_one_line(home, call):
    found = run(
        home,
        f"""
def refuse(*_):
    raise PermissionError(1, "Operation not permitted")
os.{call} = refuse
try:
    split_off(commands=SAMPLER)
except PrivilegeError as error:
    print(json.dumps(str(error)))
""",
    )
    assert (
        found
        == "cannot drop root privileges (Operation not permitted); run without sudo"
    )
