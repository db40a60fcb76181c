"""Which machine a run was on: levels of two machines are never figures of one.

A machine is known again by its hardware, since the table has a row for each version of its system.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlite_utils import Database

from ollama_bench.analysis.study import Row

UNKNOWN = 0  # the number of a machine that is not known
HARDWARE = ("chip", "model", "cpu_cores", "gpu", "gpu_cores")
# what a system counts varies a little between its versions
MEMORIES = ("memory_bytes", "gpu_memory_bytes")
MEMORY_TOLERANCE = 0.03
MACHINES = "SELECT * FROM machine ORDER BY id"


def number_machines(database: Database) -> dict[int, int]:
    """Return the number of each row's machine, from 1 in the order of the rows."""
    return {
        row["id"]: number
        for number, rows in enumerate(group_machines(database), 1)
        for row in rows
    }


def name_machines(database: Database) -> dict[int, str]:
    """Return a name for each machine's number: no two have the same."""
    groups = group_machines(database)
    names = {UNKNOWN: "an unknown machine"}
    short = [name_machine(rows[0]) for rows in groups]
    for number, rows in enumerate(groups, 1):
        name = short[number - 1]
        if short.count(name) > 1:
            name = join_parts([name, write_memory(rows[0])])
        if name in names.values():
            name = f"{name} #{number}"
        names[number] = name
    return names


def group_machines(database: Database) -> list[list[Row]]:
    """Return the rows of the table machine, those of one machine together."""
    groups: list[list[Row]] = []
    for row in database.query(MACHINES):
        for group in groups:
            if is_same_machine(group[0], row):
                group.append(row)
                break
        else:
            groups.append([row])
    return groups


def is_same_machine(one: Row, other: Row) -> bool:
    return (
        all(one[name] == other[name] for name in HARDWARE)
        and name_system(one) == name_system(other)
        and all(is_close(one[name], other[name]) for name in MEMORIES)
    )


def name_system(machine: Row) -> str:
    """Return the system without its version."""
    return (machine["os"] or "").partition(" ")[0]


def is_close(one: int | None, other: int | None) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one - other) <= MEMORY_TOLERANCE * max(one, other)


def name_machine(machine: Row) -> str:
    """Return the processor, and the graphics where they are another chip."""
    chip = machine["chip"] or machine["model"] or name_system(machine)
    gpu = machine["gpu"] if machine["gpu"] != chip else None
    return join_parts([chip, gpu]) or "a machine without a name"


def write_memory(machine: Row) -> str:
    memory = machine["memory_bytes"]
    return f"{memory / 2**30:.0f} GiB" if memory else ""


def join_parts(parts: Sequence[str | None]) -> str:
    return ", ".join(part for part in parts if part)
