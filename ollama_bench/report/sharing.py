"""What a study may be shown as elsewhere: a card, and the same as Markdown.

Neither holds a name of a computer or user, a path or a prompt.
"""

from __future__ import annotations

import ntpath
from collections.abc import Mapping, Sequence
from pathlib import Path

from sqlite_utils import Database

from ollama_bench.analysis.capacity import find_search, write_interval
from ollama_bench.analysis.crowd import PEOPLE, name_count, noun
from ollama_bench.analysis.key_figures import (
    Estimate,
    KeyFigures,
    find_key_figures,
    is_open,
)
from ollama_bench.analysis.service import (
    NO_SERVICE,
    Service,
    measure_service,
)
from ollama_bench.analysis.study import Row, Study
from ollama_bench.analysis.verdict import Verdict
from ollama_bench.analysis.wording import (
    describe_objectives,
    digits,
    interval,
    seconds,
)
from ollama_bench.charts.card import WIDTH_PX, Card, CardFigure, draw_card
from ollama_bench.charts.png import make_png
from ollama_bench.charts.rendering import RenderingError
from ollama_bench.report.markdown import escape_markdown
from ollama_bench.report.shared_command import describe_command
from ollama_bench.report.terminal_report import print_wrapped
from ollama_bench.storage import digest, files
from ollama_bench.terminal.figures import name_lengths
from ollama_bench.terminal.masking import find_private_names, mask
from ollama_bench.terminal.output import clean_line

MOST_LETTERS = 400  # of a text; a file may hold a name of a gigabyte
PICTURE, TEXT = "card.png", "card.md"


def share(
    database: Database, verdicts: Sequence[Verdict], out: Path
) -> None:
    """Write the card of each study below out, and say where. Raises OSError."""
    names = find_private_names()
    for verdict in verdicts:
        card = make_card(database, verdict, names)
        folder = out / verdict.study.folder
        files.write(folder / PICTURE, make_picture(card), out)
        text = write_markdown(card, verdict, names)
        files.write(folder / TEXT, text, out)
        print_wrapped(
            f"card to share: {folder / PICTURE}, as text {folder / TEXT}"
        )


def make_picture(card: Card) -> bytes:
    """Return a card as a PNG. Raises RenderingError."""
    try:
        return make_png(draw_card(card), WIDTH_PX)
    except ValueError as error:
        raise RenderingError.from_message(str(error), "the card") from None


def make_card(
    database: Database, verdict: Verdict, names: Mapping[str, str]
) -> Card:
    """Return the card of a study; names: what must not be shown, as in masking.mask."""
    study = verdict.study
    services = measure_service(database, study, verdict.objectives)
    key = find_key_figures(study, verdict.objectives, services)
    run_ids = [run["run_id"] for run in study.runs]
    found = digest.digest_runs(database, run_ids)[: digest.SHOWN_DIGITS]
    newest = study.runs[-1]
    date = newest["started_utc"][:10]
    version = f"ollama-bench {newest['tool_version']}"
    texts = {
        "model": show_model(study, names),
        "build": describe_build(study),
        "machine": name_hardware(study),
        "objectives": f"served: {describe_objectives(verdict.objectives)}",
        "origin": f"{date} · {version} · digest {found}",
    }
    return Card(
        figures=tuple(list_card_figures(study, key)),
        curve=tuple(list_curve_levels(study, services)),
        is_simulated=study.simulated,
        crowd=noun(study.levels),
        **{field: show(text, names) for field, text in texts.items()},
    )


def show(text: str, names: Mapping[str, str]) -> str:
    """Return a text as it may be shown: one line, bounded, without private names."""
    shown = clean_line(mask(text, names))
    return shown[:MOST_LETTERS]


def show_model(study: Study, names: Mapping[str, str]) -> str:
    """Return the model's name; of a path, which llama-server has for a name, only the file."""
    name = study.model
    if name.startswith(("/", "~", "\\")) or ntpath.splitdrive(name)[0]:
        name = ntpath.basename(name)
    return show(name, names)


def describe_build(study: Study) -> str:
    target = study.targets[-1] if study.targets else {}
    server = (target.get("server"), target.get("server_version"))
    parts = [
        target.get("parameter_size"),
        target.get("quantization"),
        " ".join(str(part) for part in server if part),
        name_lengths(study.asked_prompt_tokens, study.prompt_mix),
    ]
    return " · ".join(str(part) for part in parts if part)


def name_hardware(study: Study) -> str:
    """Return processor, graphics, memory and system, as far as known."""
    machine = study.machine or {}
    memory = machine.get("memory_bytes")
    chip, gpu = machine.get("chip"), machine.get("gpu")
    parts = [
        chip,
        gpu if gpu != chip else None,
        f"{memory / 2**30:.0f} GiB" if memory else None,
        machine.get("os"),
        "virtual machine" if machine.get("virtual") else None,
    ]
    return " · ".join(str(part) for part in parts if part)


