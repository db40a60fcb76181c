"""What plays a level back, against SQL: which instants and texts it has, and how much at most."""

import itertools
import json

import pytest

from ollama_bench.browsing import playback
from ollama_bench.browsing.links import Links
from ollama_bench.storage.connection import connect
from tests.support import made_up_results

LINKS = Links("results", "", "/results", "/results")
# all that had come of a request by an instant
CAME = """
SELECT substr(reasoning, 1, sum(characters * is_reasoning)) AS reasoning,
  substr(answer, 1, sum(characters * (1 - is_reasoning))) AS answer, count(*) AS chunks
FROM chunk JOIN reply USING (request_id) WHERE request_id = ? AND at_ns <= ?"""


@pytest.fixture
def file(tmp_path):
    made_up_results.write(
        tmp_path / "results.db", levels=(2, 32), slots=4, failures=2
    )
    database = connect(tmp_path / "results.db")
    yield database
    database.close()


def load(database, level_id):
    text = playback.write_playback(database, level_id, LINKS)
    return json.loads(text)


def came_by(row, at_ms):
    """What a browser shows of a request: its texts by their UTF-16 units, and its chunks."""
    instants = list(itertools.accumulate(row["gaps"]))
    steps = sum(instant <= at_ms for instant in instants)
    texts = []
    for name in ("reasoning", "answer"):
        known = row.get(name)
        units = known["text"].encode("utf-16-le") if known else b""
        size = 2 * sum(known["sizes"][:steps]) if known else 0
        texts.append(units[:size].decode("utf-16-le"))
    return [*texts, min(steps * row["size"], row["chunks"])]


def list_requests(database, level_id):
    return list(
        database.query(
            "SELECT *, coalesce(due_ns, sent_ns) AS asked_ns FROM request"
            " WHERE level_id = ? ORDER BY asked_ns, number",
            [level_id],
        )
    )


def assert_as_sql_says(database, level_id, seconds):
    rows = load(database, level_id)["requests"]
    requests = list_requests(database, level_id)
    assert len(rows) == len(requests)
    compared = 0
    for row, request in zip(rows, requests):
        assert row["number"] == request["number"]
        assert row["rate"] == request["stream_tokens_per_s"]
        if row["stream"] >= playback.TEXT_STREAMS:
            continue
        for at_s in seconds:
            at_ns = requests[0]["asked_ns"] + at_s * 1_000_000_000
            came = next(database.query(CAME, [request["id"], at_ns]))
            expected = [came["reasoning"] or "", came["answer"] or ""]
            assert came_by(row, at_s * 1000) == [*expected, came["chunks"]]
            compared += came["chunks"] > 0
    assert compared > 2


def test_by_each_second_there_is_what_had_come(file):
    assert_as_sql_says(file, 2, (1, 5, 10, 20))


def test_letters_beyond_the_first_65536_are_whole(file):
    answer = "\U0001f600é" * 13 + "!"
    assert len(answer) == len(made_up_results.ANSWER)
    file.execute("UPDATE reply SET answer = ?", [answer])
    assert_as_sql_says(file, 1, (1, 2, 3, 4))


def test_a_chunk_of_a_step_is_not_shown_before_the_last_of_them(
    file, monkeypatch
):
    whole = load(file, 1)
    monkeypatch.setattr(playback, "MOST_STEPS", 40)
    found = load(file, 1)
    assert sum(len(row["gaps"]) for row in found["requests"]) <= 42
    assert "each step is 3" in found["notes"][0]
    for thin, row in zip(found["requests"], whole["requests"]):
        every = list(itertools.accumulate(row["gaps"]))
        ends = list(itertools.accumulate(thin["gaps"]))
        assert ends == [*every[2::3]]
        assert came_by(thin, 1e9) == came_by(row, 1e9)


def test_texts_that_do_not_fit_their_chunks_are_blocks(file):
    file.execute("UPDATE chunk SET characters = NULL")
    found = load(file, 1)
    row = found["requests"][0]
    assert row["answer"]["text"] is None
    assert sum(row["answer"]["sizes"]) == 40 and row["chunks"] == 60
    assert "A block stands for each chunk" in found["notes"][0]


def test_a_file_with_odd_kinds_asks_no_browser_for_endless_blocks(file):
    file.execute(
        "UPDATE chunk SET characters = NULL, is_reasoning = 1000000000000"
    )
    row = load(file, 1)["requests"][0]
    assert sum(row["reasoning"]["sizes"]) == 60


def test_few_streams_have_texts_and_each_has_its_instants(file):
    rows = load(file, 2)["requests"]
    texts = [row for row in rows if "answer" in row]
    assert len(rows) == 32 and len(texts) == playback.TEXT_STREAMS - 2
    assert {len(row["gaps"]) for row in rows} == {0, 60}
    assert [row["ending"] for row in rows[:3]] == ["reset"] * 2 + [
        "completed"
    ]


def test_who_asks_after_another_has_ended_takes_its_stream():
    def ask(asked, ended):
        return {"asked_ns": asked, "ended_ns": ended}

    place = playback.place_side_by_side
    assert place(
        [ask(0, 5), ask(0, 3), ask(3, 9), ask(4, None), ask(9, 9)], 20
    ) == [0, 1, 1, 2, 0]
    crowd = [ask(0, 9)] * (playback.MOST_STREAMS + 5)
    assert len(place(crowd, 9)) == playback.MOST_STREAMS


def test_what_is_left_out_is_said(file, monkeypatch):
    monkeypatch.setattr(playback, "MOST_REQUESTS", 5)
    found = load(file, 2)
    assert len(found["requests"]) == 5
    assert "The first 5 of 32 requests." in found["notes"]


def test_a_long_text_is_not_sent(file, monkeypatch):
    monkeypatch.setattr(playback, "MOST_CHARACTERS", 40)
    row = load(file, 1)["requests"][0]
    assert row["answer"]["text"] is None
    assert row["reasoning"]["text"] == made_up_results.REASONING


def test_a_level_that_is_not_there_is_none(file):
    assert playback.write_playback(file, 99, LINKS) is None


def test_a_level_without_requests_is_empty(file):
    file.execute("DELETE FROM chunk")
    file.execute("DELETE FROM reply")
    file.execute("DELETE FROM request")
    found = load(file, 1)
    assert (found["requests"], found["duration"]) == ([], 0)
