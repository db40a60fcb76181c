"""report.py - one self-contained page: the verdict, the tables, the charts live, how to repeat it.

    report.write(Path("data/report.html"), verdicts, drawn, across)

The page asks no other host for anything: scripts and data are inside, and its own policy
forbids the rest. Whatever came from a server or a user is escaped.
"""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Callable, Iterable

import vl_convert

from ollama_bench.charts import charts
from ollama_bench.storage import files
from ollama_bench.terminal.console import GPU_COLUMNS, is_gpu_alone
from ollama_bench.analysis.selection import Study
from ollama_bench.analysis.verdict import (
    ENOUGH_RATIO,
    Verdict,
    Warning,
    digits,
    percent,
    seconds,
    wording,
)

POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:"
LEVEL_COLUMNS = [  # heading, column of a level, how it is written
    ("run", "run_id", str),
    ("at once", "concurrency", str),
    ("repeat", "repeat", str),
    ("done", "completed", str),
    ("failed", "errors", str),
    ("wait, mean", "ttft_mean_s", seconds),
    ("p50", "ttft_p50_s", seconds),
    ("p95", "ttft_p95_s", seconds),
    ("p99", "ttft_p99_s", seconds),
    ("tokens/s each", "tokens_per_s_mean", digits),
    ("least", "tokens_per_s_min", digits),
    ("tokens/s all", "output_tokens_per_s", digits),
    ("whole reply", "e2e_mean_s", seconds),
    ("W", "mean_w", digits),
    ("J/token", "joules_per_output_token", digits),
    ("less idle", "net_joules_per_output_token", digits),
    ("GPU alone, W", "gpu_power_w", digits),
    ("GPU alone, J/token", "gpu_joules_per_output_token", digits),
    ("ran at once", "peak_streaming", digits),
    ("took", "duration_s", seconds),
]
DEFINITIONS = [
    ("repeat", "the first, second ... time of a level in its run"),
    (
        "wait (TTFT)",
        "from just before the request is written to the first chunk with text, answer or reasoning",
    ),
    (
        "tokens/s each",
        "(output tokens - 1) / (last - first chunk with text) of a completed request; the mean of them",
    ),
    (
        "tokens/s all",
        "output tokens of the level / its time from the first request to the end of the last stream",
    ),
    ("failed", "every request that did not end completed; it counts in no wait and no speed"),
    ("p95, p99", "nearest rank; blank below 20 and 100 completed requests"),
    (
        "W, J/token",
        "mean watts during the level, and its energy / its output tokens; blank where samples cover less than 95 % of it. "
        "What the watts include is the power source's to say",
    ),
    ("GPU alone", "the same of the GPU by itself: shown where its sum with the CPU is not known"),
    (
        "ran at once",
        "the most requests that streamed at the same time: the server's slots, seen from outside",
    ),
    (
        "gap between chunks (ITL)",
        "between consecutive chunks with text of one stream; a chunk may carry several tokens",
    ),
]


def write(
    path: Path,
    verdicts: list[Verdict],
    drawn: dict[str, list[tuple[str, dict]]],
    across: dict[str, dict],
) -> Path:
    """Write the page and return its path; drawn are each model's charts with their titles, across those of all."""
    figures: list[dict] = []
    body = "".join(map(answer, verdicts)) if len(verdicts) > 1 else ""
    if across:
        side_by_side = "".join(
            figure(spec["title"]["text"], spec, figures) for spec in across.values()
        )
        body += f"<section><h2>Models side by side</h2>{side_by_side}</section>"
    body += "".join(
        chapter(judged, drawn[judged.study.model], figures, len(verdicts) == 1)
        for judged in verdicts
    )
    page = PAGE.format(
        policy=escape(POLICY, quote=False),
        style=STYLE,
        body=body,
        definitions=definitions(verdicts[0].objectives),
        specs=in_script(figures),
        look=in_script({**charts.config(), "padding": 4}),
        library=vl_convert.javascript_bundle(),
        script=SCRIPT,
    )
    files.write(path, page, path.parent)
    return path


def answer(judged: Verdict) -> str:
    """A model's verdict above the chapters of several, with the way to its own."""
    study = judged.study
    return f"""<section><h2><a href="#{escape(study.folder)}">{escape(study.model)}</a></h2>{verdict_of(judged)}</section>"""


