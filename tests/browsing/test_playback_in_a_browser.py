"""Playing a level back in a real browser: the right text at each second, by a true clock."""

import contextlib
import re
import sqlite3
import time

import pytest

from tests.support import made_up_results
from tests.support.browser import assert_nothing_serious
from tests.support.datasette_server import serving

pytestmark = pytest.mark.web

CAME = """
SELECT request.number,
  substr(coalesce(reasoning, ''), 1, total(characters * is_reasoning)) AS thought,
  substr(coalesce(answer, ''), 1, total(characters * (1 - is_reasoning))) AS answer
FROM request LEFT JOIN reply ON reply.request_id = request.id
LEFT JOIN chunk ON chunk.request_id = request.id
  AND at_ns <= ?1 * 1e9 + (SELECT min(sent_ns) FROM request WHERE level_id = ?2)
WHERE level_id = ?2 GROUP BY request.id ORDER BY request.number"""


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Runs of 2 and 8 at once, of which four are answered at a time, and of 40, the last faster."""
    file = tmp_path_factory.mktemp("playback") / "results.db"
    made_up_results.write(file, levels=(2, 8), failures=1)
    made_up_results.write(file, levels=(40,), rate=400, label="faster")
    return file


@pytest.fixture(scope="module")
def address(file):
    with serving([file]) as found:
        yield f"{found}/results"


def open_level(page, address, level_id, calm=True):
    page.emulate_media(
        reduced_motion="reduce" if calm else "no-preference"
    )
    page.goto(f"{address}/-/level/{level_id}/playback")
    page.locator("[data-ready]").wait_for(state="attached")


def move_to(page, at_s):
    page.evaluate(
        """at => {
          const bar = document.getElementById('at');
          bar.value = at;
          bar.dispatchEvent(new Event('input'));
        }""",
        at_s,
    )


def read_texts(page):
    """What is shown: of each stream with a text the request's number, its thought and its text."""
    return page.evaluate("""() => [...document.querySelectorAll('.stream')].map(one => [
      Number(one.querySelector('a').textContent.replace('Request ', '')),
      one.querySelector('.thought').textContent, one.querySelector('.text').textContent])""")


def came_by(file, level_id, at_s):
    with contextlib.closing(sqlite3.connect(file)) as database:
        rows = database.execute(CAME, [at_s, level_id]).fetchall()
    return [list(row) for row in rows]


@pytest.mark.parametrize("at_s", [1, 5, 10])
def test_the_text_is_what_had_come_by_then(page, address, file, at_s):
    open_level(page, address, 2)
    move_to(page, at_s)
    came = came_by(file, 2, at_s)
    assert read_texts(page) == came
    assert any(thought for _, thought, _ in came)
    # and back again
    move_to(page, 1)
    assert read_texts(page) == came_by(file, 2, 1)


def test_a_second_of_playing_is_a_second(page, address, file):
    open_level(page, address, 2, calm=False)
    position = (
        "[Date.now() / 1000, document.getElementById('at').valueAsNumber]"
    )
    # it plays by itself: nobody asked for less motion
    page.wait_for_function(
        "() => document.getElementById('at').value > 0.2"
    )
    wall_s, at_s = page.evaluate(position)
    page.wait_for_function(
        f"() => document.getElementById('at').value > {at_s + 3}"
    )
    later_s, then_s = page.evaluate(position)
    assert then_s - at_s == pytest.approx(later_s - wall_s, abs=0.1)
    page.get_by_role("button", name="Pause").click()
    stopped_s = page.evaluate(
        "document.getElementById('at').valueAsNumber"
    )
    assert read_texts(page) == came_by(file, 2, stopped_s)


def test_it_is_as_fast_as_is_chosen_and_ends(page, address):
    open_level(page, address, 2, calm=False)
    page.get_by_label("speed").select_option("8")
    began = time.monotonic()
    page.get_by_role("button", name="Play").wait_for()
    length_s = float(page.get_attribute("#at", "max"))
    assert length_s > 10
    assert time.monotonic() - began < length_s / 2
    assert page.input_value("#at") == str(length_s)
    assert "7 done · 1 failed" in page.inner_text(".sum")


def test_the_keys_move_it(page, address):
    open_level(page, address, 2)
    for key, at_s in (
        ("ArrowRight", 1),
        ("ArrowRight", 2),
        ("ArrowLeft", 1),
    ):
        page.keyboard.press(key)
        assert page.input_value("#at") == str(at_s)
        assert f"At {at_s}.0 s" in page.inner_text("[role=status]")
    page.keyboard.press("Space")
    page.get_by_role("button", name="Pause").wait_for()
    page.keyboard.press("Space")
    page.get_by_role("button", name="Play").wait_for()


def test_who_asks_for_less_motion_sees_a_picture_each_second(
    page, address
):
    open_level(page, address, 2)
    assert page.input_value("#at") == "0"
    page.evaluate("""() => {
      window.seen = new Set();
      const bar = document.getElementById('at');
      const look = () => { seen.add(bar.value); requestAnimationFrame(look); };
      look();
    }""")
    page.get_by_label("speed").select_option("4")
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("() => seen.size > 3")
    seen = page.evaluate("[...seen]")
    assert seen == [str(second) for second in range(len(seen))]


