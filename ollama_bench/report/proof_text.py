"""What a page says of its own proof: what it carries, what that shows, and what it does not."""

from __future__ import annotations

from html import escape

from ollama_bench.analysis.study import Row
from ollama_bench.report.instant_rows import MOST_REQUESTS
from ollama_bench.report.instants import count_instants
from ollama_bench.terminal.command_line import name_command

CARRIES = (
    "This page carries {instants} instants: when each request was due, "
    "was sent, got its first and its last text and ended, and {chunks}."
)
MADE_ANEW = (
    "From them your browser makes anew, and compares, for each level: "
    "requests done, failed and good, waits, tokens/s, requests/s, whole "
    "replies and durations; and the same figures of the answer. Not made "
    "anew are watts and joules, lengths of prompts, intervals, charts and "
    "the other sentences."
)
SEALED = (
    "The digest is of the instants, the data of the charts, the text and "
    "the rest of the file. It shows damage and careless editing. It does "
    "not show a forgery: who changes a page can make its digest anew. So "
    "compare it with the one that was published when the page was made, "
    "or compare the page with the results file that it was made from:"
)


def describe_carried(rows: Row | None) -> str:
    """Say what the page carries, for readers without scripts. rows: None of too many requests."""
    if rows is None:
        return (
            "This page carries no instants: it is of more than "
            f"{MOST_REQUESTS:,} requests."
        )
    return (
        f"This page carries the {count_instants(rows):,} instants that "
        "its figures are made of; a browser with JavaScript makes them "
        "anew."
    )


def write_proof(rows: Row | None) -> str:
    """Return the page's section about its proof as HTML."""
    said = describe_carried(rows)
    if rows is not None:
        carries = CARRIES.format(
            instants=f"{count_instants(rows):,}",
            chunks=describe_chunks(rows["every"]),
        )
        said = f"{carries} {MADE_ANEW}"
    command = f"{name_command('analyze')} --verify report.html"
    return (
        f"<p>{escape(said)}</p>"
        f"<p>{escape(SEALED)} <code>{escape(command)}</code></p>"
    )


def describe_chunks(every: int) -> str:
    if every == 1:
        return "when each chunk came"
    return (
        f"when one chunk in {every:,} came, since all of them would be "
        "too much for a page; the counts and instants of the requests "
        "are whole"
    )
