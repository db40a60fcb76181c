"""Turn bench.py's command line, and a settings file it names, into frozen Settings.

It imports nothing heavy, so that --help answers at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace

from ollama_bench import __version__
from ollama_bench.inputs import config_file, options
from ollama_bench.inputs.options import Option
from ollama_bench.inputs.resolve import resolve
from ollama_bench.inputs.settings import Settings
from ollama_bench.terminal.command_line import (
    OneLineParser,
    add_version,
    name_command,
    name_command_as_root,
    name_program,
)

# what was typed, by the option's name
Texts = dict[str, "str | list[str] | bool"]

HELP_COLUMN = 20
EXAMPLES = {  # what follows the command: what it does
    "": "what runs on this machine, in about a minute",
    "1,2,4,8,16,32": "these levels, whole replies",
    "1,2,4,19": "the same with watts: root only reads the power",
    "--demo": "no server needed: a simulated one",
}


def parse(argv: Sequence[str] | None = None) -> Settings:
    """Return the settings, or exit with 2 and one line on stderr."""
    parser = make_parser()
    argv = list(sys.argv[1:] if argv is None else argv)
    if any(part.partition("=")[0] == "--api-key" for part in argv):
        parser.error(
            "other users can read a key on the command line: put it into OPENAI_API_KEY"
        )
    if "--steady" in argv:
        parser.error(
            "--steady is no option any more: of a load that goes on, the steady part is judged and "
            "shown"
        )
    try:
        texts = typed(parser, argv)
        refuse_unstorable(texts)
        in_file: Texts = {}
        if path := texts.pop("config", None):
            in_file = config_file.read(str(path), options.ALL)
        settings = resolve(texts, in_file, os.environ)
        return replace(settings, words=tuple(argv))
    except ValueError as error:
        parser.error(str(error))


class Parser(OneLineParser):
    """One with the tool's own help screen."""

    def format_help(self) -> str:
        return help_text()


def make_parser() -> Parser:
    """Every option as text; what a text means is decided later, for files as well."""
    parser = Parser(
        prog=name_program("bench"), add_help=False, allow_abbrev=False
    )
    parser.add_argument("-h", "--help", action="help")
    add_version(parser, __version__)
    for option in options.ALL:
        if option.is_positional:
            parser.add_argument(
                "levels", nargs="?", default=argparse.SUPPRESS
            )
        elif option.is_switch:
            add_flag(parser, option, "store_true")
        else:
            add_flag(
                parser, option, "append" if option.repeats else "store"
            )
    return parser


def add_flag(parser: Parser, option: Option, action: str) -> None:
    parser.add_argument(
        option.flag,
        dest=option.name,
        action=action,
        default=argparse.SUPPRESS,
    )


def typed(parser: Parser, argv: list[str]) -> Texts:
    """Return what the command line says, without defaults."""
    return vars(parser.parse_args(argv))


def refuse_unstorable(texts: Texts) -> None:
    """Raise ValueError for a value that is empty, holds a NUL, or is not valid Unicode.

    An empty value is a shell variable that is not set, not a wish for the default.
    """
    for name, value in texts.items():
        option = options.BY_NAME[name]
        for text in value if isinstance(value, list) else [value]:
            if not isinstance(text, str):
                continue
            if not text.strip():
                hint = ": try 1,2,4,8" if option.is_positional else ""
                raise ValueError(f"{option.flag} is empty{hint}")
            if "\0" in text:
                raise ValueError(
                    f"invalid {option.flag} {text!r}: expected text without NUL"
                )
            text.encode()  # UnicodeEncodeError is a ValueError


def help_text() -> str:
    """Return the help screen: every option under the heading of its group."""
    lines = [write_examples()]
    for group in options.GROUPS:
        lines.append(group.heading)
        lines += [
            help_line(option)
            for option in group.options
            if not option.is_hidden
        ]
        lines.append("")
    lines[-1] = (
        f"  {'-h, --help':<{HELP_COLUMN}}show this"
        " (--version: the tool's version)\n"
    )
    return "\n".join(lines)


def write_examples() -> str:
    """Return the usage and some commands, as this tool was started."""
    command = name_command("bench")
    as_root = name_command_as_root()
    commands = [
        f"{as_root if 'watts' in use else command} {words}".rstrip()
        for words, use in EXAMPLES.items()
    ]
    width = max(map(len, commands))
    lines = [
        f"  {line:<{width}}   {use}"
        for line, use in zip(commands, EXAMPLES.values(), strict=True)
    ]
    return "\n".join(
        [f"{name_program('bench')} [LEVELS] [options]", "", *lines, ""]
    )


def help_line(option: Option) -> str:
    name = f"{option.flag} {option.placeholder}".strip()
    return f"  {name:<{HELP_COLUMN}}{option.help}"