def verdict_of(judged: Verdict) -> str:
    simulated = (
        '<p class="simulated">Simulated server: these are no measurements of a real machine.</p>'
        if judged.study.simulated
        else ""
    )
    return f"""{simulated}<ul class="verdict">{"".join(f"<li>{escape(sentence)}</li>" for sentence in judged.sentences)}</ul>"""


def chapter(
    judged: Verdict, drawn: list[tuple[str, dict]], figures: list[dict], with_verdict: bool
) -> str:
    """All about one model."""
    study = judged.study
    name = escape(study.model) if with_verdict else f"{escape(study.model)}: tables and charts"
    return f"""<section class="chapter" id="{escape(study.folder)}"><h2>{name}</h2>{verdict_of(judged) if with_verdict else ""}
{warning_list(judged.warnings)}
{table(study.levels)}
{"".join(figure(title, spec, figures) for title, spec in drawn)}
<h3>What was measured</h3>{facts(study)}
<h3>How to repeat it</h3>{repeat(study)}</section>"""


def warning_list(warnings: list[Warning]) -> str:
    if not warnings:
        return ""
    items = "".join(
        f"<li><strong>{escape(warning.seen)}.</strong> {escape(warning.cause)}. {escape(warning.option)}.</li>"
        for warning in warnings
    )
    summary = f"{len(warnings)} to know before trusting this"
    return f'<details class="warnings" open><summary>{summary}</summary><ul>{items}</ul></details>'


