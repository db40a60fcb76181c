"""--resume goes on with the run that was asked the same, and names what differs from another."""

import pytest

import bench
from tests.run.test_resume import ask, content
from tests.support.beginnings import QUICK


@pytest.fixture(scope="module")
def server(module_sim):
    return module_sim(
        "--profile",
        "exact",
        "--ttft",
        "20",
        "--itl",
        "5",
        "--tokens",
        "20",
    )


@pytest.fixture
def asked(server, tmp_path):
    path = str(tmp_path / "results.db")
    return ["1,2", "--host", server.url, "--db", path, *QUICK]


def interrupt(path):
    ask(path, "UPDATE run SET status = 'interrupted'")
    ask(path, "UPDATE level SET status = 'interrupted' WHERE id = 2")


@pytest.mark.faults
def test_a_run_of_other_options_is_not_resumed_and_they_are_named(
    asked, server, tmp_path, capsys
):
    path = tmp_path / "results.db"
    assert bench.main([*asked, "--tokens", "200"]) == 0
    interrupt(path)
    before, requests = content(path), len(server.log())
    capsys.readouterr()
    assert bench.main([*asked, "--tokens", "100", "--resume"]) == 2
    assert capsys.readouterr().err == (
        "bench.py: run 1 was measured with --tokens 200; now with"
        " --tokens 100: resume it as it was, or start a new run without"
        " --resume\n"
    )
    assert content(path) == before and len(server.log()) == requests
    assert bench.main([*asked, "--tokens", "200", "--resume"]) == 0


@pytest.mark.faults
def test_an_interrupted_run_that_was_left_behind_is_not_meant(
    asked, tmp_path, capsys
):
    """Another run was measured since."""
    path = tmp_path / "results.db"
    assert bench.main([*asked, "--tokens", "5"]) == 0
    interrupt(path)
    assert bench.main([*asked, "--tokens", "6"]) == 0
    assert bench.main([*asked, "--tokens", "7", "--resume"]) == 0
    assert "no interrupted run of these options" in capsys.readouterr().out


def test_after_a_resume_the_table_has_the_levels_before(
    asked, tmp_path, capsys
):
    path = tmp_path / "results.db"
    assert bench.main(asked) == 0
    interrupt(path)
    capsys.readouterr()
    assert bench.main([*asked, "--resume"]) == 0
    out = capsys.readouterr().out
    table = out[out.rindex(" LEVEL ") :].splitlines()
    assert [line.split()[0] for line in table[1:3]] == ["1", "2"]
