"""What may be shown elsewhere: a card for each model, and the same as Markdown."""

from __future__ import annotations

import getpass
import platform

import pytest

import analyze
from ollama_bench.analysis import selection
from ollama_bench.analysis.verdict import judge
from ollama_bench.charts import card as card_chart
from ollama_bench.inputs.objectives import parse
from ollama_bench.report import sharing
from ollama_bench.storage.connection import connect
from tests.support import made_up_results
from tests.support.studies import change

NAMES = {"/home/eva": "~", "evas-mac": "<host>", "eva": "<user>"}


@pytest.fixture
def results(tmp_path):
    made_up_results.write(
        tmp_path / "results.db", levels=(1, 2, 4), chunks=False
    )
    return tmp_path / "results.db"


def make(path, *sql, objectives=None):
    """Return the card of the only model, and its Markdown."""
    change(path, *sql)
    database = connect(path, readonly=True)
    (study,) = selection.choose(database, [], [])
    verdict = judge(database, study, objectives)
    card = sharing.make_card(database, verdict, NAMES)
    text = sharing.write_markdown(card, verdict, NAMES)
    database.close()
    return card, text


def test_each_model_has_a_card_beside_its_charts(
    results, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(sharing, "make_png", lambda *_: b"picture")
    made_up_results.write(results, model="other", levels=(1,))
    arguments = ["--db", str(results), "--out", str(tmp_path / "data")]
    assert analyze.main([*arguments, "--charts", "none", "--share"]) == 0
    assert {
        path.relative_to(tmp_path / "data").as_posix()
        for path in (tmp_path / "data").rglob("*.*")
    } == {
        f"{model}/card.{ending}"
        for model in ("tiny-7b", "other")
        for ending in ("png", "md")
    }
    said = " ".join(capsys.readouterr().out.split())
    assert "card to share: " in said and "other/card.md" in said


def test_a_card_that_cannot_be_drawn_is_one_line(
    results, tmp_path, capsys, monkeypatch
):
    def fail(*_):
        raise ValueError(
            "Vega-Lite to SVG conversion failed:\nTypeError\n  at x"
        )

    monkeypatch.setattr(sharing, "make_png", fail)
    arguments = ["--db", str(results), "--out", str(tmp_path / "data")]
    assert analyze.main([*arguments, "--charts", "none", "--share"]) == 1
    said = capsys.readouterr().err
    assert said == (
        "analyze.py: cannot draw the card: Vega-Lite to SVG conversion failed:\n"
    )


def test_a_comparison_has_no_card(results, capsys):
    with pytest.raises(SystemExit) as caught:
        analyze.main(["--compare", "1", "1", "--share"])
    assert caught.value.code == 2
    assert "--compare has no card" in capsys.readouterr().err


def test_the_card_says_figures_machine_and_where_they_are_from(results):
    card, text = make(results)
    assert card.model == "tiny:7b"
    assert card.build == "7.6B · Q4_K_M · ollama 0.99"
    assert card.machine.startswith("Apple M9 <Pro> · ")
    count, speed, energy = card.figures
    assert (count.value, count.label) == ("2", "served at once")
    assert speed.label == "tokens/s each" and float(speed.value) > 10
    assert energy.label == "J/token" and energy.interval == "at 20 W"
    assert card.origin.startswith("2025-10-09 · ollama-bench ")
    assert len(card.origin.rpartition(" digest ")[2]) == 12
    assert [row["is_served"] for row in card.curve] == [True, True, False]
    for part in (
        "Up to 2 at once get",
        card.model,
        card.origin,
        "2 served at once",
        "0.99",
    ):
        assert part in text
    assert "| 4 | " in text and text.count("```") == 2


def test_it_says_which_length_its_prompts_had(results):
    assert "prompts" not in make(results)[0].build
    card, text = make(
        results, "UPDATE level SET asked_prompt_tokens = 4000"
    )
    assert card.build.endswith(" · prompts of 4,000 tokens")
    assert "prompts of 4,000 tokens" in text
    mix = "asked_prompt_tokens = NULL, prompt_mix = '5*1,8*1'"
    card, _ = make(results, f"UPDATE level SET {mix}")
    assert card.build.endswith(" · mix 5*1,8*1")


def test_without_energy_it_says_the_wait(results):
    card, _ = make(results, "DELETE FROM power_sample")
    assert card.figures[2].label == "wait for the first token"
    assert card.figures[2].value == "200 ms"


def test_what_is_not_served_is_said(results):
    card, text = make(results, objectives=parse("ttft=0.001"))
    assert card.figures[0].value == "0"
    assert card.figures[0].interval == "not even 1 at once"
    assert [row["is_served"] for row in card.curve] == [False] * 3
    assert "| no |" in text


def test_a_simulated_run_says_so(results):
    card, text = make(results)
    assert card.is_simulated and "**SIMULATED: not a meas" in text
    card, text = make(results, "UPDATE run SET simulated = 0")
    assert not card.is_simulated and "SIMULATED" not in text


def test_nothing_private_is_shown(results):
    card, text = make(
        results,
        "UPDATE run SET label = 'eva', command = "
        "'python /home/eva/bench.py 1,2,4 --host http://evas-mac:1 "
        "--label eva --prompts /home/eva/p.jsonl'",
        "UPDATE target SET server = 'llama.cpp of eva on evas-mac', "
        "model = '/home/eva/models/tiny.gguf', host = 'http://evas-mac:1'",
        "UPDATE level SET model = '/home/eva/models/tiny.gguf'",
        "UPDATE machine SET gpu = 'card of eva'",
    )
    assert card.model == "tiny.gguf"
    assert "llama.cpp of <user> on <host>" in card.build
    shown = repr(card) + text
    assert "eva" not in shown and "/home" not in shown
    assert "ollama-bench 1,2,4 --prompts FILE --model tiny.gguf" in text


def test_the_names_of_this_computer_are_masked(results, monkeypatch):
    monkeypatch.setattr(getpass, "getuser", lambda: "maximiliane")
    monkeypatch.setattr(platform, "node", lambda: "maxs-mac.local")
    seen = []

    def draw(card):
        seen.append(card)
        return card_chart.draw_card(card)

    monkeypatch.setattr(sharing, "draw_card", draw)
    monkeypatch.setattr(sharing, "make_png", lambda *_: b"picture")
    change(
        results,
        "UPDATE target SET server = 'by maximiliane on maxs-mac'",
    )
    out = results.parent / "data"
    arguments = ["--db", str(results), "--out", str(out)]
    assert analyze.main([*arguments, "--charts", "none", "--share"]) == 0
    assert "by <user> on <host>" in seen[0].build


def test_a_hostile_name_is_text_in_markdown_too(results):
    name = "|x| ![i](http://a.b/c) <b>@eve</b> `rm` ```\n# h"
    change(
        results,
        f"UPDATE target SET model = '{name}'",
        f"UPDATE level SET model = '{name}'",
    )
    _, text = make(results)
    lines = text.splitlines()
    assert lines[0].startswith(r"### \|x\| \!\[i\](http&#58;//a.b/c)")
    assert "@" not in lines[0] and "<b>" not in lines[0]
    assert not any(line.startswith("# h") for line in lines)
    assert [line for line in lines if line.startswith("```")] == [
        "```",
        "```",
    ]


def test_a_level_in_which_all_failed_is_told(results):
    _, text = make(
        results,
        "UPDATE request SET status = 'reset', output_tokens = NULL "
        "WHERE level_id = 2",
    )
    (row,) = (line for line in text.splitlines() if line[:4] == "| 2 ")
    assert row == "| 2 | - | - | - | no |"
