"""What a server generated for clients that had left, where its counter tells."""

from __future__ import annotations

from ollama_bench.analysis.caveat import Caveat
from ollama_bench.analysis.crowd import name_place
from ollama_bench.analysis.study import Row, Study
from ollama_bench.analysis.wording import count, percent

WASTED_RATIO = 0.05  # of all tokens that were generated
# for each that was not completed: what is on its way when a client leaves
ON_THE_WAY = 10


def describe_wasted(level: Row) -> str:
    """Say how much was generated for nobody; "" where no counter tells."""
    wasted = level["wasted_tokens"]
    if wasted is None:
        return ""
    return f"the server generated {count(wasted, 'token')} for nobody"


def wasted_work(study: Study) -> list[Caveat]:
    """Return the levels in which much was generated for nobody."""
    found = []
    for level in study.levels:
        wasted = level["wasted_tokens"] or 0
        made = wasted + (level["output_tokens"] or 0)
        least = ON_THE_WAY * (level["errors"] or 0)
        if wasted > max(least, WASTED_RATIO * made):
            share = f"{percent(wasted / made)} of all that it generated"
            found.append(
                Caveat(
                    f"{name_place([level])} {describe_wasted(level)}, {share}",
                    "It goes on for clients that have left, or serves others beside these",
                    "Let nobody else use it; "
                    "a lower --tokens bounds what is lost with each who leaves",
                )
            )
    return found
