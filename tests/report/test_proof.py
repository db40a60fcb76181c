"""A report.html that proves itself, on the command line: what was changed in it is found."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import analyze
from ollama_bench.report import drawing, instant_rows, instants, proof
from ollama_bench.storage import merge
from tests.properties.values import or_value_error
from tests.support import made_up_results
from tests.support.chart_specs import drawing_nothing

HOSTILE = "</script></main>\r\n&lt;\0<!--:7b"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A results.db of two models, one of them hostile, and its report."""
    folder = tmp_path_factory.mktemp("proof")
    results = folder / "results.db"
    made_up_results.write(results, levels=(1, 2, 4), failures=1, runs=2)
    made_up_results.write(
        results,
        model=HOSTILE.replace("\0", ""),
        label="<b>label</b>",
        levels=(1, 2),
        error="\r\n<script>",
        failures=1,
        chunks=False,
    )
    write_report(results)
    return folder


def write_report(results, *more):
    with drawing_nothing():
        arguments = ["--db", str(results), "--out", str(results.parent)]
        arguments += ["--charts", "timeline", *more]
        assert analyze.main(arguments) == 0
    return results.parent / "report.html"


def verify(page, results=None):
    named = ["--db", str(results)] if results else []
    return analyze.main(["--verify", str(page), *named])


def change(folder, tmp_path, pattern, replacement):
    """A copy of the report with one part replaced, which must be there."""
    text = (folder / "report.html").read_bytes().decode()
    changed, count = re.subn(
        pattern, replacement, text, count=1, flags=re.S
    )
    assert count == 1 and changed != text
    (tmp_path / "report.html").write_bytes(changed.encode())
    return tmp_path / "report.html"


def test_a_page_is_as_it_was_written_and_its_rows_are_those_of_the_file(
    folder, capsys
):
    assert verify(folder / "report.html", folder / "results.db") == 0
    said = capsys.readouterr().out
    assert re.search(
        r"recomputed from [\d,]{3,} instants: all \d+ figures agree", said
    )
    assert f"its rows are those of {folder / 'results.db'}" in said


def test_the_digest_is_printed_when_the_page_is_made(tmp_path, capsys):
    made_up_results.write(tmp_path / "results.db", levels=(1,))
    page = write_report(tmp_path / "results.db")
    [digest] = re.findall(
        r"digest of the page: ([0-9a-f]{64})\n", capsys.readouterr().out
    )
    assert f'<code id="digest">{digest}</code>' in page.read_text()
    assert verify(page) == 0
    assert digest in capsys.readouterr().out


@pytest.mark.parametrize(
    ("pattern", "replacement", "said"),
    [
        (r'(data-figures="ttft_mean_s"[^>]*>)\d', r"\g<1>7", "wait, mean"),
        (
            r'(data-figures="completed"[^>]*>)\d',
            r"\g<1>7",
            "level 1, done",
        ),
        (r'(data-figures="good"[^>]*>)\d', r"\g<1>7", "good"),
        (r'(<p class="answer" data[^>]*>\D*)\d', r"\g<1>9", "most served"),
        (
            r"(<dd[^>]*>)\d+",
            r"\g<1>77",
            "tokens/s each: its instants give",
        ),
        ("Apple M9", "Apple M8", "the text changed"),
        (r'"datasets"', '"datasetz"', "the data of the charts changed"),
        (r'(id="instants">[^<]{400,}?)[a-m]', r"\g<1>n", "cannot be read"),
        (r'(id="seal">\{"instants": ")[0-9a-f]', r"\g<1>g", "digest"),
        (r'(id="digest">)[0-9a-f]', r"\g<1>g", "digest"),
        (r"agrees", "agreez", "markup, style or scripts changed"),
        (r' data-figures="errors"', "", "markup, style or scripts"),
        # where the digests stand themselves: a second one
        (
            r'id="digest">[0-9a-f]+</code>',
            r'\g<0><code id="digest"><script>alert(1)</script></code>',
            "markup, style or scripts changed",
        ),
        (
            "</body>",
            '<script type="application/json" id="seal">{}</script></body>',
            "markup, style or scripts changed",
        ),
        (r'<code id="digest">', r"<!--\g<0>-->\g<0>", "digest"),
    ],
)
def test_what_was_changed_is_named(
    folder, tmp_path, capsys, pattern, replacement, said
):
    page = change(folder, tmp_path, pattern, replacement)
    assert verify(page, folder / "results.db") == 1
    lines = capsys.readouterr().out
    assert "is not as it was written" in lines and said in lines


