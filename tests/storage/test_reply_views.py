"""What replies say of themselves: their model, drafts, tokens in a chunk."""

import pytest

from ollama_bench.protocols.target import is_same_model
from tests.storage.rows import level, one, request


def test_acceptance_of_a_draft_and_tokens_in_a_chunk(database):
    level(database)
    drafted = {"output_tokens_source": "server", "chunks": 10}
    request(
        database,
        1,
        tokens=20,
        draft_tokens=16,
        draft_accepted_tokens=4,
        **drafted,
    )
    request(
        database,
        2,
        tokens=40,
        draft_tokens=4,
        draft_accepted_tokens=4,
        **drafted,
    )
    request(database, 3, tokens=7, chunks=7, output_tokens_source="chunks")
    request(
        database,
        4,
        tokens=90,
        status="reset",
        draft_tokens=90,
        draft_accepted_tokens=0,
        **drafted,
    )
    each = [
        (row["draft_acceptance_ratio"], row["tokens_per_chunk"])
        for row in database.query("SELECT * FROM request ORDER BY number")
    ]
    assert each == [(0.25, 2.0), (1.0, 4.0), (None, None), (0.0, 9.0)]
    row = one(database, "level_summary")
    assert row["draft_acceptance_ratio"] == 0.4
    assert row["tokens_per_chunk"] == 3.0


def test_no_draft_and_no_chunk_are_no_ratios(database):
    level(database)
    request(
        database,
        1,
        tokens=0,
        chunks=0,
        draft_tokens=0,
        draft_accepted_tokens=0,
        output_tokens_source="server",
    )
    row = one(database, "level_summary")
    assert row["draft_acceptance_ratio"] is None
    assert row["tokens_per_chunk"] is None


@pytest.mark.parametrize(
    "asked, named",
    [
        ("m", "m"),
        ("m", "m:latest"),
        ("m:latest", "M"),
        ("smollm2:135m", "SmolLM2:135m"),
        ("m", None),
        ("m", "m:7b"),
        ("m:7b", "m"),
        ("deepseek-r1:7b", "smollm2"),
        ("a:latest:b", "a:b"),
    ],
)
def test_another_model_is_what_python_takes_for_another(
    database, asked, named
):
    level(database, model=asked)
    request(database, 1, tokens=1, reply_model=named)
    other = one(database, "level_replies")["other_model"]
    is_other = named is not None and not is_same_model(named, asked)
    assert other == (named if is_other else None)
