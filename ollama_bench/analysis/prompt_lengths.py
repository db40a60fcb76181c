"""A model measured with prompts of several lengths: what each length costs, side by side.

for group in group_by_model(verdicts):
    for row in list_lengths(group): row.name, row.at_once, row.levels
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ollama_bench.analysis.capacity import find_search
from ollama_bench.analysis.key_figures import find_at_once
from ollama_bench.analysis.service import judged_part
from ollama_bench.analysis.study import Study
from ollama_bench.analysis.verdict import Verdict

# columns of a level that depend on the length of prompts
FIGURES = (
    "ttft_mean_s",
    "prefill_tokens_per_s",
    "tokens_per_s_mean",
    "output_tokens_per_s",
)
Figures = Mapping[str, float | None]  # column of a level: mean of repeats


@dataclass(frozen=True)
class LengthFigures:
    """What prompts of one length, or of a mixture, cost."""

    study: Study
    # the most served at once; None: cannot be told
    at_once: int | None
    is_highest: bool  # nothing above it was measured
    is_shown: bool  # False: a search saw it and did not come to be sure
    levels: Mapping[int, Figures]  # by concurrency

    @property
    def tokens(self) -> int | None:
        """The length; None of a mixture and of other prompts."""
        return self.study.asked_prompt_tokens

    @property
    def name(self) -> str:
        return self.study.prompts

    @property
    def capacity(self) -> str:
        """How many are served at once, in a word or two."""
        if self.at_once is None:
            return "?"
        if not self.is_shown:
            return f"{self.at_once}, not shown"
        more = " or more" if self.is_highest and self.at_once else ""
        return f"{self.at_once}{more}"


def group_by_model(verdicts: Sequence[Verdict]) -> list[list[Verdict]]:
    """Return the verdicts of each model, on one machine, that was asked several lengths."""
    groups: dict[tuple[str, int], list[Verdict]] = {}
    for verdict in verdicts:
        place = verdict.study.model, verdict.study.machine_number
        groups.setdefault(place, []).append(verdict)
    return [group for group in groups.values() if len(group) > 1]


def list_lengths(group: Sequence[Verdict]) -> list[LengthFigures]:
    """Return the figures of each length of a model, in the order of the verdicts."""
    return [find_figures(verdict) for verdict in group]


def find_figures(verdict: Verdict) -> LengthFigures:
    services = verdict.services
    study = judged_part(verdict.study, services)
    at_once = find_at_once(study, services) if study.levels else None
    search = find_search(study)
    means = {column: study.mean(column) for column in FIGURES}
    return LengthFigures(
        verdict.study,
        at_once,
        bool(study.levels) and at_once == max(study.by_size()),
        search is None or search.is_shown,
        {
            n: {column: means[column].get(n) for column in FIGURES}
            for n in study.by_size()
        },
    )


def find_shared_level(rows: Sequence[LengthFigures]) -> int | None:
    """Return the fewest at once that every length was measured with; None: there is none."""
    shared = set.intersection(*(set(row.levels) for row in rows))
    return min(shared, default=None)
