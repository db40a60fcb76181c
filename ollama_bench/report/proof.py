"""What a page proves of itself: digests of its parts, and figures that its instants give anew.

    sealed, digest = seal(text)      # a page as it is made, with the digests filled in
    found = inspect(text)            # of a page as somebody has it
    found.problems, found.digest     # [] and 64 digits: it is as it was made

A digest is a SHA-256. Each part of the page has one, and their list has the one that is shown
and printed. The page itself compares all but that of the file, whose bytes no script sees.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import NamedTuple

from ollama_bench.analysis.study import Row
from ollama_bench.report import instants
from ollama_bench.report.level_table import COLUMNS
from ollama_bench.report.recomputed import Figure, Recomputed

LINE_END = re.compile(r"\r\n?")
MAIN = re.compile(r'<main id="report">(.*?)</main>', re.DOTALL)
SCRIPT = '<script type="{}" id="{}">(.*?)</script>'
CHARTS = re.compile(SCRIPT.format("application/json", "specs"), re.DOTALL)
INSTANTS = re.compile(SCRIPT.format("text/plain", "instants"), re.DOTALL)
SEAL = re.compile(SCRIPT.format("application/json", "seal"), re.DOTALL)
DIGEST = re.compile(r'<code id="digest">(.*?)</code>', re.DOTALL)
# the parts of a page that have a digest, as they are called
PARTS = {
    "instants": "the instants",
    "charts": "the data of the charts",
    "text": "the text",
    "file": "markup, style or scripts",
}
UNKNOWN = "–"  # in a cell of the table
# a figure that lies so near to where rounding changes may be written either way
ROUNDING = 1e-9
# in sentences: what stands before and after a figure, as a regular expression
PHRASES = {
    "most_served": (r"^[^\d]*", r"(?![\d.,])"),
    "tokens_per_s_mean": (r"^", " tokens/s each"),
    "output_tokens_per_s": (r"(?:^|, )", " all together"),
    "ttft_mean_s": (r"(?:^|, )", " until the first token"),
    "requests_per_s": (r"^", " requests/s"),
}
WRITERS = {column.name: column.write for column in COLUMNS}
LONGEST_QUOTE = 80
# what reading rows raises that somebody else made
UNREADABLE = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)
HEADINGS = {column.name: column.heading for column in COLUMNS}


class NoProofError(ValueError):
    """A file is no page, or one that carries no instants; str() is one line for the user."""


class Shown(NamedTuple):
    """Figures that stand in an element of the page: their names, the levels they are of."""

    tag: str
    names: list[str]
    levels: list[str]  # their numbers
    text: str


@dataclass(frozen=True)
class Inspection:
    """What came of looking at a page."""

    problems: list[str]  # what is not as it was made
    digest: str  # the one that the page shows
    figures: int  # that were made anew
    # what they were made of; None: none is carried, or can be read
    rows: Row | None


class MainText(HTMLParser):
    """The text of the page's main part as a browser has it, and the figures in it."""

    def __init__(self, main: str) -> None:
        super().__init__(convert_charrefs=True)
        self.shown: list[Shown] = []
        self._texts: list[str] = []
        self._open: Shown | None = None
        try:
            self.feed(main)
            self.close()
        except AssertionError:  # markup that is none, before Python 3.14
            raise NoProofError("its text cannot be read") from None
        self.text = "".join(self._texts)

    def handle_starttag(
        self, tag: str, attrs: list[tuple[str, str | None]]
    ) -> None:
        given = {name: value or "" for name, value in attrs}
        if "data-figures" in given:
            self._open = Shown(
                tag,
                given["data-figures"].split(),
                given.get("data-levels", "").split(),
                "",
            )

    def handle_endtag(self, tag: str) -> None:
        if self._open is not None and self._open.tag == tag:
            self.shown.append(self._open)
            self._open = None

    def handle_data(self, data: str) -> None:
        self._texts.append(data)
        if self._open is not None:
            text = self._open.text + data
            self._open = self._open._replace(text=text)


