"""power.py - the power sources of this machine, each giving samples of energy over a stretch of time.

    powermetrics   macOS, needs root: one long-running process, energy per interval
    macmon         macOS without root: the same by `macmon pipe`, when it is installed
    nvml           NVIDIA: a running energy counter, or momentary watts on old cards
    amdgpu, intel  Linux: watts or energy counters that the drivers show under /sys
    rapl           Linux: energy counters of the CPU packages, readable by root only

A sample is a row of the table power_sample without source_id, its instants perf_counter_ns.
`monitor.py` drives the sources and stores them; nothing here opens a thread, a file for writing or a database.
"""
from __future__ import annotations

import functools
import glob
import json
import os
import plistlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from datetime import datetime, timezone

import psutil

import conditions

# What psutil raises: on macOS not only its own, and the last two where a /proc is none that it knows.
REFUSALS = (psutil.Error, OSError, RuntimeError, SystemError, ValueError, LookupError)
POWERMETRICS = "/usr/bin/powermetrics"  # absolute: it is started as root
POWERMETRICS_INTERVAL_MS = 1000  # its real windows are about 1 % longer: elapsed_ns counts
SAMPLERS = ("cpu_power,gpu_power,thermal", "cpu_power,gpu_power", "gpu_power")  # next one when refused
MACMON_INTERVAL_MS = 1000
LESS_WITHOUT_ROOT = 27  # from this macOS on the CPU's energy is 0 without root, and ...
MACMON_OF_27 = (0, 8)  # ... an older macmon breaks off
MAX_DOCUMENT_BYTES = 8_000_000  # an M2 Ultra's is 65 KB; beyond this the stream is no powermetrics
LARGEST = 1e18  # beyond is no nanoseconds, bytes or milliwatts of this world; it still fits SQLite's 64 bits
COMPLAINT_BYTES = 2048  # of what a sampler wrote to stderr, the end
STOP_S = 3.0  # from SIGTERM to SIGKILL
MIN_SPAN_S = 0.2  # between two readings: NVML's counter steps each 0.1 s, over less its watts are noise
ROUNDING_J = 0.01  # a counter that moved by less may have been rounded up
MAX_PLAUSIBLE_W = 20_000  # a counter that steps faster than this was reset

CHIP_SCOPE = ("CPU + GPU + ANE of the chip as the system estimates them;"
              " without DRAM, display, SSD and power supply")
SUDO_READS_IT = "; started with sudo, powermetrics reads it"
DRIVER_SCOPE = "GPU as its driver measures it"
APU_SCOPE = "whole processor, CPU and GPU"


# -- powermetrics: its two formats ------------------------------------------------------

def without_arrays(document: bytes) -> bytes:
    """The plist document with every array emptied: none is read here, and on an Ultra
    they are 95 % of what plistlib would have to parse each second."""
    kept, depth, start = [], 0, 0
    for tag in re.finditer(rb"<(/?)array>", document):
        if tag[1]:
            depth -= 1
            if depth == 0:
                start = tag.start()
        else:
            if depth == 0:
                kept.append(document[start:tag.end()])
            depth += 1
    kept.append(document[start:])
    return b"".join(kept)


def parse_plist(document: bytes, gpu_rail: GpuRail | None = None) -> dict:
    """One document of `powermetrics -f plist` as a sample with elapsed_ns in it.

    gpu_rail is the same for all documents of a source. Every key but elapsed_ns may be absent.
    Raises ValueError for a damaged document.
    """
    begin = max(document.find(b"<?xml"), 0)  # a NUL stands before every document but the first
    try:
        top = plistlib.loads(without_arrays(document[begin:]), fmt=plistlib.FMT_XML)
    except Exception as error:  # plistlib lets a dozen kinds of exception through
        raise ValueError(f"damaged document: {' '.join(str(error).split())}") from error  # it quotes what it read
    if not isinstance(top, dict) or (number(top.get("elapsed_ns")) or 0) < 1:
        raise ValueError("a document without elapsed_ns")
    sample = plist_energies(top, gpu_rail or GpuRail())
    sample["elapsed_ns"] = int(top["elapsed_ns"])
    thermal = top.get("thermal_pressure")
    sample["thermal"] = thermal if isinstance(thermal, str) else None
    sample["at_unix"] = plist_unix(top.get("timestamp"))
    return sample


