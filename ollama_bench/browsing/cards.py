"""The runs of a results file as cards: model, machine, date, the answer and a small curve."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from sqlite_utils import Database

from ollama_bench.analysis import selection
from ollama_bench.analysis.study import Row, Study
from ollama_bench.analysis.verdict import judge
from ollama_bench.analysis.wording import name_run
from ollama_bench.browsing.links import Links
from ollama_bench.storage.results_file import ResultsError
from ollama_bench.terminal.output import clean

MOST_CARDS = 24  # the newest
RUNS = "SELECT * FROM runs ORDER BY started_utc DESC, run_id DESC LIMIT ?"
COUNT = "SELECT count(*) AS n FROM runs"
WIDTH, HEIGHT, MARGIN = 120, 40, 4  # of a curve, px


def write_cards(database: Database, links: Links) -> str:
    """Return a card for each of the newest runs as HTML; "" without any run."""
    runs = list(database.query(RUNS, [MOST_CARDS]))
    if not runs:
        return ""
    cards = "".join(write_card(database, run, links) for run in runs)
    count = next(database.query(COUNT))["n"]
    more = ""
    if count > len(runs):
        more = f'<p><a href="{escape(links.rows("runs"))}">all {count:,} runs</a></p>'
    return f'<ul class="ob-cards">{cards}</ul>{more}'


def write_card(database: Database, run: Row, links: Links) -> str:
    run_id = run["run_id"]
    facts = [run["models"], run["chip"], f"{run['started_utc']} UTC"]
    if run["status"] != "finished":
        facts.append(run["status"])
    if run["simulated"]:
        facts.append("simulated")
    return (
        f'<li><a href="{escape(links.run(run_id))}">'
        f"Run {escape(clean(name_run(run)))}</a>"
        f"<span>{escape(clean(' · '.join(map(str, filter(None, facts)))))}</span>"
        f'<div data-source="{escape(links.answer(run_id))}"></div></li>'
    )


def write_card_answer(database: Database, run_id: int) -> str:
    """Return the first sentence and the curve of each model of a run, which fill its card."""
    try:
        studies = selection.choose(database, [], [run_id])
    except ResultsError:  # nothing finished in it
        return ""
    return "".join(
        f"<p>{escape(write_sentence(database, study))}</p>{draw_small_curve(study)}"
        for study in studies
    )


def write_sentence(database: Database, study: Study) -> str:
    """Return the answer, after the length of the prompts where there are several."""
    first = " ".join(judge(database, study).answer.first)
    return f"{study.prompts}: {first}" if study.prompts else first


def draw_small_curve(study: Study) -> str:
    """Return throughput over the levels as a small picture; "" for fewer than three of them."""
    points = sorted(study.mean("output_tokens_per_s").items())
    if len(points) < 3:
        return ""
    most = max(value for _, value in points)
    places = spread_evenly(len(points), WIDTH)
    line = " ".join(
        f"{x:.1f},{HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * value / most:.1f}"
        for x, (_, value) in zip(places, points, strict=True)
    )
    (low, _), (high, _) = points[0], points[-1]
    label = f"tokens/s of all from {low} to {high}, at most {most:.0f}"
    return (
        f'<svg width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{label}"><title>{label}</title><polyline points="{line}" fill="none" '
        f'stroke="#2f7ed8" stroke-width="2"/></svg>'
    )


def spread_evenly(count: int, width: int) -> Sequence[float]:
    """Return places side by side, evenly."""
    step = (width - 2 * MARGIN) / (count - 1)
    return [MARGIN + step * place for place in range(count)]
