"""A real browser, whose pages may neither err nor ask another host."""

import shutil

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
LONGEST_MS = 20_000


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no chromium here")
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"]
        )
        yield found
        found.close()


@pytest.fixture
def page(browser, address):
    """A page that fails its test by an error in its console, or by asking another host."""
    wrong = []
    host = address.split("/results")[0]
    found = browser.new_page(viewport={"width": 1100, "height": 900})
    found.set_default_timeout(LONGEST_MS)
    found.on(
        "console",
        lambda said: (
            wrong.append(said.text) if said.type == "error" else 0
        ),
    )
    found.on("pageerror", lambda error: wrong.append(str(error)))
    found.on(
        "request",
        lambda asked: (
            None
            if asked.url.startswith((host, "data:", "blob:"))
            else wrong.append(asked.url)
        ),
    )
    found.on("dialog", lambda dialog: wrong.append(dialog.message))
    yield found
    found.close()
    assert not wrong
