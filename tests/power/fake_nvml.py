"""The module pynvml with two GPUs."""

# ruff: noqa: N801, N802, N818 - the names of NVML's own functions and errors

import types


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
        return self._answer(
            "busy", types.SimpleNamespace(gpu=87, memory=40)
        )

    def nvmlDeviceGetClockInfo(self, handle, clock):
        return self._answer("clock", 2520)

    def nvmlDeviceGetMemoryInfo(self, handle):
        return self._answer(
            "memory", types.SimpleNamespace(used=8 << 30, total=24 << 30)
        )

    def nvmlDeviceGetTemperature(self, handle, sensor):
        return self._answer("temperature", 61)

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle):
        # an older driver has the next one only
        raise FakeNvml.NVMLError_FunctionNotFound

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle):
        return self._answer("throttle", 0x04 | 0x20)
