"""Judge a study: everything that is said of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sqlite_utils import Database

from ollama_bench.analysis.answers import Answer, find_answer
from ollama_bench.analysis.caveat import Caveat
from ollama_bench.analysis.caveats import find_caveats
from ollama_bench.analysis.energy import describe_cost
from ollama_bench.analysis.fleet_energy import describe_machine_energy
from ollama_bench.analysis.host_scaling import (
    HostCount,
    describe_scaling,
    find_scaling,
)
from ollama_bench.analysis.hosts import describe_hosts
from ollama_bench.analysis.interference import (
    Interference,
    describe_interference,
    describe_unknown,
    find_interference,
)
from ollama_bench.analysis.rejudging import rejudge
from ollama_bench.analysis.service import (
    Service,
    default_objectives,
    judged_part,
    measure_service,
    stored_objectives,
)
from ollama_bench.analysis.study import Study
from ollama_bench.inputs.objectives import Objectives


@dataclass(frozen=True)
class EnergyPrice:
    """What a kilowatt hour costs."""

    per_kwh: float
    currency: str


@dataclass(frozen=True)
class Verdict:
    """Everything that is said of a study."""

    study: Study
    objectives: Objectives
    answer: Answer
    caveats: list[Caveat]
    services: Mapping[int, Service]  # by level_id
    # what long prompts do to the others, of a mixture
    interference: list[Interference]
    # the newest run of each number of servers; none without two numbers
    scaling: list[HostCount]


def judge(
    database: Database,
    study: Study,
    objectives: Objectives | None = None,
    price: EnergyPrice | None = None,
) -> Verdict:
    """Judge a study by objectives; without them by those of its newest run, else by the default."""
    own = stored_objectives(study) or default_objectives()
    bounds = objectives or own
    services = measure_service(database, study, bounds)
    if bounds != own:
        study = rejudge(database, study, services)
    answer = find_answer(study, bounds, services)
    harm = find_interference(database, study)
    more = describe_interference(harm) or describe_unknown(database, study)
    scaling = find_scaling(database, study)
    more += [*describe_hosts(study), *describe_scaling(scaling)]
    more += describe_machine_energy(study)
    if price is not None:
        judged = judged_part(study, services)
        more.append(describe_cost(judged, price.per_kwh, price.currency))
    if more:
        rest = answer.find_rest
        answer = replace(answer, find_rest=lambda: [*rest(), *more])
    return Verdict(
        study,
        bounds,
        answer,
        find_caveats(study),
        services,
        harm,
        scaling,
    )
