"""The pages of a results file in a real browser: drawn, filtered, followed, and for everybody."""

import re

import pytest

from tests.support import made_up_results, prompt_lengths, several_hosts
from tests.support.browser import assert_nothing_serious
from tests.support.datasette_server import serving

pytestmark = pytest.mark.web

HOSTILE = "</script><img src=x onerror=alert(1)>:7b"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A Datasette of results.db: run 1 is of three levels, run 2 has hostile names and failures."""
    file = tmp_path_factory.mktemp("browser") / "results.db"
    made_up_results.write(file, levels=(1, 2, 4))
    made_up_results.write(
        file,
        levels=(1, 4),
        model=HOSTILE,
        label="<b>label</b>",
        failures=1,
        error="<script>alert(2)</script>",
    )
    joint = file.with_name("joint.db")
    prompt_lengths.write(joint)
    for hosts in (1, 2):
        several_hosts.write(
            joint,
            hosts=hosts,
            model="hosts:1b",
            started_unix=1.76e9 + hosts,
        )
    with serving([file, joint]) as found:
        yield f"{found}/results"


def draw_all(page):
    """Look at every chart until it is drawn or gone; return how many are drawn."""
    page.wait_for_function("""() => {
      const next = document.querySelector('.chart:not([data-drawn])');
      next?.scrollIntoView();
      return !next;
    }""")
    return page.locator(".chart[data-drawn] svg.marks").count()


def find_level(page, address, concurrency):
    page.goto(f"{address}/-/run/1")
    return page.get_by_role(
        "link", name=str(concurrency), exact=True
    ).first


@pytest.mark.parametrize("run", [1, 2])
def test_every_chart_of_a_run_is_drawn(page, address, run):
    page.goto(f"{address}/-/run/{run}")
    assert draw_all(page) > 10
    assert HOSTILE not in page.title() or run == 2


def test_every_chart_is_there_for_paper_too(page, address):
    """Nobody has scrolled to those below."""
    page.goto(f"{address}/-/run/1")
    page.wait_for_function(
        "() => !document.querySelector('.chart:not([data-drawn])')"
    )
    assert page.evaluate("() => scrollY") == 0
    assert page.locator(".chart[data-drawn] svg.marks").count() > 10


def test_charts_of_lengths_and_of_servers_are_drawn(page, address):
    place = address.replace("/results", "/joint/-/run")
    page.goto(f"{place}/1")
    draw_all(page)
    for name in (
        "prompt_lengths",
        "capacity_by_length",
        "comparative_wait",
    ):
        drawn = page.locator(f'.chart[data-source*="/{name}?"]')
        assert drawn.locator("svg.marks").count() == 1, name
    page.goto(f"{place}/4")
    draw_all(page)
    servers = page.locator('.chart[data-source*="/host_scaling?"]')
    servers.locator("svg.marks .mark-symbol path").first.click()
    page.wait_for_url(f"{place}/3")


def test_the_cards_lead_to_a_run_a_level_and_a_request(page, address):
    page.goto(address)
    page.get_by_text("tokens/s").first.wait_for()
    page.get_by_role("link", name=re.compile("^Run 1")).click()
    page.get_by_role("link", name="4", exact=True).first.click()
    assert "Level 4" in page.inner_text("h1")
    page.locator("#requests tbody tr").first.get_by_role("link").nth(
        1
    ).click()
    assert "Request" in page.inner_text("h1")
    assert draw_all(page) == 1


def test_a_stretch_of_the_timeline_filters_the_requests(page, address):
    find_level(page, address, 4).click()
    draw_all(page)
    bars = page.locator('.chart[data-source*="timeline"] svg.marks').first
    bars.scroll_into_view_if_needed()
    box = bars.bounding_box()
    y = box["y"] + 60
    page.mouse.move(box["x"] + box["width"] - 40, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 25, y, steps=5)
    page.mouse.up()
    page.wait_for_function("document.getElementById('from').value !== ''")
    shown = page.locator("#requests tbody tr:visible").count()
    everything = page.locator("#requests tbody tr").count()
    assert shown < everything == 4
    assert f"{shown} of 4" in page.inner_text("#shown")
    page.click("#whole")
    assert page.locator("#requests tbody tr:visible").count() == 4


def test_the_times_can_be_typed(page, address):
    page.goto(f"{address}/-/run/1")
    page.fill("#to", "0.01")
    assert page.locator("#requests tbody tr:visible").count() == 0
    page.fill("#to", "")
    assert page.locator("#requests tbody tr:visible").count() == 7


def test_a_mark_leads_to_what_it_shows(page, address):
    find_level(page, address, 4).click()
    draw_all(page)
    bar = page.locator(
        '.chart[data-source*="timeline"] path[fill="#2f7ed8"]'
    ).first
    bar.scroll_into_view_if_needed()
    bar.click(force=True)
    page.wait_for_url("**/request/*")


def test_the_menu_of_a_chart_lies_on_no_word(page, address):
    page.set_viewport_size({"width": 400, "height": 900})
    find_level(page, address, 1).click()
    page.locator("#requests tbody tr").first.get_by_role("link").nth(
        1
    ).click()
    draw_all(page)
    gap = page.evaluate("""() => {
      const words = document.createRange(), figure = document.querySelector('figure');
      words.selectNodeContents(figure.querySelector('h2'));
      const menu = figure.querySelector('summary').getBoundingClientRect();
      return Math.min(...[...words.getClientRects()]
        .filter(line => line.bottom > menu.top && line.top < menu.bottom)
        .map(line => menu.left - line.right));
    }""")
    assert gap >= 0


def test_views_stand_before_tables_and_columns_are_folded(page, address):
    page.goto(address)
    headings = page.locator("h2").all_inner_texts()
    assert [name.split()[0] for name in headings] == ["Views", "Tables"]
    columns = page.get_by_text("request_id, number, at_ns")
    assert not columns.is_visible()
    page.get_by_text("its columns").first.click()
    assert columns.is_visible()
    page.goto(f"{address}/level_summary")
    meaning = page.get_by_text("first token, mean, seconds")
    assert not meaning.is_visible()
    page.get_by_text("What the columns mean").click()
    assert meaning.is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1100, 400])
def test_nothing_serious_for_who_cannot_see(page, address, scheme, width):
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    find_level(page, address, 2).wait_for()
    level = find_level(page, address, 2).get_attribute("href")
    host = address.split("/results")[0]
    for place in (
        f"{address}/-/run/2",
        f"{host}{level}",
        f"{host}{level}/request/1",
    ):
        page.goto(place)
        draw_all(page)
        assert_nothing_serious(page, width)


def test_nothing_serious_on_datasettes_own_pages(page, address):
    page.set_viewport_size({"width": 400, "height": 900})
    for place in (address, f"{address}/objective"):
        page.goto(place)
        page.wait_for_load_state()
        assert_nothing_serious(page, 400)
