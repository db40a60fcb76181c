"""The screen: its budget, its notes, a narrow window, a pipe."""

import re
from types import SimpleNamespace

import pytest

from ollama_bench.terminal import screen
from ollama_bench.terminal.rows import (
    GPU_NOTE,
    LEVEL_COLUMNS,
    WIDTH,
    format_heading,
    format_level,
)
from ollama_bench.terminal.screen import SAVING, Console
from tests.terminal.made_up import ROW, create_screen, exchange, level


@pytest.mark.parametrize(
    "slept_s, words",
    [
        (None, "client-limited, do not trust this level: X"),
        (0.0, "client-limited, do not trust this level: X"),
        (30.0, "        do not trust this level: X"),
    ],
)
def test_a_level_that_slept_is_no_fault_of_the_client(
    slept_s, words, capsys
):
    Console(plain=True).level_finished(
        ROW
        | {
            "slept_s": slept_s,
            "client_limited": 1,
            "client_limited_why": "X",
        }
    )
    assert capsys.readouterr().out.splitlines()[-1].endswith(words)


@pytest.mark.parametrize("width", [80, 70, 60, 50, 40, 30])
def test_a_narrow_window_drops_columns_and_cuts_none(width):
    made = create_screen(width=width)
    made.level_finished(ROW)
    lines = (
        made._rich.file.getvalue()
        .replace("\x1b[1m", "")
        .replace("\x1b[0m", "")
        .splitlines()
    )
    assert (
        len(lines) == 3
        and max(map(len, lines)) <= width
        and lines[2].split()[:2] == ["19", "19/19"]
    )
    # at 60 columns the answer and its price; level and success stay
    assert ("J/TOK" in lines[1]) == (width >= 60) and len(
        lines[1].split()
    ) >= 2
    rows = made._picture(level([exchange(1, 1, (2, 3, 4))]), {}).split(
        "\n"
    )
    assert max(map(len, rows)) <= width and (
        width < 25
        or rows[2].split()[-1] == "STATUS"
        and rows[3].split()[-1] == "streaming"
    )


def test_a_pipe_has_all_columns_however_narrow_the_terminal(
    monkeypatch, capsys
):
    monkeypatch.setenv("COLUMNS", "40")
    Console(plain=True).table([ROW | {"model": "m"}])
    assert format_heading(LEVEL_COLUMNS, WIDTH) in capsys.readouterr().out


def test_drawing_stays_within_its_budget(monkeypatch):
    now_s, drawn = [100.0], []
    monkeypatch.setattr(
        screen, "time", SimpleNamespace(monotonic=lambda: now_s[0])
    )
    made = create_screen()

    def draw(*_):
        drawn.append(now_s[0])
        now_s[0] += 0.01
        return "x"

    monkeypatch.setattr(made, "_picture", draw)
    made.level_started("level")
    for _ in range(400):
        made.draw(level([exchange(1, 1)]), {})
        now_s[0] += 0.01
    made._close_screen()
    assert len(drawn) == 2 and drawn[1] - drawn[0] == pytest.approx(
        2.5, abs=0.02
    )


def test_plain_lines_tell_changes_only(capsys):
    made = Console(plain=True)
    flying = [exchange(n, 1) for n in range(1, 21)]
    for _ in range(5):
        made.draw(level(flying), {})
    for one in flying[:10]:
        one.reads = 3
    made.draw(level(flying), {})
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_watts_of_the_gpu_alone_are_marked_and_the_mark_is_told_once(
    capsys,
):
    alone = ROW | {
        "mean_w": None,
        "joules_per_output_token": None,
        "gpu_power_w": 18.4,
        "gpu_joules_per_output_token": 0.118,
        "model": "m",
    }
    assert format_level(alone).split()[-1] == "0.118g"
    assert format_level(
        alone | {"gpu_joules_per_output_token": 12.34}
    ).endswith(" 12.3g")
    assert format_level(
        ROW | {"gpu_power_w": 18.4, "gpu_joules_per_output_token": 0.118}
    ) == format_level(ROW)  # the sum is known
    live = create_screen()
    for row in (ROW, alone, alone):
        live.level_finished(row)
    assert live._rich.file.getvalue().count("GPU only") == 1
    with Console(plain=True) as shown:
        shown.table([alone, alone])
    assert capsys.readouterr().out.endswith(f"{GPU_NOTE}\n")


