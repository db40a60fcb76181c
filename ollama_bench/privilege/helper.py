"""Keep root for reading power alone, and make everything else the user's.

    helper = split_off()   # the first thing in main, before threads, files, sockets
    ...                    # from here on we are the user who typed sudo
    helper.stop()

Only root may run powermetrics (macOS) and open the CPU packages' energy counters (Linux).
Started with sudo, split_off() leaves a small root process behind that runs powermetrics and
understands one-letter commands, opens the counters, and drops root for good.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import time
from typing import IO

from ollama_bench.power.powermetrics_command import (
    SAMPLERS,
    build_arguments,
)
from ollama_bench.power.rapl import RaplCounter, open_rapl
from ollama_bench.power.sampler import STOP_S, read_last_words
from ollama_bench.privilege.helper_process import (
    ENDED,
    KILL,
    SPENT,
    START,
    obey,
)
from ollama_bench.privilege.sudo import become_user, parse_sudo_uid

# starts in one run: each command may be refused once, and three restarts
STARTS = len(SAMPLERS) + 3
PATIENCE_S = STOP_S + 1  # for the sampler's exit code
LOOK_S = 0.02  # between two looks for it
# the first user ID of a person; below are those of services
FIRST_PERSON = 500 if sys.platform == "darwin" else 1000
NOBODY = 65_534
AS_ROOT = "root will own the results file; run with sudo from your own account instead"


def split_off(
    sampler: bool = True,
    *,
    commands: list[list[str]] | None = None,
    sysfs: str = "/sys",
) -> Helper | None:
    """Leave root to a helper and become the user who typed sudo; None if not root.

    Call it before starting any thread and before opening anything. Root without sudo stays root,
    with a warning where there is sudo to use. sampler=False: only counters, no helper process.
    commands: what to run instead of powermetrics; for tests, and deliberately not an option of
    any program.

    Raises PrivilegeError when SUDO_UID is not a user's, or root cannot be dropped.
    """
    if os.name != "posix" or os.geteuid() != 0:
        return None
    user = parse_sudo_uid(os.environ)
    if commands is None and sampler and sys.platform == "darwin":
        commands = [build_arguments(step) for step in range(len(SAMPLERS))]
    helper = Helper(
        commands if sampler else None,
        open_rapl(sysfs),
        warning=AS_ROOT if user is None and can_sudo() else None,
    )
    if user is None:
        return helper
    try:
        become_user(user)
    except BaseException:
        helper.stop()
        raise
    return helper


def can_sudo() -> bool:
    """Whether somebody could type sudo here; in most containers there is only root."""
    import pwd  # not on Windows

    return shutil.which("sudo") is not None and any(
        FIRST_PERSON <= account.pw_uid < NOBODY
        for account in pwd.getpwall()
    )


class Helper:
    """What is left of root: open counters, and a process that runs the sampler.

    It is a launcher like power.sampler.Child. The process ends, and the sampler with it, when
    the control pipe closes: by stop(), or because this process has ended.
    """

    def __init__(
        self,
        commands: list[list[str]] | None,
        rapl: list[RaplCounter],
        *,
        warning: str | None = None,
    ) -> None:
        self.rapl = rapl
        self.warning = warning  # for the user
        self.sampler = False  # whether the process exists
        # why it gives no power although it should
        self.failure: str | None = None
        self.cpu_s = 0.0  # CPU seconds of the sampler, known after stop()
        self._pid = 0
        # writing end of the pipe for commands
        self._control: int | None = None
        # what the sampler writes to stderr
        self._errors: IO[bytes] | None = None
        # reading ends of the pipes that are not used yet
        self._outputs: list[int] = []
        self._patience_s = PATIENCE_S
        if commands:
            self._split(commands)

    def start(self, step: int = 0) -> IO[bytes] | None:
        """Start command number `step` and return its output, a binary file."""
        if (
            not self._outputs
            or step >= len(START)
            or not self._send(START[step])
        ):
            return None
        return os.fdopen(self._outputs.pop(0), "rb", buffering=0)

    def kill(self) -> None:
        """End the sampler, so that its output ends."""
        self._send(KILL)

    def complaint(self) -> str:
        """Return the sampler's last words on stderr, in one line, and how it ended."""
        if not self._send(KILL):
            return ""
        until_s = time.monotonic() + self._patience_s
        while ENDED not in self._read_last_words():
            if time.monotonic() >= until_s:
                # a full disk: the exit code will not come next time either
                self._patience_s = 0.0
                break
            time.sleep(LOOK_S)
        return self._read_last_words()

    def stop(self) -> None:
        """End the helper process and its sampler. May be called twice."""
        if self._control is None:
            return
        os.close(self._control)
        self._control = None
        for descriptor in self._outputs:
            os.close(descriptor)
        self._outputs = []
        # somebody else has waited for it
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._pid, 0)
        self.cpu_s = self._read_cpu_seconds()
        self._close_errors()

    def _send(self, command: bytes) -> bool:
        try:
            return (
                self._control is not None
                and os.write(self._control, command) == 1
            )
        except OSError:  # the process is gone
            return False

    def _read_last_words(self) -> str:
        return (
            read_last_words(self._errors.fileno()) if self._errors else ""
        )

    def _read_cpu_seconds(self) -> float:
        try:
            return float(self._read_last_words().rpartition(SPENT)[2])
        except ValueError:
            # the child was killed before it could say, or the disk was full
            return 0.0

    def _close_errors(self) -> None:
        if self._errors:
            self._errors.close()
            self._errors = None

    def _split(self, commands: list[list[str]]) -> None:
        """Start the process; if the system refuses that, the run continues without a sampler."""
        opened: list[int] = []
        try:
            self._fork(commands, opened)
            self.sampler = True
        except OSError as error:
            # no usable temporary folder, no descriptors, no processes left
            for descriptor in opened:
                os.close(descriptor)
            self._close_errors()
            self._control = None
            self.failure = (
                f"cannot start the root helper ({error.strerror or error})"
            )

    def _fork(self, commands: list[list[str]], opened: list[int]) -> None:
        """Fork the process.

        All pipes are created before: a process that is no longer root cannot hand over any.
        """
        # A file, because an unread pipe would block the sampler; stop() closes it.
        self._errors = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
        for _ in range(1 + STARTS):
            opened += os.pipe()
        control, self._control, *outputs = opened
        sys.stdout.flush()
        sys.stderr.flush()
        ours = os.getpid()
        try:
            self._pid = os.fork()
            if self._pid == 0:
                obey(
                    commands, control, outputs[1::2], self._errors.fileno()
                )
        finally:
            # whatever happened there: root never returns into our code
            if os.getpid() != ours:
                os._exit(0)
        for descriptor in (control, *outputs[1::2]):
            os.close(descriptor)
        self._outputs = outputs[::2]
