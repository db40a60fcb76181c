"""Pages of a real browser that may neither err nor ask another host."""

import pytest

from tests.support.browser import LONGEST_MS
from tests.support.browser import browser as browser

OURS = ("http://127.0.0.1", "data:", "blob:")


@pytest.fixture
def wrong():
    """What a page did wrong: an empty list at the end of each test."""
    return []


@pytest.fixture
def page(browser, wrong):
    """A page that fails its test by an error in its console, or by asking another host."""
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
            None if asked.url.startswith(OURS) else wrong.append(asked.url)
        ),
    )
    found.on("dialog", lambda dialog: wrong.append(dialog.message))
    yield found
    found.close()
    assert not wrong