def test_piped_levels_are_lines_and_then_one_table_in_order(capsys):
    rows = [
        ROW | {"model": "m", "concurrency": n, "repeat": repeat}
        for n, repeat in ((4, 2), (19, 1), (4, 1))
    ]
    shown = Console(plain=True)
    for row in rows:
        shown.level_finished(row)
    told = capsys.readouterr().out
    assert "LEVEL" not in told
    assert told.splitlines()[0] == (
        "  4 #2: 19/19 ok, wait 328 ms, 9.5 tokens/s each, 155.7 together"
    )
    shown.table(rows)
    lines = capsys.readouterr().out.splitlines()
    assert sum("LEVEL" in line for line in lines) == 1
    assert [line[:11].strip() for line in lines[-3:]] == [
        "4",
        "4 #2",
        "19",
    ]


def test_a_table_that_stands_on_the_screen_is_not_shown_again():
    rows = [ROW | {"model": "m", "concurrency": n} for n in (1, 2)]
    shown = create_screen()
    for row in (*rows, rows[0] | {"is_control": 1}):
        shown.level_finished(row)
    shown.table(rows)
    text = shown._rich.file.getvalue()
    assert text.count("LEVEL") == 1 and "1 control" in text


def test_levels_that_came_in_another_order_are_shown_in_theirs():
    rows = [ROW | {"model": "m", "concurrency": n} for n in (2, 1)]
    shown = create_screen()
    for row in rows:
        shown.level_finished(row)
    # of a run that found its levels, as they came is well enough
    shown.table(rows, in_any_order=True)
    assert shown._rich.file.getvalue().count("LEVEL") == 1
    shown.table(rows)
    assert shown._rich.file.getvalue().count("LEVEL") == 2


def test_a_warning_is_broken_between_words_on_a_terminal_only(capsys):
    text = f"        {'late requests ' * 9}"
    shown = create_screen(width=60)
    shown.warn(text)
    written = shown._rich.file.getvalue()
    lines = re.sub(r"\x1b\[[\d;]*m", "", written).splitlines()
    assert len(lines) == 3 and max(map(len, lines)) < 60
    assert all(re.match(r" {8}\w", line) for line in lines)
    Console(plain=True).warn(text)
    assert len(capsys.readouterr().out.splitlines()) == 1


class MadeUpOutlook:
    """What is said of a level: how long it takes, and that a reply does not end."""

    def __init__(self, left="", warning=""):
        self.left, self.warning = left, warning

    def describe_left(self, _):
        return self.left

    def find_long_reply(self, _):
        return self.warning


@pytest.fixture
def clock(monkeypatch):
    now_s = [100.0]
    fake = SimpleNamespace(monotonic=lambda: now_s[0])
    monkeypatch.setattr(screen, "time", fake)
    return now_s


def test_plain_lines_come_every_30_s_with_what_has_come(clock, capsys):
    made = Console(plain=True)
    made.level_started("level", MadeUpOutlook("about 9 s left"))
    flying = [exchange(n, 1, (1, 2, 3)) for n in range(1, 3)]
    for _ in range(61):
        made.draw(level(flying), {})
        clock[0] += 1
    line = (
        "  0:00  0 waiting, 2 streaming, 0 ended, 4 tokens, about 9 s left"
    )
    assert capsys.readouterr().out.splitlines() == ["level"] + [line] * 3


def test_the_last_plain_line_is_of_all_that_came(clock, capsys):
    made = Console(plain=True)
    made.level_started("level")
    ended = [exchange(n, 1, (1, 2, 3), ended=4) for n in range(1, 3)]
    shown = level(ended)
    shown.ended_ns = 4
    for digested in range(3):
        shown.tally.ended, shown.tally.tokens = digested, 30 * digested
        made.draw(shown, {})
    made.draw(shown, {})
    line = "  0:00  0 waiting, 0 streaming, 2 ended, 60 tokens"
    assert capsys.readouterr().out.splitlines() == ["level", line]


def test_the_end_of_a_level_that_has_said_all_is_not_said_again(
    clock, capsys
):
    """The processes of a fleet have counted everything before the level has ended."""
    made = Console(plain=True)
    made.level_started("level")
    shown = level(
        [exchange(n, 1, (1, 2, 3), ended=4) for n in range(1, 3)]
    )
    shown.tally.ended, shown.tally.tokens = 2, 4
    made.draw(shown, {})
    shown.ended_ns = 4
    made.draw(shown, {})
    line = "  0:00  0 waiting, 0 streaming, 2 ended, 4 tokens"
    assert capsys.readouterr().out.splitlines() == ["level", line]