class GpuRail:
    """Which of a document's two GPU energies counts: the processor's, or the GPU's own.

    They differ by about 1 %, and the processor's is the one in powermetrics' own total. But one
    may stand still at 0 while the other counts: the first that has moved is taken from then on.
    """

    def __init__(self) -> None:
        self._place: int | None = None  # of the one that has moved, once it is known

    def joules(self, processor_j: float | None, gpu_j: float | None) -> float | None:
        pair = (processor_j, gpu_j)
        if self._place is None:
            self._place = next((place for place, energy_j in enumerate(pair)
                                if (energy_j or 0) > ROUNDING_J), None)
        if self._place is not None and pair[self._place] is not None:
            return pair[self._place]
        return gpu_j if processor_j is None else processor_j or gpu_j or processor_j


def plist_energies(top: dict, gpu_rail: GpuRail) -> dict:
    """Energies, clock and load out of the dictionaries `processor` and `gpu`."""
    processor, gpu = dictionary(top.get("processor")), dictionary(top.get("gpu"))
    elapsed_s = top["elapsed_ns"] / 1e9
    cpu_j, ane_j = joules(processor, "cpu", elapsed_s), joules(processor, "ane", elapsed_s)
    gpu_j = gpu_rail.joules(joules(processor, "gpu", elapsed_s), joules(gpu, "gpu", elapsed_s))
    package_j = number(processor.get("package_joules"))  # Intel Macs
    return {"energy_j": chip_joules(cpu_j, gpu_j, ane_j) if package_j is None else package_j,
            "gpu_energy_j": gpu_j, "cpu_energy_j": cpu_j,
            "gpu_busy_ratio": complement(number(gpu.get("idle_ratio"))),
            "gpu_mhz": number(gpu.get("freq_hz"))}  # the GPU's freq_hz is in MHz, unlike the CPU's


def joules(rails: dict, rail: str, elapsed_s: float) -> float | None:
    energy_mj, power_mw = number(rails.get(rail + "_energy")), number(rails.get(rail + "_power"))
    if energy_mj is not None:
        return energy_mj / 1e3
    return None if power_mw is None else power_mw / 1e3 * elapsed_s


def chip_joules(cpu_j: float | None, gpu_j: float | None, ane_j: float | None) -> float | None:
    """CPU + GPU + ANE; None unless CPU and GPU are known: a part must not pass for the sum."""
    return None if cpu_j is None or gpu_j is None else cpu_j + gpu_j + (ane_j or 0)


def plist_unix(timestamp) -> float | None:
    """Seconds since 1970; the plist's date is UTC but does not say so."""
    return timestamp.replace(tzinfo=timezone.utc).timestamp() if isinstance(timestamp, datetime) else None


TEXT_HEADER = re.compile(
    r"^\*\*\* (Sampled|Summary) system activity \(([^)]*)\) \(([\d.]+)ms elapsed\) \*\*\*", re.M)
TEXT_FIELDS = {  # the first that matches counts; spellings of macOS 11 to 27, then Intel
    "cpu_mw": (r"^CPU Power: ([\d.e+]+) mW", r"^Clusters Total Power: ([\d.e+]+) mW"),
    "gpu_mw": (r"^GPU Power: ([\d.e+]+) mW",),
    "ane_mw": (r"^ANE Power: ([\d.e+]+) mW",),
    "package_w": (r"package power [^:]*: ([\d.]+) ?W",),
    "idle_percent": (r"^GPU idle residency:\s*([\d.]+)%",),
    "busy_percent": (r"^GPU (?:HW )?active residency:\s*([\d.]+)%", r"^GPU 0 GPU Busy\s*:\s*([\d.]+)%"),
    "gpu_mhz": (r"^GPU (?:HW )?active frequency:\s*([\d.]+) ?MHz",
                r"^GPU 0 average active frequency [^:]*:.*\(([\d.]+)Mhz\)"),
}
TEXT_FIELDS = {name: [re.compile(pattern, re.M) for pattern in patterns]
               for name, patterns in TEXT_FIELDS.items()}
TEXT_THERMAL = re.compile(r"^Current pressure level: (\w+)", re.M)


def parse_text(log: str) -> list[dict]:
    """Samples out of a log in powermetrics' text format, oldest first.

    The summary at the end would count all energy twice and is left out. A log without
    any header is one sample whose window, and so whose energy, is not known.
    """
    headers = list(TEXT_HEADER.finditer(log))
    if not headers:
        sample = parse_block(log, None)
        return [sample] if any(value is not None for value in sample.values()) else []
    ends = [header.start() for header in headers[1:]] + [len(log)]
    return [parse_block(log[header.end():end], header)
            for header, end in zip(headers, ends) if header[1] == "Sampled"]


