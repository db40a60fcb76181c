"""Power sources: formats, framing, counters, gauges, and the energy views they feed."""
from __future__ import annotations

import io
import math
import os
import pathlib
import sys
import types

import pytest

import db
import power

S = 1_000_000_000  # nanoseconds

CLUSTERS = """<key>clusters</key><array><dict><key>name</key><string>E-Cluster</string>
<key>freq_hz</key><real>1.28045e+09</real><key>dvfm_states</key><array><dict><key>freq</key><integer>600</integer>
</dict></array><key>cpus</key><array><dict><key>cpu</key><integer>0</integer><key>dvfm_states</key><array/></dict>
</array></dict></array>"""
PROCESSOR = {"ane_energy": "<integer>10</integer>", "cpu_energy": "<integer>2000</integer>",
             "cpu_power": "<real>1000.0</real>", "gpu_energy": "<integer>6000</integer>",
             "gpu_power": "<real>3000.0</real>", "combined_power": "<real>4005</real>"}
GPU = {"freq_hz": "<real>1360.85</real>", "idle_ns": "<integer>500</integer>", "idle_ratio": "<real>0.25</real>",
       "gpu_energy": "<integer>6100</integer>"}
TOP = {"is_delta": "<true/>", "elapsed_ns": "<integer>2000000000</integer>", "hw_model": "<string>Mac14,10</string>",
       "timestamp": "<date>2025-07-06T05:15:15Z</date>", "thermal_pressure": "<string>Nominal</string>"}


def keys(entries: dict) -> str:
    return "".join(f"<key>{name}</key>{value}\n" for name, value in entries.items())


def document(top=TOP, processor=PROCESSOR, gpu=GPU, clusters=CLUSTERS) -> bytes:
    """A powermetrics document: the layout of macOS 13 to 15, where the GPU's idle keys stand twice."""
    parts = keys(top)
    if processor is not None:
        parts += f"<key>processor</key><dict>{clusters}{keys(processor)}</dict>\n"
    if gpu is not None:
        states = "<key>dvfm_states</key><array><dict><key>freq</key><integer>444</integer></dict></array>"
        twice = {name: gpu[name] for name in ("idle_ns", "idle_ratio") if name in gpu}
        parts += f"<key>gpu</key><dict>{keys(gpu)}{states}{keys(twice)}</dict>\n"
    return ('<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" '
            '"http://www.apple.com/DTDs/PropertyList-1.0.dtd">\n<plist version="1.0">\n<dict>\n'
            f"{parts}</dict>\n</plist>").encode()


def stream(parse=power.parse_plist, end=b"</plist>") -> power.Stream:
    return power.Stream("powermetrics", None, parse, end, 1.0)


# -- plist ------------------------------------------------------------------------------

def test_plist_gives_the_processors_energies_and_the_gpus_clock():
    sample = power.parse_plist(document())
    assert sample["energy_j"] == pytest.approx(8.01)  # 2000 + 6000 + 10 mJ
    assert (sample["cpu_energy_j"], sample["gpu_energy_j"]) == (2.0, 6.0)  # not the GPU's own 6.1
    assert sample["gpu_mhz"] == 1360.85  # freq_hz of the GPU is in MHz
    assert sample["gpu_busy_ratio"] == 0.75
    assert (sample["thermal"], sample["elapsed_ns"], sample["at_unix"]) == ("Nominal", 2 * S, 1751778915)


@pytest.mark.parametrize("name", [*PROCESSOR, *GPU, *(name for name in TOP if name != "elapsed_ns")])
def test_plist_without_any_one_key_still_parses(name):
    def without(entries):
        return {key: value for key, value in entries.items() if key != name}

    sample = power.parse_plist(document(without(TOP), without(PROCESSOR), without(GPU)))
    assert sample["elapsed_ns"] == 2 * S
    assert sample["gpu_energy_j"] in (6.0, 6.1)


def test_plist_of_the_gpu_sampler_alone_knows_no_sum():
    sample = power.parse_plist(document(processor=None))
    assert (sample["energy_j"], sample["cpu_energy_j"], sample["gpu_energy_j"]) == (None, None, 6.1)


def two_rails(*pairs):
    """The GPU's joules of documents whose processor and GPU say so many millijoules of it."""
    source, found = power.powermetrics_source(None), []
    for number, (processor_mj, gpu_mj) in enumerate(pairs, 1):
        data = document(processor={**PROCESSOR, "gpu_energy": f"<integer>{processor_mj}</integer>"},
                        gpu={**GPU, "gpu_energy": f"<integer>{gpu_mj}</integer>"})
        (sample,) = source.feed(data, number * 2 * S)
        assert sample["energy_j"] == pytest.approx(2.01 + sample["gpu_energy_j"])
        found.append(sample["gpu_energy_j"])
    return found


@pytest.mark.parametrize("pairs, joules", [
    ([(0, 6100), (0, 5000)], [6.1, 5.0]),                    # the processor's stands still
    ([(6000, 0), (5000, 0)], [6.0, 5.0]),
    ([(0, 2), (6000, 6100), (0, 6100)], [0.002, 6.0, 0.0]),  # an idle GPU says nothing of which it is
    ([(0, 6100), (40, 5000)], [6.1, 5.0]),                   # it stays the one that has moved
    ([(0, 0)], [0.0])])
def test_of_two_gpu_energies_the_one_that_moves_is_taken_and_remembered(pairs, joules):
    assert two_rails(*pairs) == joules


def test_plist_without_gpu_or_with_power_only():
    sample = power.parse_plist(document(processor={"cpu_power": "<real>500</real>"}, gpu=None))
    assert (sample["cpu_energy_j"], sample["energy_j"], sample["gpu_mhz"]) == (1.0, None, None)  # 0.5 W, 2 s


def test_plist_of_an_intel_mac():
    sample = power.parse_plist(document(processor={"package_joules": "<real>24.5</real>"}, gpu=None))
    assert sample["energy_j"] == 24.5


def test_arrays_are_emptied_and_nothing_else():
    kept = power.without_arrays(document())
    assert b"E-Cluster" not in kept and b"cpu_energy" in kept and kept.count(b"<array>") == kept.count(b"</array>") == 2


