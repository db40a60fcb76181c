"""What the texts of options mean: levels, numbers, model options."""

import pytest

from ollama_bench.inputs import values


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1,2,4,19", [1, 2, 4, 19]),
        (" 4 , 2 ", [4, 2]),
        ("1 2 3", [1, 2, 3]),
        ("2,1,2,1", [2, 1, 2, 1]),
        ("1-4", [1, 2, 3, 4]),
        ("x2:20", [1, 2, 4, 8, 16]),
        ("x2:256", [1, 2, 4, 8, 16, 32, 64, 128, 256]),
        ("1,3-5,x2:4", [1, 3, 4, 5, 1, 2, 4]),
        ("4096", [4096]),
    ],
)
def test_levels(text, expected):
    assert list(values.levels(text)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "0",
        "-1",
        "abc",
        "1.5",
        "4097",
        "",
        ",",
        " , ",
        ",1",
        "1,",
        "1,,2",
        "1e3",
        "5-1",
        "1-",
        "x2:",
        "x2:0",
        "x3:8",
        "٣",
    ]
    + ["1" * 5000, "--1"],
)
def test_invalid_levels(text):
    with pytest.raises(ValueError) as caught:
        values.levels(text)
    assert "\n" not in str(caught.value)


def test_a_comma_too_many_may_be_a_level_that_is_missing():
    with pytest.raises(
        ValueError, match="invalid LEVELS '1,,2': expected"
    ):
        values.levels("1,,2")


def test_a_range_that_is_the_wrong_way_round_is_asked_about():
    with pytest.raises(
        ValueError, match="invalid range '8-1': did you mean 1-8?"
    ):
        values.levels("8-1")


@pytest.mark.parametrize(
    "text", ["0", "1000000000", "1.0", "", "x", "1" * 5000]
)
def test_integers_below_the_least_or_none(text):
    with pytest.raises(ValueError, match="expected an integer from 1"):
        values.integer(1)(text)


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "1e9", "", "x"])
def test_invalid_seconds(text):
    with pytest.raises(ValueError, match="expected seconds"):
        values.seconds(text)


def test_a_positive_number_is_not_zero():
    assert values.positive("0.5") == 0.5
    with pytest.raises(ValueError, match="above 0"):
        values.positive("0")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("num_ctx=4096", ("num_ctx", 4096)),
        ("stop=END", ("stop", "END")),
        ("mmap=true", ("mmap", True)),
        ("x=NaN", ("x", "NaN")),
        ("x=" + "[" * 100_000, ("x", "[" * 100_000)),
        ("a=b=c", ("a", "b=c")),
    ],
)
def test_a_model_option_is_json_or_text(text, expected):
    assert values.model_option(text) == expected
