"""console.py: columns that fit, text that is safe, a screen that stays within its budget."""

import io
import time
from array import array
from types import SimpleNamespace

import pytest
from rich.console import Console as RichConsole

from ollama_bench.terminal import console
from ollama_bench.terminal import standard

ROW = {
    "concurrency": 19,
    "repeat": 1,
    "cache": "cold",
    "completed": 19,
    "requests": 19,
    "errors": 0,
    "ttft_mean_s": 0.328,
    "ttft_max_s": 0.33,
    "tokens_per_s_mean": 9.5,
    "output_tokens_per_s": 155.7,
    "peak_streaming": 19,
    "duration_s": 7.2,
    "mean_w": 21.2,
    "mean_gpu_mhz": 1396.0,
    "joules_per_output_token": 0.1361,
    "client_limited": 0,
    "client_limited_why": None,
    "slept_s": 0.0,
    "gpu_power_w": None,
    "gpu_joules_per_output_token": None,
}


def exchange(number, sent=0, stamps=(), ended=None, cancelled=None):
    return SimpleNamespace(
        task=SimpleNamespace(number=number),
        sent_ns=sent,
        first_ns=stamps[0] if stamps else None,
        ended_ns=ended,
        cancelled=cancelled,
        reads=len(stamps),
        last_read_ns=stamps[-1] if stamps else None,
    )


def level(exchanges, planned=None):
    return SimpleNamespace(
        exchanges=exchanges,
        outcomes=[],
        is_burst=True,
        planned=planned or len(exchanges),
        workers=len(exchanges),
        started_ns=time.perf_counter_ns(),
        until_s=None,
    )


def test_a_levels_line_is_the_tables():
    assert (
        console.level_line(ROW)
        == "    19     19/19  328 ms  330 ms    9.5  155.7   19     0:07   21.2  1396  0.136"
    )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            name: None
            for name in ROW
            if name
            not in (
                "concurrency",
                "repeat",
                "cache",
                "completed",
                "requests",
                "errors",
                "client_limited",
            )
        },
        {
            "concurrency": 4096,
            "completed": 4096,
            "requests": 4096,
            "tokens_per_s_mean": 1234.5,
            "output_tokens_per_s": 98765.4,
            "duration_s": 86399,
            "ttft_mean_s": 3211.8,
            "ttft_max_s": 3211.8,
            "mean_w": 1234.5,
            "mean_gpu_mhz": 2850.0,
            "joules_per_output_token": 12.3,
        },
        {
            "mean_w": None,
            "joules_per_output_token": None,
            "gpu_power_w": 1234.5,
            "gpu_joules_per_output_token": 9.9996,
            "duration_s": 86399,
            "mean_gpu_mhz": 2850.0,
        },
    ],
)
def test_a_levels_line_has_80_columns_at_most(changes):
    line = console.level_line(ROW | changes)
    assert (
        len(line) <= console.WIDTH >= max(map(len, console.LEVEL_HEADING.splitlines()))
        and len(line.split()) >= 11
    )


@pytest.mark.parametrize(
    "value, text",
    [
        (None, "-"),
        (0, "0 ms"),
        (0.00423, "4.2 ms"),
        (0.0121, "12 ms"),
        (0.9994, "999 ms"),
        (3.414, "3.41 s"),
        (0.9996, "1 s"),
        (59.9, "59.9 s"),
        (59.96, "1:00"),
        (84.05, "1:24"),
        (725, "12:05"),
        (3725, "1:02:05"),
    ],
)
def test_short_times(value, text):
    assert console.short_time(value) == text


@pytest.mark.parametrize(
    "slept_s, words",
    [
        (None, "client-limited, do not trust this level: X"),
        (0.0, "client-limited, do not trust this level: X"),
        (30.0, "        do not trust this level: X"),
    ],
)
def test_a_level_that_slept_is_no_fault_of_the_client(slept_s, words, capsys):
    console.Console(plain=True).level_finished(
        ROW | {"slept_s": slept_s, "client_limited": 1, "client_limited_why": "X"}
    )
    assert capsys.readouterr().out.splitlines()[-1].endswith(words)


def test_clean_leaves_no_control_character():
    evil = "a\x1b[31mb\x07\x9b2J\u202ec\rd\x00"
    assert not any(
        ord(character) < 32 or 127 <= ord(character) < 160 for character in standard.clean(evil)
    ) and "\u202e" not in standard.clean(evil)
    assert standard.clean("Zeit – 时间\n\tx") == "Zeit – 时间\n\tx"


