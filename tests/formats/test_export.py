"""What all forms share: where files stand, what they never replace, and the old option."""

import os

import pytest

import analyze
from ollama_bench.formats import export_command
from ollama_bench.formats.export import FORMS
from tests.formats.exporting import FORMS_HERE, export
from tests.support import made_up_results


@pytest.mark.parametrize("form", FORMS_HERE)
def test_a_file_that_no_export_wrote_is_kept(form, tmp_path, capsys):
    export(tmp_path, form, levels=(2,))
    written = [
        path
        for path in tmp_path.rglob("*")
        if path.is_file() and path.suffix != ".db"
    ]
    before = {path: path.read_bytes() for path in written}
    export(tmp_path, form)  # ours are written again
    assert {path: path.read_bytes() for path in written} == before
    written[0].write_text("mine")
    capsys.readouterr()
    arguments = ["--db", str(tmp_path / "results.db"), "--charts", "none"]
    arguments += ["--export", form, str(tmp_path)]
    assert analyze.main(arguments) == 1
    said = capsys.readouterr().err
    assert said == (
        f"analyze.py: {written[0]} was not written by this export: "
        "move it, or choose another folder\n"
    )
    assert written[0].read_text() == "mine"


@pytest.mark.skipif(
    not hasattr(os, "mkfifo"), reason="the system has no named pipes"
)
def test_a_named_pipe_in_the_way_is_not_waited_for(tmp_path, capsys):
    export(tmp_path, "benchstat", levels=(1,))
    path = tmp_path / "benchstat" / "tiny-7b.txt"
    path.unlink()
    os.mkfifo(path)
    arguments = ["benchstat", str(tmp_path)]
    database = ["--db", str(tmp_path / "results.db")]
    assert export_command.main([*arguments, *database]) == 1
    assert "was not written by this export" in capsys.readouterr().err


@pytest.mark.parametrize("form", FORMS_HERE)
def test_the_command_writes_the_same_files(form, tmp_path, capsys):
    made_up_results.write(tmp_path / "results.db", levels=(1, 2))
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    (one / "results.db").hardlink_to(tmp_path / "results.db")
    export(one, form)
    arguments = [form, str(other), "--db", str(tmp_path / "results.db")]
    assert export_command.main(arguments) == 0
    (one / "results.db").unlink()

    def list_files(top):
        return {
            path.relative_to(top): path.read_bytes()
            for path in top.rglob("*")
            if path.is_file()
        }

    assert list_files(other) == list_files(one) != {}
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.endswith(f" in {other / FORMS[form][1]}")


@pytest.mark.parametrize(
    "arguments, said",
    [
        (
            ["--export-csv", "."],
            "--export-csv DIR is now: --export study DIR",
        ),
        (
            ["--export-csv=."],
            "--export-csv DIR is now: --export study DIR",
        ),
        (
            ["--export", "xml", "."],
            "invalid --export 'xml': expected study, vllm, llm-d, benchstat or parquet, "
            "and then a folder",
        ),
    ],
)
def test_what_is_no_form_is_one_line(arguments, said, capsys):
    with pytest.raises(SystemExit) as caught:
        analyze.main(arguments)
    assert caught.value.code == 2
    assert capsys.readouterr().err == (
        f"analyze.py: {said} (--help shows all)\n"
    )
