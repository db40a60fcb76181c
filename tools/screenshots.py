"""Make the pictures of docs/browsing.md, light and dark, from a results file.

python tools/screenshots.py results.db

Its newest run must have a level of several requests at once that has finished.
"""

from __future__ import annotations

import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from playwright.sync_api import Page, ViewportSize, sync_playwright

from tests.support.datasette_server import serving

FOLDER = Path(__file__).parents[1] / "docs" / "browsing"
SIZE = ViewportSize(width=1000, height=640)  # px
WIDE = ViewportSize(width=1240, height=860)  # two levels side by side
MOST_BYTES = 150_000  # of a picture
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
LEVELS = """
SELECT id, run_id, concurrency FROM level
WHERE run_id = (SELECT max(run_id) FROM level) AND status = 'finished'
  AND coalesce(is_control, 0) = 0 ORDER BY concurrency"""
# every chart in sight is there
IS_DRAWN = """() => [...document.querySelectorAll('.chart:not([data-drawn])')].every(place => {
  const box = place.getBoundingClientRect();
  return box.top > innerHeight || box.bottom < 0;
})"""


def main() -> int:
    """Make the pictures; return the exit code."""
    if len(sys.argv) != 2:
        print("usage: python tools/screenshots.py results.db")
        return 2
    file = Path(sys.argv[1])
    with closing(sqlite3.connect(file)) as database:
        levels = database.execute(LEVELS).fetchall()
    if not levels:
        print(f"{file} has no finished level")
        return 1
    FOLDER.mkdir(exist_ok=True)
    with serving([file]) as address, sync_playwright() as started:
        path = next(filter(None, map(shutil.which, BROWSERS)), None)
        browser = started.chromium.launch(
            executable_path=path, args=["--no-sandbox"]
        )
        for scheme in ("light", "dark"):
            page = browser.new_page(
                viewport=SIZE,
                color_scheme=scheme,
                reduced_motion="reduce",
            )
            take_pictures(page, f"{address}/{file.stem}", levels, scheme)
        browser.close()
    too_large = [
        picture.name
        for picture in FOLDER.glob("*.png")
        if picture.stat().st_size > MOST_BYTES
    ]
    print(f"{FOLDER}: too large: {', '.join(too_large) or 'none'}")
    return 1 if too_large else 0


def take_pictures(
    page: Page,
    root: str,
    levels: list[tuple[int, int, int]],
    scheme: str,
) -> None:
    """Take a picture of each page. root: that of the file."""
    (first, run_id, _), (last, _, _) = levels[0], levels[-1]

    def take(name: str) -> None:
        page.screenshot(path=FOLDER / f"{name}-{scheme}.png")

    def open_page(place: str) -> None:
        page.goto(f"{root}{place}", wait_until="networkidle")
        page.wait_for_function(IS_DRAWN)

    if scheme == "light":  # Datasette's own pages know no other
        open_page("")
        take("file")
    open_page(f"/-/run/{run_id}")
    take("run")
    page.evaluate(
        "() => document.querySelector('#requests').scrollIntoView()"
    )
    page.wait_for_load_state("networkidle")
    page.wait_for_function(IS_DRAWN)
    take("requests")
    open_page(f"/-/level/{last}")
    take("level")
    open_page(f"/-/level/{last}/request/1")
    take("request")
    page.set_viewport_size(WIDE)
    open_page(f"/-/level/{last}/playback?beside={first}")
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    take("playback")


if __name__ == "__main__":
    sys.exit(main())