def parse_block(block: str, header: re.Match | None) -> dict:
    field = {name: first_match(patterns, block) for name, patterns in TEXT_FIELDS.items()}
    elapsed_ns = number((decimal(header[3]) or 0) * 1e6) if header else None
    elapsed_s = elapsed_ns / 1e9 if elapsed_ns else None

    def energy(rail: str, scale: float) -> float | None:
        return None if field[rail] is None or elapsed_s is None else field[rail] / scale * elapsed_s

    cpu_j, gpu_j, ane_j = energy("cpu_mw", 1e3), energy("gpu_mw", 1e3), energy("ane_mw", 1e3)
    package_j = energy("package_w", 1)  # Intel Macs
    busy = field["busy_percent"] / 100 if field["busy_percent"] is not None else None
    if field["idle_percent"] is not None:
        busy = complement(field["idle_percent"] / 100)
    thermal = TEXT_THERMAL.search(block)
    return {"energy_j": chip_joules(cpu_j, gpu_j, ane_j) if package_j is None else package_j,
            "gpu_energy_j": gpu_j, "cpu_energy_j": cpu_j, "gpu_busy_ratio": busy,
            "gpu_mhz": field["gpu_mhz"], "thermal": thermal[1] if thermal else None,
            "elapsed_ns": round(elapsed_ns) if elapsed_ns else None,
            "at_unix": text_unix(header[2]) if header else None}


def first_match(patterns: list[re.Pattern], text: str) -> float | None:
    found = next(filter(None, (pattern.search(text) for pattern in patterns)), None)
    return decimal(found[1]) if found else None


def decimal(text: str) -> float | None:
    """The number that a text is; None for one that is damaged, such as 1.2.3."""
    try:
        return number(float(text))
    except ValueError:
        return None


def text_unix(stamp: str) -> float | None:
    try:
        return datetime.strptime(stamp, "%a %b %d %H:%M:%S %Y %z").timestamp()
    except ValueError:
        return None


def parse_macmon(line: bytes) -> dict:
    """One line of `macmon pipe` as a sample of watts; its window is the time since the last one."""
    try:
        top = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"damaged line: {error}") from error
    if not isinstance(top, dict):
        raise ValueError("a line that is no object")
    usage = top.get("gpu_usage")  # up to 0.7: [MHz, ratio]
    usage = usage if isinstance(usage, list) and len(usage) == 2 else [None, None]
    return {"watts": number(top.get("all_power")), "gpu_watts": number(top.get("gpu_power")),
            "cpu_watts": number(top.get("cpu_power")), "system_power_w": number(top.get("sys_power")),
            "gpu_busy_ratio": number(top.get("gpu_active_ratio", usage[1])),
            "gpu_mhz": number(top.get("gpu_freq_mhz", usage[0])),
            "temperature_c": number(dictionary(top.get("temp")).get("gpu_temp_avg"))}


def dictionary(value) -> dict:
    return value if isinstance(value, dict) else {}


def number(value) -> float | None:
    """The value when it is a number of zero or more that no sampler would be ashamed of, else None."""
    real = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if real and 0 <= value < LARGEST else None


def complement(ratio: float | None) -> float | None:
    return None if ratio is None else min(max(1 - ratio, 0.0), 1.0)


# -- samplers: long-running programs whose output is read -------------------------------

class Child:
    """Runs a sampler as the present user. `privilege.Helper` does the same for root."""

    def __init__(self, commands: list[list[str]]) -> None:
        self.commands = commands  # the first, and what to try when it is refused
        self.cpu_s = 0.0  # CPU seconds of all that ran, known after stop()
        self._process = self._errors = None
        self._ending = threading.Lock()  # kill() comes from several threads and counts the CPU time once

    def start(self, step: int = 0):
        """Starts commands[step] and returns its output, a binary file; None when it can't."""
        self.stop()
        if step >= len(self.commands):
            return None
        self._errors = tempfile.TemporaryFile(buffering=0)  # a pipe nobody reads would block it
        try:
            self._process = subprocess.Popen(
                self.commands[step], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=self._errors, start_new_session=os.name == "posix",  # Ctrl-C is ours to handle
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0))  # on Windows
        except OSError as error:
            self._errors.write(str(error).encode())
            return None
        return self._process.stdout

    def kill(self) -> None:
        """Ends the program, within STOP_S; its output then ends too."""
        with self._ending:
            process = self._process
            if process is None or process.poll() is not None:
                return
            try:
                spent = psutil.Process(process.pid).cpu_times()
                self.cpu_s += spent.user + spent.system
            except REFUSALS:
                pass  # it ended by itself just now, or the system does not say
            end_process(process)

    def complaint(self) -> str:
        """What it last said on stderr, one line, and how it ended."""
        if self._process is not None and self._process.poll() is None:
            self.kill()
        code = f" exit code {self._process.returncode}" if self._process else ""
        return ((last_words(self._errors.fileno()) if self._errors else "") + code).strip()

    def stop(self) -> None:
        self.kill()
        self._process = None
        if self._errors:
            self._errors.close()
            self._errors = None


