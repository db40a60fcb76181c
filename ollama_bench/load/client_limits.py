"""Judges whether this client, and not the server, was the limit of a level."""

from __future__ import annotations

from typing import Literal, TypedDict, TypeGuard

LoadKind = Literal["burst", "closed", "open", "people"]

# share of one core: the interpreter runs one thread at a time
MAX_CPU_RATIO = 0.9
MAX_SEND_LAG_S: dict[LoadKind, float] = {
    "burst": 0.05,  # requests that take longer to leave are no burst
    "closed": 0.005,  # from a reply's last byte to the next request
    "open": 0.002,  # from when a request was due
    "people": 0.005,  # from when a person had thought
}
# of a load whose waits count from when a request was due: lateness is a part of them
MAX_SEND_LAG_OF_WAIT = 0.05
# share of a closed loop's workers in flight; below, this client did not keep up
MIN_IN_FLIGHT_RATIO = 0.98
# p99; stamps of our own that are later spoil inter-token latency
MAX_READ_LAG_S = 0.01
MIN_STOP_BESIDE_SLEEP_S = 0.5  # a shorter stop is what waking up takes
# p99 with the kernel's stamps, which stay exact until its buffers fill
MAX_KERNEL_READ_LAG_S = 0.25


class ClientMeasurements(TypedDict):
    """How exact this client was in a level; None is unknown."""

    client_send_skew_s: float | None
    client_send_lag_p50_s: float | None
    client_send_lag_p99_s: float | None
    client_send_lag_max_s: float | None
    client_read_lag_p99_s: float | None
    client_read_lag_source: Literal["kernel", "heartbeat"] | None
    client_stamps: Literal["kernel", "user"]
    client_cpu_s: float
    client_cpu_ratio: float | None
    client_stall_p99_s: float | None
    client_paused_s: float
    slept_s: float | None  # by the machine
    client_held_s: float
    client_digest_lag_max_s: float | None
    in_flight_mean: float | None
    in_flight_peak: int | None


class ClientFigures(ClientMeasurements):
    """The same with the verdict on it."""

    client_limited: int  # 0 or 1
    client_limited_why: str | None


def describe_client_limits(
    measured: ClientMeasurements,
    load: LoadKind,
    workers: int,
    keeps_failing: bool,
    wait_s: float | None = None,
) -> str | None:
    """Return which limits of the client a level exceeded, with the figures; None if none.

    ``wait_s`` is the mean wait for the first token, None where no reply came.
    ``keeps_failing`` says that most requests failed: these are in flight for no time, which is
    not the client's fault.
    """
    found = describe_pauses(
        measured["client_paused_s"], measured["slept_s"]
    )
    if exceeds(cpu_ratio := measured["client_cpu_ratio"], MAX_CPU_RATIO):
        found.append(f"the client used {cpu_ratio:.0%} of a core")
    if exceeds(
        send_lag_s := measured["client_send_lag_p99_s"],
        find_max_send_lag_s(load, wait_s),
    ):
        found.append(
            f"requests were sent up to {to_ms(send_lag_s)} ms late"
        )
    in_flight = measured["in_flight_mean"]
    is_full = (
        load != "closed"
        or in_flight is None
        or in_flight >= MIN_IN_FLIGHT_RATIO * workers
    )
    if not is_full and not keeps_failing:
        found.append(
            f"{in_flight:.1f} of {workers} requests were in flight on average"
        )
    has_kernel_stamps = measured["client_stamps"] == "kernel"
    max_read_lag_s = (
        MAX_KERNEL_READ_LAG_S if has_kernel_stamps else MAX_READ_LAG_S
    )
    if exceeds(
        read_lag_s := measured["client_read_lag_p99_s"], max_read_lag_s
    ):
        found.append(
            f"answers were read up to {to_ms(read_lag_s)} ms late"
        )
    if held_s := measured["client_held_s"]:
        digest_lag_s = measured["client_digest_lag_max_s"] or 0
        found.append(
            f"nothing was sent for {held_s:.1f} s while replies waited to be digested, "
            f"the last for {digest_lag_s:.1f} s"
        )
    return "; ".join(found) or None


def find_max_send_lag_s(load: LoadKind, wait_s: float | None) -> float:
    """Return how late requests may leave; long waits are not spoiled by a few milliseconds."""
    limit_s = MAX_SEND_LAG_S[load]
    if load in ("open", "people") and wait_s is not None:
        return max(limit_s, MAX_SEND_LAG_OF_WAIT * wait_s)
    return limit_s


def describe_pauses(paused_s: float, slept_s: float | None) -> list[str]:
    """Describe how long the machine slept, and how long this client alone was stopped."""
    if slept_s is None:
        reason, stopped_s, min_stop_s = "stopped or asleep", paused_s, 0.0
    else:
        reason, stopped_s = "stopped", paused_s - slept_s
        min_stop_s = MIN_STOP_BESIDE_SLEEP_S if slept_s else 0.0
    found: list[str] = []
    if slept_s:
        found.append(f"the machine slept for {slept_s:.1f} s")
    if stopped_s > min_stop_s:
        found.append(
            f"this client itself stood still for {stopped_s:.1f} s ({reason})"
        )
    return found


def exceeds(value: float | None, limit: float) -> TypeGuard[float]:
    """Tell whether a figure is known and over its limit."""
    return value is not None and value > limit


def to_ms(seconds: float) -> str:
    """Write seconds as whole milliseconds."""
    return f"{seconds * 1e3:.0f}"
