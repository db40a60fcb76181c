"""privilege.py - keeps root for reading power alone, and makes everything else the user's.

    helper = privilege.split_off()   # the first thing in main, before threads, files, sockets
    ...                              # from here on we are the user who typed sudo
    helper.stop()

powermetrics (macOS) and the CPU packages' energy counters (Linux) are readable by root only.
Started with sudo, split_off() leaves a small root process behind that runs powermetrics and
understands five one-letter commands, opens the counters, and gives root up for good.
"""
from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time

import power

CLEAN_ENVIRONMENT = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C"}  # nothing of the caller's
STARTS = len(power.SAMPLERS) + 3  # of the sampler in one run: each command may be refused once, and three restarts
KILL = b"k"  # the commands: end the sampler, or start the one with this number
START = (b"0", b"1", b"2")
ENDED, SPENT = "exit code ", "CPU seconds "  # what the helper adds to the sampler's words
HIGHEST_DESCRIPTOR = 65536  # to close up to; the limit itself can be a billion
PASSED_ON = ("OLLAMA_HOST", "OPENAI_API_KEY", "REQUESTS_CA_BUNDLE")  # a run's; sudo drops them
PRESERVING = f"sudo --preserve-env={','.join(PASSED_ON)}"
SUDO_NAMES = ("sudo", "sudo-rs")  # of its own process

recovered: set[str] = set()  # of PASSED_ON, set again by recover_variables()
unknown: set[str] = set()  # of PASSED_ON, not set, and nobody can say whether the user had set them


class PrivilegeError(Exception):
    """Root can't be given up safely; str() is the one line for the user."""


def split_off(sampler: bool = True, *, commands: list[list[str]] | None = None, sysfs: str = "/sys") -> Helper | None:
    """Leaves root to a helper and becomes the user who typed sudo; None when we are not root.

    Must come before any thread and before anything is opened. Root without sudo stays root,
    with a warning. sampler=False: no helper process, only counters. commands: what to run
    instead of powermetrics; for tests, and deliberately no option of any program.

    Raises PrivilegeError when SUDO_UID is not a user's, or root can't be given up.
    """
    if os.name != "posix" or os.geteuid() != 0:
        return None
    user = invoking_user(os.environ)
    if commands is None and sampler and sys.platform == "darwin":
        commands = [power.powermetrics_arguments(step) for step in range(len(power.SAMPLERS))]
    helper = Helper(commands if sampler else None, power.open_rapl(sysfs))
    if user is None:
        helper.warning = "running as root: the results file will be root's (better: sudo, as yourself)"
        return helper
    try:
        become(user)
    except BaseException:
        helper.stop()
        raise
    return helper


def drop() -> None:
    """Become the user who typed sudo, for good; nothing where we are not root, or without sudo.

    For a program that needs nothing of root's; before it opens anything. Raises PrivilegeError.
    """
    if user := user_of_sudo():
        become(user)


def user_of_sudo() -> object | None:
    """The password entry of who typed sudo where that made us root, or raise PrivilegeError."""
    return invoking_user(os.environ) if os.name == "posix" and os.geteuid() == 0 else None


@contextlib.contextmanager
def users_files():
    """While it lasts, what is opened is opened as the user who typed sudo: a file that only root may read is not read.

    For what must be read before split_off(). Raises PrivilegeError when SUDO_UID is not a user's, or root can't step aside.
    """
    user = user_of_sudo()
    if user is None:
        yield
        return
    groups, group = os.getgroups(), os.getegid()
    try:
        os.initgroups(user.pw_name, user.pw_gid)
        os.setegid(user.pw_gid)
        os.seteuid(user.pw_uid)
    except OSError as error:
        raise PrivilegeError(f"root could not be given up ({error.strerror}): start without sudo") from None
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        with contextlib.suppress(OSError, ValueError):  # macOS can name more groups than it takes back; root needs none of them
            os.setgroups(groups)


def recover_variables() -> None:
    """Set those of PASSED_ON that the user had set and sudo has dropped, as far as it can be learned.

    For before anything is read from the environment, as root. Nothing without sudo; what is there
    already is left alone. Raises PrivilegeError when SUDO_UID is not a user's.
    """
    recovered.clear()
    unknown.clear()
    if (user := user_of_sudo()) is None:
        return
    environment, is_all = users_environment(user.pw_uid)
    for name in PASSED_ON:
        if name in os.environ:
            continue
        if value := environment.get(name):
            with contextlib.suppress(ValueError):  # letters that no environment holds
                os.environ[name] = value
                recovered.add(name)
        elif not is_all:
            unknown.add(name)