def test_who_waits_streams_and_has_ended():
    found = level(
        [
            exchange(1, 5, (10, 20)),
            exchange(2, 5),
            exchange(3, 5, (10,), ended=30),
            exchange(4, None),
        ]
    )
    assert console.states(found) == (1, 1, 1)


def test_who_has_ended_in_a_load_that_goes_on_is_counted_before_it_was_digested():
    found = level([exchange(1, 5, (10,), ended=30), exchange(2, 5)])
    found.is_burst, found.tally = False, SimpleNamespace(ended=7)
    assert console.states(found) == (1, 0, 8)


def test_a_requests_line():
    second = 1_000_000_000
    line = console.request_line(
        exchange(7, second, (2 * second, 3 * second, 4 * second)), 5 * second
    )
    assert (
        line.split() == ["7", "2", "1.0", "1", "s", "1", "s", "3", "s", "streaming"]
        and len(line) <= 80
    )
    assert console.request_line(exchange(7, None), 0).split()[-1] == "connecting"
    assert console.request_line(exchange(7, second), 3 * second).split()[-1] == "waiting"
    assert (
        console.request_line(exchange(7, 1, (2,), ended=3, cancelled="deadline"), 5).split()[-1]
        == "cut"
    )


def test_an_ended_request_shows_what_the_server_counted():
    ms = 1_000_000
    stamps = [100 * ms, *range(110 * ms, 310 * ms, 10 * ms)]  # the head, then 20 tokens at 100/s
    ended = exchange(7, ms, stamps, ended=301 * ms)
    streaming = console.request_line(exchange(7, ms, stamps), 301 * ms).split()
    assert streaming[:3] == ["7", "20", "100.0"] and streaming[-1] == "streaming"
    outcome = SimpleNamespace(task=ended.task, output_tokens=39, chunk_ns=array("q", stamps[1:]))
    assert console.request_line(ended, 400 * ms, outcome).split() == [
        "7",
        "39",
        "200.0",
        "109",
        "ms",
        "109",
        "ms",
        "191",
        "ms",
        "ended",
    ]
    outcome.chunk_ns = array("q")  # an error
    assert console.request_line(ended, 400 * ms, outcome).split()[-1] == "ended"
    assert console.request_line(exchange(7, ms, stamps[:1]), 301 * ms).split()[:3] == [
        "7",
        "-",
        "-",
    ]


def test_the_picture_takes_its_counts_from_the_outcomes():
    second = 1_000_000_000
    ended = exchange(1, 1, (second, 2 * second, 3 * second), ended=4 * second)
    found = level([ended, exchange(2, 1, (second, 2 * second))])
    found.outcomes = [
        SimpleNamespace(
            task=ended.task, output_tokens=77, chunk_ns=array("q", (second, 2 * second))
        )
    ]
    assert [line.split()[1] for line in screen()._picture(found, {}).split("\n")[3:5]] == [
        "77",
        "1",
    ]


@pytest.mark.parametrize("width", [80, 70, 60, 50, 40, 30])
def test_a_narrow_window_drops_columns_and_cuts_none(width):
    made = screen(width=width)
    made.level_finished(ROW)
    lines = made._rich.file.getvalue().replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines()
    assert (
        len(lines) == 3
        and max(map(len, lines)) <= width
        and lines[2].split()[:2] == ["19", "19/19"]
    )
    assert ("J/TOK" in lines[1]) == (width >= 50) and len(lines[1].split()) >= 2
    rows = made._picture(level([exchange(1, 1, (2, 3, 4))]), {}).split("\n")
    assert max(map(len, rows)) <= width and (
        width < 25 or rows[2].split()[-1] == "STATUS" and rows[3].split()[-1] == "streaming"
    )


def test_a_pipe_has_all_columns_however_narrow_the_terminal(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "40")
    console.Console(plain=True).level_finished(ROW)
    assert console.LEVEL_HEADING in capsys.readouterr().out