def end_process(process: subprocess.Popen) -> None:
    """Ends a child politely, then not."""
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def last_words(descriptor: int) -> str:
    """The end of a file as one line."""
    begin = max(0, os.fstat(descriptor).st_size - COMPLAINT_BYTES)
    if hasattr(os, "pread"):
        said = os.pread(descriptor, COMPLAINT_BYTES, begin)  # the writer shares the file position
    else:
        os.lseek(descriptor, begin, os.SEEK_SET)
        said = os.read(descriptor, COMPLAINT_BYTES)
    return " ".join(said.decode("utf-8", "replace").split())


class Stream:
    """A source that is the output of a sampler: bytes in, samples with start_ns and end_ns out.

    start() gives the output to read, feed(data, at_ns) the samples in it; elapsed_ns stays in
    them, for a sleep shows in it. complaint() tells why the output ended, refused(complaint)
    whether to start again with a simpler command. kill() ends the sampler and so its output.
    successor() gives the source that is to go on when this one is given up, or None.
    """

    kind, device, scope = "interval", "soc", CHIP_SCOPE
    advice = ""  # what to do where a part's energy stays 0

    def __init__(self, name: str, launcher, parse, end: bytes, interval_s: float) -> None:
        self.name, self.status, self.interval_s = name, "ok", interval_s
        self.launcher = launcher
        self.successor = None
        self.dropped = 0
        self._parse, self._end, self._step = parse, end, 0
        self._buffer, self._last_ns = b"", None

    def start(self):
        self._buffer, self._last_ns = b"", None
        return self.launcher.start(self._step)

    def feed(self, data: bytes, at_ns: int) -> list[dict]:
        """The samples that `data`, which came at `at_ns`, completes."""
        *documents, self._buffer = (self._buffer + data).split(self._end)
        if len(self._buffer) > MAX_DOCUMENT_BYTES:
            self._buffer, self.dropped = b"", self.dropped + 1
        samples = []
        for document in documents:
            try:
                samples.append(self._parse(document + self._end))
            except ValueError:
                self.dropped += 1
        return self._place(samples, at_ns) if samples else []

    def finish(self) -> None:
        """The output has ended: a piece of a document is left when it was cut off."""
        if self._buffer.strip(b"\0 \r\n"):
            self.dropped += 1

    def refused(self, complaint: str) -> bool:
        """True when the sampler did not know an option and a simpler command is left."""
        if not re.search(r"unrecognized sampler|invalid sampler|exit code 64\b", complaint):
            return False
        self._step += 1
        return self._step < len(SAMPLERS)

    def complaint(self) -> str:
        return self.launcher.complaint()

    def kill(self) -> None:
        self.launcher.kill()

    def stop(self) -> None:
        self.launcher.stop()

    def _place(self, samples: list[dict], at_ns: int) -> list[dict]:
        """Gives samples that came together their windows on our clock.

        A document comes after its window, never before; windows follow one another without
        a gap. So the end is the last end plus what elapsed, unless the arrival is earlier,
        or so much later (half an interval) that time was lost between them.
        """
        if "elapsed_ns" not in samples[0]:
            self._set_energies(samples, at_ns)
        elapsed_ns = [sample["elapsed_ns"] for sample in samples]
        end_ns = at_ns
        if self._last_ns is not None:
            expected_ns = self._last_ns + sum(elapsed_ns)
            if at_ns - expected_ns <= elapsed_ns[-1] / 2:
                end_ns = max(min(at_ns, expected_ns), self._last_ns + len(samples))
        for sample, span_ns in reversed(list(zip(samples, elapsed_ns))):
            sample.pop("at_unix", None)
            sample["end_ns"], end_ns = end_ns, end_ns - span_ns
            sample["start_ns"] = end_ns
        return self._without_overlap(samples)

    def _without_overlap(self, samples: list[dict]) -> list[dict]:
        for sample in samples:
            if self._last_ns is not None:
                sample["end_ns"] = max(sample["end_ns"], self._last_ns + 1)
                sample["start_ns"] = max(sample["start_ns"], self._last_ns)
            self._last_ns = sample["end_ns"]
        return samples

    def _set_energies(self, samples: list[dict], at_ns: int) -> None:
        """Turns the watts of a sampler that names no windows into energy since the last sample."""
        last_ns = at_ns - int(self.interval_s * 1e9) if self._last_ns is None else self._last_ns
        span_ns = max((at_ns - last_ns) // len(samples), 1)
        for sample in samples:
            sample["elapsed_ns"] = span_ns
            for rail in ("", "gpu_", "cpu_"):
                watts = sample.pop(rail + "watts")
                sample[rail + "energy_j"] = None if watts is None else watts * span_ns / 1e9


def powermetrics_arguments(step: int = 0) -> list[str]:
    return [POWERMETRICS, "--samplers", SAMPLERS[step], "-f", "plist", "-b", "0",
            "-i", str(POWERMETRICS_INTERVAL_MS)]


def with_samplers(command: list[str]) -> list[list[str]]:
    """The command, and the same with fewer samplers for a powermetrics that refuses some."""
    if "--samplers" not in command:
        return [command] * len(SAMPLERS)
    at = command.index("--samplers") + 1
    return [command] + [command[:at] + [samplers] + command[at + 1:] for samplers in SAMPLERS[1:]]


def interval_of(command: list[str]) -> float:
    """The interval in seconds that a powermetrics command line asks for."""
    return int(command[command.index("-i") + 1]) / 1e3 if "-i" in command else POWERMETRICS_INTERVAL_MS / 1e3


def powermetrics_source(launcher, interval_s: float = POWERMETRICS_INTERVAL_MS / 1e3) -> Stream:
    parse = functools.partial(parse_plist, gpu_rail=GpuRail())
    return Stream("powermetrics", launcher, parse, b"</plist>", interval_s)


class Macmon(Child):
    """macmon, which names its own remedy where it breaks off."""

    def complaint(self) -> str:
        said = super().complaint()
        if not re.search(r"exit code (101|134|-6)$", said):  # how a Rust program ends in a panic
            return said
        return f"it broke off: update it, `brew upgrade macmon`, or start with sudo; it said {said}"


def macmon_source(command: list[str]) -> Stream:
    source = Stream("macmon", Macmon([command]), parse_macmon, b"\n", MACMON_INTERVAL_MS / 1e3)
    source.advice = SUDO_READS_IT
    return source


class Absent:
    """A source that this machine could have but that can't be read; status says why and what helps."""

    def __init__(self, name: str, device: str, kind: str, status: str) -> None:
        self.name, self.device, self.kind, self.status = name, device, kind, status
        self.scope, self.dropped = None, 0

    def stop(self) -> None:
        pass


# -- polled sources: counters and gauges ------------------------------------------------

class Polled:
    """A source that is asked: a running counter of joules, or a gauge of watts.

    look() returns `joules` (since some time), `watts` (now), or both, and any other column of
    power_sample; a key that is absent or None is not known this time. A gauge whose counter
    gives a value is a counter from then on; a counter that has none any more is a gauge.
    """

    def __init__(self, name: str, device: str, kind: str, scope: str, look, *, part: str | None,
                 wrap_j: float | None = None, close=None) -> None:
        self.name, self.device, self.kind, self.scope = name, device, kind, scope
        self.status, self.dropped = "ok", 0
        self._look, self._part, self._wrap_j, self._close = look, part, wrap_j, close
        self._last = None  # instant and values of the last reading
        self._measures = False  # whether that reading had the value of our kind

    def read(self, at_ns: int) -> dict | None:
        """The sample from the last reading to this one; None for the first and for a failed one.

        After a failed reading the next sample covers both stretches: a counter forgets nothing.
        """
        columns, last = self._look(), self._last
        if self.kind == "counter" and "joules" not in columns and columns.get("watts") is not None:
            self.kind = "gauge"
        values = {"counter": columns.pop("joules", None), "gauge": columns.pop("watts", None)}
        value = values[self.kind]
        if value is None and (self._measures or not columns):
            self.dropped += 1
            return None
        if last and at_ns - last[0] < MIN_SPAN_S * 1e9:
            return None
        energy_j = last and self._energy(last[1][self.kind], value, (at_ns - last[0]) / 1e9)
        if values["counter"] is not None:
            self.kind = "counter"
        self._last, self._measures = (at_ns, values), values[self.kind] is not None
        if last is None:
            return None
        rails = ["energy_j"] + ([f"{self._part}_energy_j"] if self._part else [])
        return {"start_ns": last[0], "end_ns": at_ns, **dict.fromkeys(rails, energy_j), **columns}

    def _energy(self, before: float | None, after: float | None, span_s: float) -> float | None:
        if before is None or after is None:
            return None
        if self.kind == "gauge":
            return (before + after) / 2 * span_s
        step_j = after - before
        if step_j < 0 and self._wrap_j:
            step_j += self._wrap_j
        plausible = 0 <= step_j <= MAX_PLAUSIBLE_W * span_s
        return step_j if plausible else None  # the counter was reset

    def stop(self) -> None:
        if self._close:
            self._close()
            self._close = None


THROTTLES = ((0x08, "hardware slowdown"), (0x20, "software thermal"), (0x40, "hardware thermal"),
             (0x80, "power brake"))  # NVML's clock event reasons; its power cap (0x04) is everyday


def load_nvml():
    """NVIDIA's library, started; None without it. Raises its own error when the driver is ill."""
    try:
        import pynvml  # only where it is needed: it looks for a driver
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except (pynvml.NVMLError_LibraryNotFound, pynvml.NVMLError_DriverNotLoaded):
        return None
    return pynvml


def nvidia_sources(nvml) -> list[Polled | Absent]:
    """Each GPU apart: one that has fallen off its bus does not hide the others."""
    found = []
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            found.append(nvidia_source(nvml, index))
        except Exception as error:  # whatever a broken driver raises, it is not our end
            found.append(unread_nvidia(str(error), index))
    return found


def nvidia_source(nvml, index: int) -> Polled:
    """One GPU by its energy counter; by its watts for as long as that has given no value."""
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    calls = nvidia_calls(nvml, handle)
    gauge = {"watts": calls.pop("watts")}

    def look() -> dict:
        seen = probe(nvml, calls)
        return seen if seen.get("joules") is not None and source.kind == "counter" else seen | probe(nvml, gauge)

    kind = "counter" if probe(nvml, calls).get("joules") is not None else "gauge"
    scope = f"board of {nvml_text(nvml.nvmlDeviceGetName(handle))} as its driver measures it"
    source = Polled("nvml", f"gpu{index}", kind, scope, look, part="gpu")
    return source


def unread_nvidia(why: str, index: int = 0) -> Absent:
    return Absent("nvml", f"gpu{index}", "counter", f"not read: {why}; see what `nvidia-smi` says")


def nvidia_calls(nvml, handle) -> dict:
    """Column -> a call that reads it; one that this module lacks is left out."""
    def throttle() -> str:
        try:
            bits = nvml.nvmlDeviceGetCurrentClocksEventReasons(handle)
        except (AttributeError, nvml.NVMLError_FunctionNotFound):  # an older module, an older driver
            bits = nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)
        return ", ".join(word for bit, word in THROTTLES if bits & bit) or "none"

    return {
        "joules": lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3,
        "watts": lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1e3,
        "gpu_busy_ratio": lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100,
        "gpu_mhz": lambda: float(nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)),
        "gpu_memory_bytes": lambda: int(nvml.nvmlDeviceGetMemoryInfo(handle).used),
        "temperature_c": lambda: float(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
        "thermal": throttle,
    }