def list_card_figures(study: Study, key: KeyFigures) -> list[CardFigure]:
    """Return three figures: how many, how fast for each, at what energy, else at what wait."""
    return [
        describe_count(study, key),
        describe_estimate(key.tokens_per_s, "tokens/s each"),
        describe_energy(key)
        or describe_estimate(key.wait_s, "wait for the first token", True),
    ]


def describe_count(study: Study, key: KeyFigures) -> CardFigure:
    crowd = noun(study.levels)
    served = "people served" if crowd == PEOPLE else f"served {crowd}"
    if (search := find_search(study)) and search.capacity.value:
        value = digits(search.capacity.value)
        unit = "requests/s served" if search.is_rate else served
        return CardFigure(value, unit, write_interval(search))
    if key.at_once is None:
        if is_open(study) and key.level and key.level["rate_per_s"]:
            rate = digits(key.level["rate_per_s"])
            return CardFigure(rate, "requests/s offered")
        return CardFigure("?", served, "it cannot be told")
    if not key.at_once:
        fewest = key.level["concurrency"] if key.level else 1
        why = f"not even {name_count(fewest, study.levels)}"
        return CardFigure("0", served, why)
    more = "no more were measured" if key.is_highest else ""
    return CardFigure(str(key.at_once), served, more)


def describe_estimate(
    found: Estimate | None, label: str, is_time: bool = False
) -> CardFigure:
    if found is None:
        return CardFigure("?", label, "not known")
    write = seconds if is_time else digits
    surely = interval(found.low, found.high, write)
    return CardFigure(write(found.value), label, surely)


def describe_energy(key: KeyFigures) -> CardFigure | None:
    if key.joules_per_token is None:
        return None
    part = ", the GPU alone" if key.watts_of == "GPU" else ""
    watts = "" if key.watts is None else f"at {digits(key.watts)} W{part}"
    return CardFigure(digits(key.joules_per_token), "J/token", watts)


def list_curve_levels(
    study: Study, services: Mapping[int, Service]
) -> list[Row]:
    """Return the curve: throughput by level, and whether all its repeats were served."""
    speeds = study.mean("output_tokens_per_s")
    waits = study.mean("ttft_mean_s")
    each = study.mean("tokens_per_s_mean")
    rows = []
    for n, levels in study.by_size().items():
        found = [
            services.get(level["level_id"], NO_SERVICE) for level in levels
        ]
        is_served: bool | None = all(one.is_served for one in found)
        if not is_served and all(
            one.is_served or one.may_be_served for one in found
        ):
            is_served = None
        rows.append(
            {
                "size": n,
                "y": speeds.get(n),
                "each": each.get(n),
                "wait": waits.get(n),
                "is_served": is_served,
            }
        )
    return rows


def write_markdown(
    card: Card, verdict: Verdict, names: Mapping[str, str]
) -> str:
    """Return what the card says, for an issue or a post."""
    first = show(" ".join(verdict.answer.first), names)
    facts = [card.build, card.machine]
    figures = [
        " ".join(filter(None, (figure.value, figure.label)))
        + (f" ({figure.interval})" if figure.interval else "")
        for figure in card.figures
    ]
    run = verdict.study.runs[-1]
    lines = [
        f"### {escape_markdown(card.model)}",
        "",
        *(
            ["**SIMULATED: not a measurement of a real machine**", ""]
            if card.is_simulated
            else []
        ),
        *(f"{escape_markdown(fact)}  " for fact in facts if fact),
        "",
        *([escape_markdown(first), ""] if first else []),
        *(f"- {escape_markdown(figure)}" for figure in figures),
        "",
        f"| {card.crowd} | tokens/s of all | tokens/s each | wait | served |",
        "| ---: | ---: | ---: | ---: | :--- |",
        *(write_row(row) for row in card.curve),
        "",
        f"{escape_markdown(card.objectives)}  ",
        escape_markdown(card.origin),
        "",
        "```",
        write_command(run["command"], card.model),
        "```",
    ]
    return "\n".join(lines) + "\n"


def write_command(command: str | None, model: str) -> str:
    """Return the command of a run; a fence of Markdown ends at three backticks."""
    return describe_command(command, model).replace("`", "'")


def write_row(row: Row) -> str:
    served = {True: "yes", False: "no", None: "cannot be told"}
    cells = [
        f"{row['size']:.12g}",
        digits(row["y"]),
        digits(row["each"]),
        seconds(row["wait"]),
        served[row["is_served"]],
    ]
    return f"| {' | '.join(cells)} |"
