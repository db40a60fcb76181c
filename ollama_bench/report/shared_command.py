"""The command of a run as it may be shown to anybody: no host, path, label or prompt."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from ollama_bench.inputs import options

PROGRAM = "ollama-bench"
# of no interest to others, or private
LEFT_OUT = (
    "--host",
    "--db",
    "--label",
    "--pid",
    "--plain",
    "--report",
    "--resume",
)
# what a reader should know of, and not see
UNSEEN: tuple[str, ...] = (
    "--prompt",
    "--prompts",
    "--trace",
    "--config",
)
# numbers, names of things, conditions; neither blanks nor paths
LEVELS = re.compile(r"[\dx][\d,x:-]{0,200}")
PLAIN = re.compile(r"[\w.,:=<>%+*@-]{1,80}")


def describe_command(command: str | None, model: str) -> str:
    """Return a command that measures the same; model is the model's name as it is shown.

    Options that are not known, and their values, are left out; of a value that may be private
    the placeholder is shown.
    """
    try:
        words = shlex.split(command or "")
    except ValueError:
        words = []
    shown = [PROGRAM, *list_shown(words)]
    if "--demo" not in shown:
        shown += ["--model", model]
    return shlex.join(shown)


def list_shown(words: list[str]) -> Iterator[str]:
    flags = {option.flag: option for option in options.ALL}
    unseen = UNSEEN
    if sum(word.partition("=")[0] == "--host" for word in words) > 1:
        unseen += ("--host",)  # how many there are is what was measured
    rest = iter(words)
    for word in rest:
        flag, is_joined, value = word.partition("=")
        option = flags.get(flag)
        if option is None:
            if LEVELS.fullmatch(word):
                yield word
            continue
        if option.is_switch:
            if flag not in LEFT_OUT:
                yield flag
            continue
        if not is_joined:
            value = next(rest, "")
        if flag in (*LEFT_OUT, "--model") and flag not in unseen:
            continue
        is_shown = PLAIN.fullmatch(value) and flag not in unseen
        yield from (flag, value if is_shown else option.placeholder)
