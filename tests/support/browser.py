"""A real browser, and what no page may do to who uses it."""

import shutil

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
LONGEST_MS = 20_000
SERIOUS = {"serious", "critical"}


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no chromium here")
    playwright.expect.set_options(timeout=LONGEST_MS)
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"]
        )
        yield found
        found.close()


def expect(shown):
    """Playwright's own, imported where a browser is there."""
    from playwright import sync_api

    return sync_api.expect(shown)


def assert_nothing_serious(page, width):
    """See that everybody can use a page, and that it is no wider than its window."""
    axe = pytest.importorskip("axe_core_python.sync_playwright")
    found = axe.Axe().run(page)["violations"]
    serious = {
        one["id"]: one["nodes"][0]["html"][:200]
        for one in found
        if one["impact"] in SERIOUS
    }
    assert not serious, page.url
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= width, page.url
