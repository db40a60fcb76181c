"""Environment variables that sudo dropped: recover them, or tell how to pass them on."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass

from ollama_bench.privilege.sudo import act_as_user, find_sudo_user

# a run reads these
PASSED_ON = ("OLLAMA_HOST", "OPENAI_API_KEY", "REQUESTS_CA_BUNDLE")
PRESERVING = f"sudo --preserve-env={','.join(PASSED_ON)}"
SUDO_NAMES = ("sudo", "sudo-rs")  # names of sudo's own process


@dataclass(frozen=True)
class DroppedVariables:
    """Which variables of PASSED_ON sudo has dropped, as far as is known."""

    recovered: frozenset[str] = frozenset()  # and set again
    unknown: frozenset[str] = frozenset()  # the user may have set them

    def suggest_preserving(self, *names: str) -> str:
        """Return how to pass variables on that may be dropped; "" if none of them is."""
        lost = [name for name in names if name in self.unknown]
        if not lost:
            return ""
        them = "it" if len(lost) == 1 else "them"
        return f"sudo drops {' and '.join(lost)}; if you set {them}, run with {PRESERVING}"


NOTHING_DROPPED = DroppedVariables()


@dataclass(frozen=True)
class UserEnvironment:
    """The environment from which the user started sudo."""

    variables: dict[str, str]
    is_complete: (
        bool  # whether a variable that is missing here was not set
    )


def recover_variables() -> DroppedVariables:
    """Set those of PASSED_ON again that the user had set and sudo dropped, as far as is known.

    Call it as root, before anything is read from the environment. Without sudo it does nothing;
    variables that are set are left alone. Raises PrivilegeError when SUDO_UID is not a user's.
    """
    if (user := find_sudo_user()) is None:
        return NOTHING_DROPPED
    recovered, unknown = set(), set()
    environment = read_user_environment(user.pw_uid)
    for name in PASSED_ON:
        if name in os.environ:
            continue
        if value := environment.variables.get(name):
            # characters that no environment can hold
            with contextlib.suppress(ValueError):
                os.environ[name] = value
                recovered.add(name)
        elif not environment.is_complete:
            unknown.add(name)
    return DroppedVariables(frozenset(recovered), frozenset(unknown))


def read_user_environment(uid: int) -> UserEnvironment:
    """Return the environment from which the user started sudo.

    sudo's own process, recognized by its real user ID, was given all of it by the user. Where
    that cannot be read (macOS hides the environment of its own programs) the user's nearest
    process is read instead, with the user's rights, so that nothing is read that the user may
    not read. What was exported there after that process began is missing from it.
    """
    import psutil  # here, because most programs do without it

    with contextlib.suppress(
        psutil.Error, OSError, RuntimeError, ValueError
    ):
        for process in psutil.Process().parents():  # nearest first
            uids = process.uids()
            if set(uids) == {uid}:
                with act_as_user():
                    return UserEnvironment(
                        process.environ(), is_complete=False
                    )
            if uids.real == uid and process.name() in SUDO_NAMES:
                environment = process.environ()
                if environment:
                    return UserEnvironment(environment, is_complete=True)
    return UserEnvironment({}, is_complete=False)
