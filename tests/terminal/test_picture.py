"""The live picture: requests, counts, the machine, and what fits."""

from array import array
from types import SimpleNamespace

import pytest

from ollama_bench.terminal.picture import (
    Counts,
    Size,
    count_requests,
    draw_picture,
    format_machine,
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
    line = format_request(exchange(7, second, (2 * second, 3 * second, 4 * second)), 5 * second)
    assert (
        line.split() == ["7", "2", "1.0", "1", "s", "1", "s", "3", "s", "streaming"]
        and len(line) <= 80
    )
    assert format_request(exchange(7, None), 0).split()[-1] == "connecting"
    assert format_request(exchange(7, second), 3 * second).split()[-1] == "waiting"
    assert (
        format_request(exchange(7, 1, (2,), ended=3, cancelled="deadline"), 5).split()[-1]
        == "cancelled"
    )


def test_an_ended_request_shows_what_the_server_counted():
    ms = 1_000_000
    stamps = [100 * ms, *range(110 * ms, 310 * ms, 10 * ms)]  # the head, then 20 tokens at 100/s
    ended = exchange(7, ms, stamps, ended=301 * ms)
    streaming = format_request(exchange(7, ms, stamps), 301 * ms).split()
    assert streaming[:3] == ["7", "20", "100.0"] and streaming[-1] == "streaming"
    outcome = SimpleNamespace(task=ended.task, output_tokens=39, chunk_ns=array("q", stamps[1:]))
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
    assert format_request(exchange(7, ms, stamps[:1]), 301 * ms).split()[:3] == [
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
    assert [
        line.split()[1] for line in draw_picture(found, {}, "", Size(80, 14)).split("\n")[3:5]
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


def test_machine_line_leaves_out_what_is_not_known():
    assert format_machine({"gpu_power_w": None}) == "no power or process samples"
    assert "thermal Heavy" in format_machine({"power_w": 30.0, "thermal": "Heavy"})


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
        format_machine(most)
        == "thermal Critical  GPU 118 W 1396 MHz 100 %  all 120 W  RSS 123 GB  CPU 1234 %"
    )
    usual = format_machine(
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
    assert max(len(format_machine(most)), len(usual)) <= 80
    long = format_machine({**most, "thermal": "hardware slowdown, software thermal"})
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
    assert format_machine({"rss_bytes": rss, "footprint_bytes": footprint}) == line
