"""Framing: documents out of bytes; placing: where a window lies on our clock."""

import io
import itertools

from ollama_bench.power import stream
from ollama_bench.power.powermetrics_command import with_fewer_samplers
from ollama_bench.power.sampler import Child
from ollama_bench.power.sources import create_powermetrics_source
from tests.power.documents import CLUSTERS, TOP, S, create_stream, document


def test_a_stream_cut_at_every_position_gives_the_same_samples():
    short = document(clusters="", gpu=None)
    data = short + b"\n\0" + short + b"\n"
    whole = create_stream().feed(data, 9 * S)
    assert len(whole) == 2
    for cut in range(1, len(data), 7):
        source = create_stream()
        first, second = (
            source.feed(data[:cut], 9 * S),
            source.feed(data[cut:], 9 * S),
        )
        assert [sample["energy_j"] for sample in first + second] == [
            sample["energy_j"] for sample in whole
        ], cut


def test_a_cut_off_and_a_damaged_document_are_counted():
    source = create_stream()
    assert len(source.feed(document() + b"\0" + document()[:200], S)) == 1
    source.finish()
    assert source.dropped == 1
    assert source.feed(b"</plist>", 2 * S) == [] and source.dropped == 2


def test_a_stream_that_is_no_powermetrics_does_not_grow(monkeypatch):
    monkeypatch.setattr(stream, "MAX_DOCUMENT_BYTES", 1000)
    source = create_stream()
    for _ in range(50):
        source.feed(b"x" * 100, S)
    assert len(source._buffer) <= 1000 and source.dropped >= 4


def test_a_stream_of_real_size_is_read_in_pieces():
    ultra = document(clusters=CLUSTERS * 200)
    assert len(ultra) > 65_000
    source, samples = create_stream(), []
    pipe = io.BytesIO((ultra + b"\n\0") * 3)
    while data := pipe.read(16384):
        samples += source.feed(data, 5 * S)
    assert [round(sample["energy_j"], 2) for sample in samples] == [
        8.01
    ] * 3


def test_a_refused_sampler_leads_to_a_simpler_command():
    source = create_powermetrics_source(
        Child(
            with_fewer_samplers(
                ["pm", "--samplers", "cpu_power,gpu_power,thermal", "-f"]
            )
        )
    )
    assert not source.refused("Second underflow occured.")
    assert source.refused(
        "powermetrics: unrecognized sampler: thermal"
    ) and source.refused("exit code 64")
    assert not source.refused("exit code 64")  # none is left
    assert source.launcher.commands[2] == [
        "pm",
        "--samplers",
        "gpu_power",
        "-f",
    ]


def windows(source, arrivals, elapsed_ns=S):
    data = document(
        top={**TOP, "elapsed_ns": f"<integer>{elapsed_ns}</integer>"}
    )
    return [
        [
            (sample["start_ns"], sample["end_ns"])
            for sample in source.feed(data * count, at_ns)
        ]
        for at_ns, count in arrivals
    ]


def test_windows_follow_each_other_by_elapsed_time_not_by_arrival():
    late_ns = S // 10
    placed = windows(
        create_stream(),
        [(5 * S, 1), (6 * S + late_ns, 1), (7 * S + late_ns, 1)],
    )
    assert placed == [[(4 * S, 5 * S)], [(5 * S, 6 * S)], [(6 * S, 7 * S)]]


def test_a_document_that_comes_early_moves_the_anchor():
    placed = windows(
        create_stream(),
        [(5 * S, 1), (6 * S - S // 5, 1), (7 * S - S // 5, 1)],
    )
    # it can't come before its window ends
    assert placed[1] == [(5 * S, 6 * S - S // 5)]
    assert placed[2] == [(6 * S - S // 5, 7 * S - S // 5)]


def test_time_lost_between_documents_is_a_gap():
    placed = windows(create_stream(), [(5 * S, 1), (16 * S, 1)])
    assert placed[1] == [(15 * S, 16 * S)]


def test_documents_read_late_and_together_keep_their_places():
    placed = windows(create_stream(), [(5 * S, 1), (9 * S, 4)])
    assert placed[1] == [
        (5 * S, 6 * S),
        (6 * S, 7 * S),
        (7 * S, 8 * S),
        (8 * S, 9 * S),
    ]


def test_windows_never_overlap_nor_vanish():
    source = create_stream()
    spans = [
        span
        for group in windows(
            source,
            [(5 * S, 2), (5 * S + 1, 3), (5 * S + 2, 1), (30 * S, 2)],
        )
        for span in group
    ]
    assert all(start < end for start, end in spans)
    assert all(
        before[1] <= after[0]
        for before, after in itertools.pairwise(spans)
    )
