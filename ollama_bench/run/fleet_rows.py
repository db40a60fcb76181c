"""What is stored of the workers of a fleet."""

from __future__ import annotations

from collections.abc import Sequence

from ollama_bench.fleet.fleet import Fleet
from ollama_bench.fleet.level import WorkerReport
from ollama_bench.fleet.member import Member
from ollama_bench.monitor import machine
from ollama_bench.run.places import MachineFacts, read_facts
from ollama_bench.storage.writer import Writer


def remember_machines(
    fleet: Fleet, writer: Writer
) -> dict[Member, MachineFacts]:
    """Store the computer of each worker, and return what it tells of that."""
    facts = fleet.run_everywhere(read_facts)
    for member, told in facts.items():
        member.machine = machine.remember(writer, told.described)
    return facts


def store_workers(
    writer: Writer,
    level_id: int,
    reports: Sequence[WorkerReport],
    skew_s: float | None,
) -> None:
    """Store what each worker did in a level, and what follows of it for the level.

    skew_s: of a burst, between its first and its last request, by clocks that are not quite one.
    """
    for report in reports:
        columns = {
            "level_id": level_id,
            "worker": report.name,
            "machine_id": report.machine,
            "requests": report.requests,
            "cpu_s": report.cpu_s,
            "clock_offset_s": report.clock.offset_s,
            "clock_drift": report.clock.drift,
            "clock_uncertainty_s": report.clock.uncertainty_s,
            "clock_trip_s": report.clock.trip_s,
        }
        writer.add("level_worker", columns)
    cpu_s = [report.cpu_s for report in reports]
    known_s = [value for value in cpu_s if value is not None]
    unsure_s = find_uncertainty(reports)
    if skew_s is not None and unsure_s is not None:
        # the first may be as much earlier as the last is later
        skew_s += 2 * unsure_s
    columns = {
        "clock_uncertainty_s": unsure_s,
        "client_send_skew_s": skew_s,
        "client_cpu_s": sum(known_s)
        if len(known_s) == len(cpu_s)
        else None,
    }
    writer.update("level", level_id, columns)
    writer.flush()


def find_uncertainty(reports: Sequence[WorkerReport]) -> float | None:
    """Return how near all clocks are to one; None where one of them is not known."""
    unsure_s = [report.clock.uncertainty_s for report in reports]
    known_s = [value for value in unsure_s if value is not None]
    return max(known_s) if len(known_s) == len(unsure_s) else None