def test_a_long_reply_is_said_once_a_level(clock, capsys):
    made = Console(plain=True)
    for _ in range(2):
        made.level_started("level", MadeUpOutlook(warning="goes on"))
        for _ in range(10):
            made.draw(level([exchange(1, 1)]), {})
            clock[0] += 1
    assert capsys.readouterr().out.splitlines().count("goes on") == 2


def test_the_live_picture_says_how_long_a_level_takes():
    made = create_screen(height=14)
    made.level_started("level", MadeUpOutlook("about 9 s left"))
    flying = level([exchange(n, 1) for n in range(1, 41)])
    lines = made._picture(flying, {}).split("\n")
    assert lines[-1] == "about 9 s left" and len(lines) <= 12
    made._close_screen()


class MadeUpInterrupt:
    """An interrupt that comes after so many looks, on a clock that only waiting moves."""

    def __init__(self, clock, looks=99):
        self.clock, self.looks = clock, looks

    def is_set(self):
        return self.looks <= 0

    def wait(self, seconds):
        self.looks -= 1
        self.clock[0] += seconds
        return self.is_set()


def test_a_pause_counts_down_and_leaves_nothing(clock):
    made = create_screen(width=60)
    made.count_down("cooldown", 2.5, MadeUpInterrupt(clock))
    shown = made._rich.file.getvalue()
    places = [
        shown.index(f"cooldown: {left} s left") for left in (3, 2, 1)
    ]
    assert places == sorted(places) and clock[0] == 102.5
    assert made._screen is None and shown.endswith("\x1b[2K")


def test_an_interrupt_ends_a_pause(clock):
    made = create_screen()
    made.count_down("cooldown", 60.0, MadeUpInterrupt(clock, looks=2))
    assert clock[0] == 102.0


def test_a_long_pause_is_not_silent_in_a_pipe(clock, capsys):
    made = Console(plain=True)
    made.count_down("cooldown", 70.0, MadeUpInterrupt(clock))
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["  cooldown: 40 s left", "  cooldown: 10 s left"]


def test_an_interrupt_is_said_above_the_live_screen_and_once():
    made = create_screen()
    made.level_started("level")
    made.draw(level([exchange(1, 1)]), {})
    assert SAVING not in made._rich.file.getvalue()
    made.interrupt = SimpleNamespace(is_set=lambda: True)
    for _ in range(3):
        made.draw(level([exchange(1, 1)]), {})
    made._close_screen()
    assert made._rich.file.getvalue().count(SAVING) == 1


def test_without_a_live_screen_the_signal_itself_has_said_it(capsys):
    made = Console(plain=True)
    made.interrupt = SimpleNamespace(is_set=lambda: True)
    made.draw(level([exchange(1, 1)]), {})
    assert SAVING not in capsys.readouterr().out


def test_each_length_of_prompts_stands_above_its_levels(capsys):
    lengths = [
        {"model": "m", "asked_prompt_tokens": n} for n in (500, 4000)
    ]
    rows = [
        ROW | length | {"concurrency": n}
        for length in lengths
        for n in (1, 4)
    ]
    Console(plain=True).table(rows)
    said = [
        line.split()[:4] for line in capsys.readouterr().out.splitlines()
    ]
    names = [words for words in said if words[:1] == ["m,"]]
    assert names == [
        ["m,", "prompts", "of", "500"],
        ["m,", "prompts", "of", "4,000"],
    ]
    assert [words[0] for words in said if words][3:] == [
        "1",
        "4",
        "m,",
        "1",
        "4",
    ]


def test_on_a_terminal_each_length_stands_above_its_levels():
    shown = create_screen()
    for tokens in (500, 500, 4000):
        shown.level_finished(ROW | {"asked_prompt_tokens": tokens})
    shown.level_finished(ROW | {"prompt_mix": "5*1,8*1"})
    text = shown._rich.file.getvalue()
    names = (
        "prompts of 500 tokens",
        "prompts of 4,000 tokens",
        "mix 5*1,8*1",
    )
    assert [text.count(name) for name in names] == [1, 1, 1]
    assert sorted(names, key=text.index) == [*names]
