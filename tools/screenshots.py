"""Make the pictures of docs/browsing.md, light and dark, from a real run that it starts.

python tools/screenshots.py --model smollm2:135m --tokens 64

What follows it is bench.py's; the levels are here. The page of the run is taken while 8 are asked
at once, and all the others after its end.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from playwright.sync_api import (  # noqa: E402
    Browser,
    Page,
    ViewportSize,
    sync_playwright,
)

from ollama_bench.browsing import routes  # noqa: E402
from tests.support.datasette_server import serving  # noqa: E402

FOLDER = ROOT / "docs" / "browsing"
SIZE = ViewportSize(width=1000, height=640)  # px
WIDE = ViewportSize(width=1240, height=860)  # two levels side by side
MOST_BYTES = 150_000  # of a picture
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SCHEMES = ("light", "dark")
LEVELS, MOST = "1,2,4,8", 8
LONGEST_MS = 600_000  # until the last level goes on
LEVEL_ROWS = """
SELECT id, run_id FROM level
WHERE status = 'finished' AND coalesce(is_control, 0) = 0 ORDER BY concurrency"""
# every chart in sight is there
IS_DRAWN = """() => [...document.querySelectorAll('.chart:not([data-drawn])')].every(place => {
  const box = place.getBoundingClientRect();
  return box.top > innerHeight || box.bottom < 0;
})"""
# a request of the deepest level has ended, and tokens of others come
IS_BUSY = f"""() => document.getElementById('level').textContent.includes(' {MOST} at once')
  && /^[1-9].* [1-9]\\d* streaming/.test(document.getElementById('counts').textContent)
  && parseFloat(document.querySelector('#figures dd').textContent) > 0"""


def main() -> int:
    """Measure, and make the pictures; return the exit code."""
    FOLDER.mkdir(exist_ok=True)
    # before the run: it takes seconds
    routes.prepare_pages()
    with (
        tempfile.TemporaryDirectory() as folder,
        sync_playwright() as started,
    ):
        path = next(filter(None, map(shutil.which, BROWSERS)), None)
        browser = started.chromium.launch(
            executable_path=path, args=["--no-sandbox"]
        )
        file = Path(folder) / "results.db"
        with measuring(file), serving([file]) as address:
            take_live_pictures(browser, f"{address}/{file.stem}/-/run/1")
        with closing(sqlite3.connect(file)) as database:
            levels = database.execute(LEVEL_ROWS).fetchall()
        with serving([file]) as address:
            for scheme in SCHEMES:
                page = open_window(browser, scheme)
                take_pictures(
                    page, f"{address}/{file.stem}", levels, scheme
                )
        browser.close()
    too_large = [
        picture.name
        for picture in FOLDER.glob("*.png")
        if picture.stat().st_size > MOST_BYTES
    ]
    print(f"{FOLDER}: too large: {', '.join(too_large) or 'none'}")
    return 1 if too_large else 0


@contextmanager
def measuring(file: Path) -> Iterator[None]:
    """Start the run, and wait for its end. Raises SystemExit where it fails."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ollama_bench", LEVELS, *sys.argv[1:]],
        cwd=file.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process:
        try:
            # then the file is there
            if not any("1 of" in line for line in process.stdout):
                raise SystemExit("bench.py ended before its first level")
            yield
            process.stdout.read()
            process.wait()
        finally:
            process.terminate()
    if process.returncode:
        raise SystemExit(f"bench.py ended with {process.returncode}")


def open_window(browser: Browser, scheme: str) -> Page:
    page = browser.new_page(
        viewport=SIZE,
        color_scheme=scheme,
        reduced_motion="reduce",
    )
    page.set_default_timeout(LONGEST_MS)
    return page


def take_live_pictures(browser: Browser, address: str) -> None:
    """Take pictures of the page of the run while its deepest level goes on."""
    pages = {scheme: open_window(browser, scheme) for scheme in SCHEMES}
    for page in pages.values():
        page.goto(address)
    for scheme, page in pages.items():
        page.wait_for_function(IS_BUSY)
        page.screenshot(path=FOLDER / f"live-{scheme}.png")
    for page in pages.values():
        page.close()


def take_pictures(
    page: Page,
    root: str,
    levels: list[tuple[int, int]],
    scheme: str,
) -> None:
    """Take a picture of each page. root: that of the file."""
    (first, run_id), (last, _) = levels[0], levels[-1]

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