@pytest.mark.parametrize("damaged", [
    b"", b"</plist>", b"\0\n</plist>", document()[:-300] + b"</plist>", document().replace(b"elapsed_ns", b"elapsed"),
    document().replace(b"2000000000", b"0"), document().replace(b"</dict>\n</plist>", b"</plist>"),
    b'<?xml version="1.0"?><plist version="1.0"><string>no</string></plist>'])
def test_damaged_documents_are_value_errors(damaged):
    with pytest.raises(ValueError):
        power.parse_plist(damaged)


def test_a_stream_cut_at_every_position_gives_the_same_samples():
    short = document(clusters="", gpu=None)
    data = short + b"\n\0" + short + b"\n"
    whole = stream().feed(data, 9 * S)
    assert len(whole) == 2
    for cut in range(1, len(data), 7):
        source = stream()
        first, second = source.feed(data[:cut], 9 * S), source.feed(data[cut:], 9 * S)
        assert [sample["energy_j"] for sample in first + second] == [sample["energy_j"] for sample in whole], cut


def test_a_cut_off_and_a_damaged_document_are_counted():
    source = stream()
    assert len(source.feed(document() + b"\0" + document()[:200], S)) == 1
    source.finish()
    assert source.dropped == 1
    assert source.feed(b"</plist>", 2 * S) == [] and source.dropped == 2


def test_a_stream_that_is_no_powermetrics_does_not_grow(monkeypatch):
    monkeypatch.setattr(power, "MAX_DOCUMENT_BYTES", 1000)
    source = stream()
    for _ in range(50):
        source.feed(b"x" * 100, S)
    assert len(source._buffer) <= 1000 and source.dropped >= 4


# -- where a window lies on our clock ---------------------------------------------------

def windows(source, arrivals, elapsed_ns=S):
    data = document(top={**TOP, "elapsed_ns": f"<integer>{elapsed_ns}</integer>"})
    return [[(sample["start_ns"], sample["end_ns"]) for sample in source.feed(data * count, at_ns)]
            for at_ns, count in arrivals]


def test_windows_follow_each_other_by_elapsed_time_not_by_arrival():
    late_ns = S // 10
    placed = windows(stream(), [(5 * S, 1), (6 * S + late_ns, 1), (7 * S + late_ns, 1)])
    assert placed == [[(4 * S, 5 * S)], [(5 * S, 6 * S)], [(6 * S, 7 * S)]]


