"""Who typed sudo, and how root becomes that user: for good, or for a moment.

Only standard library modules of every system are imported at the top; pwd is POSIX only.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pwd

NORMAL_UMASK = 0o022


class PrivilegeError(Exception):
    """Root cannot be dropped safely; str() is the one line for the user."""


def find_sudo_user() -> pwd.struct_passwd | None:
    """Return who typed sudo, if that made us root; otherwise None.

    Raises PrivilegeError when SUDO_UID is not a user's.
    """
    if os.name != "posix" or os.geteuid() != 0:
        return None
    return parse_sudo_uid(os.environ)


def parse_sudo_uid(
    environment: Mapping[str, str],
) -> pwd.struct_passwd | None:
    """Return the user of SUDO_UID; None when root itself typed sudo, or without sudo.

    Raises PrivilegeError when SUDO_UID is not a user's.
    """
    text = environment.get("SUDO_UID")
    if text is None or text == "0":
        return None
    import pwd  # not on Windows

    is_number = text.isascii() and text.isdigit() and len(text) < 20
    try:
        if not is_number or int(text) == 0:
            raise KeyError(text)
        return pwd.getpwuid(int(text))
    except (KeyError, OverflowError):
        raise PrivilegeError(
            f"invalid SUDO_UID {text!r}: expected the ID of a user of this machine;"
            " run with plain sudo"
        ) from None


def drop_root() -> None:
    """Become the user who typed sudo, for good; do nothing if not root, or without sudo.

    For a program that needs root for nothing; call it before opening anything.
    Raises PrivilegeError.
    """
    if user := find_sudo_user():
        become_user(user)


def become_user(user: pwd.struct_passwd) -> None:
    """Drop root for good, or raise PrivilegeError.

    The order matters: without root no group can be left.
    """
    try:
        os.initgroups(user.pw_name, user.pw_gid)
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
    except OSError as error:
        # a container without these rights, a user with too many processes
        raise cannot_drop(error) from None
    try:
        os.setuid(0)
    except PermissionError:
        pass
    else:
        raise PrivilegeError(
            "cannot drop root privileges; run without sudo"
        )
    users, groups = (
        {os.getuid(), os.geteuid()},
        {os.getgid(), os.getegid()},
    )
    if users != {user.pw_uid} or groups != {user.pw_gid}:
        raise PrivilegeError(
            "cannot drop all root privileges; run without sudo"
        )
    os.environ.update(
        HOME=user.pw_dir, USER=user.pw_name, LOGNAME=user.pw_name
    )
    os.umask(NORMAL_UMASK)


@contextlib.contextmanager
def act_as_user() -> Iterator[None]:
    """Within the block, open files as the user who typed sudo, so that none is read that only
    root may read.

    For what must be read before split_off(). Raises PrivilegeError when SUDO_UID is not a
    user's, or root cannot step aside.
    """
    user = find_sudo_user()
    if user is None:
        yield
        return
    groups, group = os.getgroups(), os.getegid()
    try:
        os.initgroups(user.pw_name, user.pw_gid)
        os.setegid(user.pw_gid)
        os.seteuid(user.pw_uid)
    except OSError as error:
        raise cannot_drop(error) from None
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        # macOS can report more groups than it accepts; root needs none of them.
        with contextlib.suppress(OSError, ValueError):
            os.setgroups(groups)


def cannot_drop(error: OSError) -> PrivilegeError:
    """Return the error for a refused change of user."""
    return PrivilegeError(
        f"cannot drop root privileges ({error.strerror}); run without sudo"
    )