def probe(nvml, calls: dict) -> dict:
    """Column -> value of every call. One that the GPU or driver does not have is asked no more;
    any other error is None for this time."""
    seen = {}
    for column in list(calls):
        try:
            seen[column] = calls[column]()
        except (nvml.NVMLError_NotSupported, nvml.NVMLError_FunctionNotFound, AttributeError):
            del calls[column]
        except nvml.NVMLError:
            seen[column] = None
    return seen


def nvml_text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def graphics_cards(sysfs: str = "/sys") -> list[tuple[str, str]]:
    """(card folder, PCI vendor) of each graphics card that Linux knows, in order."""
    found = [folder for folder in glob.glob(f"{sysfs}/class/drm/card*")
             if re.fullmatch(r"card\d+", os.path.basename(folder))]  # card0-HDMI-A-1 is a plug
    return [(folder, read_text(f"{folder}/device/vendor") or "")
            for folder in sorted(found, key=lambda folder: int(os.path.basename(folder)[4:]))]


def amd_source(card: str) -> Polled | None:
    """The watts of an AMD GPU; None where the driver shows none."""
    device = f"{card}/device"
    hwmon = hwmon_of(device, "amdgpu")
    power = hwmon and first_file(f"{hwmon}/power1_average", f"{hwmon}/power1_input")
    if not power:
        return None
    apu = is_apu(hwmon)
    memories = [f"{device}/mem_info_vram_used"] + [f"{device}/mem_info_gtt_used"] * apu

    def look() -> dict:
        return {"watts": read_number(power, 1e6),
                "gpu_busy_ratio": read_number(f"{device}/gpu_busy_percent", 100),
                "gpu_mhz": read_number(f"{hwmon}/freq1_input", 1e6),
                "gpu_memory_bytes": read_sum(memories),
                "temperature_c": read_number(f"{hwmon}/temp1_input", 1e3)}

    return Polled("amdgpu", os.path.basename(card), "gauge", APU_SCOPE if apu else DRIVER_SCOPE, look,
                  part=None if apu else "gpu")


