"""What each further server gives: throughput over their number, beside the ideal."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from ollama_bench.analysis.host_scaling import HostCount
from ollama_bench.analysis.study import Row, Study
from ollama_bench.charts.axes import aggregate_axis, quantity_axis
from ollama_bench.charts.chart import Spec, finish
from ollama_bench.charts.marks import make_plot, write_number, write_text
from ollama_bench.charts.theme import BLUE, GREY

TITLE = "What each further server gives"
NOTE = (
    "The best level of the newest run of each number of servers. "
    "Dashed: as if all were as good as the fewest."
)


def draw_scaling(
    study: Study, scaling: Sequence[HostCount]
) -> Spec | None:
    """Draw throughput over the number of servers; None where there is only one number."""
    if len(scaling) < 2:
        return None
    rows = list_points(scaling)
    y = quantity_axis("tokens/s of all", rows, "y", "ideal")
    x = alt.X(
        "hosts:Q",
        title="servers",
        scale=alt.Scale(
            domain=[0, max(one.hosts for one in scaling) + 0.5],
            nice=False,
        ),
        axis=alt.Axis(
            values=[one.hosts for one in scaling], format="d", grid=False
        ),
    )
    tooltip = [
        alt.Tooltip("hosts:Q", title="servers"),
        alt.Tooltip("text:N", title="tokens/s of all"),
        alt.Tooltip("ideal_text:N", title="ideal"),
        alt.Tooltip("level:N", title="level"),
        alt.Tooltip("run_id:Q", title="run"),
    ]
    straight = make_plot(rows).mark_line(
        strokeDash=[5, 4], color=GREY, strokeWidth=1.5
    )
    measured = make_plot(rows).mark_line(
        point=alt.OverlayMarkDef(color=BLUE, size=70),
        color=BLUE,
        strokeWidth=2.5,
    )
    numbers = write_text(rows, "label", {"dy": 18}, x=x, y=y)
    painted = alt.layer(
        straight.encode(x=x, y=aggregate_axis(y, "ideal:Q")),
        measured.encode(x=x, y=y, tooltip=tooltip),
        numbers,
    )
    return finish(
        painted,
        TITLE,
        study.name,
        study.simulated,
        notes=[NOTE],
        levels=study.levels,
    )


def list_points(scaling: Sequence[HostCount]) -> list[Row]:
    least = scaling[0]
    each = least.tokens_per_s / least.hosts
    return [
        {
            "hosts": one.hosts,
            "run_id": one.run_id,
            "y": one.tokens_per_s,
            "ideal": each * one.hosts,
            "text": write_number(one.tokens_per_s),
            "label": f"{write_number(one.tokens_per_s)}, {one.level}",
            "ideal_text": write_number(each * one.hosts),
            "level": one.level,
        }
        for one in scaling
    ]
