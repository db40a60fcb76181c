"""The live picture: requests, counts, and what fits."""

from array import array
from types import SimpleNamespace

from ollama_bench.terminal.picture import (
    Counts,
    Size,
    count_requests,
    draw_picture,
    format_request,
)
from tests.terminal.made_up import exchange, level


def test_who_waits_streams_and_has_ended():
    found = level(
        [
            exchange(1, 5, (10, 20)),
            exchange(2, 5),
            exchange(3, 5, (10,), ended=30),
            exchange(4, None),
        ]
    )
    assert count_requests(found) == Counts(1, 1, 1)


def test_who_has_ended_in_a_load_that_goes_on_is_counted_before_it_was_digested():
    found = level([exchange(1, 5, (10,), ended=30), exchange(2, 5)])
    found.is_burst, found.tally = False, SimpleNamespace(ended=7)
    assert count_requests(found) == Counts(waiting=1, streaming=0, ended=8)


def test_a_requests_line():
    second = 1_000_000_000
    line = format_request(
        exchange(7, second, (2 * second, 3 * second, 4 * second)),
        5 * second,
    )
    assert (
        line.split()
        == ["7", "2", "1.0", "1", "s", "1", "s", "3", "s", "streaming"]
        and len(line) <= 80
    )
    assert format_request(exchange(7, None), 0).split()[-1] == "connecting"
    assert (
        format_request(exchange(7, second), 3 * second).split()[-1]
        == "waiting"
    )
    assert (
        format_request(
            exchange(7, 1, (2,), ended=3, cancelled="deadline"), 5
        ).split()[-1]
        == "cancelled"
    )


def test_an_ended_request_shows_what_the_server_counted():
    ms = 1_000_000
    # the head, then 20 tokens at 100/s
    stamps = [100 * ms, *range(110 * ms, 310 * ms, 10 * ms)]
    ended = exchange(7, ms, stamps, ended=301 * ms)
    streaming = format_request(exchange(7, ms, stamps), 301 * ms).split()
    assert (
        streaming[:3] == ["7", "20", "100.0"]
        and streaming[-1] == "streaming"
    )
    outcome = SimpleNamespace(
        task=ended.task, output_tokens=39, chunk_ns=array("q", stamps[1:])
    )
    assert format_request(ended, 400 * ms, outcome).split() == [
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
    assert format_request(ended, 400 * ms, outcome).split()[-1] == "ended"
    assert format_request(exchange(7, ms, stamps[:1]), 301 * ms).split()[
        :3
    ] == [
        "7",
        "-",
        "-",
    ]


def test_the_picture_takes_its_counts_from_the_outcomes():
    second = 1_000_000_000
    ended = exchange(
        1, 1, (second, 2 * second, 3 * second), ended=4 * second
    )
    found = level([ended, exchange(2, 1, (second, 2 * second))])
    found.outcomes = [
        SimpleNamespace(
            task=ended.task,
            output_tokens=77,
            chunk_ns=array("q", (second, 2 * second)),
        )
    ]
    assert [
        line.split()[1]
        for line in draw_picture(found, {}, "", Size(80, 14)).split("\n")[
            3:5
        ]
    ] == [
        "77",
        "1",
    ]


def test_the_table_is_cut_to_the_window_with_a_count():
    picture = draw_picture(
        level([exchange(n, 1, (2, 3)) for n in range(1, 41)]),
        {"gpu_power_w": 20.0, "gpu_mhz": 1396.0},
        "",
        Size(80, 14),
    )
    lines = picture.split("\n")
    assert (
        len(lines) <= 13
        and "GPU 20.0 W 1396 MHz" in lines[0]
        and "and 34 more" in picture
        and all(len(line) <= 80 for line in lines)
    )


def test_the_last_line_leaves_room_for_the_ctrl_c_that_a_terminal_shows():
    for width in (80, 60, 40):
        drawn = draw_picture(
            level([exchange(1, 1)]), {}, "level", Size(width, 20)
        )
        assert len(drawn.split("\n")[-1]) <= width - 2
