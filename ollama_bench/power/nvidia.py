"""NVIDIA GPUs by NVML: a running energy counter, or momentary watts on old cards."""

# ruff: noqa: N802 - the names of NVML's own functions
from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast

from ollama_bench.power.polled import Polled
from ollama_bench.power.source import Absent, DeviceReading

# NVML's clock event reasons; its power cap (0x04) is an everyday one
THROTTLES = (
    (0x08, "hardware slowdown"),
    (0x20, "software thermal"),
    (0x40, "hardware thermal"),
    (0x80, "power brake"),
)


class Nvml(Protocol):
    """The part of the module pynvml that is used here. Older modules lack some of it."""

    NVMLError: type[Exception]
    NVMLError_NotSupported: type[Exception]
    NVMLError_FunctionNotFound: type[Exception]
    NVML_CLOCK_SM: int
    NVML_TEMPERATURE_GPU: int

    def nvmlDeviceGetCount(self) -> int: ...
    def nvmlDeviceGetHandleByIndex(self, index: int) -> object: ...
    def nvmlDeviceGetName(self, handle: object) -> str | bytes: ...
    def nvmlDeviceGetTotalEnergyConsumption(
        self, handle: object
    ) -> int: ...
    def nvmlDeviceGetPowerUsage(self, handle: object) -> int: ...
    def nvmlDeviceGetUtilizationRates(self, handle: object) -> Any: ...
    def nvmlDeviceGetClockInfo(
        self, handle: object, clock: int
    ) -> int: ...
    def nvmlDeviceGetMemoryInfo(self, handle: object) -> Any: ...
    def nvmlDeviceGetTemperature(
        self, handle: object, sensor: int
    ) -> int: ...
    def nvmlDeviceGetCurrentClocksEventReasons(
        self, handle: object
    ) -> int: ...
    def nvmlDeviceGetCurrentClocksThrottleReasons(
        self, handle: object
    ) -> int: ...


# key of a DeviceReading -> what reads it
Calls = dict[str, Callable[[], "float | str | None"]]


def load_nvml() -> Nvml | None:
    """Load and start NVIDIA's library; None without it. Raises its error if the driver is ill."""
    try:
        import pynvml  # only where it is needed: it looks for a driver
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except (
        pynvml.NVMLError_LibraryNotFound,
        pynvml.NVMLError_DriverNotLoaded,
    ):
        return None
    return cast(Nvml, pynvml)


def create_nvidia_sources(nvml: Nvml) -> list[Polled | Absent]:
    """Return each GPU separately: one that has fallen off its bus does not hide the others."""
    found: list[Polled | Absent] = []
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            found.append(create_nvidia_source(nvml, index))
        except Exception as error:
            # whatever a broken driver raises must not end the run
            found.append(report_unread_gpu(str(error), index))
    return found


def create_nvidia_source(nvml: Nvml, index: int) -> Polled:
    """Return a GPU read by its energy counter; by its watts until that returns a value."""
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    calls = list_calls(nvml, handle)
    gauge: Calls = {"watts": calls.pop("watts")}

    def look() -> DeviceReading:
        reading = probe(nvml, calls)
        if reading.get("joules") is None or source.kind != "counter":
            reading.update(probe(nvml, gauge))
        return reading

    has_counter = probe(nvml, calls).get("joules") is not None
    source = Polled(
        "nvml",
        f"gpu{index}",
        "counter" if has_counter else "gauge",
        f"board of {decode_name(nvml.nvmlDeviceGetName(handle))} as measured by its driver",
        look,
        part="gpu",
    )
    return source


def report_unread_gpu(why: str, index: int = 0) -> Absent:
    """Return a GPU that cannot be read, with the reason."""
    return Absent(
        "nvml",
        f"gpu{index}",
        "counter",
        f"not read: {why}; check `nvidia-smi`",
    )


def list_calls(nvml: Nvml, handle: object) -> Calls:
    """Return a call for each value; calls that this module or GPU lacks fail in probe()."""

    def describe_throttling() -> str:
        try:
            bits = nvml.nvmlDeviceGetCurrentClocksEventReasons(handle)
        except (AttributeError, nvml.NVMLError_FunctionNotFound):
            # older module or driver
            bits = nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)
        return (
            ", ".join(word for bit, word in THROTTLES if bits & bit)
            or "none"
        )

    return {
        "joules": lambda: (
            nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3
        ),
        "watts": lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1e3,
        "gpu_busy_ratio": lambda: float(
            nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100
        ),
        "gpu_mhz": lambda: float(
            nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)
        ),
        "gpu_memory_bytes": lambda: int(
            nvml.nvmlDeviceGetMemoryInfo(handle).used
        ),
        "temperature_c": lambda: float(
            nvml.nvmlDeviceGetTemperature(
                handle, nvml.NVML_TEMPERATURE_GPU
            )
        ),
        "thermal": describe_throttling,
    }


def probe(nvml: Nvml, calls: Calls) -> DeviceReading:
    """Make every call. One that the GPU or driver does not support is removed from `calls`;
    after any other error the value is None this time."""
    reading: dict[str, float | str | None] = {}
    for key in list(calls):
        try:
            reading[key] = calls[key]()
        except (
            nvml.NVMLError_NotSupported,
            nvml.NVMLError_FunctionNotFound,
            AttributeError,
        ):
            del calls[key]
        except nvml.NVMLError:
            reading[key] = None
    return cast(DeviceReading, reading)


def decode_name(name: str | bytes) -> str:
    """Return a name as text: older modules return bytes."""
    return (
        name.decode("utf-8", "replace")
        if isinstance(name, bytes)
        else str(name)
    )