def users_environment(uid: int) -> tuple[dict[str, str], bool]:
    """The environment from which the user started sudo, and whether that is all of it.

    sudo's own process was given all of it by the user, and is known by its real user id. Where it
    cannot be read (macOS shows it of none of its own programs) the user's nearest process is asked,
    with the user's rights, so that nothing is read that the user may not. What was exported there
    since that process began is not in it.
    """
    import psutil  # here: analyze.py does without

    with contextlib.suppress(psutil.Error, OSError, RuntimeError, ValueError):
        for process in psutil.Process().parents():  # nearest first
            uids = process.uids()
            if set(uids) == {uid}:
                with users_files():
                    return process.environ(), False
            if uids.real == uid and process.name() in SUDO_NAMES:
                if environment := process.environ():
                    return environment, True
    return {}, False


def dropped_hint(*names: str) -> str:
    """How to pass variables on that sudo may have dropped; '' where it dropped none of these."""
    lost = [name for name in names if name in unknown]
    return f"sudo drops {' and '.join(lost)}: if set, start with {PRESERVING}" if lost else ""


def invoking_user(environment) -> object | None:
    """The password entry of who typed sudo; None when root itself did, or without sudo."""
    text = environment.get("SUDO_UID")
    if text is None or text == "0":
        return None
    import pwd  # not on Windows

    try:
        if not (text.isascii() and text.isdigit() and len(text) < 20) or int(text) == 0:
            raise KeyError
        return pwd.getpwuid(int(text))
    except (KeyError, OverflowError):
        raise PrivilegeError(f"SUDO_UID={text!r} is no user of this machine: start with plain sudo") from None


def become(user) -> None:
    """Gives root up for good, or raises PrivilegeError. The order matters: without root no group can be left."""
    try:
        os.initgroups(user.pw_name, user.pw_gid)
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
    except OSError as error:  # a container without these rights, a user with too many processes
        raise PrivilegeError(f"root could not be given up ({error.strerror}): start without sudo") from None
    try:
        os.setuid(0)
    except PermissionError:
        pass
    else:
        raise PrivilegeError("root could not be given up: start without sudo")
    if {os.getuid(), os.geteuid()} != {user.pw_uid} or {os.getgid(), os.getegid()} != {user.pw_gid}:
        raise PrivilegeError("root could not be given up entirely: start without sudo")
    os.environ.update(HOME=user.pw_dir, USER=user.pw_name, LOGNAME=user.pw_name)
    os.umask(0o022)


