"""Addresses of the pages of one results file, and of Datasette's own pages of its rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlencode

# the places of a page's styles and scripts
ASSETS = "/-/ollama-bench"


@dataclass(frozen=True)
class Links:
    """Paths on this server."""

    file: str  # name of the results file, without its folder
    base: str  # what every path begins with; mostly ""
    root: str  # Datasette's page of the file
    queries: str  # Datasette's page of a query

    def run(self, run_id: int) -> str:
        return f"{self.root}/-/run/{run_id}"

    def answer(self, run_id: int) -> str:
        return f"{self.run(run_id)}/answer"

    def live(self, run_id: int) -> str:
        """Return where the state of a running run is, as JSON."""
        return f"{self.run(run_id)}/live"

    def so_far(self, run_id: int) -> str:
        """Return where the finished levels of a running run are."""
        return f"{self.run(run_id)}/so-far"

    def level(self, level_id: int) -> str:
        return f"{self.root}/-/level/{level_id}"

    def playback(self, level_id: int) -> str:
        return f"{self.level(level_id)}/playback"

    def request(self, level_id: int, number: int) -> str:
        return f"{self.level(level_id)}/request/{number}"

    def chart(self, page: str, name: str, study: str) -> str:
        """Return where the spec of a chart is.

        page: that of its run or level; study: the folder of the study's files.
        """
        return f"{page}/chart/{name}?{urlencode({'study': study})}"

    def asset(self, name: str) -> str:
        return f"{self.base}{ASSETS}/{name}"

    def rows(self, table: str, **equal: object) -> str:
        """Return Datasette's page of the rows whose columns have these values."""
        filters = {
            f"{name}__exact": value for name, value in equal.items()
        }
        return f"{self.root}/{quote(table)}?{urlencode(filters)}"

    def query(self, sql: str, parameters: Mapping[str, object]) -> str:
        """Return Datasette's page of a query."""
        return f"{self.queries}?{urlencode({'sql': sql, **parameters})}"