def test_any_changed_byte_is_found(folder):
    page = (folder / "report.html").read_bytes()
    for place in range(7, len(page), len(page) // 20):
        one = bytes([page[place] ^ 1 or 2])
        changed = page[:place] + one + page[place + 1 :]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Path, "read_bytes", lambda _, data=changed: data)
            assert verify(folder / "report.html") in (1, 2)


def test_other_line_ends_change_nothing(folder, tmp_path):
    page = (folder / "report.html").read_bytes()
    page = page.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    (tmp_path / "report.html").write_bytes(page)
    assert verify(tmp_path / "report.html") == 0


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        (
            "UPDATE request SET first_text_ns = first_text_ns + 1 WHERE number = 2",
            "request 2: another first_text_ns",
        ),
        ("DELETE FROM chunk WHERE number = 7", "other chunks"),
        ("UPDATE level SET ended_ns = ended_ns + 1", "ended_ns is"),
        (
            "DELETE FROM request WHERE number = 4",
            "it has 3 requests",
        ),
    ],
)
def test_another_results_file_is_told(folder, tmp_path, capsys, sql, said):
    results = copy(folder, tmp_path)
    with closing(sqlite3.connect(results)) as database, database:
        database.execute(sql)
    assert verify(folder / "report.html", results) == 1
    assert said in capsys.readouterr().out


def copy(folder, tmp_path):
    with closing(sqlite3.connect(folder / "results.db")) as database:
        database.execute("VACUUM INTO ?", [str(tmp_path / "other.db")])
    return tmp_path / "other.db"


def test_a_page_was_not_made_from_a_file_of_other_runs(
    folder, tmp_path, monkeypatch, capsys
):
    other = tmp_path / "results.db"
    made_up_results.write(other, levels=(1,), started_unix=1.7e9)
    assert verify(folder / "report.html", other) == 1
    assert f"  {other} has none of its levels\n" in capsys.readouterr().out
    monkeypatch.chdir(tmp_path)
    assert verify(folder / "report.html", "results.db") == 1
    capsys.readouterr()
    # which nobody named
    assert verify(folder / "report.html") == 0
    note = "not compared with results.db, which has none of its levels\n"
    assert note in capsys.readouterr().out


def test_a_file_that_is_not_there_is_missed_where_it_is_named(
    folder, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert verify(folder / "report.html") == 0
    note = "not compared with results.db, which is not there\n"
    assert note in capsys.readouterr().out
    assert verify(folder / "report.html", "absent.db") == 1
    assert "absent.db is not there" in capsys.readouterr().err


def test_a_file_that_was_joined_with_others_is_its_own(folder, tmp_path):
    made_up_results.write(
        tmp_path / "other.db", levels=(1,), started_unix=1.7e9
    )
    merged = tmp_path / "all.db"
    merge.merge(
        [str(tmp_path / "other.db"), str(folder / "results.db")], merged
    )
    assert verify(folder / "report.html", merged) == 0


@pytest.mark.parametrize(
    "text", ["", "<html></html>", '{"a": 1}', "\xff\xfe", "\0"]
)
def test_what_is_no_page_is_one_line_and_exit_code_2(
    tmp_path, capsys, text
):
    (tmp_path / "x.html").write_bytes(text.encode("latin-1"))
    assert verify(tmp_path / "x.html") == 2
    said = capsys.readouterr()
    assert said.out == "" and len(said.err.splitlines()) == 1
    assert "x.html cannot be verified" in said.err


def test_a_page_of_before_carries_no_instants(tmp_path, capsys):
    before = Path(__file__).parents[2] / "docs/sample/report.html"
    text = re.sub(
        r'<script[^>]*id="(?:seal|instants)">.*?</script>',
        "",
        before.read_text("utf-8"),
    )
    (tmp_path / "before.html").write_text(text, "utf-8")
    assert verify(tmp_path / "before.html") == 2
    assert "it carries no instants" in capsys.readouterr().err


def test_a_run_that_goes_on_changes_no_page(tmp_path, monkeypatch, capsys):
    """What comes while the charts are drawn is in neither figures nor instants."""
    results = tmp_path / "results.db"
    made_up_results.write(results, levels=(1, 2))

    def go_on(database, verdicts):
        with closing(sqlite3.connect(results)) as writer, writer:
            writer.execute("UPDATE request SET last_text_ns = ended_ns")
            writer.execute("UPDATE level SET ended_ns = ended_ns + 1e9")
        return instant_rows.read_instants(database, verdicts)

    monkeypatch.setattr(drawing, "read_instants", go_on)
    page = write_report(results)
    assert verify(page) == 0
    assert verify(page, results) == 1


@pytest.mark.parametrize("more", [["b.html"], ["--share"], ["--run", "1"]])
def test_it_takes_one_page_and_nothing_else(capsys, more):
    with pytest.raises(SystemExit) as ended:
        analyze.main(["--verify", "a.html", *more])
    assert ended.value.code == 2
    assert "--verify takes one page" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["no.html", "", "."])
