"""One page that asks nobody for anything and takes no text for markup."""

from __future__ import annotations

import json
import re
import subprocess
import zlib

import pytest

import analyze
from ollama_bench.charts import names
from ollama_bench.charts.theme import FAINT, PAGE, RED, TEXT
from ollama_bench.report.page import in_script, read_asset
from tests.support import made_up_results
from tests.support.browser import CHROMIUM
from tests.support.chart_specs import drawing_nothing

HOSTILE = "</script><img src=x onerror=alert(1)>:7b"


SHAPES = (
    "combined_metrics",
    "throughput_vs_avg_wait",
    "timeline",
    "performance_metrics",
    "server_split",
    "itl",
)  # one of each kind
CHARTS = ",".join((*SHAPES, *names.ACROSS_MODELS))


def write_page(folder, with_scripts):
    """Write the report of a study whose model, label and errors are hostile."""
    made_up_results.write(
        folder / "results.db",
        model=HOSTILE,
        label="<b>label</b>",
        failures=1,
        error="<script>alert(2)</script>",
        levels=(1, 2, 4),
    )
    made_up_results.write(folder / "results.db", levels=(1, 2, 4))
    with drawing_nothing(with_scripts):
        arguments = ["--db", str(folder / "results.db")]
        arguments += ["--out", str(folder), "--charts", CHARTS]
        assert analyze.main(arguments) == 0
    return folder / "report.html"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The report without the library that draws."""
    return write_page(tmp_path_factory.mktemp("report"), False)


@pytest.fixture(scope="module")
def whole_page(tmp_path_factory):
    return write_page(tmp_path_factory.mktemp("report"), True)


def own_part(page):
    """The page without the library that draws."""
    text = page.read_text(encoding="utf-8")
    library, script = re.findall(r"<script>(.*?)</script>", text, re.S)
    assert script
    return text.replace(library, "")


def test_it_holds_verdict_table_definitions_and_how_to_repeat(page):
    text = own_part(page)
    for part in (
        "One request alone gets",
        "Definitions",
        "to consider before trusting",
        "tokens/s each",
        'bench.py 1,2,4 <span class="option">--model</span> tiny:7b',
        "Apple M9 &lt;Pro&gt;",
        "Simulated server",
    ):
        assert part in text


def test_verdicts_of_all_models_stand_before_the_first_chart(page):
    text = own_part(page)
    answer = '<p class="answer"'
    assert text.count(answer) == 2
    assert text.rindex(answer) < text.index("<figure>")
    assert text.rindex('<dl class="key">') < text.index("<table>")


def test_what_the_marks_mean_stands_beside_the_chart(page):
    assert "Darker: more of the level&#x27;s gaps." in own_part(page)


def test_the_dark_screen_recolours_what_charts_are_drawn_with():
    for colour in (TEXT, FAINT, PAGE):
        assert f'[fill="{colour}"]' in read_asset(
            "page.css"
        ) and f'[stroke="{colour}"]' in read_asset("page.css")
    assert "(prefers-color-scheme: dark)" not in read_asset(
        "page.css"
    ).replace(
        "@media screen and (prefers-color-scheme: dark)", ""
    ) and RED in read_asset("charts.js")


@pytest.mark.web
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")
def test_paper_is_white_though_the_screen_is_dark(whole_page, tmp_path):
    subprocess.run(
        [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={tmp_path}",
            "--virtual-time-budget=60000",
            "--blink-settings=preferredColorScheme=0",
            f"--print-to-pdf={tmp_path / 'page.pdf'}",
            whole_page.as_uri(),
        ],
        capture_output=True,
        timeout=120,
        check=True,
    )
    fills = pdf_fills((tmp_path / "page.pdf").read_bytes())
    assert (0x2F, 0x7E, 0xD8) in fills and (
        0x20,
        0x26,
        0x2D,
    ) in fills  # charts are drawn, their text is dark
    assert not fills & {
        (0x14, 0x18, 0x1D),
        (0xE6, 0xE8, 0xEB),
    }  # neither the dark page nor its light text


def pdf_fills(pdf):
    """Every colour that the pages are filled with, as bytes."""
    found = set()
    for packed in re.findall(
        rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.S
    ):
        try:
            drawing = zlib.decompressobj().decompress(packed)
        except zlib.error:  # a font or a picture
            continue
        found |= {
            tuple(round(float(part) * 255) for part in colour.split())
            for colour in re.findall(rb"((?:[\d.]+ ){3})rg", drawing)
        }
    return found


def test_hostile_text_stays_text(page):
    text = own_part(page)
    assert (
        "<img" not in text
        and "<b>" not in text
        and "alert(2)</script>" not in text
    )
    assert (
        "&lt;img src=x onerror=alert(1)&gt;" in text
        and "&lt;script&gt;alert(2)&lt;/script&gt;" in text
    )


def test_the_data_is_json_again(page):
    specs = json.loads(
        re.search(
            r'<script type="application/json" id="specs">(.*?)</script>',
            own_part(page),
            re.S,
        ).group(1)
    )
    assert (
        len(specs)
        == own_part(page).count('class="chart"')
        == 2 * len(SHAPES) + 3
    )


def test_it_names_no_other_host(page):
    text = own_part(page)
    assert (
        not re.search(r'(src|href)="(?!#)', text)
        and "@import" not in text
        and "url(" not in text
    )
    assert "default-src 'none'" in text


def test_what_ends_a_script_cannot_stand_in_one():
    assert "<" not in in_script({"a": "</script><!--"}) and json.loads(
        in_script({"a": "</script>\u2028"})
    ) == {"a": "</script>\u2028"}


@pytest.mark.web
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")
@pytest.mark.parametrize("scheme", [0, 1])  # dark, light
def test_a_browser_draws_every_chart_without_a_complaint(
    whole_page, tmp_path, scheme
):
    shown = subprocess.run(
        [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={tmp_path}",
            "--virtual-time-budget=60000",
            f"--blink-settings=preferredColorScheme={scheme}",
            "--enable-logging=stderr",
            f"--log-net-log={tmp_path / 'net.json'}",
            "--dump-dom",
            whole_page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    drawn = int(re.search(r'data-drawn="(\d+)"', shown.stdout).group(1))
    assert drawn == own_part(whole_page).count('class="chart"')
    assert ":CONSOLE" not in shown.stderr
    seen = re.sub(r"<script.*?</script>", "", shown.stdout, flags=re.S)
    assert (
        "<svg" in seen
        and "<img" not in seen
        and "&lt;img src=x onerror=alert(1)&gt;" in seen
    )
    asked = set(
        re.findall(
            r'"url":"((?:https?|wss?)://[^"]*)"',
            (tmp_path / "net.json").read_text(errors="replace"),
        )
    )
    assert not {
        url for url in asked if "google" not in url and "gvt1" not in url
    }  # the browser's own update checks are not the page's
