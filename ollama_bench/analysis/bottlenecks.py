"""What limits the highest level, in sentences: each only if samples show it."""

from __future__ import annotations

from ollama_bench.analysis.crowd import name_count, name_loads
from ollama_bench.analysis.study import Row, Study
from ollama_bench.analysis.trends import comparable_rates, find_knee
from ollama_bench.analysis.wording import percent

CPU_BUSY_RATIO = 0.9  # a processor this busy has nothing left
# of all cores: with less it is not the server that keeps them busy
SERVER_CPU_RATIO = 0.5
GPU_BUSY_RATIO = 0.95  # a GPU this busy has nothing left
# of the time in which requests waited: so much without any prompt under evaluation is for a slot
FOR_SLOT_RATIO = 0.5
THE_SERVER, ALL_SERVERS = "the server", "the servers together"
SWAP_BYTES = 256 << 20  # more swap than this during one level is not noise


def find_bottlenecks(study: Study) -> list[str]:
    """Return what limits the highest level, of whatever load."""
    if not study.levels:
        return []
    top = study.levels[-1]
    found = [
        describe_slots(top),
        describe_busy_processor(study, top),
        describe_swap(top),
        describe_client(top),
    ]
    return [sentence for sentence in found if sentence]


def name_limits(study: Study, alike: Study) -> list[str]:
    """Name in a few words what limits the highest level; alike: the levels that are comparable."""
    if not study.levels:
        return []
    top = study.levels[-1]
    whose = "server's" if name_service(top) == THE_SERVER else "servers'"
    slots = f"the {whose} slots ({top['peak_streaming']} at a time)"
    is_seen = {
        "this client": describe_client(top),
        slots: is_short_of_slots(top),
        "the GPU": top["load"] != "open" and is_gpu_limit(alike),
        "the processor": describe_busy_processor(study, top),
        "memory (swap)": describe_swap(top),
    }
    return [name for name, seen in is_seen.items() if seen]


def describe_slots(level: Row) -> str:
    if not is_short_of_slots(level):
        return ""
    whose, who, report = "server's", "it", "it reports"
    if name_service(level) == ALL_SERVERS:
        whose, who, report = "servers'", "they", "they report"
    why = f"{report} no more slots"
    if not says_its_slots(level):
        why = "the others waited though no prompt was being evaluated"
    return (
        f"The {whose} slots are the limit: of {level['concurrency']} requests at once "
        f"{who} answered {level['peak_streaming']} at a time; {why}."
    )


def name_service(level: Row) -> str:
    """Return what answered the requests of a level."""
    return ALL_SERVERS if (level.get("hosts") or 1) > 1 else THE_SERVER


def is_short_of_slots(level: Row) -> bool:
    """Return whether requests waited for a slot.

    That fewer streamed at a time than there were is not enough: the overlap seen is a lower bound
    of the slots, and a server that evaluates one prompt after another may have more of them free.
    Of several servers one may have had slots free while requests waited at another: that is told
    by what they say of their slots alone.
    """
    were_there = min(level["concurrency"], level["completed"])
    if level["load"] in ("open", "people") or not (
        0 < (level["peak_streaming"] or 0) < were_there
    ):
        return False
    if level["slots"] is not None:
        return says_its_slots(level)
    if name_service(level) == ALL_SERVERS:
        return False
    waiting_s, for_slot_s = level["waiting_s"], level["waiting_for_slot_s"]
    return bool(for_slot_s) and for_slot_s >= FOR_SLOT_RATIO * waiting_s


def says_its_slots(level: Row) -> bool:
    """Return whether the server is set to fewer slots than were asked for, and used all of them."""
    slots = level["slots"]
    return slots is not None and (
        slots <= level["peak_streaming"] < level["concurrency"]
    )


def describe_gpu(study: Study) -> str:
    """Say whether the GPU stops the throughput: it is busy there and was not while that rose."""
    stop, busy = find_stop(study), study.mean("mean_gpu_busy_ratio")
    if stop is None or busy.get(stop, 0) < GPU_BUSY_RATIO:
        return ""
    if is_gpu_limit(study):
        return (
            f"The GPU is the limit: {percent(busy[stop])} busy "
            f"with {name_count(stop, study.levels)}, "
            "where throughput stops rising."
        )
    early = min(n for n in busy if busy[n] >= GPU_BUSY_RATIO)
    return (
        f"That the GPU is the limit is not shown: it was {percent(busy[stop])} busy "
        f"with {name_count(stop, study.levels)}, where throughput stops rising, "
        f"but {percent(busy[early])} busy already with "
        f"{early}, where throughput still rose."
    )


def find_stop(study: Study) -> int | None:
    """Return where throughput stops rising; None if it is not seen to."""
    rates = comparable_rates(study)
    return find_knee(study, rates) if len(rates) > 1 else None


def is_gpu_limit(study: Study) -> bool:
    """Return whether the GPU is busy where throughput stops rising, and was not before."""
    stop, busy = find_stop(study), study.mean("mean_gpu_busy_ratio")
    busy_at = [n for n, ratio in busy.items() if ratio >= GPU_BUSY_RATIO]
    return bool(busy_at) and min(busy_at) == stop


def describe_busy_processor(study: Study, level: Row) -> str:
    share = server_cpu_share(study, level)
    if not is_cpu_busy(level) or share is None or share < SERVER_CPU_RATIO:
        return ""
    return (
        f"The processor is the limit: {percent(level['mean_cpu_ratio'])} busy "
        f"with {name_loads([level])}, {percent(share)} by the server."
    )


def describe_swap(level: Row) -> str:
    swapped = level["swap_change_bytes"] or 0
    if swapped < SWAP_BYTES:
        return ""
    gib = f"{swapped / 2**30:.1f} GiB"
    return f"Memory is the limit: swap changed by {gib} with {name_loads([level])}."


def describe_client(level: Row) -> str:
    if not level["client_limited"] or level["slept_s"]:
        return ""
    return f"This client is the limit: {level['client_limited_why']}."


def is_cpu_busy(level: Row) -> bool:
    return bool((level["mean_cpu_ratio"] or 0) >= CPU_BUSY_RATIO)


def server_cpu_share(study: Study, level: Row) -> float | None:
    """Return the share of all cores that the server's processes kept busy; None if unknown."""
    cores = (study.machine or {}).get("cpu_cores")
    if not cores or level["server_cpu_cores"] is None:
        return None
    share: float = level["server_cpu_cores"] / cores
    return share


def others_cpu_share(study: Study, level: Row) -> float:
    """Return the share of all cores that neither the server nor this client kept busy.

    It is 0 if the server's share is unknown.
    """
    server = server_cpu_share(study, level)
    if server is None or study.machine is None:
        return 0.0
    client = (level["client_cpu_ratio"] or 0) / study.machine["cpu_cores"]
    share: float = level["mean_cpu_ratio"] - server - client
    return share
