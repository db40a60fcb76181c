"""ollama-bench merge: what it says, and its exit codes."""

import pytest

from ollama_bench.formats.merge_command import main, write_ranges
from tests.support import made_up_results
from tests.support.studies import change


@pytest.fixture
def files(tmp_path):
    names = []
    for name, runs in (("a", 2), ("b", 1)):
        path = tmp_path / f"{name}.db"
        made_up_results.write(
            path, levels=(1,), runs=runs, model=name, tokens=3
        )
        names.append(str(path))
    return names


def test_it_says_what_became_of_each_file(files, tmp_path, capsys):
    output = str(tmp_path / "all.db")
    link = tmp_path / "link.db"
    link.symlink_to(files[0])
    assert main([*files, str(link), "-o", output]) == 0
    *said, after = capsys.readouterr().out.splitlines()
    assert said == [
        f"{files[0]}: 2 runs, now 1 to 2",
        f"{files[1]}: 1 run, now 3",
    ]
    assert after.startswith("next: ") and output in after
    change(files[0], "UPDATE run SET seen_unix = 1.9e9 WHERE id = 2")
    assert main([output, *files, "-o", output]) == 0
    assert capsys.readouterr().out.splitlines()[:3] == [
        f"{output}: 2 runs, now 1, 3; an earlier state of run 2, which is taken from {files[0]}",
        f"{files[0]}: 1 run, now 2; 1 run of files before",
        f"{files[1]}: 1 run of files before",
    ]


@pytest.mark.parametrize(
    "make, said",
    [
        (lambda path: path.write_text("mine"), "is not an SQLite file"),
        (lambda path: None, "is not there: expected a results file"),
        (
            lambda path: path.write_bytes(b""),
            "is not a results file of this tool",
        ),
    ],
)
def test_what_cannot_be_used_is_one_line(
    make, said, files, tmp_path, capsys
):
    path, output = tmp_path / "other.db", tmp_path / "all.db"
    make(path)
    assert main([*files, str(path), "-o", str(output)]) == 1
    err = capsys.readouterr().err
    assert err == f"ollama-bench merge: {path} {said}\n"
    assert not output.exists()


def test_a_missing_output_is_a_wrong_command_line(files):
    with pytest.raises(SystemExit) as caught:
        main(files)
    assert caught.value.code == 2


def test_numbers_are_written_as_ranges():
    assert write_ranges([1, 2, 3, 7, 9, 10]) == "1 to 3, 7, 9 to 10"
