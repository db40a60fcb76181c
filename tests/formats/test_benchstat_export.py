"""Lines of Go's benchmark format, as Ollama's own cmd/bench prints them."""

import re

from ollama_bench.storage.connection import connect
from tests.formats.exporting import export
from tests.support import made_up_results

# a line as cmd/bench prints it, or of a level, or a setting that is a table's
LINE = re.compile(
    r"#.*|concurrency: \d+"
    r"|BenchmarkModel/name=\S+/step=(prefill|generate) 1 \d+\.\d\d ns/token \d+\.\d\d token/sec"
    r"|BenchmarkModel/name=\S+/step=(ttft|load|total) 1 \d+ ns/op"
    r"|BenchmarkLevel/name=\S+ 1( \d+\.\d{4} (token/sec|J/token))+"
)


def lines(folder):
    path = folder / "benchstat" / "tiny-7b.txt"
    return path.read_text("utf-8").splitlines()


def test_each_line_is_one_of_cmd_bench(tmp_path):
    found = lines(export(tmp_path, "benchstat", levels=(1, 4), failures=1))
    assert [line for line in found if not LINE.fullmatch(line)] == []
    steps = [
        re.sub(r".*/step=(\w+) .*", r"\1", line)
        for line in found
        if "/step=" in line
    ]
    assert steps[:5] == ["prefill", "generate", "ttft", "load", "total"]
    assert len(steps) == 5 * 4  # one of the five requests failed


def test_what_the_server_does_not_tell_has_no_line(tmp_path):
    made_up_results.write(tmp_path / "results.db", levels=(1,))
    database = connect(str(tmp_path / "results.db"))
    database.execute(
        """UPDATE request SET server_prefill_ns = NULL, server_decode_ns = NULL,
        server_load_ns = NULL, server_total_ns = NULL"""
    )
    [tpot] = database.query("SELECT stream_tpot_s FROM request")
    database.conn.commit()
    database.close()
    found = [
        line
        for line in lines(export(tmp_path, "benchstat"))
        if "/step=" in line
    ]
    assert [
        re.sub(r".*/step=(\w+) .*", r"\1", line) for line in found
    ] == [
        "generate",
        "ttft",
    ]
    assert f" {tpot['stream_tpot_s'] * 1e9:.2f} ns/token" in found[0]


def test_a_name_with_blanks_is_one_word(tmp_path):
    made_up_results.write(
        tmp_path / "results.db", levels=(1,), model="my model\nBenchmarkX"
    )
    export(tmp_path, "benchstat")
    [path] = (tmp_path / "benchstat").iterdir()
    for line in path.read_text("utf-8").splitlines():
        assert LINE.fullmatch(line), line