def is_apu(hwmon: str) -> bool:
    """Whether the GPU shares its chip with the CPU, whose watts are then in its own.

    Only such chips have the north-bridge voltage (in1), and they have no power cap, but for
    Van Gogh: its limits are two, slow and fast.
    """
    return bool(first_file(f"{hwmon}/in1_input", f"{hwmon}/power2_average")
                or not os.path.exists(f"{hwmon}/power1_cap"))


def intel_source(card: str) -> Polled | None:
    """The energy counter of a discrete Intel GPU; None for others, which RAPL covers."""
    device = f"{card}/device"
    hwmon = hwmon_of(device, "xe") or hwmon_of(device, "i915")
    paths = [f"{hwmon}/energy1_input", f"{hwmon}/energy2_input"]  # the card, its chip
    if not any(read_number(path) for path in paths):
        return None
    counter = FirstThatMoves(paths)

    def look() -> dict:
        return {"joules": counter.joules(),
                "gpu_mhz": first_number(f"{card}/gt_act_freq_mhz", f"{device}/tile0/gt0/freq0/act_freq"),
                "temperature_c": first_number(f"{hwmon}/temp2_input", f"{hwmon}/temp1_input", scale=1e3)}

    return Polled("intel", os.path.basename(card), "counter", DRIVER_SCOPE, look, part="gpu")


