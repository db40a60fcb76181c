"""The product's words: messages of one form, telling names, the field's terms."""

import ast
import builtins
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted([*ROOT.glob("*.py"), *ROOT.glob("ollama_bench/**/*.py")])
TEXTS = [
    *(ROOT / name for name in ("README.md", "ARCHITECTURE.md")),
    *(ROOT / name for name in ("CONTRIBUTING.md", "schema.sql")),
    *sorted(ROOT.glob("docs/*.md")),
]
# a dialect of English that this project once had, and contractions
DIALECT = re.compile(
    r"\b(?:(?:is|are) meant\b|is no (?:level|range|number|Ollama)|set it anew"
    r"|gives nothing more|serves nobody|so it is\b|can not\b"
    r"|can't|don't|isn't|won't|doesn't)",
    re.IGNORECASE,
)
# term: how others call the same thing; the term has one spelling here
TERMS = {
    "time to first token": r"time[- ]to[- ]the[- ]first[- ]token|first[- ]token (?:time|delay)",
    "inter-token latency": r"inter[- ]?token (?:time|delay|gap)|intertoken",
    "throughput": r"\bthrough-put|\bthru-?put",
    "open loop": r"\bopen-loop\b",
    "closed loop": r"\bclosed-loop\b",
}


@functools.cache
def parse(path):
    return ast.parse(path.read_text("utf-8"))


def list_messages(path):
    """Yield (line, text) of each string of a file that is no docstring; {} is a value."""
    tree = parse(path)
    inner = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for part in ast.walk(node)
        if part is not node
    }
    for node in ast.walk(tree):
        if id(node) in inner:
            continue
        if isinstance(node, ast.JoinedStr):
            yield (
                node.lineno,
                "".join(
                    part.value if isinstance(part, ast.Constant) else "{}"
                    for part in node.values
                ),
            )
        elif isinstance(node, ast.Constant) and isinstance(
            node.value, str
        ):
            yield node.lineno, node.value


def list_definitions(path, *kinds):
    tree = parse(path)
    return [node for node in tree.body if isinstance(node, kinds)]


@pytest.fixture(scope="module")
def messages():
    """Place and text of every string of the product."""
    return [
        (f"{path.relative_to(ROOT)}:{line}", text)
        for path in SOURCES
        for line, text in list_messages(path)
    ]


def test_an_invalid_value_is_told_with_what_is_expected(messages):
    told = [
        (where, text)
        for where, text in messages
        if re.search(r"\binvalid [^ ]* ?'?\{\}", text)
    ]
    assert len(told) > 20
    assert not [
        where
        for where, text in told
        if "expected" not in text
        and "did you mean" not in text
        and not text.endswith(": {}")  # it is put together
    ]


def test_no_text_is_in_dialect(messages):
    texts = [
        *messages,
        *((path.name, path.read_text("utf-8")) for path in TEXTS),
    ]
    found = {
        where: match.group()
        for where, text in texts
        if (match := DIALECT.search(text))
    }
    assert not found


@pytest.mark.parametrize("term", TERMS)
def test_a_term_of_the_field_has_one_spelling(messages, term):
    texts = [
        *messages,
        *((path.name, path.read_text("utf-8")) for path in TEXTS),
    ]
    assert any(term in text.lower() for _, text in texts)
    others = re.compile(TERMS[term], re.IGNORECASE)
    assert not {
        where: match.group()
        for where, text in texts
        if (match := others.search(text))
    }


def test_an_exception_is_called_an_error():
    found = {
        node.name
        for path in SOURCES
        for node in list_definitions(path, ast.ClassDef)
        for base in node.bases
        if isinstance(base, ast.Name)
        and base.id.endswith(("Error", "Exception"))
    }
    assert found
    assert not {name for name in found if not name.endswith("Error")}


def test_no_name_hides_one_of_python():
    names = {
        f"{path.relative_to(ROOT)}: {node.name}"
        for path in SOURCES
        for node in list_definitions(path, ast.ClassDef, ast.FunctionDef)
        if node.name in dir(builtins)
    }
    assert not names
