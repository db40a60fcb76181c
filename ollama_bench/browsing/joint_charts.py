"""Charts of a run that are of no chart's SQL: models and lengths side by side, servers, mixtures.

They are made of what was judged, as for report.html; behind each are the levels that it shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sqlite_utils import Database

from ollama_bench.analysis.prompt_lengths import (
    group_by_model,
    list_lengths,
)
from ollama_bench.analysis.study import Study
from ollama_bench.analysis.verdict import Verdict, judge
from ollama_bench.browsing.links import Links
from ollama_bench.browsing.shell import write_chart
from ollama_bench.charts import (
    host_charts,
    interference_chart,
    length_charts,
    model_charts,
    names,
)
from ollama_bench.charts.chart import Spec
from ollama_bench.report import page

(HOSTS,) = names.OF_HOSTS
INTERFERENCE = "interference"
ACROSS = {
    name: title for name, (_, title, _) in model_charts.COLUMNS.items()
}
NAMES = {*ACROSS, *length_charts.TITLES, INTERFERENCE, HOSTS}
SQL = """
SELECT level.run_id, level.model, asked_prompt_tokens, prompt_mix, hosts,
  level.concurrency, level.repeat, ttft_mean_s, prefill_tokens_per_s,
  tokens_per_s_mean, level.output_tokens_per_s, output_tokens_per_joule
FROM level_summary AS level LEFT JOIN energy_summary USING (level_id)
WHERE level.run_id IN ({runs}) AND NOT (superseded OR is_control)
ORDER BY level.run_id, level_id"""


def write_joint_charts(
    verdicts: Sequence[Verdict], run_id: int, links: Links
) -> str:
    """Return the charts of several studies of a run: its models, its lengths of prompts."""
    parts = [
        page.write_comparison(
            list_lengths(group),
            place_charts(
                length_charts.TITLES, group[0].study, run_id, links
            ),
        )
        for group in group_by_model(verdicts)
    ]
    if len(verdicts) > 1:
        charts = place_charts(ACROSS, verdicts[0].study, run_id, links)
        parts.append(page.write_side_by_side(verdicts, charts))
    return "\n".join(parts)


def write_more_charts(verdict: Verdict, run_id: int, links: Links) -> str:
    """Return the charts of one study that its levels alone do not make; "" without any."""
    found, runs = {}, {run_id}
    if verdict.interference:
        found[INTERFERENCE] = interference_chart.TITLE
    if verdict.scaling:
        found[HOSTS] = host_charts.TITLE
        runs |= {one.run_id for one in verdict.scaling}
    return place_charts(found, verdict.study, run_id, links, runs)


def place_charts(
    titles: Mapping[str, str],
    study: Study,
    run_id: int,
    links: Links,
    runs: Iterable[int] = (),
) -> str:
    """Return the places of charts, by their names. runs: whose levels they show, else run_id's."""
    numbers = ", ".join(map(str, sorted(runs or [run_id])))
    rows = links.query(SQL.format(runs=numbers).strip(), {})
    source = links.run(run_id)
    return "".join(
        write_chart(title, links.chart(source, name, study.folder), rows)
        for name, title in titles.items()
    )


def draw_joint_chart(
    database: Database, studies: Sequence[Study], study: Study, name: str
) -> Spec | None:
    """Return the spec of one of NAMES; None without data for it.

    study: whose it is, one of the studies of its run.
    """
    if name in ACROSS:
        return model_charts.compare_models([*studies]).get(name)
    if name in length_charts.TITLES:
        place = study.model, study.machine_number
        verdicts = [
            judge(database, one)
            for one in studies
            if (one.model, one.machine_number) == place
        ]
        return length_charts.draw_lengths(list_lengths(verdicts)).get(name)
    verdict = judge(database, study)
    if name == HOSTS:
        return host_charts.draw_scaling(study, verdict.scaling)
    return interference_chart.draw_interference(
        study, verdict.interference
    )
