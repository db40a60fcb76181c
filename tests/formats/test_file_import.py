"""What is wrong with a file of JSON is one line, and nothing of it is stored."""

import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ollama_bench.formats import file_import, json_file
from ollama_bench.formats.import_command import main
from tests.formats.importing import import_file, rows
from tests.formats.json_samples import (
    make_guidellm,
    make_vllm,
)


@pytest.mark.parametrize(
    "content, said",
    [
        ("", "old.json is not JSON"),
        ("{", "old.json is not JSON"),
        ("[" * 100_000, "old.json is not JSON"),
        ("[]", "old.json is not a JSON object"),
        (
            "{}",
            "expected what vllm bench serve --save-detailed or GuideLLM",
        ),
        ('{"a": 1}\n{"a"', "old.json is not JSON"),
        (make_vllm(itls=None), "1 itls|0 itls"),
        (
            make_vllm(itls=[[0.1]]),
            "1 itls and 3 input_lens: expected as many",
        ),
        (
            make_vllm(itls=[["x"], [], []]),
            'invalid itls "x": expected a number of 0 or more',
        ),
        (
            make_vllm(ttfts=[-1, 1, 1]),
            "invalid ttfts -1: expected a number",
        ),
        (
            make_vllm(ttfts=[float("nan"), 1, 1]),
            "invalid ttfts NaN: expected a number",
        ),
        (make_vllm(ttfts=[10**400, 1, 1]), "invalid ttfts 1000"),
        (
            make_vllm(request_rate=1.0, burstiness=0),
            "invalid burstiness 0.0: expected a number above 0",
        ),
        (
            make_vllm(request_rate=1.0, burstiness="x"),
            'invalid burstiness "x": expected a number of 0 or more',
        ),
        (make_vllm(duration=True), "invalid duration true"),
        (make_vllm(duration=None), "invalid duration null"),
        (make_vllm(output_lens=[1.5, 1, 1]), "expected a whole number"),
        (make_vllm(date="soon"), 'invalid date "soon": expected YYYY'),
        (make_vllm(model_id=[1]), "invalid model_id"),
        (make_vllm(max_concurrency=0.5), "expected a whole number"),
        (
            make_vllm(start_times=[0, 1e9, 0]),
            "the instants of a request are years apart",
        ),
        (
            {"model_id": "x", "request_throughput": 1.0},
            "no input_lens: expected what vllm bench serve --save-detailed",
        ),
        (
            make_guidellm(start_time=None),
            "invalid benchmarks[0].start_time",
        ),
        (
            make_guidellm(end_time=1.0),
            "the instants of a level are not in order",
        ),
        (make_guidellm(requests=[]), "no benchmark that has all its"),
        (make_guidellm(requests={"successful": 3}), "expected a list"),
    ],
    ids=str,
)
def test_what_is_wrong_is_one_line_and_nothing_is_stored(
    tmp_path, database, content, said, capsys
):
    assert import_file(tmp_path, content, database) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("ollama-bench import: ")
    assert any(words in line for words in said.split("|"))
    assert not (tmp_path / "imported.db").exists()


def test_a_file_of_a_folder_that_is_wrong_is_left_out(
    tmp_path, database, capsys
):
    (tmp_path / "notes.json").write_text('{"a": 1}')
    (tmp_path / "cut.json").write_text(json.dumps(make_vllm())[:-5])
    assert main([str(tmp_path), "--db", database]) == 1
    capsys.readouterr()
    (tmp_path / "good.json").write_text(json.dumps(make_vllm()))
    assert main([str(tmp_path), "--db", database]) == 0
    said = capsys.readouterr().out
    assert said.count("left out: ") == 2
    assert len(rows(database, "SELECT * FROM run")) == 1


def test_a_run_that_fails_half_way_is_not_stored(
    tmp_path, database, monkeypatch, capsys
):
    import_file(tmp_path, make_guidellm(), database)
    monkeypatch.setattr(
        "ollama_bench.formats.storing.store_requests", fail
    )
    assert import_file(tmp_path, make_vllm(), database) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert len(rows(database, "SELECT * FROM run")) == 1


def fail(*_):
    raise OSError("disk full")


def test_a_large_file_and_one_of_many_lists_are_refused(
    tmp_path, database, monkeypatch, capsys
):
    monkeypatch.setattr(json_file, "MOST_BYTES", 500)
    assert import_file(tmp_path, make_vllm(), database) == 1
    assert "is larger than" in capsys.readouterr().err
    monkeypatch.setattr(json_file, "MOST_BYTES", 100_000)
    monkeypatch.setattr(json_file, "MOST_BRACKETS", 5)
    assert import_file(tmp_path, make_vllm(), database) == 1
    assert "has more than 5 lists" in capsys.readouterr().err


@pytest.mark.skipif(
    not hasattr(os, "mkfifo"), reason="the system has no named pipes"
)
def test_a_named_pipe_is_not_waited_for(tmp_path, database, capsys):
    os.mkfifo(tmp_path / "pipe.json")
    assert main([str(tmp_path / "pipe.json"), "--db", database]) == 1
    assert "is not a file" in capsys.readouterr().err


def test_a_dry_run_writes_nothing(tmp_path, database, capsys):
    assert import_file(tmp_path, make_vllm(), database, "--dry-run") == 0
    dry = capsys.readouterr().out.splitlines()
    assert not (tmp_path / "imported.db").exists()
    assert import_file(tmp_path, make_vllm(), database) == 0
    assert capsys.readouterr().out.splitlines()[:-1] == dry[:-1]
    assert dry[:2] == [
        "old.json: vllm bench serve, tiny, old",
        "  level 2, closed load: 3 requests, 1 failed",
    ]


def test_names_are_safe_for_a_terminal(tmp_path, database, capsys):
    record = make_vllm(model_id="a\x1b[31m\ud800\x00b", label="x\ny")
    assert import_file(tmp_path, record, database) == 0
    said = capsys.readouterr().out
    assert "\x1b" not in said and "\x00" not in said
    [target] = rows(database, "SELECT model FROM target")
    assert target["model"] == "a·[31m?·b"


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=8,
)


@settings(max_examples=150)
@given(st.data())
def test_no_junk_is_a_traceback(data):
    """A member of a good file, at any depth, becomes something else."""
    record = data.draw(st.sampled_from([make_vllm(), make_guidellm()]))
    inner = record
    while True:
        keys = (
            list(inner) if isinstance(inner, dict) else range(len(inner))
        )
        key = data.draw(st.sampled_from(list(keys)))
        value = inner[key]
        if not value or not isinstance(value, (dict, list)):
            break
        if data.draw(st.booleans()):
            break
        inner = value
    inner[key] = data.draw(JUNK)
    try:
        run = file_import.read_run("x.json", record, "x")
    except json_file.ImportFileError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert run.levels
