"""One self-contained page: the verdict, the tables, the charts live, how to repeat it.

    page.write(Path("data/report.html"), verdicts, drawn, across, lengths, library, rows)

The page asks no other host for anything: scripts and data are inside, and its own policy forbids
the rest. Whatever came from a server or a user is escaped.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from html import escape
from itertools import chain, repeat
from pathlib import Path
from typing import Any

from ollama_bench.analysis.answers import Answer
from ollama_bench.analysis.capacity import find_search
from ollama_bench.analysis.caveat import Caveat
from ollama_bench.analysis.crowd import noun
from ollama_bench.analysis.key_figures import (
    find_at_once,
    is_open,
    mean_of,
)
from ollama_bench.analysis.prompt_lengths import LengthFigures
from ollama_bench.analysis.service import judged_part
from ollama_bench.analysis.study import Row, Study
from ollama_bench.analysis.verdict import Verdict
from ollama_bench.analysis.wording import (
    describe_bounds,
    exact_percent,
    join,
    name_run,
    seconds,
)
from ollama_bench.charts import theme
from ollama_bench.charts.chart import Spec
from ollama_bench.inputs.objectives import list_demands
from ollama_bench.report import instants, proof
from ollama_bench.report.host_table import write_hosts
from ollama_bench.report.length_table import write_length_table
from ollama_bench.report.level_table import (
    DEFINITIONS,
    write_intervals,
    write_table,
    write_terms,
)
from ollama_bench.report.option_text import keep_options
from ollama_bench.report.proof_text import describe_carried, write_proof
from ollama_bench.report.recomputed import MOST_SERVED, mark
from ollama_bench.report.turn_table import write_turns
from ollama_bench.storage import files
from ollama_bench.terminal.command_line import name_command

POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; font-src data:"
)
SCRIPTS = ("charts.js", "recompute.js", "proof.js", "page.js")
# term: what is known of it, parts that may be empty
Facts = dict[str, list[Any]]
TITLED = list[tuple[str, Spec]]  # the charts of a model with their titles
# figures that the first two questions are answered with
SAID = (
    ("tokens_per_s_mean", "output_tokens_per_s", "ttft_mean_s"),
    ("requests_per_s",),
)
# the lengths of a model's prompts, and their charts
Lengths = tuple[Sequence[LengthFigures], TITLED]


@functools.cache
def read_asset(name: str) -> str:
    """Return page.html, page.css or one of SCRIPTS."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


class Figures:
    """The charts of a page, in the order of their places."""

    def __init__(self) -> None:
        self.specs: list[Spec] = []

    def place(self, title: str, spec: Spec) -> str:
        """Return a place for a chart with its notes; the page itself sets the title."""
        left_out = ("title", "config", "usermeta")
        self.specs.append(
            {
                key: value
                for key, value in spec.items()
                if key not in left_out
            }
        )
        notes = escape(" ".join(spec["usermeta"]["notes"]))
        hint = f"<p class=hint>{notes}</p>" if notes else ""
        number = len(self.specs) - 1
        chart = f'<div class="chart" data-spec="{number}"></div>'
        return f"<figure><h3>{escape(title)}</h3>{hint}{chart}</figure>"

    def place_all(self, titled: TITLED) -> str:
        """Return the places of several charts."""
        return "".join(self.place(*one) for one in titled)


def write(
    path: Path,
    verdicts: Sequence[Verdict],
    drawn: Mapping[str, TITLED],
    across: Mapping[str, Spec],
    lengths: Sequence[Lengths],
    library: str,
    rows: Row | None,
) -> str:
    """Write the page and return its digest; drawn has each model's charts, across those of all,
    lengths those of models that were asked prompts of several lengths.

    library: the scripts that draw them. rows: what its figures are made of, None: too much.
    """
    figures = Figures()
    is_alone = len(verdicts) == 1
    parts = [
        write_comparison(found, figures.place_all(titled))
        for found, titled in lengths
    ]
    if not is_alone:
        parts += [write_answer(verdict) for verdict in verdicts]
    if across:
        titled = [
            (spec["title"]["text"], spec) for spec in across.values()
        ]
        parts.append(
            write_side_by_side(verdicts, figures.place_all(titled))
        )
    for verdict in verdicts:
        charts = figures.place_all(drawn[verdict.study.folder])
        parts.append(write_chapter(verdict, charts, is_alone))
    text = read_asset("page.html").format(
        policy=escape(POLICY, quote=False),
        style=read_asset("page.css"),
        carried=describe_carried(rows),
        body="".join(parts),
        definitions=write_definitions(verdicts[0]),
        proof=write_proof(rows),
        specs=in_script(figures.specs),
        look=in_script({**theme.config(), "padding": 4}),
        instants=instants.pack(instants.write_instants(rows))
        if rows
        else "",
        library=library,
        script="".join(map(read_asset, SCRIPTS)),
    )
    sealed, digest = proof.seal(text)
    files.write(path, sealed, path.parent)
    return digest