class FirstThatMoves:
    """The first of some counters of microjoules that moves: some kernels show one that stands still, at 0 or not."""

    def __init__(self, paths: list[str]) -> None:
        self.paths = paths
        self._begun: dict[str, float] | None = None  # what each said first

    def joules(self) -> float | None:
        """Since the first call; None while none has moved, and when it can't be read."""
        now = {path: value for path in self.paths if (value := read_number(path)) is not None}
        if self._begun is None:
            self._begun = now
            return 0.0
        moved = [path for path in self.paths if path in now and now[path] != self._begun.get(path, now[path])]
        if not moved:
            return None
        self.paths = moved[:1]
        return (now[moved[0]] - self._begun[moved[0]]) / 1e6


def hwmon_of(device: str, name: str) -> str | None:
    return next((folder for folder in sorted(glob.glob(f"{device}/hwmon/hwmon*"))
                 if read_text(f"{folder}/name") == name), None)


def open_rapl(sysfs: str = "/sys") -> list[tuple[str, int, float | None]]:
    """(name, descriptor, range in microjoules) of each CPU package's counter that may be opened.

    A descriptor opened by root stays readable after root is dropped. Packages contain the
    other domains (core, uncore, dram is apart), so they alone are taken; where a package is
    shown twice, the memory-mapped twin is the better one, unless it counts nothing.
    """
    packages = {}
    for zone in sorted(glob.glob(f"{sysfs}/class/powercap/intel-rapl*:*")):  # -rapl-mmio: before -rapl:
        name = read_text(f"{zone}/name") or ""
        if not name.startswith("package-") or name in packages:
            continue
        try:
            descriptor = os.open(f"{zone}/energy_uj", os.O_RDONLY)
        except OSError:
            continue
        if "-mmio" in zone and not read_counter(descriptor):
            os.close(descriptor)
            continue
        packages[name] = (name, descriptor, read_number(f"{zone}/max_energy_range_uj"))
    return list(packages.values())


def read_counter(descriptor: int) -> int | None:
    """A counter that is held open, now; None when it can't be read."""
    try:
        return int(os.pread(descriptor, 32, 0))
    except (OSError, ValueError):
        return None


def rapl_source(name: str, descriptor: int, max_uj: float | None) -> Polled:
    def look() -> dict:
        energy_uj = read_counter(descriptor)
        return {} if energy_uj is None else {"joules": energy_uj / 1e6}

    return Polled("rapl", name, "counter", "CPU package; its DRAM is apart", look, part="cpu",
                  wrap_j=max_uj and max_uj / 1e6, close=lambda: os.close(descriptor))


