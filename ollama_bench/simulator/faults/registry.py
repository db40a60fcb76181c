"""All faults by name."""

from __future__ import annotations

from ollama_bench.simulator.faults import (
    connections,
    content,
    contexts,
    endings,
    framings,
    refusals,
)
from ollama_bench.simulator.faults.fault import Action, FaultTable

FAULTS: FaultTable = {
    **refusals.FAULTS,
    **connections.FAULTS,
    **framings.FAULTS,
    **content.FAULTS,
    **contexts.FAULTS,
    **endings.FAULTS,
}


def parse_fault(text: str) -> Action:
    """Turn 'stall:5' into what is done to a reply. Raises ValueError."""
    name, _, argument = text.strip().partition(":")
    fault = FAULTS.get(name)
    if fault is None:
        raise ValueError(
            f"invalid fault {name!r}: expected one of --fault help"
        )
    return fault.bind(argument)


def list_faults() -> str:
    """Return the text of --fault help."""
    return "\n".join(
        f"{name:22} {fault.summary}" for name, fault in FAULTS.items()
    )
