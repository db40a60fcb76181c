"""describe_options.py - writes docs/options.md out of the declarations of the options.

    python tools/describe_options.py   after a change of an option or of option_notes.py

What an option does stands in the program's own help; what a line of help has no room for
stands in option_notes.py.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from ollama_bench.inputs import options  # noqa: E402
from tools.option_notes import EXIT_CODES, NOTES, PROGRAMS  # noqa: E402

PAGE = Path(__file__).parents[1] / "docs" / "options.md"
START = """# Options

Written by `python tools/describe_options.py` from the programs' own declarations.
`ollama-bench ...` is the installed command; in a clone `python bench.py ...`,
`python analyze.py ...` and `python monitor.py ...` take the same options. Any option
of a measurement may stand in a TOML file (`--config`), without the dashes before it:
`think-time = 30`.
"""


def main() -> int:
    """Write the page."""
    PAGE.write_text(text(), encoding="utf-8")
    print(f"{PAGE.name} describes {len(documented())} options")
    return 0


def text() -> str:
    """Return docs/options.md."""
    parts = [START, "## ollama-bench LEVELS\n"]
    for group in options.GROUPS:
        shown = [one for one in group.options if not one.is_hidden]
        parts.append(
            table(group.heading, [bench_row(one) for one in shown])
        )
    parts.append(EXIT_CODES)
    for program in PROGRAMS:
        parts.append(f"## {program.command}\n\n{program.purpose}\n")
        rows = list(parser_rows(program.command, program.make_parser()))
        parts.append(table("", rows))
    return "\n".join(parts)


def table(heading: str, rows: list[tuple[str, str]]) -> str:
    """Return rows of an option and its meaning in Markdown, under a heading."""
    title = f"**{heading[0].upper()}{heading[1:]}**\n\n" if heading else ""
    lines = [f"| {name} | {escape(meaning)} |" for name, meaning in rows]
    return title + "\n".join(["| option | |", "|---|---|", *lines, ""])


def bench_row(option: options.Option) -> tuple[str, str]:
    name = f"{option.flag} {option.placeholder}".strip()
    return f"`{escape(name)}`", meaning("", option.flag, option.help)


def parser_rows(
    command: str, parser: argparse.ArgumentParser
) -> Iterator[tuple[str, str]]:
    """Yield each argument of a program, as its help shows it."""
    for action in shown_actions(parser):
        name = action.option_strings[-1] if action.option_strings else ""
        values = action.metavar or (
            action.dest.upper() if action.nargs != 0 else ""
        )
        if action.choices and not action.metavar:
            values = "|".join(map(str, action.choices))
        if isinstance(values, tuple):
            values = " ".join(values)
        said = (action.help or "") % {
            **vars(action),
            "prog": parser.prog,
        }
        shown = f"{name} {values}".strip()
        key = name or action.dest
        yield f"`{escape(shown)}`", meaning(command, key, said)


def shown_actions(
    parser: argparse.ArgumentParser,
) -> list[argparse.Action]:
    """Return the arguments that a program's help shows, without --help."""
    return [
        action
        for action in parser._actions
        if action.dest != "help" and action.help != argparse.SUPPRESS
    ]


def meaning(command: str, flag: str, said: str) -> str:
    """Return the help of an option, and its note."""
    note = NOTES.get(f"{command} {flag}".strip(), "")
    return f"{said}. {note}" if note else said


def escape(value: str) -> str:
    """Return text that stays one cell of a Markdown table."""
    return value.replace("|", "\\|").replace("\n", " ")


def documented() -> set[str]:
    """Return every key that a note may have."""
    found = {one.flag for one in options.ALL if not one.is_hidden}
    for program in PROGRAMS:
        for action in shown_actions(program.make_parser()):
            name = (
                action.option_strings[-1]
                if action.option_strings
                else action.dest
            )
            found.add(f"{program.command} {name}")
    return found


if __name__ == "__main__":
    sys.exit(main())
