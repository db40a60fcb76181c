"""How numbers are written: durations, speeds and figures of narrow columns. "-" is unknown."""

from __future__ import annotations

UNKNOWN = "-"


def format_duration(value: float | None) -> str:
    """Format seconds with three digits at most: 4.2 ms, 12 ms, 3.41 s, from a minute on 12:05."""
    if value is None:
        return UNKNOWN
    if value < 0.0095:
        return f"{value * 1e3:.2g} ms"
    if value < 0.9995:
        return f"{value * 1e3:.0f} ms"
    return f"{value:.3g} s" if value < 59.95 else format_clock(value)


def format_clock(value: float | None) -> str:
    """Format seconds as m:ss, or h:mm:ss from an hour on."""
    if value is None:
        return UNKNOWN
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02}"
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def format_about(seconds: float) -> str:
    """Format an estimate of seconds: 8 s, 45 s, 3 min, 1 h 20 min."""
    if seconds < 10:
        return f"{max(1, round(seconds))} s"
    if seconds < 88:
        return f"{5 * round(seconds / 5)} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(5 * round(minutes / 5), 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def format_speed(value: float | None) -> str:
    """Format tokens per second."""
    return UNKNOWN if value is None else f"{value:.1f}"


def format_rate(value: float | None) -> str:
    """Format events per second for a narrow column: 0.162, 1.62, 16.2, 162."""
    if value is None:
        return UNKNOWN
    places = sum(value < limit for limit in (1, 10, 100))
    return f"{value:.{places}f}"


def format_number(value: float | None, places: int = 1) -> str:
    """Format a number for a narrow column; whole numbers and those from 1000 on without places."""
    if value is None:
        return UNKNOWN
    if isinstance(value, int) or value >= 1000:
        places = 0
    return f"{value:.{places}f}"


def format_pace(tokens: int, first_ns: int, last_ns: int) -> str:
    """Format tokens per second between the first and the last token: 1 / TPOT."""
    if tokens < 2 or last_ns <= first_ns:
        return UNKNOWN
    return f"{(tokens - 1) * 1e9 / (last_ns - first_ns):.1f}"


def name_lengths(tokens: int | None, mix: str | None) -> str:
    """Return what prompts of a length, or of a mixture, are called; "" of others."""
    if mix:
        return f"mix {mix}"
    return f"prompts of {tokens:,} tokens" if tokens else ""


def format_trace(
    name: str, kind: str, rate_per_s: float | None, speed: float
) -> str:
    """Write which requests of another server come: burst.csv (BurstGPT, 12 a minute on average)."""
    parts = [kind]
    if rate_per_s is not None:
        parts.append(f"{format_arrivals(rate_per_s)} on average")
    if speed != 1:
        parts.append(f"at {speed:g} x speed")
    return f"{name} ({', '.join(parts)})"


def format_arrivals(rate_per_s: float) -> str:
    """Write a rate in the unit in which it is at least one."""
    for seconds, unit in ((1, "a second"), (60, "a minute")):
        if rate_per_s * seconds >= 1:
            return f"{rate_per_s * seconds:.3g} {unit}"
    return f"{rate_per_s * 3600:.3g} an hour"
