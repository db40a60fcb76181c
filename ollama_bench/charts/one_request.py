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
    if request["sent_ns"] is None:
        return None
    start_ns = request["due_ns"] or request["sent_ns"]
    bars = list_bars(request, start_ns)
    marks = list_marks(chunks, start_ns)
    seen = {one["stage"] for one in [*bars, *marks]}
    colours = {
        stage: colour for stage, colour in COLOURS.items() if stage in seen
    }
    scale = alt.Scale(domain=list(colours), range=list(colours.values()))
    encoding = {
        "x": alt.X("x:Q", title="seconds since it was asked"),
        "y": alt.Y("clock:N", title=None, sort=[CLIENT, SERVER, TOKENS]),
        "color": alt.Color("stage:N", scale=scale),
    }
    layers: list[alt.Chart] = [
        make_plot(bars)
        .mark_bar(size=26)
        .encode(
            **encoding,
            x2="x2:Q",
            tooltip=[
                *("clock:N", "stage:N"),
                alt.Tooltip("x:Q", title="from s", format=".3f"),
                alt.Tooltip("x2:Q", title="to s", format=".3f"),
            ],
        )
    ]
    if marks:
        tooltip = alt.Tooltip("x:Q", title="s", format=".3f")
        ticks = make_plot(marks).mark_tick(thickness=1, size=26)
        layers.append(ticks.encode(**encoding, tooltip=tooltip))
    chart = alt.layer(*layers).properties(height=150)
    spec: Spec = chart.to_dict(validate=False)
    spec.pop("config", None)
    return spec


def list_bars(request: Row, start_ns: int) -> list[Row]:
    """Return the stages that took time, in seconds since the request was asked."""
    return [
        {
            "clock": clock,
            "stage": stage,
            "x": (from_ns - start_ns) / 1e9,
            "x2": (to_ns - start_ns) / 1e9,
        }
        for clock, stage, from_ns, to_ns in (
            *list_client_stages(request),
            *list_server_stages(request),
        )
        if to_ns > from_ns
    ]


def list_marks(chunks: Sequence[Row], start_ns: int) -> list[Row]:
    """Return when each chunk came, in seconds since the request was asked."""
    return [
        {
            "clock": TOKENS,
            "stage": "reasoning" if chunk["is_reasoning"] else "answering",
            "x": (chunk["at_ns"] - start_ns) / 1e9,
        }
        for chunk in thin(list(chunks), MOST_MARKS)
    ]


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