def write_comparison(lengths: Sequence[LengthFigures], charts: str) -> str:
    """Return what longer prompts cost one model. charts: as HTML."""
    name = escape(lengths[0].study.name_on_machine)
    return (
        f"<section><h2>{name} by the length of the prompt</h2>"
        f"{write_length_table(lengths)}{charts}</section>"
    )


def write_side_by_side(verdicts: Sequence[Verdict], charts: str) -> str:
    """Return the charts, as HTML, of several models or lengths."""
    models = {verdict.study.model for verdict in verdicts}
    of_models = (
        "Models side by side" if len(models) > 1 else "Side by side"
    )
    return f"<section><h2>{of_models}</h2>{charts}</section>"


def write_answer(verdict: Verdict) -> str:
    """Return a model's verdict above the chapters of several, with a link to its own."""
    study = verdict.study
    link = f'<a href="#of-{escape(study.folder)}">{escape(study.name)}</a>'
    return f"<section><h2>{link}</h2>{write_verdict(verdict)}</section>"


def write_verdict(verdict: Verdict) -> str:
    simulated = ""
    if verdict.study.simulated:
        text = "Simulated server: not a measurement of a real machine."
        simulated = f'<p class="simulated">{text}</p>'
    return (
        f"{simulated}{write_first(verdict)}"
        f"{write_questions(verdict.answer)}"
    )


def write_first(verdict: Verdict) -> str:
    """Return how many can be served, in large type."""
    marks = mark_most_served(verdict)
    return "".join(
        f'<p class="answer"{marks}>{escape(sentence)}</p>'
        for sentence in verdict.answer.first
    )


def mark_most_served(verdict: Verdict) -> str:
    """Return the attributes of the first sentence, where the levels alone tell how many."""
    study = judged_part(verdict.study, verdict.services)
    if is_open(study) or find_search(study) or not study.levels:
        return ""
    served = find_at_once(study, verdict.services)
    sentence = "".join(verdict.answer.first)
    if not served or not proof.says(sentence, MOST_SERVED, served):
        return ""
    levels = [level["level_id"] for level in study.levels]
    return mark([MOST_SERVED], levels)


def write_questions(answer: Answer) -> str:
    """Return the study's questions, with the figures of the level that the answer names."""
    if not answer.questions:
        return ""
    items = "".join(
        f"<dt>{escape(asked)}</dt>"
        f"<dd{mark_said(answer, said, names)}>{keep_options(said)}"
        f"{f'<code>{keep_options(command)}</code>' if command else ''}</dd>"
        for (asked, said, command), names in zip(
            answer.questions, chain(SAID, repeat(())), strict=False
        )
    )
    of = f'<p class="hint">{escape(answer.of)}</p>' if answer.of else ""
    return f'{of}<dl class="key">{items}</dl>'


def mark_said(answer: Answer, said: str, names: Sequence[str]) -> str:
    """Return the attributes of a sentence that says some figures of the answer's levels."""
    values = {name: mean_of(answer.levels, name) for name in names}
    found = [
        name
        for name, value in values.items()
        if value is not None and proof.says(said, name, value)
    ]
    return mark(found, [level["level_id"] for level in answer.levels])


def write_rest(answer: Answer) -> str:
    """Return what else is said."""
    items = "".join(
        f"<li>{keep_options(sentence)}</li>" for sentence in answer.rest
    )
    return f'<ul class="verdict">{items}</ul>' if items else ""


def write_chapter(
    verdict: Verdict, charts: str, has_verdict: bool = True
) -> str:
    """Return everything about one model. charts: as HTML."""
    study = verdict.study
    name = escape(study.name) + (
        "" if has_verdict else ": tables and charts"
    )
    parts = [
        f'<section class="chapter" id="of-{escape(study.folder)}"><h2>{name}</h2>',
        write_verdict(verdict) if has_verdict else "",
        write_table(add_good(verdict)),
        write_turns(study.turns, noun(study.levels)),
        write_hosts(study),
        write_intervals(study),
        write_rest(verdict.answer),
        write_caveats(verdict.caveats),
        charts,
        f"<h3>What was measured</h3>{write_facts(study)}",
        f"<h3>How to repeat it</h3>{write_commands(study)}</section>",
    ]
    return "\n".join(parts)


