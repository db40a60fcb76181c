"""What powermetrics prints, plist and text, and a stream that reads it."""

from ollama_bench.power.powermetrics_plist import parse_plist
from ollama_bench.power.stream import Stream

S = 1_000_000_000  # nanoseconds

CLUSTERS = """<key>clusters</key><array><dict><key>name</key><string>E-Cluster</string>
<key>freq_hz</key><real>1.28045e+09</real><key>dvfm_states</key><array><dict><key>freq</key>
<integer>600</integer>
</dict></array><key>cpus</key><array><dict><key>cpu</key><integer>0</integer>
<key>dvfm_states</key><array/></dict>
</array></dict></array>"""
PROCESSOR = {
    "ane_energy": "<integer>10</integer>",
    "cpu_energy": "<integer>2000</integer>",
    "cpu_power": "<real>1000.0</real>",
    "gpu_energy": "<integer>6000</integer>",
    "gpu_power": "<real>3000.0</real>",
    "combined_power": "<real>4005</real>",
}
GPU = {
    "freq_hz": "<real>1360.85</real>",
    "idle_ns": "<integer>500</integer>",
    "idle_ratio": "<real>0.25</real>",
    "gpu_energy": "<integer>6100</integer>",
}
TOP = {
    "is_delta": "<true/>",
    "elapsed_ns": "<integer>2000000000</integer>",
    "hw_model": "<string>Mac14,10</string>",
    "timestamp": "<date>2025-07-06T05:15:15Z</date>",
    "thermal_pressure": "<string>Nominal</string>",
}


def keys(entries: dict) -> str:
    return "".join(
        f"<key>{name}</key>{value}\n" for name, value in entries.items()
    )


def document(
    top=TOP, processor=PROCESSOR, gpu=GPU, clusters=CLUSTERS
) -> bytes:
    """Return a document in the layout of macOS 13 to 15, where the GPU's idle keys come twice."""
    parts = keys(top)
    if processor is not None:
        parts += f"<key>processor</key><dict>{clusters}{keys(processor)}</dict>\n"
    if gpu is not None:
        state = "<dict><key>freq</key><integer>444</integer></dict>"
        states = f"<key>dvfm_states</key><array>{state}</array>"
        twice = {
            name: gpu[name]
            for name in ("idle_ns", "idle_ratio")
            if name in gpu
        }
        parts += f"<key>gpu</key><dict>{keys(gpu)}{states}{keys(twice)}</dict>\n"
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" '
        '"http://www.apple.com/DTDs/PropertyList-1.0.dtd">\n<plist version="1.0">\n<dict>\n'
        f"{parts}</dict>\n</plist>"
    ).encode()


def create_stream(parse=parse_plist, end=b"</plist>") -> Stream:
    """Return a stream that is only fed."""
    return Stream("powermetrics", None, parse, end, 1.0)


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
