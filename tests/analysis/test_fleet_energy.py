"""What is said of the energy of servers on several machines."""

from ollama_bench.analysis.energy_caveats import ENERGY_CHECKS
from ollama_bench.analysis.fleet_energy import (
    describe_machine_energy,
    unread_machines,
)
from ollama_bench.analysis.study import Study


def make_study(*machines):
    """A study of two levels, the same machines in both."""
    levels = [
        {
            "level_id": number,
            "concurrency": 4 * number,
            "output_tokens_per_joule": number / 10,
        }
        for number in (1, 2)
    ]
    found = [
        {"level_id": level["level_id"], **machine}
        for level in levels
        for machine in machines
    ]
    return Study(
        "m",
        [],
        levels,
        [],
        None,
        [],
        [],
        [],
        {},
        machine_energy=found,
    )


def make_machine(hosts, each_j, coverage=1.0, source="rapl package-0"):
    return {
        "hosts": hosts,
        "joules_per_output_token": each_j,
        "mean_w": 40.0,
        "coverage_ratio": coverage,
        "source": source,
    }


A = make_machine("http://a:1,http://a:2", 2.5)
B = make_machine("http://b:1", 0.5, 0.97)
UNREAD = make_machine("http://c:1", None, 0, None)


def test_each_machine_has_a_line_of_the_best_level():
    assert describe_machine_energy(make_study(A, B)) == [
        "With 8 at once the machine of a:1 and a:2 took 2.5 J per token "
        "at 40 W, measured for 100 % of the time.",
        "With 8 at once the machine of b:1 took 0.5 J per token "
        "at 40 W, measured for 97 % of the time.",
    ]


def test_one_machine_is_the_whole_and_nothing_more_is_said():
    assert describe_machine_energy(make_study(A)) == []
    assert describe_machine_energy(make_study(UNREAD, UNREAD)) == []
    assert unread_machines(make_study(A)) == []


def test_a_machine_that_is_the_whole_and_was_not_watched_is_named():
    (caveat,) = unread_machines(make_study(UNREAD))
    assert caveat.seen == (
        "no power was read on the machine of c:1 at 4 and 8 at once"
    )


def test_a_machine_without_power_is_named():
    study = make_study(A, UNREAD)
    assert describe_machine_energy(study)[1] == (
        "With 8 at once what a token takes on the machine of c:1 is not known."
    )
    (caveat,) = unread_machines(study)
    assert unread_machines in ENERGY_CHECKS
    assert caveat.seen == (
        "no power was read on the machine of c:1 at 4 and 8 at once"
    )