def add_good(verdict: Verdict) -> list[Row]:
    """Return the levels with how many of their requests met every objective; None: not known."""
    goods = {
        level_id: f"{service.good} of {service.asked}"
        for level_id, service in verdict.services.items()
        if not service.has_no_rates
    }
    return [
        {**level, "good": goods.get(level["level_id"])}
        for level in verdict.study.levels
    ]


def write_caveats(caveats: Sequence[Caveat]) -> str:
    if not caveats:
        return ""
    items = [
        f"<li><strong>{keep_options(caveat.seen)}.</strong> "
        f"{keep_options(caveat.meaning)}. {keep_options(caveat.remedy)}.</li>"
        for caveat in caveats
    ]
    summary = f"<summary>{len(caveats)} to consider before trusting these figures</summary>"
    return f'<details class="warnings" open>{summary}<ul>{"".join(items)}</ul></details>'


def write_facts(study: Study) -> str:
    """Return machine, server and model as a list of terms, without what is unknown."""
    sources = {level["power_source"] for level in study.levels}
    facts = {
        **list_machine_facts(study.machine or {}),
        **list_target_facts(study.targets[-1] if study.targets else {}),
        **list_hosts_facts(study),
        "power from": sorted(source for source in sources if source),
        **list_run_facts(study.runs),
    }
    return write_terms(
        (term, ", ".join(str(part) for part in parts if part))
        for term, parts in facts.items()
    )


def list_machine_facts(machine: Row) -> Facts:
    return {
        "machine": [
            machine.get("chip"),
            machine.get("model"),
            gib(machine.get("memory_bytes")),
            machine.get("os"),
            "a virtual machine" if machine.get("virtual") else None,
        ],
        "GPU": [
            machine.get("gpu"),
            amount(machine.get("gpu_cores"), "cores"),
            gib(machine.get("gpu_memory_bytes")),
        ],
    }


def list_target_facts(target: Row) -> Facts:
    names = ("family", "parameter_size", "quantization", "digest")
    slots_source = f"by {target.get('slots_source')}"
    return {
        "server": [
            target.get("server"),
            target.get("server_version"),
            target.get("host"),
        ],
        "model": [target.get(name) for name in names],
        "its memory": [
            gib(target.get("size_bytes")),
            amount(gib(target.get("vram_bytes")), "of it on the GPU"),
        ],
        "slots": [amount(target.get("slots"), slots_source)],
    }


def list_hosts_facts(study: Study) -> Facts:
    """Return the servers of the newest run with their slots, where there are several."""
    targets = [
        target
        for target in study.targets
        if target["run_id"] == study.targets[-1]["run_id"]
    ]
    if len(targets) < 2:
        return {}
    hosts = [
        " with ".join(
            filter(
                None,
                [target["host"], amount(target["slots"], "slots")],
            )
        )
        for target in targets
    ]
    balance = {level["balance"] for level in study.levels} - {None}
    return {
        "servers": hosts,
        "balance": sorted(balance),
        "server": [targets[-1]["server"], targets[-1]["server_version"]],
        "slots": [],
    }


def list_run_facts(runs: Sequence[Row]) -> Facts:
    return {
        f"run {name_run(run)}": [
            run["status"],
            f"{run['started_utc']} UTC",
            seconds(run["duration_s"]),
        ]
        for run in runs
    }


def amount(value: object, unit: str) -> str:
    return f"{value} {unit}" if value else ""


def gib(size_bytes: int | None) -> str:
    return f"{size_bytes / 2**30:.1f} GiB" if size_bytes else ""


def write_commands(study: Study) -> str:
    """Return the command of each run; an import has none."""
    commands = [
        run["command"] or f"{name_command('import')} DIR"
        for run in study.runs
    ]
    return "".join(
        f"<pre>{keep_options(command)}</pre>"
        for command in dict.fromkeys(commands)
    )


def write_definitions(verdict: Verdict) -> str:
    objectives = verdict.objectives
    demands = [
        f"{exact_percent(enough)} of the requests of a level got "
        + describe_bounds(names, objectives)
        for names, enough in list_demands(objectives)
    ]
    served = f"{join(demands)}; those that failed did not"
    return write_terms(
        [*DEFINITIONS, (f"{noun(verdict.study.levels)} get", served)]
    )


def in_script(data: object) -> str:
    """Return JSON that cannot end the script element it stands in."""
    text = json.dumps(data, separators=(",", ":"))
    for character in "<\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