def test_a_page_that_is_absent_is_one_line(capsys, name):
    assert verify(name) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_too_many_requests_are_said_and_the_rest_is_verified(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(
        "ollama_bench.report.instant_rows.MOST_REQUESTS", 2
    )
    made_up_results.write(tmp_path / "results.db", levels=(1, 2))
    page = write_report(tmp_path / "results.db")
    assert "This page carries no instants" in page.read_text()
    assert verify(page) == 0
    assert "figures were not recomputed" in capsys.readouterr().out
    # nor can anybody say whether they are those of a file
    assert verify(page, tmp_path / "results.db") == 1


def test_no_model_takes_the_place_of_a_part_of_the_page(tmp_path):
    parts = ("seal", "specs", "report", "digest")
    for name in parts:
        made_up_results.write(
            tmp_path / "results.db", levels=(1,), tokens=3, model=name
        )
    page = write_report(tmp_path / "results.db")
    for name in parts:
        assert page.read_text("utf-8").count(f'id="{name}"') == 1
    assert verify(page) == 0


def test_other_objectives_are_those_of_the_page(tmp_path):
    made_up_results.write(tmp_path / "results.db", levels=(1, 2, 8))
    page = write_report(
        tmp_path / "results.db", "--slo", "ttft=0.25@50,tpot=0.2"
    )
    assert verify(page, tmp_path / "results.db") == 0


@given(st.text(max_size=60) | st.binary(max_size=60).map(repr))
def test_what_was_packed_is_any_text_or_one_line(text):
    or_value_error(instants.unpack, text)
    or_value_error(instants.parse_instants, text)
    assert instants.unpack(instants.pack(ascii(text))) == ascii(text)


def test_a_page_made_to_grow_is_refused(monkeypatch):
    monkeypatch.setattr(instants, "LONGEST_TEXT", 1000)
    with pytest.raises(ValueError, match="too long"):
        instants.unpack(instants.pack("0" * 2000))


@pytest.mark.parametrize(
    ("pattern", "replacement", "code"),
    [
        ('data-levels="', r"\g<0>x", 1),
        ('data-levels="', r"\g<0>99", 1),
        ('data-figures="', r"\g<0>x", 1),
        ("<table>", "<![x<table>", 2),
        ("</main>", "", 2),
        (r'(id="seal">).*?</', r"\g<1>[3]</", 1),
    ],
)
def test_markup_of_another_kind_is_no_traceback(
    folder, tmp_path, pattern, replacement, code
):
    page = change(folder, tmp_path, pattern, replacement)
    assert verify(page, folder / "results.db") in (1, code)


def test_a_forged_page_without_names_is_no_traceback(
    folder, tmp_path, capsys, monkeypatch
):
    # where no results.db stands
    monkeypatch.chdir(tmp_path)
    text = (folder / "report.html").read_bytes().decode()
    rows = proof.inspect(text).rows
    for study in rows["studies"]:
        del study["model"]
    packed = instants.pack(instants.write_instants(rows))
    text = re.sub(
        '(id="instants">)[^<]*', lambda found: found[1] + packed, text
    )
    forged, _ = proof.seal(
        re.sub('(id="(?:seal|digest)">)[^<]*', r"\g<1>", text)
    )
    (tmp_path / "report.html").write_bytes(forged.encode())
    assert verify(tmp_path / "report.html") == 0
    assert verify(tmp_path / "report.html", folder / "results.db") == 1
    assert "cannot be read" in capsys.readouterr().out


@pytest.mark.parametrize(
    "rows",
    [
        {},
        {"studies": [{}]},
        {"studies": [{"levels": [{"id": 1}]}]},
        {"studies": 3, "every": "x"},
    ],
)
def test_instants_of_another_form_are_said_to_be_unreadable(folder, rows):
    text = (folder / "report.html").read_bytes().decode()
    packed = instants.pack(instants.write_instants({"form": 1, **rows}))
    text = re.sub(
        '(id="instants">)[^<]*', lambda found: found[1] + packed, text
    )
    assert "the instants cannot be read" in proof.inspect(text).problems