def seal(page: str) -> tuple[str, str]:
    """Return a page with the digests of its parts, and the digest of their list."""
    page = LINE_END.sub("\n", page)
    figures = count_figures(MainText(find_part(MAIN, page)).shown)
    listed = json.dumps({**hash_parts(page), "figures": figures})
    digest = hash_text(listed)
    for pattern, text in ((SEAL, listed), (DIGEST, digest)):
        start, end = match_part(pattern, page).span(1)
        page = f"{page[:start]}{text}{page[end:]}"
    return page, digest


def inspect(page: str) -> Inspection:
    """Return what of a page is not as it was made. Raises NoProofError."""
    page = LINE_END.sub("\n", page)
    listed, digest = find_part(SEAL, page), find_part(DIGEST, page)
    main = MainText(find_part(MAIN, page))
    problems = list_broken(page, listed, digest)
    packed = find_part(INSTANTS, page)
    if not packed:
        return Inspection(problems, digest, 0, None)
    try:
        rows = instants.parse_instants(instants.unpack(packed))
        problems += list_wrong(main.shown, Recomputed(rows))
    except UNREADABLE:
        problems.append("the instants cannot be read")
        return Inspection(problems, digest, 0, None)
    figures = count_figures(main.shown)
    return Inspection(problems, digest, figures, rows)


def count_figures(shown: Sequence[Shown]) -> int:
    return sum(len(one.names) for one in shown)


def find_part(pattern: re.Pattern[str], page: str) -> str:
    return match_part(pattern, page)[1]


def match_part(pattern: re.Pattern[str], page: str) -> re.Match[str]:
    match = pattern.search(page)
    if match is None:
        raise NoProofError("it carries no instants")
    return match


def hash_parts(page: str) -> dict[str, str]:
    """Return the digest of each part of a page."""
    packed = find_part(INSTANTS, page)
    try:
        rows = instants.unpack(packed) if packed else ""
    except ValueError:
        rows = packed
    main = MainText(find_part(MAIN, page)).text
    # what no digest can be in: their own places, of which only the first count
    rest = page
    for pattern in (SEAL, DIGEST):
        start, end = match_part(pattern, rest).span(1)
        rest = rest[:start] + rest[end:]
    parts = {
        "instants": rows,
        "charts": find_part(CHARTS, page),
        # as a browser reads it
        "text": main.replace("\0", ""),
        "file": rest,
    }
    return {name: hash_text(text) for name, text in parts.items()}


def hash_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def list_broken(page: str, listed: str, digest: str) -> list[str]:
    """Return which parts of a page have another digest than is listed."""
    try:
        stated = dict(json.loads(listed))
    except (ValueError, TypeError, RecursionError):
        return ["the list of digests was changed"]
    found = [
        f"{PARTS[name]} changed"
        for name, actual in hash_parts(page).items()
        if stated.get(name) != actual
    ]
    # that changes with each of the others
    last = f"{PARTS['file']} changed"
    if len(found) > 1 and last in found:
        found.remove(last)
    if hash_text(listed) != digest:
        found.append("the digest, or the list of digests, was changed")
    return found


def list_wrong(
    shown: Sequence[Shown], figures: Recomputed
) -> Iterator[str]:
    """Yield each figure that is not what the instants give."""
    for one in shown:
        levels = [*map(int, one.levels)]
        for name in one.names:
            value = figures.find(name, levels)
            if not says(one.text, name, value, one.tag == "td"):
                place = figures.describe(levels)
                given = write_figure(name, value)[0]
                yield (
                    f"{place}, {HEADINGS.get(name, 'most served')}: "
                    f"its instants give {given}, "
                    f"the page says {one.text[:LONGEST_QUOTE]!r}"
                )


def says(
    text: str, name: str, value: Figure, is_cell: bool = False
) -> bool:
    """Tell whether a sentence says a figure; a cell, whether it is one."""
    written = write_figure(name, value)
    if is_cell:
        return text in written
    before, after = PHRASES[name]
    return any(
        re.search(f"{before}{re.escape(one)}{after}", text)
        for one in written
    )


def write_figure(name: str, value: Figure) -> list[str]:
    """Return how a figure is written; where rounding changes, both ways."""
    if value is None:
        return [UNKNOWN]
    write = WRITERS.get(name, str)
    if not isinstance(value, float):
        return [write(value)]
    return [write(value * (1 + part)) for part in (0, ROUNDING, -ROUNDING)]
