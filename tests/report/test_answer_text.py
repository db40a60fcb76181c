"""The answer as lines of a terminal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ollama_bench.analysis.answers import Answer
from ollama_bench.analysis.questions import StudyQuestion
from ollama_bench.report.answer_text import (
    SIMULATED,
    format_answer,
    format_curve,
    format_name,
)
from tests.support import made_up_results
from tests.support.studies import read

ANSWER = Answer(
    ["Up to 8 at once get 10 tokens/s and the first token within 10 s."],
    "With 8 at once (8 requests, replies of 62 tokens)",
    [
        StudyQuestion(
            "How many tokens/s do I get?",
            "13.9 tokens/s each (95 %: 13.3 to 14.5)",
        ),
        StudyQuestion(
            "How much power is used?", "not measured", "bench.py 1"
        ),
    ],
    lambda: ["more"],
)


@pytest.fixture
def results(tmp_path):
    return tmp_path / "results.db"


def test_a_clones_command_can_be_typed_where_one_stands(
    monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    asked = [
        StudyQuestion(
            "How?", "not measured", "python bench.py 1,2 --host bench.py"
        )
    ]
    lines = format_answer(replace(ANSWER, questions=asked), 80)
    script = (Path(__file__).parents[2] / "bench.py").as_posix()
    assert f"python {script} 1,2 --host bench.py" in [
        line.text.strip() for line in lines
    ]


def test_the_sentence_and_the_figures_are_bold_and_in_order():
    lines = format_answer(ANSWER, 80)
    assert [line.text for line in lines if line.is_bold] == [
        "  Up to 8 at once get 10 tokens/s and the first token within 10 s.",
        "    13.9 tokens/s each (95 %: 13.3 to 14.5)",
        "    not measured",
    ]
    assert "more" not in str(lines)


@pytest.mark.parametrize("width", range(30, 80))
def test_no_line_is_too_wide_or_ends_between_a_number_and_its_unit(width):
    texts = [line.text for line in format_answer(ANSWER, width)]
    assert max(map(len, texts)) < width
    assert not any(
        text.endswith((" 10", " 13.9", "(95")) for text in texts
    )


def test_a_simulated_model_is_marked_however_narrow_the_window(results):
    made_up_results.write(results, levels=(1, 2, 4))
    study, _ = read(results)
    assert format_name(study, 80) == [f"tiny:7b   {SIMULATED}"]
    assert format_name(study, 50) == ["tiny:7b", SIMULATED]
    assert format_curve(study, 50)[1].endswith(", simulated")


def test_requests_that_came_at_a_rate_have_no_curve(results):
    made_up_results.write(results, levels=(1, 2, 4))
    assert format_curve(read(results)[0], 80) != []
    study, _ = read(results, "UPDATE level SET load = 'open'")
    assert format_curve(study, 80) == []
