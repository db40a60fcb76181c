"""What a figure of the server's memory has in it."""

from __future__ import annotations

from ollama_bench.analysis.study import Study

MAC_SOURCES = ("powermetrics", "macmon")
GIB = 1 << 30


def name_resident_memory(study: Study) -> str:
    """Return what resident memory is: on a Mac it lacks what the process has on the GPU."""
    if is_of_mac(study):
        return "memory without the GPU's"
    return "resident memory"


def is_of_mac(study: Study) -> bool:
    """Return whether a Mac was measured, by its system or by what read its power."""
    system = str((study.machine or {}).get("os") or "")
    return system.startswith("macOS") or any(
        source["name"] in MAC_SOURCES for source in study.sources
    )


def describe_loaded(study: Study) -> str:
    """Say how large the server itself says that the loaded model is; nothing where it does not."""
    sizes = {
        target["size_bytes"]
        for target in study.targets
        if target["size_bytes"]
    }
    if not sizes:
        return ""
    most = max(sizes) / GIB
    return (
        f"The server itself reports {most:.1f} GiB for the loaded model."
    )
