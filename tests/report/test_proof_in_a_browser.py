"""A report.html that proves itself to its reader: Python's figures, and what was changed."""

import re
from functools import partial

import pytest

from ollama_bench.report import instant_rows, instants, proof
from ollama_bench.report.page import SCRIPTS, read_asset
from ollama_bench.report.recomputed import FIGURES, Recomputed
from tests.report.test_proof import HOSTILE, write_report
from tests.report.test_recomputed import judge_file
from tests.support import made_up_results, random_results
from tests.support.browser import LONGEST_MS
from tests.support.browser import browser as browser

pytestmark = pytest.mark.web

VERDICT = "document.documentElement.dataset.proof"
LACKING = "Object.defineProperty(globalThis, '{}', {{value: undefined}})"
# runs the page's own functions on rows that the page does not have
FIGURES_OF = """([rows, names]) => {
  const levels = recompute.makeAll(JSON.parse(rows));
  return [...levels.keys()].map(id =>
    [id, names.map(name => recompute.find(levels, name, [id]))]);
}"""
SHA256 = """text => [...proof.sha256(new TextEncoder().encode(text))]
  .map(byte => byte.toString(16).padStart(2, '0')).join('')"""


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A page of two models, one hostile, without the library that draws."""
    folder = tmp_path_factory.mktemp("proof")
    made_up_results.write(
        folder / "results.db", levels=(1, 2, 32), failures=1, runs=2
    )
    made_up_results.write(
        folder / "results.db",
        model=HOSTILE.replace("\0", ""),
        levels=(1, 2),
        error="\r\n<script>",
        failures=1,
        chunks=False,
    )
    return write_report(folder / "results.db")


@pytest.fixture
def show(browser, tmp_path):
    """Open a page and return what it says of itself once it has looked."""
    opened, asked = [], []

    def look(text, verdict, without="", **options):
        file = tmp_path / "report.html"
        file.write_bytes(text.encode())
        context = browser.new_context(offline=True, **options)
        opened.append(context)
        page = context.new_page()
        if without:
            page.add_init_script(LACKING.format(without))
        page.set_default_timeout(LONGEST_MS)
        page.on("request", lambda request: asked.append(request.url))
        page.on("dialog", lambda dialog: asked.append(dialog.message))
        page.goto(file.as_uri())
        if verdict:
            page.wait_for_function(f"{VERDICT} === '{verdict}'")
        return page

    yield look
    for context in opened:
        context.close()
    assert all(url.startswith(("file:", "blob:")) for url in asked)


def test_the_page_agrees_with_itself(report, show):
    text = report.read_bytes().decode()
    found = proof.inspect(text)
    count = instants.count_instants(found.rows)
    page = show(text, "agrees")
    assert page.inner_text("#checked") == (
        f"Recomputed from {count:,} instants: "
        f"all {found.figures:,} figures agree."
    )
    assert page.locator(".altered").count() == 0
    assert page.inner_text("#digest") == found.digest


@pytest.mark.parametrize(
    ("pattern", "replacement", "said"),
    [
        (
            r'(data-figures="ttft_p95_s"[^>]*>)\d',
            r"\g<1>7",
            "p95 of level 32 is",
        ),
        (
            r'(data-figures="good"[^>]*>)\d',
            r"\g<1>7",
            "good of level 1 is",
        ),
        (
            r'(<p class="answer" data[^>]*>\D*)\d',
            r"\g<1>9",
            "a figure of the answer is",
        ),
        (r"(<dd data[^>]*>)\d+", r"\g<1>77", "a figure of the answer is"),
        ("Apple M9", "Apple M8", "the text changed"),
        (r'"datasets"', '"datasetz"', "the data of the charts changed"),
        (r'(id="instants">[^<]{400,}?)[a-m]', r"\g<1>n", "cannot be read"),
        (r'(id="seal">\{"instants": ")[0-9a-f]', r"\g<1>g", "digest"),
        (r'(id="digest">)[0-9a-f]', r"\g<1>g", "digest"),
        (r' data-figures="errors"[^>]*', "", "what marks its figures"),
    ],
)
def test_what_was_changed_is_seen(
    report, show, pattern, replacement, said
):
    text = report.read_bytes().decode()
    changed, count = re.subn(
        pattern, replacement, text, count=1, flags=re.S
    )
    assert count == 1 and changed != text
    page = show(changed, "changed")
    assert "This page was changed: " in page.inner_text("#checked")
    assert said in page.inner_text("#checked")


def test_instants_that_were_changed_and_packed_again_are_seen(
    report, show
):
    text = report.read_bytes().decode()
    rows = proof.inspect(text).rows
    rows["studies"][-1]["levels"][-1]["requests"]["first_text_ns"][3] += 9
    packed = instants.pack(instants.write_instants(rows))
    page = show(
        re.sub(
            '(id="instants">)[^<]*', lambda found: found[1] + packed, text
        ),
        "changed",
    )
    assert "the instants changed" in page.inner_text("#checked")


def test_without_scripts_the_figures_stand_there(report, show):
    page = show(
        report.read_bytes().decode(), None, java_script_enabled=False
    )
    said = page.inner_text("body")
    assert "This page carries the" in said and "tokens/s each" in said


def test_an_address_that_is_not_trusted_changes_nothing(report, show):
    page = show(report.read_bytes().decode(), "agrees", without="crypto")
    assert "figures agree" in page.inner_text("#checked")


def test_a_browser_that_cannot_unpack_names_who_can(report, show):
    page = show(
        report.read_bytes().decode(),
        "unknown",
        without="DecompressionStream",
    )
    assert "analyze.py --verify does it" in page.inner_text("#checked")


def show_scripts(show):
    """A page without anything to prove, whose functions a test calls."""
    page = show("<p id=report></p><p id=checked></p>", None)
    for name in ("recompute.js", "proof.js"):
        assert name in SCRIPTS
        page.add_script_tag(content=read_asset(name))
    return page


def test_its_own_digest_is_sha_256(show):
    page = show_scripts(show)
    for text in ("", "abc", "é" * 55, "x" * 64, "y" * 1000):
        assert page.evaluate(SHA256, text) == proof.hash_text(text)


@pytest.mark.parametrize("most_chunks", [500_000, 50])
def test_both_languages_make_the_same_figures_bit_for_bit(
    tmp_path, monkeypatch, show, most_chunks
):
    monkeypatch.setattr(instant_rows, "MOST_CHUNKS", most_chunks)
    page = show_scripts(show)
    writers = [
        partial(random_results.write, seed=seed) for seed in range(10, 14)
    ]
    writers.append(random_results.write_in_one_piece)
    for number, write in enumerate(writers):
        folder = tmp_path / str(number)
        folder.mkdir()
        write(folder / "results.db")
        rows = instant_rows.read_instants(
            *judge_file(folder / "results.db")
        )
        names = [*FIGURES, "most_served"]
        made = page.evaluate(
            FIGURES_OF, [instants.write_instants(rows), names]
        )
        found = Recomputed(rows)
        assert len(made) > 1
        for level_id, figures in made:
            for name, figure in zip(names, figures, strict=True):
                assert figure == found.find(name, [level_id]), name


def test_both_languages_write_the_same_figures(show):
    page = show_scripts(show)
    values = [
        head * 10.0**power
        for power in range(-9, 6)
        for head in (1, 1.0049, 1.005, 2.5, 9.46, 9.95, 9.996)
    ] + [0.0095, 0.9995, 59.95, 3599.5, 3600.4, 86400.0, 0.0]
    for name in ("ttft_mean_s", "tokens_per_s_mean"):
        written = page.evaluate(
            "([name, values]) => values.map(one => recompute.write(name, one))",
            [name, values],
        )
        for value, texts in zip(values, written, strict=True):
            assert {*texts} & {*proof.write_figure(name, value)}, value
            assert proof.write_figure(name, value)[0] in texts, value
