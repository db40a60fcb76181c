"""What the property tests draw from, and what they ask of every result."""

import sqlite3
from contextlib import closing

from hypothesis import strategies as st

NUMBERS = (
    st.integers()
    | st.floats()
    | st.sampled_from([10**400, 2**63, 2**63 - 1, -1, 0, True])
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
DEEP = "[" * 2000 + "]" * 2000


def one_line(error):
    text = str(error)
    return bool(text) and len(text.splitlines()) == 1


def or_value_error(parse, *arguments):
    """What it gives; None after a ValueError of one line. Any other exception fails the test."""
    try:
        return parse(*arguments)
    except ValueError as error:
        assert one_line(error), error
        return None


def can_be_stored(value):
    """SQLite takes it: an int of 64 bits, text without half a surrogate pair."""
    with closing(sqlite3.connect(":memory:")) as connection:
        return (
            connection.execute("SELECT ? IS NOT NULL", [value]).fetchone()
            is not None
        )
