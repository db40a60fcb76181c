"""What several lengths of prompts cost, as a table of the terminal and of the page."""

from __future__ import annotations

import analyze
from tests.support import prompt_lengths
from tests.support.chart_specs import drawing_nothing

RATES = {500: 60.0, 4000: 30.0}
CHARTS = "prompt_lengths,capacity_by_length"


def test_the_terminal_and_the_page_begin_with_the_lengths(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    prompt_lengths.write(tmp_path / "results.db", RATES, chunks=False)
    with drawing_nothing():
        assert analyze.main(["--charts", CHARTS]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "tiny:7b by the length of the prompt"
    assert [line.split() for line in lines[1:5]] == [
        ["PROMPT", "SERVED", "WITH", "1", "WITH", "1", "WITH", "1"],
        ["tokens", "at", "once", "wait", "prefill/s", "tok/s"],
        [
            "500",
            "4",
            "or",
            "more",
            "400",
            "ms",
            "2500",
            *lines[3].split()[7:],
        ],
        ["4,000", "1", "4.2", "s", "1000", *lines[4].split()[5:]],
    ]
    page = (tmp_path / "data/report.html").read_text()
    first = page.index("tiny:7b by the length of the prompt")
    assert first < page.index("tiny:7b, prompts of 500 tokens")
    assert "<td>4 or more</td>" in page
    assert "What longer prompts cost" in page
    for name in CHARTS.split(","):
        assert (tmp_path / f"data/tiny-7b/{name}.png").exists()
    for folder in ("tiny-7b~500", "tiny-7b~4000"):
        assert f'<section class="chapter" id="of-{folder}">' in page