def table(levels: list[dict]) -> str:
    """The levels; columns that nobody measured are left out, and run or repeat where all are the same."""
    is_gpu_shown = any(map(is_gpu_alone, levels))
    columns = [
        column
        for column in LEVEL_COLUMNS
        if any(level[column[1]] is not None for level in levels)
        and (column[1] not in GPU_COLUMNS.values() or is_gpu_shown)
        and (
            column[1] not in ("run_id", "repeat") or len({level[column[1]] for level in levels}) > 1
        )
    ]
    head = "".join(f"<th>{escape(heading)}</th>" for heading, _, _ in columns)
    rows = "".join(
        "<tr>" + "".join(cell(level, name, written) for _, name, written in columns) + "</tr>"
        for level in levels
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def cell(level: dict, name: str, written: Callable) -> str:
    bad = ' class="bad"' if name == "errors" and level[name] else ""
    return f"<td{bad}>{'–' if level[name] is None else escape(written(level[name]))}</td>"


def figure(title: str, spec: dict, figures: list[dict]) -> str:
    """A place for a chart with its notes; its spec goes into figures, without the title that the page itself sets."""
    figures.append(
        {key: value for key, value in spec.items() if key not in ("title", "config", "usermeta")}
    )
    notes = escape(" ".join(spec["usermeta"]["notes"]))
    return (
        f"<figure><h3>{escape(title)}</h3>{f'<p class=hint>{notes}</p>' if notes else ''}"
        f'<div class="chart" data-spec="{len(figures) - 1}"></div></figure>'
    )


def facts(study: Study) -> str:
    """Machine, server and model as a list of terms; what is unknown is left out."""
    machine, target = study.machine or {}, study.targets[-1] if study.targets else {}
    sources = sorted({level["power_source"] for level in study.levels if level["power_source"]})
    pairs = [
        (
            "machine",
            [
                machine.get("chip"),
                machine.get("model"),
                memory(machine.get("memory_bytes")),
                machine.get("os"),
                "a virtual machine" if machine.get("virtual") else None,
            ],
        ),
        (
            "GPU",
            [
                machine.get("gpu"),
                counted(machine.get("gpu_cores"), "cores"),
                memory(machine.get("gpu_memory_bytes")),
            ],
        ),
        ("server", [target.get("server"), target.get("server_version"), target.get("host")]),
        (
            "model",
            [
                target.get("family"),
                target.get("parameter_size"),
                target.get("quantization"),
                target.get("digest"),
            ],
        ),
        (
            "its memory",
            [
                memory(target.get("size_bytes")),
                counted(memory(target.get("vram_bytes")), "of it on the GPU"),
            ],
        ),
        ("slots", [counted(target.get("slots"), f"by {target.get('slots_source')}")]),
        ("power from", sources),
    ]
    pairs += [
        (
            f"run {run['run_id']}",
            [run["label"], run["status"], f"{run['started_utc']} UTC", seconds(run["duration_s"])],
        )
        for run in study.runs
    ]
    return terms((term, ", ".join(str(part) for part in parts if part)) for term, parts in pairs)


def terms(pairs: Iterable[tuple[str, str]]) -> str:
    return (
        "<dl>"
        + "".join(f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>" for term, text in pairs if text)
        + "</dl>"
    )


def counted(amount, what: str) -> str:
    return f"{amount} {what}" if amount else ""


def memory(amount: int | None) -> str:
    return f"{amount / 2**30:.1f} GiB" if amount else ""


def repeat(study: Study) -> str:
    """The command of each run; an import has none."""
    commands = [run["command"] or "python import_csv.py DIR" for run in study.runs]
    return "".join(f"<pre>{escape(command)}</pre>" for command in dict.fromkeys(commands))


def definitions(objectives: dict[str, float]) -> str:
    wishes = " and ".join(wording(name, limit) for name, limit in objectives.items())
    return terms(
        [
            *DEFINITIONS,
            (
                "served",
                f"{wishes}, for {percent(ENOUGH_RATIO)} of the requests; failures never are",
            ),
        ]
    )


def in_script(data) -> str:
    """JSON that cannot end the script element it stands in."""
    return (
        json.dumps(data, separators=(",", ":"))
        .replace("<", "\\u003c")
        .replace("\u2028", "\\u2028")
        .replace("\u2029", "\\u2029")
    )


STYLE = """
:root { color-scheme: light dark; --text: #20262d; --faint: #59636e; --line: #dde1e6; --page: #fff; --box: #f6f8fa;
    --bad: #c62818; --amber: #b45309; }
@media screen and (prefers-color-scheme: dark) {
  :root { --text: #e6e8eb; --faint: #9aa4ae; --line: #3d444d; --page: #14181d; --box: #1d232a; --bad: #ff7b6b; --amber: #f0b040; }
}
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1rem; max-width: 62rem; color: var(--text); background: var(--page);
    font: 16px/1.5 Helvetica, Arial, sans-serif; overflow-wrap: anywhere }
h1 { font-size: 1.6rem; margin: .5rem 0 }
h2 { font-size: 1.35rem; margin: 2rem 0 .5rem; border-bottom: 1px solid var(--line) }
h3 { font-size: 1.05rem; margin: 1.6rem 0 .4rem }
.verdict { font-size: 1.05rem; padding-left: 1.2rem }
.verdict li { margin: .35rem 0 }
.simulated { color: var(--amber); font-weight: bold }
.warnings { background: var(--box); border-left: 4px solid var(--amber); padding: .6rem 1rem; margin: 1rem 0 }
.warnings ul { margin: .5rem 0; padding-left: 1.2rem }
.scroll { overflow-x: auto }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; overflow-wrap: normal }
th, td { text-align: right; padding: .3rem .55rem; border-bottom: 1px solid var(--line); white-space: nowrap }
th { color: var(--faint); font-weight: normal; vertical-align: bottom; white-space: normal }
td.bad { color: var(--bad); font-weight: bold }
figure { margin: 1.5rem 0; break-inside: avoid }
figure h3 { padding-right: 2.4rem }
.chart { width: 100%; min-height: 8rem }
.chart svg.marks { display: block; max-width: 100% }
@media screen and (prefers-color-scheme: dark) {  /* charts are drawn in light colours: here the screen has others, paper never */
  .chart svg [fill="#20262d"] { fill: var(--text) } .chart svg [stroke="#20262d"] { stroke: var(--text) }
  .chart svg [fill="#dde1e6"] { fill: var(--line) } .chart svg [stroke="#dde1e6"] { stroke: var(--line) }
  .chart svg [fill="#ffffff"] { fill: var(--page) } .chart svg [stroke="#ffffff"] { stroke: var(--page) }
  .chart svg text[fill="#d7301f"] { fill: var(--bad) }
  .chart svg.marks { background-color: var(--page) !important }
}
.chart.vega-embed { width: 100%; padding-right: 0 }
.chart.vega-embed summary { top: -2.1rem }
dl { display: grid; grid-template-columns: minmax(7rem, max-content) 1fr; gap: .3rem 1rem; font-size: .92rem }
dt { color: var(--faint) }
dd { margin: 0 }
pre { background: var(--box); padding: .7rem 1rem; overflow-x: auto; white-space: pre-wrap }
a { color: inherit }
.hint { color: var(--faint); font-size: .9rem }
@media print {
  :root { color-scheme: light }
  body { max-width: none; padding: 0 }
  .warnings, pre { background: none; border: 1px solid var(--line) }
  .hint.page, .vega-embed details { display: none }
  .scroll { overflow: visible }
  table { font-size: .62rem }
  table th, table td { padding: .2rem .25rem }
  h2, h3 { break-after: avoid }
  figure { margin: .6rem 0 }
  figure h3 { margin: 0 }
  figure .hint { margin: 0; font-size: .75rem }
  .chart { min-height: 0 }
  .chart svg.marks { height: auto; max-height: 10.9cm; margin: 0 auto }  /* two on a page */
}
"""

# Charts are drawn as wide as the page lets them, anew when that changes; colours are the style's business.
SCRIPT = """
const specs = JSON.parse(document.getElementById('specs').textContent);
const look = JSON.parse(document.getElementById('look').textContent);
const AXIS = 92, NARROW = 620, LETTER = 7.2, RED = '#d7301f';  // room for an axis and its title; below NARROW plots lie below each other; px of a letter
function fit(spec, width) {
  const parts = spec.vconcat || spec.concat;
  if (parts) {
    const columns = spec.concat && width >= NARROW ? spec.columns : 1;
    if (spec.concat) spec.columns = columns;
    parts.forEach(part => fit(part, width / columns));
    return spec;
  }
  spec.width = Math.max(120, width - AXIS);
  wrap(spec, spec.width, spec.height);
  return spec;
}
function wrap(spec, width, height) {  // titles in lines that fit their axis, legends in columns that fit the page
  for (const [channel, length] of [['x', width], ['y', height]]) {
    const axis = spec.encoding && spec.encoding[channel];
    if (axis && typeof axis.title === 'string') axis.title = lines(axis.title, length / LETTER);
  }
  for (const channel of ['color', 'strokeDash']) {
    const coded = spec.encoding && spec.encoding[channel];
    if (coded && coded.field && coded.legend !== null && width < NARROW && coded.type === 'nominal')
      coded.legend = {...coded.legend, columns: 2, labelLimit: width / 2 + 24};
  }
  (spec.layer || []).forEach(part => wrap(part, width, height));
}
function lines(text, most) {
  const found = [''];
  for (const word of text.split(' ')) {
    const last = found[found.length - 1];
    if (last && last.length + word.length + 1 > most) found.push(word);
    else found[found.length - 1] = last ? last + ' ' + word : word;
  }
  return found;
}
function declutter(place) {  // numbers that would lie on another are left out; a text and its halo share their fate
  const taken = [], fates = {}, texts = [...place.querySelectorAll('.mark-text.role-mark text')];
  const failures = texts.filter(text => text.getAttribute('fill') === RED);  // they stay
  for (const text of failures.concat(texts)) {
    const box = text.getBoundingClientRect(), key = [text.textContent, Math.round(box.x), Math.round(box.y)].join();
    if (!(key in fates)) {
      fates[key] = taken.some(other => box.x < other.right + 2 && other.x < box.right + 2 && box.y < other.bottom - 2 && other.y < box.bottom - 2);
      if (!fates[key]) taken.push(box);
    }
    if (fates[key]) text.style.display = 'none';
  }
}
async function draw() {
  for (const place of document.querySelectorAll('.chart')) {
    const spec = fit(structuredClone(specs[place.dataset.spec]), place.clientWidth);
    const actions = {export: true, source: false, compiled: false, editor: false};
    await vegaEmbed(place, spec, {config: look, ast: true, renderer: 'svg', actions});
    declutter(place);
  }
  document.documentElement.dataset.drawn = document.querySelectorAll('.chart svg.marks').length;
}
let waiting, drawing = draw();
function again() { clearTimeout(waiting); waiting = setTimeout(() => { drawing = drawing.then(draw); }, 200); }
let before = innerWidth;
addEventListener('resize', () => { if (innerWidth !== before && !matchMedia('print').matches) { before = innerWidth; again(); } });
"""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>ollama-bench: how many, how fast, for how many joules</title>
<style>{style}</style>
</head>
<body>
<h1>How many can be served at once, how fast, for how many joules</h1>
{body}
<p class="hint page">Charts: the pointer shows figures; where both axes are numbers or times, drag moves and Shift with the wheel
zooms; the button at a chart's corner saves it.</p>
<noscript><p>The charts of this page need JavaScript; the same ones lie beside it as PNG files.</p></noscript>
<section><h2>What the words mean</h2>{definitions}</section>
<script type="application/json" id="specs">{specs}</script>
<script type="application/json" id="look">{look}</script>
<script>{library}</script>
<script>{script}</script>
</body>
</html>
"""
