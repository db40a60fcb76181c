"""The doctor's program: a page of details, the checks, and the exit code."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from urllib.parse import urlsplit

from ollama_bench.doctor import details, machine_checks
from ollama_bench.doctor.finding import Finding
from ollama_bench.doctor.server_checks import ServerChecks
from ollama_bench.privilege.helper import Helper, split_off
from ollama_bench.privilege.sudo import PrivilegeError
from ollama_bench.run.server import LOCAL_HOSTS
from ollama_bench.storage.results_file import TOOL_VERSION
from ollama_bench.terminal.command_line import (
    OneLineParser,
    add_version,
    name_program,
)
from ollama_bench.terminal.masking import find_private_names, mask
from ollama_bench.terminal.output import (
    clean_line,
    prepare_streams,
    silence,
)

MOST_LINES, COLUMNS = 59, 100  # of the page of details
LEAST_COLUMNS = 40
Check = Callable[[], Iterable[Finding]]


def main(argv: list[str] | None = None) -> int:
    """Run the program and return its exit code: 0 where nothing is wrong."""
    prepare_streams()
    parser = OneLineParser(
        prog=name_program("doctor"),
        description="Check this machine and its servers: each line is ok, a note, or what is wrong"
        " and the command that mends it. Nothing is changed. What is printed has no names of"
        " users, computers and home folders: paste it where you ask for help.",
    )
    add_version(parser, TOOL_VERSION)
    parser.parse_args(argv)
    helper = None
    try:
        helper = split_off()  # before anything is opened
        return examine(helper)
    except KeyboardInterrupt:
        return 130
    except (PrivilegeError, OSError) as error:
        silence(sys.stdout)
        print(f"doctor: {clean_line(str(error))}", file=sys.stderr)
        return 1
    finally:
        if helper:
            helper.stop()


def examine(helper: Helper | None) -> int:
    """Print the details and the checks; return 1 if something is wrong."""
    names = find_private_names()
    servers = ServerChecks(os.environ)
    host = urlsplit(servers.named_url or "").hostname
    if host and host not in LOCAL_HOSTS:
        names[host] = "<server>"
    watched = details.Watched()
    sections = details.list_sections(helper, servers.ports, watched)
    show(report(sections), names, MOST_LINES)
    print()
    findings = list(run_checks(list_checks(servers, watched, helper)))
    show(map(str, findings), names)
    wrong = sum(finding.mark == "wrong" for finding in findings)
    print(f"\n{wrong} wrong" if wrong else "\nall well")
    return 1 if wrong else 0


def list_checks(
    servers: ServerChecks, watched: details.Watched, helper: Helper | None
) -> dict[str, Check]:
    """Return the checks by what they are about."""
    return {
        "Python": machine_checks.check_python,
        "packages": machine_checks.check_packages,
        "clock": machine_checks.check_clock,
        "open files": machine_checks.check_files,
        "disk": machine_checks.check_disk,
        "power": lambda: machine_checks.check_power(watched, helper),
        "server": lambda: servers.check(watched.slots),
    }


def run_checks(checks: dict[str, Check]) -> Iterator[Finding]:
    """Yield what the checks find; one that fails is wrong itself."""
    for about, check in checks.items():
        try:
            yield from check()
        except Exception as error:  # whatever a strange machine answers
            text = details.describe_error(error)
            yield Finding("wrong", about, f"cannot be checked: {text}")


def report(sections: dict[str, details.Section]) -> Iterator[str]:
    """Yield all lines as they are found; a section that fails gives its error instead."""
    for name, section in sections.items():
        try:
            for line in section():
                yield f"{name}: {line}"
        except Exception as error:  # whatever a strange machine answers
            yield f"{name}: {details.describe_error(error)}"


def show(
    lines: Iterable[str], names: dict[str, str], most: int | None = None
) -> None:
    """Print lines, masked, broken at the width of the window, and not more than that many."""
    columns = shutil.get_terminal_size((COLUMNS, 24)).columns or COLUMNS
    width = max(LEAST_COLUMNS, min(COLUMNS, columns))
    count = 0
    for line in lines:
        clean = clean_line(mask(line, names))
        for part in textwrap.wrap(
            clean, width, subsequent_indent="    ", break_on_hyphens=False
        ):
            count += 1
            if most is None or count < most:
                print(part, flush=True)
    if most is not None and count >= most:
        print(f"and {count - most + 1} more lines")
