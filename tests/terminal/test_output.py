"""Text from elsewhere is made safe for a terminal."""

from ollama_bench.terminal import output


def test_clean_leaves_no_control_character():
    evil = "a\x1b[31mb\x07\x9b2J\u202ec\rd\x00"
    assert not any(
        ord(character) < 32 or 127 <= ord(character) < 160
        for character in output.clean(evil)
    ) and "\u202e" not in output.clean(evil)
    assert output.clean("Zeit – 时间\n\tx") == "Zeit – 时间\n\tx"
