"""Text from elsewhere is made safe for a terminal."""

from types import SimpleNamespace

import pytest

from ollama_bench.terminal import output


def test_clean_leaves_no_control_character():
    evil = "a\x1b[31mb\x07\x9b2J\u202ec\rd\x00"
    assert not any(
        ord(character) < 32 or 127 <= ord(character) < 160
        for character in output.clean(evil)
    ) and "\u202e" not in output.clean(evil)
    assert output.clean("Zeit – 时间\n\tx") == "Zeit – 时间\n\tx"


@pytest.mark.parametrize(
    "is_terminal, term, bold",
    [
        (True, "xterm", True),
        (False, "xterm", False),
        (True, "dumb", False),
    ],
)
def test_bold_is_for_terminals_that_have_it(
    monkeypatch, is_terminal, term, bold
):
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr(
        output.sys, "stdout", SimpleNamespace(isatty=lambda: is_terminal)
    )
    monkeypatch.setattr(output.os, "name", "posix")
    shown = output.embolden("8 at once")
    assert shown == ("\x1b[1m8 at once\x1b[0m" if bold else "8 at once")
    monkeypatch.setattr(output.os, "name", "nt")
    assert output.embolden("8 at once") == "8 at once"


def test_commands_stay_whole_where_lines_are_broken_between_words():
    command = f"  ollama-bench {'1,2,4 ' * 20}".rstrip()
    text = f"{'resume it, ' * 9}\n{command}\nshort"
    lines = output.break_lines(text, 60).split("\n")
    assert [line.count("resume it") for line in lines[:2]] == [5, 4]
    assert lines[2:] == [command, "short"]
