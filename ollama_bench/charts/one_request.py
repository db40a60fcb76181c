"""One request over time: what this client saw, what the server says, and when each token came."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from ollama_bench.analysis.study import Row
from ollama_bench.charts.chart import Spec
from ollama_bench.charts.marks import make_plot, thin
from ollama_bench.charts.theme import BLUE, GREEN, GREY, ORANGE, PURPLE

MOST_MARKS = 3000  # chunks: more are thinner than a pixel
COLOURS = {
    "waiting": GREY,
    "queue": GREY,
    "loading": PURPLE,
    "prefill": GREEN,
    "reasoning": ORANGE,
    "answering": BLUE,
    "decode": BLUE,
}
CLIENT, SERVER, TOKENS = "this client", "the server", "tokens"


def draw_request(request: Row, chunks: Sequence[Row]) -> Spec | None:
    """Return the spec; None if the request was never sent.

    chunks: at_ns and is_reasoning of each. The server's stages have no instant of their own: they
    are drawn from when the request was written on.
    """
    start_ns = request["due_ns"] or request["sent_ns"]
    if request["sent_ns"] is None:
        return None
    stages = list_client_stages(request) + list_server_stages(request)
    bars = [
        {
            "clock": clock,
            "stage": stage,
            "x": (from_ns - start_ns) / 1e9,
            "x2": (to_ns - start_ns) / 1e9,
        }
        for clock, stage, from_ns, to_ns in stages
        if to_ns > from_ns
    ]
    marks = [
        {
            "clock": TOKENS,
            "stage": "reasoning" if chunk["is_reasoning"] else "answering",
            "x": (chunk["at_ns"] - start_ns) / 1e9,
        }
        for chunk in thin(list(chunks), MOST_MARKS)
    ]
    seen = {one["stage"] for one in [*bars, *marks]}
    colours = {
        stage: colour for stage, colour in COLOURS.items() if stage in seen
    }
    rows = [CLIENT, SERVER, TOKENS]
    x = alt.X("x:Q", title="seconds since it was asked")
    y = alt.Y("clock:N", title=None, sort=rows)
    color = alt.Color(
        "stage:N",
        scale=alt.Scale(
            domain=list(colours), range=list(colours.values())
        ),
    )
    seconds_format = ".3f"
    drawn = make_plot(bars).mark_bar(size=26)
    layers: list[alt.Chart] = [
        drawn.encode(
            x=x,
            x2="x2:Q",
            y=y,
            color=color,
            tooltip=[
                *("clock:N", "stage:N"),
                alt.Tooltip("x:Q", title="from s", format=seconds_format),
                alt.Tooltip("x2:Q", title="to s", format=seconds_format),
            ],
        )
    ]
    if marks:
        ticks = make_plot(marks).mark_tick(thickness=1, size=26)
        tooltip = alt.Tooltip("x:Q", title="s", format=seconds_format)
        layers.append(ticks.encode(x=x, y=y, color=color, tooltip=tooltip))
    spec: Spec = (
        alt.layer(*layers).properties(height=150).to_dict(validate=False)
    )
    spec.pop("config", None)
    return spec


def list_client_stages(request: Row) -> list[tuple[str, str, int, int]]:
    """Return the stages by this client's clock, each from one instant to another."""
    start_ns = request["due_ns"] or request["sent_ns"]
    end_ns = request["last_text_ns"] or request["ended_ns"]
    if request["first_text_ns"] is None:
        return [(CLIENT, "waiting", start_ns, end_ns or start_ns)]
    text_ns = request["first_text_ns"]
    answer_ns = request["first_answer_ns"]
    if answer_ns is None:
        answer_ns = end_ns if request["reasoning_chunks"] else text_ns
    return [
        (CLIENT, "waiting", start_ns, text_ns),
        (CLIENT, "reasoning", text_ns, answer_ns),
        (CLIENT, "answering", answer_ns, end_ns),
    ]


def list_server_stages(request: Row) -> list[tuple[str, str, int, int]]:
    """Return the stages by the server's clock, one after the other; none it does not tell."""
    at_ns = request["sent_ns"]
    found = []
    for stage, column in (
        ("queue", "server_queue_ns"),
        ("loading", "server_load_ns"),
        ("prefill", "server_prefill_ns"),
        ("decode", "server_decode_ns"),
    ):
        length_ns = request[column] or 0
        found.append((SERVER, stage, at_ns, at_ns + length_ns))
        at_ns += length_ns
    return found
