"""One model on several machines: never pooled, each named."""

import contextlib
import json

import pytest

import analyze
from ollama_bench.analysis import run_lookup, selection
from ollama_bench.analysis.machines import name_machines, number_machines
from ollama_bench.charts.model_charts import compare_models
from ollama_bench.storage.connection import connect
from ollama_bench.storage.results_file import ResultsError
from tests.support import made_up_results
from tests.support.selections import chosen
from tests.support.studies import change

SERVER = "UPDATE machine SET chip = 'EPYC', gpu = 'H100' WHERE id = {}"
NAMES = ["tiny:7b on Apple M9 <Pro>, Apple M9", "tiny:7b on EPYC, H100"]


@pytest.fixture
def results(tmp_path):
    """Runs 1 and 2 of one model: 40 tokens/s on a Mac, 80 on a server."""
    path = tmp_path / "results.db"
    for label, rate in (("mac", 40.0), ("server", 80.0)):
        made_up_results.write(
            path, label=label, rate=rate, levels=(1, 2, 4), tokens=30
        )
    change(path, SERVER.format(2))
    return path


@pytest.mark.parametrize("run_ids", [(), (1, 2), (2, 1)])
def test_a_study_has_levels_of_one_machine(results, run_ids):
    studies = chosen(results, [], run_ids)
    assert [study.name for study in studies] == NAMES
    assert [study.folder for study in studies] == [
        "tiny-7b-Apple-M9-Pro-Apple-M9",
        "tiny-7b-EPYC-H100",
    ]
    for run_id, study in enumerate(studies, 1):
        assert [run["run_id"] for run in study.runs] == [run_id]
        assert {level["run_id"] for level in study.levels} == {run_id}
        assert len(study.levels) == 3
        assert study.targets[0]["run_id"] == run_id
    assert [study.machine["chip"] for study in studies] == [
        "Apple M9 <Pro>",
        "EPYC",
    ]


def test_repeats_on_each_machine_stay_with_it(results):
    made_up_results.write(
        results, label="again", rate=80.0, levels=(1, 2, 4), tokens=30
    )
    change(results, SERVER.format(3))
    mac, server = chosen(results, [], [1, 2, 3])
    assert [len(study.levels) for study in (mac, server)] == [3, 6]
    assert mac.mean("tokens_per_s_mean")[1] < 45
    assert server.mean("tokens_per_s_mean")[1] > 70


def test_a_new_version_of_the_system_is_the_same_machine(results):
    change(
        results,
        "UPDATE machine SET chip = 'EPYC', gpu = NULL, os = 'Linux 6.' || id, "
        "memory_bytes = memory_bytes + id * 1000000",
    )
    (study,) = chosen(results, [], [1, 2])
    assert study.name == study.model and study.folder == "tiny-7b"
    assert len(study.levels) == 6


@pytest.mark.parametrize(
    "change_",
    [
        "os = 'Windows 11'",
        "memory_bytes = memory_bytes * 2",
        "cpu_cores = 4",
        "gpu_memory_bytes = 1",
    ],
)
def test_other_hardware_is_another_machine(results, change_):
    change(
        results,
        "UPDATE machine SET chip = 'same', gpu = 'same'",
        f"UPDATE machine SET {change_} WHERE id = 2",
    )
    assert len(chosen(results, [], [1, 2])) == 2
    with contextlib.closing(connect(results, readonly=True)) as database:
        names = name_machines(database)
        assert number_machines(database) == {1: 1, 2: 2}
    assert len(set(names.values())) == 3


def test_a_machine_that_is_not_known_is_none_of_the_others(results):
    change(results, "UPDATE run SET machine_id = NULL WHERE id = 1")
    assert [study.name for study in chosen(results, [], [])] == [
        "tiny:7b on an unknown machine",
        NAMES[1],
    ]


def test_the_answer_names_the_machines(results, capsys):
    assert analyze.main(["--db", str(results), "--charts", "none"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [
        line.split("   ")[0]
        for line in lines
        if line.startswith("tiny:7b on")
    ] == (NAMES)
    arguments = ["--db", str(results), "--charts", "none"]
    assert analyze.main([*arguments, "--format", "json"]) == 0
    studies = json.loads(capsys.readouterr().out)["studies"]
    assert [study["machine"]["chip"] for study in studies] == [
        "Apple M9 <Pro>",
        "EPYC",
    ]


def test_machines_stand_side_by_side(results, capsys):
    made_up_results.write(results, model="other", levels=(1,), tokens=3)
    assert analyze.main(["--db", str(results), "--charts", "none"]) == 0
    said = capsys.readouterr().out
    table = said[said.index("tiny:7b: its machines side by side") :]
    lines = table.rstrip().splitlines()
    assert [line.split()[:2] for line in lines[3:]] == [
        ["2", "19.4"],
        ["4+", "20.1"],
    ]
    assert lines[3].endswith("Apple M9 <Pro>, Apple M9")
    assert lines[4].endswith("EPYC, H100")
    assert said.count("side by side") == 1


def test_a_chart_has_a_line_for_each_machine(results):
    shown = compare_models(chosen(results))
    assert set(shown) == {
        "comparative_throughput",
        "comparative_wait",
        "comparative_efficiency",
    }
    assert all(name in json.dumps(shown) for name in NAMES)


def test_a_condition_names_the_machine_that_breaks_it(results, capsys):
    arguments = ["--db", str(results), "--charts", "none", "--fail-if"]
    assert analyze.main([*arguments, "tokens_per_s<50"]) == 1
    failed = [
        line
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("failed: tokens_per_s<50 at 1 at once")
    ]
    assert len(failed) == 1 and NAMES[0] in failed[0]


def test_each_machine_is_exported(results, tmp_path):
    arguments = ["--db", str(results), "--charts", "none", "--export"]
    assert analyze.main([*arguments, "study", str(tmp_path)]) == 0
    counts = {
        folder.name: len(list(folder.rglob("request_summary.csv")))
        for folder in (tmp_path / "ollama").iterdir()
    }
    assert counts == {study.folder: 3 for study in chosen(results)}


def test_machines_are_compared_by_label_and_never_as_one_side(
    results, capsys
):
    arguments = ["--db", str(results), "--charts", "none", "--compare"]
    assert analyze.main([*arguments, "mac", "server"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "it ran on Apple M9 <Pro>" in said and "on EPYC, H100" in said
    change(results, "UPDATE run SET label = 'both'")
    with contextlib.closing(connect(results, readonly=True)) as database:
        for name in ("both", "tiny:7b"):
            with pytest.raises(
                ResultsError, match="on several machines .*EPYC, H100"
            ):
                run_lookup.find_side(database, name, [])
        assert selection.choose(database, [], [2])[0].name == "tiny:7b"
