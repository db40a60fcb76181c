"""The page of a run that runs: what live.js fills twice a second, and the levels so far."""

from __future__ import annotations

from html import escape

from sqlite_utils import Database

from ollama_bench.analysis import selection
from ollama_bench.analysis.study import Row, Study
from ollama_bench.analysis.wording import name_run
from ollama_bench.browsing.cards import draw_small_curve, write_sentence
from ollama_bench.browsing.links import Links
from ollama_bench.browsing.shell import write_page
from ollama_bench.report.level_table import write_table
from ollama_bench.storage.results_file import ResultsError


def is_live(run: Row) -> bool:
    """Whether a run of the view runs is a measurement that goes on."""
    return (run["source"], run["status"]) == ("bench", "running")


def write_live_page(run: Row, facts: str, links: Links) -> str:
    """Return the page as HTML. facts: what the run is."""
    run_id = run["run_id"]
    body = f"""{facts}
<noscript><p class="warnings">Without scripts this page stays as it is: reload it.</p></noscript>
<section id="live" data-state="{escape(links.live(run_id))}"
 data-levels="{escape(links.so_far(run_id))}">
<h2>Now</h2>
<p class="answer" id="doing">…</p>
<p class="spoken" role="status" id="said"></p>
<p class="warnings" id="trouble" role="alert" hidden></p>
<progress id="progress" max="1" aria-label="how far the level is" hidden></progress>
<p id="counts"></p>
<dl class="figures" id="figures"></dl>
<figure><h3 id="level">Requests over time</h3>
<canvas id="timeline" role="img" aria-labelledby="level counts"></canvas>
<figcaption class="hint"><span class="mark waiting"></span> waits
<span class="mark streaming"></span> is answered <span class="mark failed"></span> failed
<span id="shown"></span></figcaption></figure>
<p><button type="button" id="pause" aria-pressed="false">Pause</button>
<span class="hint">The answer and the charts come when the run has ended.</span></p>
</section>
<section><h2>Levels so far</h2>
<div id="levels-so-far"><p class="hint">None yet.</p></div></section>"""
    title = f"Run {name_run(run)}"
    return write_page(title, [], body, links, of="live")


def write_levels_so_far(database: Database, run_id: int) -> str:
    """Return sentence, curve and table of each model's finished levels; "" without any."""
    try:
        studies = selection.choose(database, [], [run_id])
    except ResultsError:  # nothing finished in it
        return ""
    return "".join(write_study_so_far(database, one) for one in studies)


def write_study_so_far(database: Database, study: Study) -> str:
    levels = [one for one in study.levels if one["status"] == "finished"]
    if not levels:
        return ""
    return (
        f"<p>{escape(write_sentence(database, study))}</p>"
        f"{draw_small_curve(study)}{write_table(levels)}"
    )
