"""Which charts are asked for."""

from __future__ import annotations

import pytest

from ollama_bench.charts import names


def test_some_all_or_none_are_chosen():
    assert names.parse("timeline, energy") == ("timeline", "energy")
    assert names.parse("all") == names.ALL
    assert names.parse("none") == ()


@pytest.mark.parametrize(
    "text", ["timelime", "", "energy,", "all,energy", "none,none"]
)
def test_another_name_is_refused_with_those_that_there_are(text):
    with pytest.raises(ValueError) as caught:
        names.parse(text)
    assert str(caught.value).startswith("invalid chart '")
    assert ", energy, gpu_metrics, " in str(caught.value)
