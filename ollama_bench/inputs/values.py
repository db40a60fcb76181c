"""What the texts of a command line or a settings file mean: levels, seconds, counts, options.

Every function raises ValueError with "invalid ...: expected ..." for a text it cannot convert.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from ollama_bench.statistics.think_time import DEFAULT_LAW, LAWS, ThinkTime

# a thread and a descriptor each; beyond that one client is the wrong tool
HIGHEST_LEVEL = 4096
LONGEST_NUMBER = 9  # digits

# coefficient of variation of the times between arrivals
POISSON_CV = 1.0
ARRIVALS = {"poisson": POISSON_CV, "constant": 0.0}
MOST_ARRIVAL_CV = 10.0


def levels(text: str) -> tuple[int, ...]:
    """Return every concurrency that LEVELS names, in its order, repeated ones included.

    1,2,4 or 1-8 (every number) or x2:256 (1, 2, 4 ... 256), also mixed; blanks are allowed.
    """
    if not text.strip():
        raise ValueError("LEVELS is empty: try 1,2,4,8")
    found: list[int] = []
    for part in text.split(","):
        if not part.strip():
            raise ValueError(
                f"invalid LEVELS {text!r}: expected a number between commas, e.g. 1,2,4"
            )
        for one in part.split():
            found += level_range(one)
    return tuple(found)


def level_range(part: str) -> list[int]:
    """Return the numbers that one part of LEVELS stands for."""
    if part.startswith("x2:"):
        highest = level(part[3:])
        return [2**power for power in range(highest.bit_length())]
    if "-" not in part[1:]:
        return [level(part)]
    first, _, last = part.partition("-")
    low, high = level(first), level(last)
    if low > high:
        raise ValueError(
            f"invalid range {part!r}: did you mean {high}-{low}?"
        )
    return list(range(low, high + 1))


def level(text: str) -> int:
    if not is_digits(text) or not 1 <= int(text) <= HIGHEST_LEVEL:
        raise ValueError(
            f"invalid level {text!r}: expected an integer from 1 to {HIGHEST_LEVEL}"
        )
    return int(text)


def is_digits(text: str) -> bool:
    return (
        text.isascii() and text.isdigit() and len(text) <= LONGEST_NUMBER
    )


def prompt_lengths(text: str) -> tuple[int, ...]:
    """One length of prompts in tokens, or several, each once."""
    found = [part.strip() for part in text.split(",")]
    if not all(is_digits(part) and int(part) for part in found):
        raise ValueError(
            "expected integers from 1, e.g. 500 or 500,4000,16000"
        )
    return tuple(dict.fromkeys(map(int, found)))


def integer(least: int) -> Callable[[str], int]:
    """Return a converter to an integer of at least ``least``."""

    def convert(text: str) -> int:
        if not is_digits(text) or int(text) < least:
            raise ValueError(f"expected an integer from {least}")
        return int(text)

    return convert


def seconds(text: str) -> float:
    """A duration of zero or more seconds."""
    value = number(text)
    if value is None:
        raise ValueError("expected seconds")
    return value


def think_time(text: str) -> ThinkTime:
    """A mean of seconds, with the law of think times after a colon where it is named."""
    mean, _, law = text.partition(":")
    found = [known for known in LAWS if known == (law or DEFAULT_LAW)]
    mean_s = number(mean)
    if not found or not mean_s or text.endswith(":"):
        raise ValueError(
            "expected seconds above 0, alone or as "
            f"{', '.join(f'30:{known}' for known in LAWS)}"
        )
    return ThinkTime(mean_s, found[0])


def arrivals(text: str) -> float:
    """A law of arrivals, as the coefficient of variation of the times between them."""
    name, colon, variation = text.partition(":")
    if not colon and name in ARRIVALS:
        return ARRIVALS[name]
    cv = number(variation) if name == "gamma" else None
    if cv is None or cv > MOST_ARRIVAL_CV:
        raise ValueError(
            "expected poisson, constant, or gamma:CV with the coefficient of variation "
            f"from 0 to {MOST_ARRIVAL_CV:g}, as gamma:2"
        )
    return cv


def write_arrivals(cv: float) -> str | None:
    """Return a law of arrivals as it is typed; None for the default, Poisson."""
    if cv == POISSON_CV:
        return None
    return f"gamma:{cv:g}" if cv else "constant"


def positive(text: str) -> float:
    """A number above zero."""
    value = number(text)
    if not value:
        raise ValueError("expected a number above 0")
    return value


def number(text: str) -> float | None:
    """A number from 0 up to a billion; None for anything else."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < 1e9 else None


def model_option(text: str) -> tuple[str, object]:
    """KEY=VALUE, the value as JSON where it is valid JSON, else as text."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ValueError("expected KEY=VALUE, e.g. num_ctx=4096")
    try:
        decoded = json.loads(value)
        # NaN and 1e400 can be read but not sent
        json.dumps(decoded, allow_nan=False)
    except (ValueError, RecursionError):
        decoded = value
    return key.strip(), decoded
