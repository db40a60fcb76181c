"""The screen: its budget, its notes, a narrow window, a pipe."""

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
from ollama_bench.terminal.screen import Console
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
    rows = made._picture(level([exchange(1, 1, (2, 3, 4))]), {}).split("\n")
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
    assert [line[:11].strip() for line in lines[-3:]] == ["4", "4 #2", "19"]


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
    shown.table(rows)
    assert shown._rich.file.getvalue().count("LEVEL") == 2