def test_a_document_that_comes_early_moves_the_anchor():
    placed = windows(stream(), [(5 * S, 1), (6 * S - S // 5, 1), (7 * S - S // 5, 1)])
    assert placed[1] == [(5 * S, 6 * S - S // 5)]  # it can't come before its window ends
    assert placed[2] == [(6 * S - S // 5, 7 * S - S // 5)]


def test_time_lost_between_documents_is_a_gap():
    placed = windows(stream(), [(5 * S, 1), (16 * S, 1)])
    assert placed[1] == [(15 * S, 16 * S)]


def test_documents_read_late_and_together_keep_their_places():
    placed = windows(stream(), [(5 * S, 1), (9 * S, 4)])
    assert placed[1] == [(5 * S, 6 * S), (6 * S, 7 * S), (7 * S, 8 * S), (8 * S, 9 * S)]


def test_windows_never_overlap_nor_vanish():
    source = stream()
    spans = [span for group in windows(source, [(5 * S, 2), (5 * S + 1, 3), (5 * S + 2, 1), (30 * S, 2)]) for span in group]
    assert all(start < end for start, end in spans)
    assert all(before[1] <= after[0] for before, after in zip(spans, spans[1:]))


# -- text -------------------------------------------------------------------------------

TEXT_11 = """Machine model: Macmini9,1
OS version: 20D80

*** Sampled system activity (Mon Mar  1 10:44:49 2021 -0800) (1000.00ms elapsed) ***

**** Processor usage ****

E-Cluster Power: 3 mW
cpu 0 idle residency:  98.61%
ANE Power: 0 mW
DRAM Power: 2 mW
Clusters Total Power: 900 mW
GPU Power: 100 mW
Package Power: 1450 mW

**** GPU usage ****

GPU active frequency: 707 MHz
GPU active residency:   0.22% (396 MHz: .01% 528 MHz:   0%)
GPU idle residency:  99.78%
GPU Power: 101 mW


*** Summary system activity (Mon Mar  1 10:50:28 2021 -0800) (340146.59ms elapsed) ***

Clusters Total Power: 2846 mW
GPU Power: 5 mW
"""
TEXT_26 = """*** Sampled system activity (Sat Feb 14 00:42:06 2026 -0500) (500.00ms elapsed) ***

**** Processor usage ****

CPU 0 active residency:  55.11% (1020 MHz:  39%)
CPU 0 down residency:   0.00%
CPU Power: 4000 mW
GPU Power: 8000 mW
ANE Power: 2 mW
Combined Power (CPU + GPU + ANE): 12002 mW

**** Thermal pressure ****

Current pressure level: Heavy

**** GPU usage ****

GPU HW active frequency: 1338 MHz
GPU HW active residency:  97.00% (444 MHz: .97% 1338MHz:  96%)
GPU SW requested state: (P1 : 100% P2 :   0%)
GPU idle residency:   .00%
GPU Power: 8100 mW

*** Sampled system activity (Sat Feb 14 00:42:07 2026 -0500) (500.00ms elapsed) ***
CPU Power: 1.2e+03 mW
GPU Power: 0 mW
"""
TEXT_INTEL = """proc_pidpath 1460 failed(0)
*** Sampled system activity (Sat Oct 30 20:25:28 2021 -0600) (2000.00ms elapsed) ***
Intel energy model derived package power (CPUs+GT+SA): 12.39W
GPU 0 name IntelIG
GPU 0 average active frequency as fraction of nominal (300.00Mhz): 166.67% (500.00Mhz)
GPU 0 GPU Busy                     : 0.72%
"""


def test_text_of_macos_11_without_its_summary():
    (sample,) = power.parse_text(TEXT_11)
    assert sample["energy_j"] == pytest.approx(1.0) and sample["gpu_energy_j"] == pytest.approx(0.1)
    assert sample["cpu_energy_j"] == pytest.approx(0.9)
    assert sample["gpu_busy_ratio"] == pytest.approx(0.0022) and sample["gpu_mhz"] == 707
    assert sample["elapsed_ns"] == S and sample["at_unix"] == 1614624289


def test_text_of_macos_26():
    first, second = power.parse_text(TEXT_26)
    assert first["energy_j"] == pytest.approx(6.001) and first["gpu_energy_j"] == pytest.approx(4.0)
    assert (first["gpu_busy_ratio"], first["thermal"], first["gpu_mhz"]) == (1.0, "Heavy", 1338)
    assert second["cpu_energy_j"] == pytest.approx(0.6) and second["gpu_busy_ratio"] is None


def test_text_of_an_intel_mac():
    (sample,) = power.parse_text(TEXT_INTEL)
    assert sample["energy_j"] == pytest.approx(24.78)
    assert sample["gpu_mhz"] == 500 and sample["gpu_busy_ratio"] == pytest.approx(0.0072)


def test_text_without_its_header_has_no_energy():
    (sample,) = power.parse_text("GPU HW active residency:  19.10%\nGPU Power: 132 mW\n")
    assert sample["gpu_busy_ratio"] == pytest.approx(0.191)
    assert (sample["energy_j"], sample["elapsed_ns"]) == (None, None)
    assert power.parse_text("nothing of the kind\n") == []


# -- macmon -----------------------------------------------------------------------------

def test_macmon_watts_become_energy_since_the_last_line():
    source = stream(power.parse_macmon, b"\n")
    line = (b'{"all_power": 10.0, "cpu_power": 4.0, "gpu_power": 6.0, "sys_power": 20.0, "gpu_freq_mhz": 461,'
            b' "gpu_active_ratio": 0.09, "temp": {"gpu_temp_avg": 36.5}}\n')
    (first,), (second,) = source.feed(line, 5 * S), source.feed(line, 7 * S)
    assert (first["start_ns"], first["end_ns"], first["energy_j"]) == (4 * S, 5 * S, 10.0)
    assert (second["start_ns"], second["end_ns"], second["energy_j"]) == (5 * S, 7 * S, 20.0)
    assert (second["cpu_energy_j"], second["gpu_energy_j"], second["system_power_w"]) == (8.0, 12.0, 20.0)
    assert (second["gpu_mhz"], second["gpu_busy_ratio"], second["temperature_c"]) == (461, 0.09, 36.5)


def test_macmon_lines_read_late_and_together_share_the_time():
    source = stream(power.parse_macmon, b"\n")
    line = b'{"all_power": 10.0}\n'
    source.feed(line, 5 * S)
    samples = source.feed(line * 4, 9 * S)
    assert [(sample["start_ns"] // S, sample["end_ns"] // S, sample["energy_j"]) for sample in samples] == [
        (5, 6, 10.0), (6, 7, 10.0), (7, 8, 10.0), (8, 9, 10.0)]


def test_macmon_before_0_8_and_damaged_lines():
    source = stream(power.parse_macmon, b"\n")
    (sample,) = source.feed(b'{"all_power": 1, "gpu_usage": [461, 0.02]}\nnot json\n[]\n', S)
    assert (sample["gpu_mhz"], sample["gpu_busy_ratio"], sample["gpu_energy_j"]) == (461, 0.02, None)
    assert source.dropped == 2


@pytest.mark.parametrize("value, expected", [(3, 3), (0, 0), (-1, None), (math.nan, None), (math.inf, None),
                                             ("3", None), (None, None), (True, None)])
def test_number(value, expected):
    assert power.number(value) == expected


# -- counters and gauges ----------------------------------------------------------------

def polled(kind, readings, **options):
    source = power.Polled("test", "gpu0", kind, None, lambda: dict(readings.pop(0)), part="gpu", **options)
    return lambda at_s: source.read(int(at_s * S)), source


def test_counter_differences():
    read, _ = polled("counter", [{"joules": 5.0}, {"joules": 25.0, "gpu_mhz": 900.0}])
    assert read(1) is None
    assert read(3) == {"start_ns": S, "end_ns": 3 * S, "energy_j": 20.0, "gpu_energy_j": 20.0, "gpu_mhz": 900.0}


def test_counter_that_wraps_and_one_that_is_reset():
    read, _ = polled("counter", [{"joules": 995.0}, {"joules": 5.0}], wrap_j=1000.0)
    read(1)
    assert read(2)["energy_j"] == 10.0
    read, _ = polled("counter", [{"joules": 995.0}, {"joules": 5.0}, {"joules": 8.0}])
    read(1)
    assert read(2)["energy_j"] is None
    assert read(3)["energy_j"] == 3.0


def test_counter_that_leaps_is_not_believed():
    read, _ = polled("counter", [{"joules": 0.0}, {"joules": 1e9}])
    read(1)
    assert read(2)["energy_j"] is None


def test_counter_forgets_nothing_over_a_failed_reading():
    read, source = polled("counter", [{"joules": 1.0}, {"joules": None, "gpu_mhz": 1.0}, {}, {"joules": 7.0}])
    assert [read(1), read(2), read(3)] == [None, None, None]
    assert source.dropped == 2
    sample = read(4)
    assert (sample["start_ns"], sample["energy_j"]) == (S, 6.0)


def test_gauge_is_a_trapezoid():
    read, _ = polled("gauge", [{"watts": 10.0}, {"watts": 30.0}])
    read(1)
    assert read(1.5)["energy_j"] == pytest.approx(10.0)  # mean 20 W, half a second


def test_a_card_without_watts_still_has_its_load():
    read, _ = polled("gauge", [{"gpu_busy_ratio": 0.1}, {"gpu_busy_ratio": 0.2}])
    read(1)
    sample = read(2)
    assert sample["energy_j"] is None and sample["gpu_busy_ratio"] == 0.2


@pytest.mark.parametrize("second_s", [1, 1.1])
def test_two_readings_at_about_one_instant_are_one(second_s):
    read, source = polled("counter", [{"joules": 1.0}, {"joules": 2.0}, {"joules": 3.0}])
    assert [read(1), read(second_s)] == [None, None]
    assert read(2)["energy_j"] == 2.0 and source.dropped == 0


# -- NVIDIA -----------------------------------------------------------------------------

class FakeNvml(types.SimpleNamespace):
    """The module pynvml with two GPUs; `raises` maps a call to the error it gives."""

    NVML_CLOCK_SM, NVML_TEMPERATURE_GPU = 1, 0

    class NVMLError(Exception):
        pass

    class NVMLError_NotSupported(NVMLError):
        pass

    class NVMLError_FunctionNotFound(NVMLError):
        pass

    class NVMLError_GpuIsLost(NVMLError):
        pass

    def __init__(self, **raises):
        super().__init__()
        self.raises, self.calls, self.energy_mj = raises, [], 1_000_000

    def _answer(self, name, value):
        self.calls.append(name)
        if name in self.raises:
            raise self.raises[name]
        return value

    def nvmlDeviceGetCount(self):
        return 2

    def nvmlDeviceGetHandleByIndex(self, index):
        return self._answer(f"gpu{index}", f"handle {index}")

    def nvmlDeviceGetName(self, handle):
        return b"NVIDIA RTX 4090"

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):
        self.energy_mj += 300_000
        return self._answer("energy", self.energy_mj)

    def nvmlDeviceGetPowerUsage(self, handle):
        return self._answer("power", 250_000)

    def nvmlDeviceGetUtilizationRates(self, handle):
        return self._answer("busy", types.SimpleNamespace(gpu=87, memory=40))

    def nvmlDeviceGetClockInfo(self, handle, clock):
        return self._answer("clock", 2520)

    def nvmlDeviceGetMemoryInfo(self, handle):
        return self._answer("memory", types.SimpleNamespace(used=8 << 30, total=24 << 30))

    def nvmlDeviceGetTemperature(self, handle, sensor):
        return self._answer("temperature", 61)

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle):
        raise FakeNvml.NVMLError_FunctionNotFound  # an older driver has the next one only

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle):
        return self._answer("throttle", 0x04 | 0x20)


def test_nvidia_reads_the_energy_counter_of_each_gpu():
    first, second = power.nvidia_sources(FakeNvml())
    assert [first.device, second.device, first.kind, first.status] == ["gpu0", "gpu1", "counter", "ok"]
    assert "RTX 4090" in first.scope
    first.read(S)
    assert first.read(2 * S) == {
        "start_ns": S, "end_ns": 2 * S, "energy_j": 300.0, "gpu_energy_j": 300.0, "gpu_busy_ratio": 0.87,
        "gpu_mhz": 2520.0, "gpu_memory_bytes": 8 << 30, "temperature_c": 61.0, "thermal": "software thermal"}


@pytest.mark.parametrize("error", [FakeNvml.NVMLError_NotSupported, FakeNvml.NVMLError_FunctionNotFound])
def test_nvidia_without_the_counter_is_a_gauge(error):
    nvml = FakeNvml(energy=error())
    source = power.nvidia_sources(nvml)[0]
    assert source.kind == "gauge"
    source.read(S)
    assert source.read(2 * S)["energy_j"] == 250.0
    assert nvml.calls.count("energy") == 2  # asked once for each GPU, never again


@pytest.mark.parametrize("call, column", [("busy", "gpu_busy_ratio"), ("clock", "gpu_mhz"), ("memory", "gpu_memory_bytes"),
                                          ("temperature", "temperature_c"), ("throttle", "thermal")])
def test_nvidia_call_that_is_not_supported_is_asked_once(call, column):
    nvml = FakeNvml(**{call: FakeNvml.NVMLError_NotSupported()})
    source = power.nvidia_source(nvml, 0)
    source.read(S)
    sample = source.read(2 * S)
    assert column not in sample and sample["energy_j"] == 300.0
    assert nvml.calls.count(call) == 1


def test_nvidia_other_errors_are_null_for_the_sample():
    nvml = FakeNvml()
    source = power.nvidia_source(nvml, 0)
    source.read(S)
    nvml.raises["busy"] = FakeNvml.NVMLError_GpuIsLost()
    assert source.read(2 * S)["gpu_busy_ratio"] is None
    del nvml.raises["busy"]
    assert source.read(3 * S)["gpu_busy_ratio"] == 0.87


def test_nvidia_without_energy_and_power_has_its_load():
    source = power.nvidia_source(FakeNvml(energy=FakeNvml.NVMLError_NotSupported(), power=FakeNvml.NVMLError_NotSupported()), 0)
    source.read(S)
    sample = source.read(2 * S)
    assert sample["energy_j"] is None and sample["gpu_busy_ratio"] == 0.87


def test_a_lost_gpu_does_not_hide_the_others():
    lost, other = power.nvidia_sources(FakeNvml(gpu0=FakeNvml.NVMLError_GpuIsLost("GPU is lost")))
    assert (lost.device, lost.status) == ("gpu0", "not read: GPU is lost; see what `nvidia-smi` says") and not hasattr(lost, "read")
    other.read(S)
    assert (other.device, other.read(2 * S)["energy_j"]) == ("gpu1", 300.0)


def test_nvidia_counter_that_fails_at_first_is_taken_when_it_works():
    nvml = FakeNvml(energy=FakeNvml.NVMLError_GpuIsLost())
    source = power.nvidia_source(nvml, 0)
    assert source.kind == "gauge"
    source.read(S)
    assert source.read(2 * S)["energy_j"] == 250.0
    del nvml.raises["energy"]
    assert source.read(3 * S)["energy_j"] == 250.0 and source.kind == "counter"  # watts at both ends
    assert source.read(4 * S)["energy_j"] == 300.0
    asked = nvml.calls.count("power")
    source.read(5 * S)
    assert nvml.calls.count("power") == asked


def test_nvidia_counter_that_is_supported_no_more_leaves_the_watts():
    nvml = FakeNvml()
    source = power.nvidia_source(nvml, 0)
    source.read(S)
    nvml.raises["energy"] = FakeNvml.NVMLError_NotSupported()
    assert source.read(2 * S)["energy_j"] is None  # the watts are known at its end only
    assert source.read(3 * S)["energy_j"] == 250.0 and source.kind == "gauge"


def test_nvidia_counter_that_fails_for_a_moment_forgets_nothing():
    nvml = FakeNvml()
    source = power.nvidia_source(nvml, 0)
    source.read(S)
    nvml.raises["energy"] = FakeNvml.NVMLError_GpuIsLost()
    assert source.read(2 * S) is None and source.kind == "counter"
    del nvml.raises["energy"]
    assert source.read(3 * S)["energy_j"] == 600.0


# -- Linux: a tree like /sys ------------------------------------------------------------

def tree(root: pathlib.Path, files: dict) -> str:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    return str(root)


AMD = {"class/drm/card1/device/vendor": "0x1002", "class/drm/card1/device/gpu_busy_percent": 30,
       "class/drm/card1/device/mem_info_vram_used": 500, "class/drm/card1/device/mem_info_gtt_used": 70,
       "class/drm/card1/device/hwmon/hwmon8/name": "amdgpu",
       "class/drm/card1/device/hwmon/hwmon8/power1_average": 68_000_000,
       "class/drm/card1/device/hwmon/hwmon8/power1_cap": 290_000_000,
       "class/drm/card1/device/hwmon/hwmon8/freq1_input": 2_219_000_000,
       "class/drm/card1/device/hwmon/hwmon8/temp1_input": 53_000,
       "class/drm/card1-HDMI-A-1/status": "connected"}
RAPL = {"class/powercap/intel-rapl:0/name": "package-0", "class/powercap/intel-rapl:0/energy_uj": 262_143_000_000,
        "class/powercap/intel-rapl:0/max_energy_range_uj": 262_143_328_850,
        "class/powercap/intel-rapl:0:0/name": "core", "class/powercap/intel-rapl:0:0/energy_uj": 5,
        "class/powercap/intel-rapl:1/name": "psys", "class/powercap/intel-rapl:1/energy_uj": 5}


@pytest.fixture(autouse=True)
def no_nvidia(monkeypatch):
    monkeypatch.setattr(power, "load_nvml", lambda: None)
    monkeypatch.setattr(sys, "platform", "linux")


def test_amd_card(tmp_path):
    (source,) = power.sources(sysfs=tree(tmp_path, AMD))
    source.read(S)
    assert source.read(2 * S) == {
        "start_ns": S, "end_ns": 2 * S, "energy_j": 68.0, "gpu_energy_j": 68.0, "gpu_busy_ratio": 0.3,
        "gpu_mhz": 2219.0, "gpu_memory_bytes": 500, "temperature_c": 53.0}
    assert (source.name, source.device, source.kind) == ("amdgpu", "card1", "gauge")


def test_amd_card_that_answers_with_an_error(tmp_path):
    files = {name: content for name, content in AMD.items() if "busy" not in name}
    root = tree(tmp_path, files)
    (tmp_path / "class/drm/card1/device/gpu_busy_percent").mkdir()  # reading it fails, as EBUSY would
    (source,) = power.sources(sysfs=root)
    source.read(S)
    assert source.read(2 * S)["gpu_busy_ratio"] is None


def test_amd_card_without_any_watts_is_no_source(tmp_path):
    assert power.sources(sysfs=tree(tmp_path, {name: AMD[name] for name in AMD if "power1" not in name})) == []


def test_amd_apu_counts_the_cpu_so_rapl_is_left_out(tmp_path):
    files = {name: content for name, content in AMD.items() if "power1_cap" not in name}
    (source,) = power.sources(sysfs=tree(tmp_path, {**files, **RAPL}))
    source.read(S)
    sample = source.read(2 * S)
    assert sample["energy_j"] == 68.0 and "gpu_energy_j" not in sample
    assert sample["gpu_memory_bytes"] == 570 and "CPU and GPU" in source.scope


def test_counters_that_an_apu_makes_superfluous_are_closed(tmp_path):
    root = tree(tmp_path, {**{name: AMD[name] for name in AMD if "power1_cap" not in name}, **RAPL})
    helper = types.SimpleNamespace(sampler=False, rapl=power.open_rapl(root))
    ((_, descriptor, _),) = helper.rapl
    power.sources(helper, sysfs=root)
    assert helper.rapl == []
    with pytest.raises(OSError):
        os.fstat(descriptor)


def intel(**hwmon):
    files = {f"class/drm/card0/device/hwmon/hwmon2/{name}": content for name, content in hwmon.items()}
    return {"class/drm/card0/device/vendor": "0x8086", "class/drm/card0/device/hwmon/hwmon2/name": "xe",
            "class/drm/card0/device/tile0/gt0/freq0/act_freq": 2400, **files}


@pytest.mark.parametrize("hwmon", [{"energy1_input": 5_000_000}, {"energy2_input": 5_000_000},
                                   {"energy1_input": 0, "energy2_input": 5_000_000}])
def test_intel_card_counts_with_the_counter_that_moves(tmp_path, hwmon):
    (source,) = power.sources(sysfs=tree(tmp_path, intel(**hwmon, temp2_input=46000)))
    source.read(S)
    moving = max(hwmon, key=hwmon.get)
    (tmp_path / f"class/drm/card0/device/hwmon/hwmon2/{moving}").write_text("65000000\n")
    sample = source.read(2 * S)
    assert (sample["energy_j"], sample["gpu_mhz"], sample["temperature_c"]) == (60.0, 2400.0, 46.0)


def test_intel_counter_that_stands_still_is_left_for_the_one_that_moves(tmp_path):
    (source,) = power.sources(sysfs=tree(tmp_path, intel(energy1_input=9_000_000, energy2_input=5_000_000)))
    hwmon = tmp_path / "class/drm/card0/device/hwmon/hwmon2"
    assert source.read(S) is None
    assert source.read(2 * S) is None  # neither has moved
    (hwmon / "energy2_input").write_text("65000000\n")
    assert source.read(3 * S) | {"gpu_mhz": 0, "temperature_c": 0} == {
        "start_ns": S, "end_ns": 3 * S, "energy_j": 60.0, "gpu_energy_j": 60.0, "gpu_mhz": 0, "temperature_c": 0}
    (hwmon / "energy1_input").write_text("9000001\n")
    assert source.read(4 * S)["energy_j"] == 0.0  # it is the second for good


def test_integrated_intel_gpu_is_left_to_rapl(tmp_path):
    files = {"class/drm/card0/device/vendor": "0x8086", "class/drm/card0/gt_act_freq_mhz": 300}
    assert power.sources(sysfs=tree(tmp_path, files)) == []


def test_rapl_takes_packages_only_and_survives_the_wrap(tmp_path):
    (source,) = power.sources(sysfs=tree(tmp_path, RAPL))
    assert (source.name, source.device) == ("rapl", "package-0")
    source.read(S)
    (tmp_path / "class/powercap/intel-rapl:0/energy_uj").write_text("49671150\n")
    sample = source.read(2 * S)
    assert sample["energy_j"] == pytest.approx(50.0) and sample["cpu_energy_j"] == sample["energy_j"]
    source.stop()
    assert source.read(3 * S) is None  # the descriptor is closed: no sample, no exception


def test_rapl_prefers_the_memory_mapped_twin(tmp_path):
    twin = {name.replace("intel-rapl:0/", "intel-rapl-mmio:0/"): content for name, content in RAPL.items() if "rapl:0/" in name}
    twin["class/powercap/intel-rapl-mmio:0/energy_uj"] = 77
    (package,) = power.open_rapl(tree(tmp_path, {**RAPL, **twin}))
    assert os.pread(package[1], 32, 0) == b"77\n"
    os.close(package[1])


def test_rapl_leaves_a_memory_mapped_twin_that_counts_nothing(tmp_path):
    twin = {name.replace("intel-rapl:0/", "intel-rapl-mmio:0/"): content for name, content in RAPL.items() if "rapl:0/" in name}
    twin["class/powercap/intel-rapl-mmio:0/energy_uj"] = 0
    (package,) = power.open_rapl(tree(tmp_path, {**RAPL, **twin}))
    assert os.pread(package[1], 32, 0) == b"262143000000\n"
    os.close(package[1])


def test_rapl_that_only_root_may_read_says_so(tmp_path, monkeypatch):
    root = tree(tmp_path, RAPL)

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    (source,) = power.sources(sysfs=root)
    assert "sudo" in source.status and not hasattr(source, "read")


def test_nvidia_card_whose_driver_is_not_there_says_so(tmp_path):
    (source,) = power.sources(sysfs=tree(tmp_path, {"class/drm/card0/device/vendor": "0x10de"}))
    assert source.name == "nvml" and "nvidia-smi" in source.status


@pytest.mark.parametrize("vendor", ["0x10de", "0x1af4"])
def test_a_broken_nvidia_driver_does_not_end_us(tmp_path, monkeypatch, vendor):
    """It is said without its card in /sys too: a container shows none."""
    def explode():
        raise RuntimeError("Driver/library version mismatch")

    monkeypatch.setattr(power, "load_nvml", explode)
    (source,) = power.sources(sysfs=tree(tmp_path, {"class/drm/card0/device/vendor": vendor}))
    assert "mismatch" in source.status


def test_a_nvidia_driver_without_gpus_says_so(tmp_path, monkeypatch):
    nvml = FakeNvml()
    nvml.nvmlDeviceGetCount = lambda: 0
    monkeypatch.setattr(power, "load_nvml", lambda: nvml)
    (source,) = power.sources(sysfs=str(tmp_path))
    assert source.status == "not read: its driver shows no GPU; see what `nvidia-smi` says"


# -- macOS: what is chosen --------------------------------------------------------------

def test_root_starts_no_program_that_is_found_by_its_name(monkeypatch):
    monkeypatch.setattr(power.sys, "platform", "darwin")
    monkeypatch.setattr(power.shutil, "which", lambda name: "/tmp/evil/macmon")
    monkeypatch.setattr(os, "geteuid", lambda: 0, raising=False)
    assert [source.name for source in power.sources()] == ["powermetrics"]


def test_macos_without_root_takes_macmon_or_says_how_to_get_power(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(os, "geteuid", lambda: 501, raising=False)
    monkeypatch.setattr(power.shutil, "which", lambda name: "/opt/homebrew/bin/macmon")
    (source,) = power.sources()
    assert source.name == "macmon"
    assert source.launcher.commands == [["/opt/homebrew/bin/macmon", "pipe", "-i", "1000"]]
    monkeypatch.setattr(power.shutil, "which", lambda name: None)
    (source,) = power.sources()
    assert "sudo" in source.status and "brew install macmon" in source.status


@pytest.fixture
def mac(monkeypatch, tmp_path):
    """mac(system's version, what `macmon --version` prints or None) -> the one source of a Mac without root."""
    def of(version, macmon):
        tool = tmp_path / "macmon"
        answers = {("/usr/sbin/sysctl", "-n", "kern.osproductversion"): f"{version}\n", (str(tool), "--version"): macmon}
        monkeypatch.setattr(sys, "platform", "darwin")
        monkeypatch.setattr(power.conditions, "output_of", lambda *command, **_: answers[command])
        monkeypatch.setattr(power.shutil, "which", lambda name: str(tool) if macmon is not None else None)
        monkeypatch.setattr(os, "geteuid", lambda: 501, raising=False)
        (source,) = power.sources()
        return source

    return of


@pytest.mark.parametrize("version, macmon, name, said", [
    ("26.1", None, "powermetrics", "not read: macOS gives power to root only; start with sudo, or `brew install macmon`"),
    ("27.0", None, "powermetrics", "not read: macOS gives power to root only; start with sudo, or (of the GPU alone) `brew install macmon`, 0.8 or newer"),
    ("27.0", "macmon 0.7.1\n", "macmon", "not read: macmon 0.7 fails on macOS 27; start with sudo, or (of the GPU alone) `brew upgrade macmon` to 0.8 or newer"),
    ("26.4", "macmon 0.7.1\n", "macmon", "ok"), ("27.0", "macmon 0.8.2\n", "macmon", "ok"), ("28.1", "macmon 1.0.0\n", "macmon", "ok"),
    ("27.0", "", "macmon", "ok"), ("", "macmon 0.7.1\n", "macmon", "ok")])
def test_what_a_mac_without_root_is_told_depends_on_its_system_and_on_macmon(mac, version, macmon, name, said):
    source = mac(version, macmon)
    assert (source.name, source.status) == (name, said)


def test_a_macmon_that_fails_on_this_macos_does_not_stand_in(mac):
    mac("27.0", "macmon 0.7.1\n")
    assert power.working_macmon() is None
    mac("27.0", "macmon 0.8.0\n")
    assert power.working_macmon().name == "macmon"


@pytest.mark.parametrize("code, advised", [(101, True), (134, True), (1, False)])
def test_a_macmon_that_panics_is_to_be_updated(code, advised):
    source = power.macmon_source(python(f"import sys; print('thread main panicked', file=sys.stderr); sys.exit({code})"))
    with source.start() as output:
        assert output.read() == b""
    said = source.complaint()
    source.stop()
    assert said.startswith("it broke off: update it, `brew upgrade macmon`") == advised
    assert said.endswith(f"thread main panicked exit code {code}")


@pytest.mark.parametrize("user, name", [(501, "macmon"), (0, None)])
def test_macmon_stands_in_for_roots_powermetrics_but_never_runs_as_root(monkeypatch, user, name):
    monkeypatch.setattr(os, "geteuid", lambda: user, raising=False)
    monkeypatch.setattr(power.shutil, "which", lambda name: "/opt/homebrew/bin/macmon")
    (source,) = power.sources(types.SimpleNamespace(sampler=True, rapl=[]))
    assert source.name == "powermetrics"
    assert (source.successor().name if source.successor else None) == name


def test_powermetrics_is_called_absolutely_and_without_files():
    assert power.powermetrics_arguments() == [
        "/usr/bin/powermetrics", "--samplers", "cpu_power,gpu_power,thermal", "-f", "plist", "-b", "0", "-i", "1000"]


# -- a sampler as a child ---------------------------------------------------------------

def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_child_output_complaint_and_exit_code():
    child = power.Child([python("import sys; print('out'); sys.exit('powermetrics must be invoked as the superuser')")])
    with child.start() as output:
        assert output.read() == f"out{os.linesep}".encode()
    assert child.complaint() == "powermetrics must be invoked as the superuser exit code 1"
    child.stop()


def test_child_that_is_missing_or_has_no_other_command():
    child = power.Child([["/nonexistent/powermetrics"]])
    assert child.start() is None
    assert "nonexistent" in child.complaint()
    assert child.start(1) is None
    child.stop()


def test_child_is_killed_and_its_cpu_time_known():
    child = power.Child([python("import time; sum(range(10**6)); print(1, flush=True); time.sleep(60)")])
    with child.start() as output:
        assert output.readline().strip() == b"1"
        child.kill()
        assert output.read() == b""
    child.stop()
    assert child.cpu_s > 0


def test_a_refused_sampler_leads_to_a_simpler_command():
    source = power.powermetrics_source(power.Child(power.with_samplers(["pm", "--samplers", "cpu_power,gpu_power,thermal", "-f"])))
    assert not source.refused("Second underflow occured.")
    assert source.refused("powermetrics: unrecognized sampler: thermal") and source.refused("exit code 64")
    assert not source.refused("exit code 64")  # none is left
    assert source.launcher.commands[2] == ["pm", "--samplers", "gpu_power", "-f"]


# -- the views, with figures worked out by hand -----------------------------------------

@pytest.fixture
def results(tmp_path):
    """A run of 100 s: idle from 0 to 10 s, one level from 20 to 30 s, one from 40 to 50 s."""
    database = db.connect(tmp_path / "results.db")
    database["run"].insert({"id": 1, "source": "bench", "status": "finished", "started_unix": 1_700_000_000, "arguments": "{}",
                            "tool_version": "test", "idle_start_ns": 0, "idle_end_ns": 10 * S, "ended_ns": 100 * S})
    for level, start_s in ((1, 20), (2, 40)):
        database["level"].insert({"id": level, "run_id": 1, "model": "m", "concurrency": level, "status": "finished",
                                  "started_ns": start_s * S, "ended_ns": (start_s + 10) * S})
    add_source(database, 1)
    yield database
    database.conn.close()


def add_source(database, number, name="powermetrics"):
    database["power_source"].insert({"id": number, "run_id": 1, "name": name, "device": f"d{number}",
                                     "kind": "interval", "status": "ok"})


def add_sample(database, start_s, end_s, energy_j, source=1, **columns):
    database["power_sample"].insert({"source_id": source, "start_ns": int(start_s * S), "end_ns": int(end_s * S),
                                     "energy_j": energy_j, **columns})


def rows(database, view, where="1"):
    return list(database.query(f"SELECT * FROM {view} WHERE {where}"))


def test_energy_counts_each_sample_by_its_overlap(results):
    add_sample(results, 15, 25, 100.0)  # 10 W, half of it inside
    add_sample(results, 25, 35, 300.0)  # 30 W, half of it inside
    (level,) = rows(results, "energy_by_source")
    assert level["energy_j"] == pytest.approx(200.0)  # 5 s of 10 W, 5 s of 30 W
    assert (level["coverage_ratio"], level["mean_w"], level["max_w"], level["samples"]) == (1.0, 20.0, 30.0, 2)


def test_energy_never_leaks_from_level_to_level(results):
    for second in range(20, 50):
        add_sample(results, second, second + 1, 10.0 if second < 30 else 1000.0 if second < 40 else 20.0)
    first, second = rows(results, "energy_by_source")
    assert (first["energy_j"], second["energy_j"]) == (pytest.approx(100.0), pytest.approx(200.0))
    assert (first["samples"], second["samples"]) == (10, 10)


@pytest.mark.parametrize("covered_s, energy_j", [(10, 100.0), (9.5, 100.0), (9.4, None), (1, None)])
def test_energy_is_unknown_below_95_percent_coverage(results, covered_s, energy_j):
    add_sample(results, 20, 20 + covered_s, 10.0 * covered_s)
    (level,) = rows(results, "energy_by_source")
    assert level["energy_j"] == pytest.approx(energy_j) if energy_j else level["energy_j"] is None
    assert level["mean_w"] == pytest.approx(10.0)  # of what was seen


def test_a_sample_without_energy_covers_nothing(results):
    add_sample(results, 20, 25, 50.0, gpu_energy_j=40.0)
    add_sample(results, 25, 30, None, gpu_energy_j=40.0)
    (level,) = rows(results, "energy_by_source")
    assert level["energy_j"] is None and level["coverage_ratio"] == 0.5
    assert level["gpu_energy_j"] == pytest.approx(80.0)


def test_idle_power_is_taken_off(results):
    add_sample(results, -5, 5, 30.0)  # 3 W
    add_sample(results, 5, 15, 50.0)  # 5 W, half of it idle time
    add_sample(results, 20, 30, 200.0)
    (idle,) = rows(results, "idle_power")
    assert idle["idle_w"] == pytest.approx(4.0)  # (5 s * 3 W + 5 s * 5 W) / 10 s
    (level,) = rows(results, "energy_by_source")
    assert level["net_energy_j"] == pytest.approx(160.0)


def test_without_a_baseline_the_net_is_unknown(results):
    add_sample(results, 20, 30, 200.0)
    (level,) = rows(results, "energy_by_source")
    assert (level["idle_w"], level["net_energy_j"], level["energy_j"]) == (None, None, pytest.approx(200.0))


def add_requests(database, *tokens):
    for number, output_tokens in enumerate(tokens, 1):
        database["request"].insert({"level_id": 1, "number": number, "output_tokens": output_tokens, "prompt_tokens": 10,
                                    "status": "completed" if output_tokens else "stalled"})


def test_joules_per_token_are_the_levels_energy_over_its_tokens(results):
    add_source(results, 2, "rapl")
    for source, watts in ((1, 10.0), (2, 5.0)):
        add_sample(results, 0, 10, 10.0, source)  # 1 W idle each
        add_sample(results, 20, 30, 10 * watts, source, gpu_mhz=1000.0)
    add_requests(results, 30, 20, None)
    (level,) = rows(results, "energy_summary")
    assert (level["energy_j"], level["net_energy_j"], level["output_tokens"]) == (150.0, 130.0, 50)
    assert (level["joules_per_output_token"], level["net_joules_per_output_token"]) == (3.0, 2.6)
    assert level["output_tokens_per_joule"] == pytest.approx(1 / 3) and level["energy_wh"] == pytest.approx(150 / 3600)
    assert (level["requests"], level["errors"], level["idle_w"], level["mean_w"]) == (3, 1, 2.0, 15.0)


def test_the_sum_is_unknown_when_one_source_is(results):
    add_source(results, 2, "rapl")
    add_sample(results, 20, 30, 100.0, 1)
    add_sample(results, 20, 25, 100.0, 2)
    add_requests(results, 50)
    (level,) = rows(results, "energy_summary")
    assert (level["energy_j"], level["joules_per_output_token"], level["coverage_ratio"]) == (None, None, 0.5)


def test_the_gpus_energy_is_known_where_the_sum_is_not(results):
    add_source(results, 2, "nvml")
    add_source(results, 3, "rapl")
    for source in (1, 2):
        add_sample(results, 20, 30, None, source, gpu_energy_j=100.0 * source)
        add_sample(results, 40, 50, None, source, gpu_energy_j=100.0 if source == 1 else None)
    add_sample(results, 20, 50, 30.0, 3)  # has no GPU
    add_requests(results, 60)
    first, second = rows(results, "energy_summary")
    assert (first["energy_j"], first["joules_per_output_token"], first["mean_w"]) == (None, None, None)
    assert (first["gpu_energy_j"], first["gpu_power_w"], first["gpu_joules_per_output_token"]) == (300.0, 30.0, 5.0)
    assert (second["gpu_energy_j"], second["gpu_power_w"]) == (None, None)  # one of two GPUs is not known


def test_a_successor_counts_the_same_device_and_no_second_one(results):
    results["power_source"].insert({"id": 2, "run_id": 1, "name": "macmon", "device": "d1", "kind": "interval", "status": "ok"})
    add_sample(results, 0, 10, 10.0, 1)
    add_sample(results, 20, 24, 40.0, 1)  # gives nothing more
    add_sample(results, 26, 30, 40.0, 2)
    add_sample(results, 40, 50, 120.0, 2)
    first, second = rows(results, "energy_summary")
    assert (first["energy_j"], first["mean_w"], first["source"]) == (None, None, "powermetrics d1 + macmon d1")
    assert (second["energy_j"], second["mean_w"], second["source"]) == (120.0, 12.0, "macmon d1")
    assert second["net_energy_j"] is None  # the other one measured the idle power


def test_gpu_metrics_has_the_studys_columns_and_only_samples_of_the_level(results):
    add_sample(results, 10, 15, 500.0, gpu_energy_j=500.0, gpu_busy_ratio=1.0, gpu_mhz=1398.0)  # before the level
    add_sample(results, 19, 21, 20.0, gpu_energy_j=10.0, gpu_busy_ratio=0.97, gpu_mhz=1398.0, thermal="Nominal")
    add_sample(results, 21, 23, 20.0)  # nothing of a GPU
    (row,) = rows(results, "gpu_metrics")
    assert (row["Usage%"], row["Power(W)"], row["Frequency(MHz)"], row["thermal"]) == (97.0, 5.0, 1398.0, "Nominal")
    assert row["Timestamp"] == "2023-11-14T22:13:41.000Z" and row["concurrency"] == 1


def test_a_stream_of_real_size_is_read_in_pieces():
    ultra = document(clusters=CLUSTERS * 200)
    assert len(ultra) > 65_000
    source, samples = stream(), []
    pipe = io.BytesIO((ultra + b"\n\0") * 3)
    while data := pipe.read(16384):
        samples += source.feed(data, 5 * S)
    assert [round(sample["energy_j"], 2) for sample in samples] == [8.01] * 3
