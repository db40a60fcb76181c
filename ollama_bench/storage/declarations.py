"""Read CREATE TABLE statements: which columns and rules a table has.

SQLite tells no names apart by their case, and keeps comments and spaces of a statement. What is
read here compares two declarations by what they mean.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import NamedTuple

TOKEN = re.compile(
    # text and quoted names
    r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\[[^\]]*\]|`(?:[^`]|``)*`"
    r"|--[^\n]*|/\*.*?(?:\*/|\Z)|[ \t\n\f\r]+"  # comments and white space
    r"|[A-Za-z0-9_$\x80-\U0010ffff]+|.",
    re.S,
)
# how comments and white space begin
MEANINGLESS = ("--", "/*", " ", "\t", "\n", "\f", "\r")
# how a table constraint begins
RULES = ("PRIMARY", "UNIQUE", "CHECK", "FOREIGN", "CONSTRAINT")
QUOTES = ("]", '"', "'", "`")

Token = re.Match[str]


class ColumnDeclaration(NamedTuple):
    """A column as a CREATE TABLE declares it."""

    text: str  # the whole declaration, name first
    # what follows the name, without comments and white space
    words: tuple[str, ...]
    expression: str | None  # of a generated column, in parentheses


class Table(NamedTuple):
    """A table as a CREATE TABLE declares it; names are in lower case."""

    name: str
    columns: dict[str, ColumnDeclaration]
    # constraints of the whole table, then its options
    rules: tuple[tuple[str, ...], ...]


def iterate_tokens(sql: str) -> Iterator[Token]:
    """Yield the words and signs of a statement, without comments and white space."""
    return (
        match
        for match in TOKEN.finditer(sql)
        if not match[0].startswith(MEANINGLESS)
    )


def list_words(sql: str) -> list[str]:
    """Return the text of all tokens of a statement."""
    return [token[0] for token in iterate_tokens(sql)]


def unquote(word: str) -> str:
    """Return a name in lower case, without its quotes."""
    closing = "]" if word[:1] == "[" else word[:1]
    if closing in QUOTES and len(word) > 1:
        word = word[1:-1]
        if closing != "]":
            word = word.replace(closing * 2, closing)
    return word.lower()


@functools.lru_cache(maxsize=256)
def parse_table(sql: str) -> Table | None:
    """Parse a CREATE TABLE; return None for any other statement."""
    sql = sql.strip()
    tokens = list(iterate_tokens(sql.rstrip(";")))
    words = [token[0].upper() for token in tokens[:5]]
    if words[2:] == ["IF", "NOT", "EXISTS"]:
        del tokens[2:5]
    if (
        words[:2] != ["CREATE", "TABLE"]
        or len(tokens) < 5
        or tokens[3][0] != "("
    ):
        return None
    end = find_closing(tokens, 3)
    columns: dict[str, ColumnDeclaration] = {}
    rules = []
    for part in split_at_commas(tokens[4:end]):
        first = part[0][0]
        if first.upper() in RULES:
            rules.append(tuple(token[0] for token in part))
        else:
            columns[unquote(first)] = parse_column(sql, part)
    options = tuple(token[0] for token in tokens[end + 1 :])
    return Table(unquote(tokens[2][0]), columns, (*sorted(rules), options))


def parse_column(sql: str, tokens: list[Token]) -> ColumnDeclaration:
    words = [token[0] for token in tokens]
    expression = None
    for place, word in enumerate(words[:-1]):
        if word.upper() == "AS" and words[place + 1] == "(":
            end = find_closing(tokens, place + 1)
            expression = sql[tokens[place + 1].start() : tokens[end].end()]
            break
    text = sql[tokens[0].start() : tokens[-1].end()]
    return ColumnDeclaration(text, tuple(words[1:]), expression)


def find_closing(tokens: list[Token], opening: int) -> int:
    """Return the place of the parenthesis that closes the one here; the last place if none does."""
    depth = 0
    for place in range(opening, len(tokens)):
        depth += nesting(tokens[place])
        if depth == 0:
            return place
    return len(tokens) - 1


def split_at_commas(tokens: list[Token]) -> list[list[Token]]:
    """Return what stands between the commas outside of parentheses."""
    parts: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        depth += nesting(token)
        if token[0] == "," and depth == 0:
            parts.append([])
        else:
            parts[-1].append(token)
    return [part for part in parts if part]


def nesting(token: Token) -> int:
    """Return by how much a token changes the depth of parentheses."""
    return {"(": 1, ")": -1}.get(token[0], 0)