def test_a_waiting_stream_counts_its_wait(page, address):
    open_level(page, address, 2)
    waits = page.locator(".stream[data-state=waiting] .figures")
    for at_s in (0.1, 2.7):
        move_to(page, at_s)
        assert waits.last.inner_text() == f"waits {at_s} s"
    move_to(page, 4)
    assert "10.0 tokens/s" in page.inner_text(".sum") or re.search(
        r"[34]\d\.\d tokens/s", page.inner_text(".sum")
    )
    answered = page.locator(".stream[data-state=answering] .figures").first
    assert re.search(
        r"\d+ tokens · (9|10)\.\d tokens/s · waited 0\.2 s",
        answered.inner_text(),
    )
    assert (
        page.locator(".stream[data-state=failed] .figures").inner_text()
        == "reset after 0.5 s"
    )


def test_a_stream_that_has_come_has_the_rate_of_its_request(
    page, address, file
):
    open_level(page, address, 1)
    move_to(page, 1e6)
    with contextlib.closing(sqlite3.connect(file)) as database:
        rates = database.execute(
            "SELECT stream_tokens_per_s FROM request WHERE level_id = 1 "
            "AND status = 'completed' ORDER BY number"
        ).fetchall()
    done = page.locator(".stream[data-state=done] .figures")
    shown = [
        re.search(r"([\d.]+) tokens/s", one)[1]
        for one in done.all_inner_texts()
    ]
    assert shown == [f"{rate:.1f}" for (rate,) in rates]


def test_the_first_instants_are_not_taken_for_a_second(
    page, address, file
):
    open_level(page, address, 3)
    move_to(page, 0.5)
    with contextlib.closing(sqlite3.connect(file)) as database:
        ((came,),) = database.execute(
            "SELECT count(*) FROM chunk JOIN request ON request.id = request_id "
            "WHERE level_id = 3 AND at_ns <= 5e8 + (SELECT min(sent_ns) "
            "FROM request WHERE level_id = 3)"
        ).fetchall()
    assert came > 0
    shown = re.search(r"([\d.]+) tokens/s", page.inner_text(".sum"))[1]
    assert float(shown) == pytest.approx(came, abs=0.06)


def test_another_run_is_played_beside_it(page, address, file):
    open_level(page, address, 1)
    page.get_by_label("Beside it").select_option(
        label="Run 2: 40 at once, tiny:7b"
    )
    page.locator(".panel").nth(1).wait_for()
    move_to(page, 2)
    wanted = came_by(file, 1, 2) + came_by(file, 3, 2)[:12]
    assert read_texts(page) == wanted
    # the address is that of both
    page.reload()
    page.locator(".panel").nth(1).wait_for()
    page.get_by_label("Beside it").select_option("")
    page.wait_for_function(
        "() => document.querySelectorAll('.panel').length === 1"
    )


def test_a_level_beside_it_that_is_not_there_is_said(page, address):
    page.emulate_media(reduced_motion="reduce")
    page.goto(f"{address}/-/level/1/playback?beside=999")
    page.locator("[data-ready]").wait_for(state="attached")
    said = page.inner_text("#said")
    assert said == "There is no level 999 to play beside it"
    assert page.locator(".panel").count() == 1


def test_while_it_plays_no_moment_is_said(page, address):
    open_level(page, address, 1)
    page.locator("#play").click()
    page.wait_for_function(
        "() => document.getElementById('play').textContent === 'Pause'"
    )
    assert page.inner_text("#said") == ""


def test_many_streams_are_a_grid(page, address):
    open_level(page, address, 3)
    move_to(page, 2)
    assert page.locator(".cell").count() == 40
    assert page.locator(".stream").count() == 12
    label = page.get_by_role("img").get_attribute("aria-label")
    assert re.match(r"\d+ waiting · 4 answering · \d+ done", label)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1100, 400])
@pytest.mark.parametrize("level_id", [2, 3])
def test_nothing_serious_for_who_cannot_see(
    page, address, scheme, width, level_id
):
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    open_level(page, address, level_id)
    for at_s in (0, 2, 1e6):
        move_to(page, at_s)
        assert_nothing_serious(page, width)


def test_a_page_leads_to_its_playback(page, address):
    page.goto(f"{address}/-/run/2")
    page.get_by_text("Played back").get_by_role("link").click()
    page.locator("[data-ready]").wait_for(state="attached")
    assert "Level 40" in page.inner_text("h1")
    page.get_by_role("link", name="level 40 at once", exact=True).click()
    page.get_by_role("link", name="Play it back in real time").click()
    page.wait_for_url("**/playback")


def test_on_paper_it_is_what_had_come_without_its_controls(page, address):
    open_level(page, address, 3)
    move_to(page, 2)
    page.emulate_media(media="print", color_scheme="light")
    assert not page.locator(".controls").is_visible()
    assert page.locator(".stream").first.is_visible()
    colour = page.locator(".cell[data-state=answering]").first.evaluate(
        "cell => getComputedStyle(cell).color"
    )
    assert colour == "rgb(32, 38, 45)"
