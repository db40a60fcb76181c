"""The page of a running run in a real browser: it changes, says what is wrong, and ends."""

import contextlib
import os
import sqlite3
import time

import pytest

from tests.run import programs
from tests.support import made_up_results, running_run
from tests.support.browser import assert_nothing_serious, expect
from tests.support.datasette_server import serving

SEEN = "UPDATE run SET seen_unix = ?"

pytestmark = pytest.mark.web

HOSTILE = "</script><img src=x onerror=alert(1)>:7b"
# notes what the page shows, whenever it changes; blue: pixels of streams that are answered
NOTE_CHANGES = """() => {
  const text = name => document.getElementById(name).textContent;
  const note = () => {
    const canvas = document.getElementById('timeline');
    const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    let blue = 0;
    for (let at = 0; at < data.length; at += 4) blue += data[at + 2] > data[at] + 80;
    window.noteChange({
      doing: text('doing'), said: text('said'), counts: text('counts'), figures: text('figures'),
      levels: document.querySelectorAll('#levels-so-far tbody tr').length, blue,
    });
  };
  new MutationObserver(note).observe(
    document.querySelector('main'), {childList: true, subtree: true, characterData: true});
}"""


@pytest.fixture(autouse=True)
def patient(page):
    """A run that the page waits for takes its time."""
    page.set_default_timeout(60_000)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "results.db"


@contextlib.contextmanager
def showing(page, file, run_id):
    """Show a run's page; the page is left before nobody answers it any more."""
    with serving([file]) as address:
        page.goto(f"{address}/results/-/run/{run_id}")
        yield
        page.goto("about:blank")


def tell(file, run_id, **changes):
    """Let the run tell something else, as its writer does."""
    with contextlib.closing(sqlite3.connect(file)) as opened, opened:
        running_run.tell(opened, run_id, running_run.STATE | changes)


def test_the_page_of_a_real_run_grows_and_ends_as_the_finished_page(
    page, file, sim
):
    server = sim(profile="exact", ttft=300, itl=40, tokens=60, slots=3)
    made_up_results.write(file, levels=(1,))
    noted = []
    page.expose_function("noteChange", lambda one: noted.append(one))
    with serving([file]) as address:
        # what the first page waits for
        page.goto(f"{address}/results/-/run/1")
        with programs.start(
            *("2,6", "--host", server.url, "--db", file, "--idle", "0"),
            *("--cooldown", "3", "--plain"),
            cwd=file.parent,
        ) as process:
            next(line for line in process.stdout if "1 of 2" in line)
            page.goto(f"{address}/results/-/run/2")
            page.evaluate(NOTE_CHANGES)
            process.stdout.read()
            assert process.wait(60) == 0
        page.locator(".answer", has_text="at once get").wait_for()
        check_growth(noted)
        assert page.locator("#live").count() == 0
        page.wait_for_function("""() => {
          document.querySelector('.chart:not([data-drawn])')?.scrollIntoView();
          return document.querySelector('.chart[data-drawn] svg.marks');
        }""")
        asked = []
        page.on("request", lambda one: asked.append(one.url))
        page.wait_for_timeout(1200)
        assert not [url for url in asked if url.endswith("/live")]
        page.goto("about:blank")


def check_growth(noted):
    """See that two levels began, went on and ended, with what comes between."""
    first, between, second = (
        [one for one in noted if text in one["doing"]]
        for text in ("level 1 of 2", "cooldown", "level 2 of 2")
    )
    assert first and between and second
    assert {one["said"] for one in between} >= {
        "cooldown before level 2 of 2, 6 at once"
    }
    assert 1 in {one["levels"] for one in second}
    assert any("3 waiting" in one["counts"] for one in second)
    assert any("tokens/s" in one["figures"] for one in second)
    assert len({one["blue"] for one in second}) > 3


def test_a_change_shows_within_a_second_and_pause_holds_it(page, file):
    run_id = running_run.write(file, model=HOSTILE)
    with showing(page, file, run_id):
        doing = page.locator("#doing")
        expect(doing).to_contain_text("level 2 of 2")
        tell(file, run_id, doing=HOSTILE)
        expect(doing).to_have_text(HOSTILE, timeout=1000)
        page.get_by_role("button", name="Pause").press("Enter")
        pressed = page.locator("#pause[aria-pressed=true]")
        pressed.wait_for()
        asked = []
        page.on("request", lambda one: asked.append(one.url))
        tell(file, run_id, doing="later")
        page.wait_for_timeout(1200)
        assert not asked and doing.inner_text() == HOSTILE
        pressed.press("Enter")
        expect(doing).to_have_text("later")


def test_what_is_not_read_aloud_is_left_alone(page, file):
    """A screen reader says what changes in the status: not every second's figures."""
    run_id = running_run.write(file)
    with showing(page, file, run_id):
        said = page.locator("#said")
        expect(said).to_contain_text("level 2 of 2")
        page.evaluate("""() => {
          window.changes = 0;
          new MutationObserver(() => { window.changes += 1; }).observe(
            document.getElementById('said'), {childList: true, subtree: true, characterData: true});
        }""")
        for second in (9, 8, 7):
            tell(
                file,
                run_id,
                doing=f"cooldown: {second} s left",
                level=None,
            )
            expect(page.locator("#doing")).to_contain_text(f"{second} s")
        assert page.evaluate("window.changes") == 1


def test_a_file_that_is_gone_is_told_and_its_return_is_seen(
    page, file, wrong
):
    run_id = running_run.write(file)
    with serving([file]) as address:
        page.goto(f"{address}/results/-/run/{run_id}")
        doing, trouble = page.locator("#doing"), page.locator("#trouble")
        expect(doing).to_contain_text("level 2 of 2")
        away = file.with_suffix(".away")
        os.rename(file, away)
        expect(trouble).to_contain_text("is not there")
        # what was seen last stays
        assert "level 2 of 2" in doing.inner_text()
        os.rename(away, file)
        tell(file, run_id)
        expect(trouble).to_be_hidden()
    expect(trouble).to_contain_text("does not answer")
    # the browser itself tells its console of each answer that is none
    refused = ("Failed to load resource",)
    assert all(one.startswith(refused) for one in wrong)
    wrong.clear()


def test_a_run_that_was_killed_ends_as_an_interrupted_one(page, file):
    run_id = running_run.write(file)
    with showing(page, file, run_id):
        page.locator("#timeline").wait_for()
        with contextlib.closing(sqlite3.connect(file)) as opened, opened:
            opened.execute(SEEN, [time.time() - 6])
        expect(page.locator("#trouble")).to_contain_text("no sign of life")
        with contextlib.closing(sqlite3.connect(file)) as opened, opened:
            opened.execute(SEEN, [time.time() - 20])
        page.get_by_text("interrupted", exact=True).wait_for()
        assert page.locator("#live").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1100, 400])
def test_nothing_serious_for_who_cannot_see(page, file, scheme, width):
    run_id = running_run.write(file, model=HOSTILE)
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    with showing(page, file, run_id):
        page.locator("#levels-so-far table").wait_for()
        assert_nothing_serious(page, width)