def read_text(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return None  # drivers answer EBUSY, EIO and the like while a card sleeps


def read_number(path: str, scale: float = 1.0) -> float | None:
    try:
        return float(read_text(path)) / scale
    except (TypeError, ValueError):
        return None


def read_sum(paths: list[str]) -> int | None:
    """The sum of whole numbers; None unless the first is there."""
    values = [read_number(path) for path in paths]
    return None if values[0] is None else int(sum(value or 0 for value in values))


def first_number(*paths: str, scale: float = 1.0) -> float | None:
    return next((value for value in (read_number(path, scale) for path in paths) if value is not None), None)


def first_file(*paths: str) -> str | None:
    return next((path for path in paths if os.path.exists(path)), None)


# -- which sources this machine has -----------------------------------------------------

def sources(helper=None, powermetrics_command: list[str] | None = None, sysfs: str = "/sys") -> list:
    """Every power source of this machine, those that can't be read included, with the reason.

    helper: what privilege.split_off returned. powermetrics_command: run this as the user
    instead of everything else (a simulator).
    """
    if powermetrics_command:
        return [powermetrics_source(Child(with_samplers(list(powermetrics_command))), interval_of(powermetrics_command))]
    if helper and helper.sampler:
        source = powermetrics_source(helper)
        if os.geteuid() != 0:  # nothing out of PATH as root
            source.successor = working_macmon
        return [source]
    if sys.platform == "darwin":
        return [macos_source(helper.failure if helper else None)]
    cards = graphics_cards(sysfs)
    return [*installed_nvidia(cards), *linux_sources(cards, helper, sysfs)]


def macos_source(failure: str | None) -> Stream | Absent:
    """macmon where it is installed. failure: why root's sampler is not there although we began as root."""
    found = None if os.geteuid() == 0 else installed_macmon()  # nothing out of PATH as root
    if found or failure:
        return found or absent_powermetrics(failure)
    instead = "`brew install macmon`"
    if macos_major() >= LESS_WITHOUT_ROOT:
        instead = f"(of the GPU alone) {instead}, 0.8 or newer"
    return absent_powermetrics(f"macOS gives power to root only; start with sudo, or {instead}")


def absent_powermetrics(why: str) -> Absent:
    return Absent("powermetrics", "soc", "interval", f"not read: {why}")


def macos_major() -> int:
    """The first number of macOS' version; 0 when unknown."""
    found = re.match(r"\d+", conditions.macos_version())
    return int(found[0]) if found else 0


def installed_macmon() -> Stream | Absent | None:
    """macmon; Absent where it is too old for this system, None where it is not installed."""
    macmon = shutil.which("macmon")
    if macmon and macos_major() >= LESS_WITHOUT_ROOT:
        version = re.search(r"\b(\d+)\.(\d+)", conditions.output_of(macmon, "--version"))
        if version and (int(version[1]), int(version[2])) < MACMON_OF_27:
            return Absent("macmon", "soc", "interval",
                          f"not read: macmon {version[0]} fails on macOS {LESS_WITHOUT_ROOT}; start"
                          " with sudo, or (of the GPU alone) `brew upgrade macmon` to 0.8 or newer")
    return macmon_source([macmon, "pipe", "-i", str(MACMON_INTERVAL_MS)]) if macmon else None


def working_macmon() -> Stream | None:
    """macmon, to go on for a powermetrics that has failed."""
    found = installed_macmon()
    return found if isinstance(found, Stream) else None


def installed_nvidia(cards: list[tuple[str, str]]) -> list:
    """NVIDIA's GPUs. Where the driver is there and gives none, that is said even without a
    card in sight: containers and WSL show none. Without a driver a card must be in sight."""
    try:
        nvml = load_nvml()
        if nvml:
            return nvidia_sources(nvml) or [unread_nvidia("its driver shows no GPU")]
    except Exception as error:  # whatever a broken driver raises, it is not our end
        return [unread_nvidia(str(error))]
    if any(vendor == "0x10de" for _, vendor in cards):
        return [unread_nvidia("its driver's library was not found")]
    return []


def linux_sources(cards: list[tuple[str, str]], helper, sysfs: str) -> list:
    makers = {"0x1002": amd_source, "0x8086": intel_source}
    found = [source for source in (makers[vendor](card) for card, vendor in cards if vendor in makers) if source]
    packages = helper.rapl if helper else open_rapl(sysfs)
    if any(source.scope == APU_SCOPE for source in found):  # the CPU's energy is in the APU's already
        while packages:
            os.close(packages.pop()[1])
        return found
    if not packages and glob.glob(f"{sysfs}/class/powercap/intel-rapl:*"):
        found.append(Absent("rapl", "package-0", "counter",
                            "not read: Linux gives CPU power to root only; start with sudo"))
    return [*found, *(rapl_source(*package) for package in packages)]
