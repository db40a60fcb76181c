"""A wrong command line is one line, whatever the program."""

import pytest

from ollama_bench import cli


@pytest.mark.parametrize(
    "words, said",
    [
        (["analyze", "--charts", "x\ny"], "--charts: invalid chart"),
        (["monitor", "--port", "0"], "--port: invalid port '0'"),
        (["export", "x", "."], "FORM: invalid choice: 'x'"),
        (["export", "vllm"], "are required: DIR (--help"),
        (["import"], "are required: PATH"),
        (["merge"], "are required: FILE, -o/--output"),
        (["doctor", "x"], "unrecognized arguments: x"),
        (["simulate", "--port", "x"], "--port: invalid int value: 'x'"),
        (["0"], "invalid level '0'"),
    ],
)
def test_a_wrong_command_line_is_one_line(words, said, capsys):
    with pytest.raises(SystemExit) as left:
        cli.main(words)
    out, err = capsys.readouterr()
    assert (left.value.code, out) == (2, "")
    assert said in err and err.count("\n") == 1
    assert err.endswith("(--help shows all)\n")


def test_a_mistyped_word_is_told_with_the_words(capsys):
    assert cli.main(["analyse"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err == (
        "ollama-bench: invalid word 'analyse': expected LEVELS, e.g. 1,2,4, "
        "or one of analyze, monitor, doctor, simulate, import, export, merge "
        "(--help shows all)\n"
    )