def screen(height=14, width=80):
    made = console.Console()
    made._rich = RichConsole(
        file=io.StringIO(),
        force_terminal=True,
        width=width,
        height=height,
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    made.live = True
    return made


def test_the_table_is_cut_to_the_window_with_a_count():
    picture = screen(height=14)._picture(
        level([exchange(n, 1, (2, 3)) for n in range(1, 41)]),
        {"gpu_power_w": 20.0, "gpu_mhz": 1396.0},
    )
    lines = picture.split("\n")
    assert (
        len(lines) <= 13
        and "GPU 20.0 W 1396 MHz" in lines[0]
        and "and 34 more" in picture
        and all(len(line) <= 80 for line in lines)
    )


def test_drawing_stays_within_its_budget(monkeypatch):
    made = screen()
    drawn = []
    monkeypatch.setattr(
        made, "_picture", lambda *_: drawn.append(time.monotonic()) or time.sleep(0.01) or "x"
    )
    made.level_started("level")
    until = time.monotonic() + 0.6
    while time.monotonic() < until:
        made.draw(level([exchange(1, 1)]), {})
        time.sleep(0.005)
    made._close_screen()
    assert len(drawn) == 1  # 10 ms of drawing buy 2.5 s of rest


def test_plain_lines_tell_changes_only(capsys):
    made = console.Console(plain=True)
    flying = [exchange(n, 1) for n in range(1, 21)]
    for _ in range(5):
        made.draw(level(flying), {})
    for one in flying[:10]:
        one.reads = 3
    made.draw(level(flying), {})
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_machine_line_leaves_out_what_is_not_known():
    assert console.machine_line({"gpu_power_w": None}) == "no power and no process samples"
    assert "thermal Heavy" in console.machine_line({"power_w": 30.0, "thermal": "Heavy"})


def test_watts_of_the_gpu_alone_are_marked_and_the_mark_is_told_once(capsys):
    alone = ROW | {
        "mean_w": None,
        "joules_per_output_token": None,
        "gpu_power_w": 18.4,
        "gpu_joules_per_output_token": 0.118,
        "model": "m",
    }
    assert console.level_line(alone).split()[-3:] == ["18.4g", "1396", "0.118g"]
    assert console.level_line(alone | {"gpu_joules_per_output_token": 12.34}).endswith(" 12.3g")
    assert console.level_line(
        ROW | {"gpu_power_w": 18.4, "gpu_joules_per_output_token": 0.118}
    ) == console.level_line(ROW)  # the sum is known
    with console.Console(plain=True) as screen:
        for row in (ROW, alone, alone):
            screen.level_finished(row)
        assert capsys.readouterr().out.count("of the GPU alone") == 1
        screen.table([alone, alone])
    assert capsys.readouterr().out.endswith(f"{console.GPU_NOTE}\n")


def test_the_machine_line_has_the_heat_first_and_all_parts_in_80_cells():
    most = {
        "gpu_power_w": 118.24,
        "gpu_mhz": 1396.0,
        "gpu_busy_ratio": 1.0,
        "power_w": 120.4,
        "rss_bytes": 123.4e9,
        "cpu_ratio": 12.34,
        "thermal": "Critical",
    }
    assert (
        console.machine_line(most)
        == "thermal Critical  GPU 118 W 1396 MHz 100 %  all 120 W  RSS 123 GB  CPU 1234 %"
    )
    usual = console.machine_line(
        {
            **most,
            "gpu_power_w": 18.24,
            "gpu_busy_ratio": 0.97,
            "power_w": 20.4,
            "rss_bytes": 12.3e9,
            "cpu_ratio": 3.1,
        }
    )
    assert usual == "thermal Critical  GPU 18.2 W 1396 MHz 97 %  all 20.4 W  RSS 12.3 GB  CPU 310 %"
    assert max(len(console.machine_line(most)), len(usual)) <= 80
    long = console.machine_line({**most, "thermal": "hardware slowdown, software thermal"})
    assert (
        long.startswith("thermal hardware slowdown, software thermal  GPU 118 W 1396 MHz 100 %")
        and len(long) <= 80
    )  # no figure is cut


@pytest.mark.parametrize(
    "rss, footprint, line",
    [
        (6e8, 25e9, "footprint 25.0 GB"),
        (6e8, None, "RSS 0.6 GB"),
        (5e9, 9e8, "RSS 5.0 GB"),
        (None, 25e9, "footprint 25.0 GB"),
    ],
)
def test_the_server_memory_is_called_what_it_is(rss, footprint, line):
    assert console.machine_line({"rss_bytes": rss, "footprint_bytes": footprint}) == line


def test_a_host_whose_speed_is_not_known_has_none():
    row = {
        "model": "m",
        "concurrency": 2,
        "repeat": 1,
        "cache": None,
        "host": "h",
        "completed": 0,
        "requests": 2,
        "ttft_mean_s": None,
        "tokens_per_s_mean": None,
        "output_tokens_per_s": 0.0,
    }
    assert console.host_line(row).endswith("TTFT -, - tokens/s each, 0.0 all")
    assert console.host_line(row).startswith("  m, 2 at once, h: 0/2 requests")
    assert console.host_line(row | {"repeat": 3, "cache": "warm"}).startswith(
        "  m, 2/3w at once, h: "
    )  # else repeats look like one line twice
