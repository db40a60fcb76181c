"""Documents of powermetrics: energies, clocks, and damage."""

import pytest

from ollama_bench.power.powermetrics_plist import empty_arrays, parse_plist
from ollama_bench.power.sources import create_powermetrics_source
from tests.power.documents import GPU, PROCESSOR, TOP, S, document


def test_plist_gives_the_processors_energies_and_the_gpus_clock():
    sample = parse_plist(document())
    assert sample["energy_j"] == pytest.approx(8.01)  # 2000 + 6000 + 10 mJ
    # not the GPU's own 6.1
    assert (sample["cpu_energy_j"], sample["gpu_energy_j"]) == (2.0, 6.0)
    assert sample["gpu_mhz"] == 1360.85  # freq_hz of the GPU is in MHz
    assert sample["gpu_busy_ratio"] == 0.75
    assert (
        sample["thermal"],
        sample["elapsed_ns"],
        sample["at_unix"],
    ) == (
        "Nominal",
        2 * S,
        1751778915,
    )


@pytest.mark.parametrize(
    "name",
    [*PROCESSOR, *GPU, *(name for name in TOP if name != "elapsed_ns")],
)
def test_plist_without_any_one_key_still_parses(name):
    def without(entries):
        return {
            key: value for key, value in entries.items() if key != name
        }

    sample = parse_plist(
        document(without(TOP), without(PROCESSOR), without(GPU))
    )
    assert sample["elapsed_ns"] == 2 * S
    assert sample["gpu_energy_j"] in (6.0, 6.1)


def test_plist_of_the_gpu_sampler_alone_knows_no_sum():
    sample = parse_plist(document(processor=None))
    assert (
        sample["energy_j"],
        sample["cpu_energy_j"],
        sample["gpu_energy_j"],
    ) == (None, None, 6.1)


def two_rails(*pairs):
    """The GPU's joules of documents whose processor and GPU say so many millijoules of it."""
    source, found = create_powermetrics_source(None), []
    for number, (processor_mj, gpu_mj) in enumerate(pairs, 1):
        data = document(
            processor={
                **PROCESSOR,
                "gpu_energy": f"<integer>{processor_mj}</integer>",
            },
            gpu={**GPU, "gpu_energy": f"<integer>{gpu_mj}</integer>"},
        )
        (sample,) = source.feed(data, number * 2 * S)
        assert sample["energy_j"] == pytest.approx(
            2.01 + sample["gpu_energy_j"]
        )
        found.append(sample["gpu_energy_j"])
    return found


@pytest.mark.parametrize(
    "pairs, joules",
    [
        # the processor's stands still
        ([(0, 6100), (0, 5000)], [6.1, 5.0]),
        ([(6000, 0), (5000, 0)], [6.0, 5.0]),
        (
            [(0, 2), (6000, 6100), (0, 6100)],
            [0.002, 6.0, 0.0],
        ),  # an idle GPU says nothing of which it is
        # it stays the one that has moved
        ([(0, 6100), (40, 5000)], [6.1, 5.0]),
        ([(0, 0)], [0.0]),
    ],
)
def test_of_two_gpu_energies_the_one_that_moves_is_taken_and_remembered(
    pairs, joules
):
    assert two_rails(*pairs) == joules


def test_plist_without_gpu_or_with_power_only():
    sample = parse_plist(
        document(processor={"cpu_power": "<real>500</real>"}, gpu=None)
    )
    assert (
        sample["cpu_energy_j"],
        sample["energy_j"],
        sample["gpu_mhz"],
    ) == (
        1.0,
        None,
        None,
    )  # 0.5 W, 2 s


def test_plist_of_an_intel_mac():
    sample = parse_plist(
        document(
            processor={"package_joules": "<real>24.5</real>"}, gpu=None
        )
    )
    assert sample["energy_j"] == 24.5


def test_arrays_are_emptied_and_nothing_else():
    kept = empty_arrays(document())
    assert (
        b"E-Cluster" not in kept
        and b"cpu_energy" in kept
        and kept.count(b"<array>") == kept.count(b"</array>") == 2
    )


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"</plist>",
        b"\0\n</plist>",
        document()[:-300] + b"</plist>",
        document().replace(b"elapsed_ns", b"elapsed"),
        document().replace(b"2000000000", b"0"),
        document().replace(b"</dict>\n</plist>", b"</plist>"),
        b'<?xml version="1.0"?><plist version="1.0"><string>no</string></plist>',
    ],
)
def test_damaged_documents_are_value_errors(damaged):
    with pytest.raises(ValueError):
        parse_plist(damaged)