class Helper:
    """What root left behind: open counters, and a process that runs the sampler.

    It has the face of power.Child: start, kill, complaint, stop and cpu_s. The process ends,
    and the sampler with it, when the control pipe closes: by stop() or by our death.
    """

    def __init__(self, commands: list[list[str]] | None, rapl: list[tuple]) -> None:
        self.rapl = rapl  # (name, descriptor, range in microjoules)
        self.warning: str | None = None
        self.sampler = False  # whether there is a process that runs one
        self.failure: str | None = None  # why there is none although it was wanted
        self.cpu_s = 0.0  # CPU seconds of the sampler, known after stop()
        self._pid = self._control = self._errors = None
        self._outputs: list[int] = []  # reading ends of the pipes that are not used yet
        self._patience_s = power.STOP_S + 1  # for the sampler's exit code
        if commands:
            self._split(commands)

    def start(self, step: int = 0):
        """Starts the sampler's command of this number and returns its output, a binary file."""
        if not self._outputs or step >= len(START) or not self._send(START[step]):
            return None
        return os.fdopen(self._outputs.pop(0), "rb", buffering=0)

    def kill(self) -> None:
        """Ends the sampler, so that its output ends."""
        self._send(KILL)

    def complaint(self) -> str:
        """What the sampler last said on stderr, one line, and how it ended."""
        if not self._send(KILL):
            return ""
        until_s = time.monotonic() + self._patience_s
        while ENDED not in self._last_words():
            if time.monotonic() >= until_s:
                self._patience_s = 0.0  # a full disk: it can't say, and won't the next time
                break
            time.sleep(0.02)
        return self._last_words()

    def _last_words(self) -> str:
        return power.last_words(self._errors.fileno()) if self._errors else ""

    def stop(self) -> None:
        """Ends the helper and its sampler; may be called twice."""
        if self._control is None:
            return
        os.close(self._control)
        self._control = None
        for descriptor in self._outputs:
            os.close(descriptor)
        self._outputs = []
        try:
            os.waitpid(self._pid, 0)
        except ChildProcessError:
            pass  # somebody else has waited for it
        self.cpu_s = self._cpu_report()
        self._errors.close()
        self._errors = None

    def _send(self, command: bytes) -> bool:
        try:
            return self._control is not None and os.write(self._control, command) == 1
        except OSError:  # the helper is gone
            return False

    def _cpu_report(self) -> float:
        try:
            return float(self._last_words().rpartition(SPENT)[2])
        except ValueError:  # killed before it could say, or the disk was full
            return 0.0

    def _split(self, commands: list[list[str]]) -> None:
        """Forks the process; where the system refuses that, the run goes on without a sampler."""
        opened: list[int] = []
        try:
            self._fork(commands, opened)
            self.sampler = True
        except OSError as error:  # no usable temporary folder, no descriptors, no processes left
            for descriptor in opened:
                os.close(descriptor)
            if self._errors:
                self._errors.close()
            self._control = self._errors = None
            self.failure = f"root's helper could not be started: {error.strerror or error}"

    def _fork(self, commands: list[list[str]], opened: list[int]) -> None:
        """All pipes are made before: a process that is not root any more can't hand any over."""
        self._errors = tempfile.TemporaryFile(buffering=0)  # a pipe nobody reads would block the sampler
        for _ in range(1 + STARTS):
            opened += os.pipe()
        control, self._control, *outputs = opened
        sys.stdout.flush()
        sys.stderr.flush()
        ours = os.getpid()
        try:
            self._pid = os.fork()
            if self._pid == 0:
                serve(commands, control, outputs[1::2], self._errors.fileno())
        finally:
            if os.getpid() != ours:  # whatever happened there: root never comes back into our code
                os._exit(0)
        for descriptor in (control, *outputs[1::2]):
            os.close(descriptor)
        self._outputs = outputs[::2]


def serve(commands: list[list[str]], control: int, outputs: list[int], errors: int) -> None:
    """The helper's whole life."""
    sampler = Sampler(commands, outputs, errors)
    try:
        detach(keep=[control, errors, *outputs])
        while True:
            command = os.read(control, 1)
            if command == KILL:
                sampler.end()
            elif command in START:
                sampler.end()
                sampler.begin(START.index(command))
            else:  # nothing: the pipe is closed
                break
    except BaseException as error:
        add_words(errors, f"{type(error).__name__}: {error}")
    finally:
        sampler.end()
        add_words(errors, f" {SPENT}{cpu_of_children()}")


def add_words(errors: int, words: str) -> None:
    """Adds to what the sampler said; a full disk loses the words and nothing else."""
    with contextlib.suppress(OSError):
        os.write(errors, words.encode())


def cpu_of_children() -> float:
    import resource  # not on Windows

    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def detach(keep: list[int]) -> None:
    """Out of the terminal's reach (Ctrl-C is not for us), with no descriptor but these.

    Only the control pipe ends the helper. Signals are caught, not ignored: what is ignored
    the sampler would inherit, and then not obey SIGTERM either.
    """
    os.setsid()
    for caught in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(caught, lambda *_: None)
    os.chdir("/")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(nowhere, standard)
    low = 3
    for descriptor in sorted(keep):
        os.closerange(low, descriptor)
        low = descriptor + 1
    os.closerange(low, HIGHEST_DESCRIPTOR)


class Sampler:
    """The root program, in the helper."""

    def __init__(self, commands: list[list[str]], outputs: list[int], errors: int) -> None:
        self.commands, self.outputs, self.errors = commands, outputs, errors
        self._process: subprocess.Popen | None = None

    def begin(self, step: int) -> None:
        """Starts commands[step] on the next pipe, whose only writer it then is."""
        if not self.outputs:
            return
        output = self.outputs.pop(0)
        try:
            os.ftruncate(self.errors, 0)
            os.lseek(self.errors, 0, os.SEEK_SET)
            self._process = subprocess.Popen(
                self.commands[min(step, len(self.commands) - 1)], stdin=subprocess.DEVNULL, stdout=output,
                stderr=self.errors, cwd="/", env=CLEAN_ENVIRONMENT)
        except OSError as error:
            add_words(self.errors, f"{error} {ENDED}127")
        finally:
            os.close(output)

    def end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        power.end_process(process)
        add_words(self.errors, f" {ENDED}{process.returncode}")
