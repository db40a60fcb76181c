"""Draw charts as PNGs, and write the page."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
)
from sqlite_utils import Database

from ollama_bench.analysis.prompt_lengths import (
    group_by_model,
    list_lengths,
)
from ollama_bench.analysis.verdict import Verdict
from ollama_bench.charts import names
from ollama_bench.charts.rendering import Renderers
from ollama_bench.report import page
from ollama_bench.report.instant_rows import read_instants
from ollama_bench.report.terminal_report import print_wrapped
from ollama_bench.storage import files

Spec = dict[str, Any]
Pictures = list[tuple[str, Future[bytes]]]  # of files


def preload() -> None:
    """Read what draws now: the user may not be allowed to once root is given up."""
    from ollama_bench.charts import (  # noqa: F401
        catalog,
        host_charts,
        interference_chart,
        length_charts,
        model_charts,
    )

    for name in ("page.html", "page.css", *page.SCRIPTS):
        page.read_asset(name)


def draw(
    database: Database,
    verdicts: Sequence[Verdict],
    out: Path,
    chosen: Collection[str] = names.ALL,
) -> None:
    """Draw the chosen charts of each study and across models below out, and the page of all.

    Prints what is not drawn and why. Raises OSError.
    """
    # before anything is drawn in vain
    files.make_folder(out)
    with Renderers() as renderers, make_progress() as progress:
        scripts = renderers.bundle_scripts()
        drawing = Drawing(renderers, progress)
        drawing.make_all(database, verdicts, chosen)
        for file, picture in drawing.wait():
            files.write(out / file, picture, out)
        bundle = scripts.result().decode()
    # only now: what draws has given its memory back
    path = out / "report.html"
    digest = page.write(
        path,
        verdicts,
        drawing.shown,
        drawing.across,
        drawing.lengths,
        bundle,
        read_instants(database, verdicts),
    )
    for needs, absent in drawing.absent.items():
        print_wrapped(
            f"not drawn, no {needs} in this file: {', '.join(absent)}"
        )
    print_wrapped(
        f"{len(drawing.pictures)} charts in {out}/, all on one page: {path}"
    )
    print(f"digest of the page: {digest}")


class Drawing:
    """The charts of a page: their specs, and their pictures while they are drawn."""

    def __init__(self, renderers: Renderers, progress: Progress) -> None:
        self.shown: dict[str, page.TITLED] = {}  # by folder
        self.across: dict[str, Spec] = {}
        # of models with prompts of several lengths
        self.lengths: list[page.Lengths] = []
        # what the file lacks: the pictures that would need it
        self.absent: dict[str, list[str]] = {}
        self.pictures: Pictures = []
        self._renderers = renderers
        self._progress = progress
        self._task = progress.add_task("drawing", total=None)

    def make_all(
        self,
        database: Database,
        verdicts: Sequence[Verdict],
        chosen: Collection[str],
    ) -> None:
        """Make the specs, and have each drawn as soon as it is made."""
        # Altair takes a second to load, while the renderers begin
        from ollama_bench.charts import catalog
        from ollama_bench.charts.host_charts import draw_scaling
        from ollama_bench.charts.interference_chart import (
            draw_interference,
        )
        from ollama_bench.charts.length_charts import draw_lengths
        from ollama_bench.charts.model_charts import compare_models

        charts = [
            chart for chart in catalog.CHARTS if chart.name in chosen
        ]
        total = len(charts) * len(verdicts)
        self._progress.update(self._task, total=total)
        for verdict in verdicts:
            shown = self.shown.setdefault(verdict.study.folder, [])
            for chart in charts:
                file = f"{verdict.study.folder}/{chart.name}.png"
                spec = chart.draw(
                    database, verdict.study, verdict.objectives
                )
                if spec is None:
                    self.absent.setdefault(chart.needs, []).append(file)
                    self._progress.advance(self._task)
                    continue
                self._add(file, spec)
                # not where a sibling shows the same levels
                if chart.says_more(verdict.study):
                    shown.append((spec["title"]["text"], spec))
            harm = draw_interference(verdict.study, verdict.interference)
            if harm is not None and "interference" in chosen:
                self._add(f"{verdict.study.folder}/interference.png", harm)
                shown.append((harm["title"]["text"], harm))
            servers = draw_scaling(verdict.study, verdict.scaling)
            if servers is not None and "host_scaling" in chosen:
                folder = verdict.study.folder
                self._add(f"{folder}/host_scaling.png", servers)
                shown.append((servers["title"]["text"], servers))
        for name, spec in compare_models(
            [verdict.study for verdict in verdicts]
        ).items():
            if name in chosen:
                self.across[name] = spec
                self._add(f"{name}.png", spec)

        for group in group_by_model(verdicts):
            lengths = list_lengths(group)
            titled = []
            for name, spec in draw_lengths(lengths).items():
                if name in chosen:
                    titled.append((spec["title"]["text"], spec))
                    self._add(
                        f"{name_model_folder(group)}/{name}.png", spec
                    )
            self.lengths.append((lengths, titled))

    def _add(self, file: str, spec: Spec) -> None:
        picture = self._renderers.draw_png(spec)
        self.pictures.append((file, picture))

    def wait(self) -> Iterator[tuple[str, bytes]]:
        """Yield each file and its picture, in the order in which they were made."""
        for file, picture in self.pictures:
            yield file, picture.result()
            self._progress.advance(self._task)


def name_model_folder(group: Sequence[Verdict]) -> str:
    """Return the folder of what is of all lengths of a model."""
    return group[0].study.folder.partition("~")[0]


def make_progress() -> Progress:
    """Return a bar that shows how many charts are drawn, on a terminal only."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
