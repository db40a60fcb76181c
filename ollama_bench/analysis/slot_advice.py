"""Whether more slots would help a server whose requests wait, by what its levels showed."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

from ollama_bench.analysis.study import FULL_LOAD, Row, Study
from ollama_bench.analysis.trends import NEAR_BEST_RATIO
from ollama_bench.analysis.wording import percent

# of a Mac's memory the GPU may use, where macOS does not tell
GPU_MEMORY_RATIO = 3 / 4
SMALL_GPU_MEMORY_RATIO = 2 / 3  # the same of a Mac ...
SMALL_MEMORY_BYTES = 36 << 30  # ... with less memory than this
# what sets the slots, by the server's name
SETTINGS = {
    "ollama": "OLLAMA_NUM_PARALLEL",
    "llama.cpp": "--parallel",
    "vllm": "--max-num-seqs",
}
THIS_MACHINE = ("127.0.0.1", "::1", "localhost")


class Memory(NamedTuple):
    """What a slot takes, and what the GPU has left; None is unknown. Bytes."""

    slot: int | None
    room: float | None

    @property
    def slots(self) -> int | None:
        """How many slots more there is room for."""
        if not self.slot or self.room is None:
            return None
        return max(0, int(self.room // self.slot))


def advise_slots(study: Study, seen: int) -> str:
    """Return what to do about slots that are short; seen is how many were answered at a time."""
    target = find_only_target(study)
    if target is None:
        return "Look at each server on its own before setting more slots"
    if target["one_at_a_time"]:
        return f"{target['one_at_a_time']}; no setting changes that"
    if on_gpu := describe_shared_processor(target):
        return on_gpu
    slots: int = target["slots"] or seen
    rates = study.mean(FULL_LOAD)
    measured = sorted(n for n in rates if n <= slots)
    if slots not in measured:
        return f"Measure {slots} at once: more slots help only if throughput still rises there"
    memory = measure_memory(study, target)
    name = str(target["server"] or target["api"]).lower()
    setting = SETTINGS.get(name, "slots")
    if memory.slots == 0:
        return (
            f"The GPU has no memory for another slot: one takes {gigabytes(memory.slot)}, "
            f"{gigabytes(max(memory.room or 0, 0))} are left"
        )
    if slots == 1:
        return (
            f"Start the server with {setting}=2 and measure 1,2: "
            f"one slot does not show what a second gives{describe_cost(memory, 1)}"
        )
    if len(measured) < 2:
        return (
            f"Measure {slots // 2} at once, too: "
            f"more slots help only if throughput rises from there to {slots}"
        )
    before = measured[-2]
    if rates[before] >= NEAR_BEST_RATIO * rates[slots]:
        return (
            f"More slots would share the same speed: throughput hardly rose "
            f"from {before} to {slots} at once"
        )
    more = min(slots, slots if memory.slots is None else memory.slots)
    return (
        f"Throughput still rose from {before} to {slots} at once: "
        f"try {setting}={slots + more}{describe_cost(memory, more)}, and measure again"
    )


def find_only_target(study: Study) -> Row | None:
    """Return the model on its server in the newest run; None if there were several."""
    newest = [
        target
        for target in study.targets
        if target["run_id"] == study.targets[-1]["run_id"]
    ]
    return newest[0] if len(newest) == 1 else None


def is_spilled(target: Row) -> bool:
    """Return whether a part of the model is known to be outside the GPU's memory."""
    size, in_gpu = target["size_bytes"], target["vram_bytes"]
    return bool(size) and in_gpu is not None and in_gpu < size


def describe_shared_processor(target: Row) -> str:
    """Say that slots share the processor, if the model runs there; nothing if it does not."""
    if not is_spilled(target):
        return ""
    in_gpu = target["vram_bytes"]
    where = (
        f"{percent(1 - in_gpu / target['size_bytes'])} of the model"
        if in_gpu
        else "The model"
    )
    return (
        f"{where} runs on the processor, which all slots share: "
        "more of them take memory and little is won"
    )


def measure_memory(study: Study, target: Row) -> Memory:
    room = None
    if is_on_this_machine(target) and study.machine:
        room = find_gpu_bytes(study.machine)
    if room is not None:
        room -= target["vram_bytes"] or target["size_bytes"] or 0
    return Memory(target["slot_bytes"], room)


def is_on_this_machine(target: Row) -> bool:
    return urlsplit(target["host"]).hostname in THIS_MACHINE


def find_gpu_bytes(machine: Row) -> float | None:
    """Return how much memory the GPU may use: its own, or a Mac's share of the computer's."""
    if machine["gpu_memory_bytes"]:
        return float(machine["gpu_memory_bytes"])
    if machine["gpu_working_set_bytes"]:
        return float(machine["gpu_working_set_bytes"])
    memory_bytes = machine["memory_bytes"]
    is_apple = str(machine["chip"]).startswith("Apple")
    if not memory_bytes or not is_apple:
        return None
    is_small = memory_bytes < SMALL_MEMORY_BYTES
    ratio = SMALL_GPU_MEMORY_RATIO if is_small else GPU_MEMORY_RATIO
    return float(memory_bytes * ratio)


def describe_cost(memory: Memory, slots: int) -> str:
    """Say what more slots take of what is left, as far as it is known."""
    if not memory.slot:
        return " (their memory is not known)"
    cost = f" (about {gigabytes(slots * memory.slot)} more"
    if memory.room is None:
        return f"{cost}, if its GPU has them)"
    return f"{cost} of {gigabytes(memory.room)} left)"


def gigabytes(value: float | None) -> str:
    return f"{(value or 0) / 1e9:.1f} GB"
