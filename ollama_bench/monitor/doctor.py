"""doctor.py - prints one page on what this machine lets the tool see, to share with a helper.

    python -m ollama_bench.monitor.doctor          or: make doctor
    sudo python -m ollama_bench.monitor.doctor     with the power that only root can read

Nothing is stored and no request is sent to a model. Names of users, computers and home folders are
masked. Each line stands for itself: what fails here is a line, too.
"""

from __future__ import annotations

import sys

from ollama_bench.terminal.output import (
    clean_line,
    prepare_streams,
    silence,
)

# isort: split
import argparse
import textwrap
from collections.abc import Iterable, Iterator

from ollama_bench.monitor import doctor_sections
from ollama_bench.monitor.masking import find_private_names, mask
from ollama_bench.privilege.helper import Helper, split_off
from ollama_bench.privilege.sudo import PrivilegeError

MOST_LINES, COLUMNS = 59, 100  # of the page


def main() -> int:
    prepare_streams()
    argparse.ArgumentParser(
        prog="doctor",
        description="Print one page, without names, on what this machine lets the tool see:"
        " paste it where you ask for help.",
    ).parse_args()
    helper = None
    try:
        helper = split_off()  # before anything is opened
        show(report(helper))
    except KeyboardInterrupt:
        return 130
    except (PrivilegeError, OSError) as error:
        silence(sys.stdout)
        print(f"doctor: {clean_line(str(error))}", file=sys.stderr)
        return 1
    finally:
        if helper:
            helper.stop()
    return 0


def report(helper: Helper | None) -> Iterator[str]:
    """Yield all lines as they are found; a section that fails gives its error instead."""
    for name, section in doctor_sections.list_sections(helper).items():
        try:
            for line in section():
                yield f"{name}: {line}"
        except Exception as error:  # whatever a strange machine answers
            yield f"{name}: {doctor_sections.describe_error(error)}"


def show(lines: Iterable[str]) -> None:
    """Print lines, masked, and no more than one page."""
    names, count = find_private_names(), 0
    for line in lines:
        clean = clean_line(mask(line, names))
        for part in textwrap.wrap(
            clean, COLUMNS, subsequent_indent="    ", break_on_hyphens=False
        ):
            count += 1
            if count < MOST_LINES:
                print(part, flush=True)
    if count >= MOST_LINES:
        print(f"and {count - MOST_LINES + 1} more lines")


if __name__ == "__main__":
    sys.exit(main())
