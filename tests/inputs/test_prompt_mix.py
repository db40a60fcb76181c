"""Mixtures of prompt lengths: what their text means, and who gets which length."""

import pytest

from ollama_bench.inputs.prompt_mix import parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("500*9,8000*1", "500*9,8000*1"),
        (" 8000 , 500 * 9 ", "500*9,8000*1"),
        ("8000*1,500*4,500*5", "500*9,8000*1"),
    ],
)
def test_a_mixture_is_read_and_written(text, expected):
    assert str(parse(text)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "500",
        "500*9",
        "500*9,",
        "500*0,8*1",
        "a*1,8*1",
        "5*1*2,8",
        "-5,8",
    ],
)
def test_what_is_no_mixture_is_refused(text):
    with pytest.raises(ValueError, match="^expected .*500\\*9,8000\\*1"):
        parse(text)


def test_a_block_has_an_end():
    with pytest.raises(ValueError, match="at most 1000 prompts in all"):
        parse("5*1000,8*1")


def test_every_block_has_the_exact_shares_in_an_order_of_its_own():
    mix = parse("500*9,8000*1")
    blocks = [
        [
            mix.choose_tokens(3, 10 * block + place)
            for place in range(1, 11)
        ]
        for block in range(20)
    ]
    assert all(sorted(block) == [500] * 9 + [8000] for block in blocks)
    assert len({block.index(8000) for block in blocks}) > 4
    assert blocks[0] == [
        mix.choose_tokens(3, number) for number in range(1, 11)
    ]
