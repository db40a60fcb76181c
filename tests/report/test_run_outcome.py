"""What bench.py shows of a level and of a run, and how it judges at the end."""

from __future__ import annotations

import sys
import types

import pytest

from ollama_bench.inputs.objectives import parse
from ollama_bench.report import run_outcome
from ollama_bench.storage.connection import connect
from ollama_bench.storage.results_file import ResultsError
from ollama_bench.terminal import command_line
from tests.support import made_up_results
from tests.support.studies import change

LEVEL_ROWS = """
SELECT level_summary.*, mean_w, mean_gpu_mhz, joules_per_output_token,
  gpu_power_w, gpu_joules_per_output_token
FROM level_summary LEFT JOIN energy_summary USING (level_id)"""


class Record:
    """Run 1 of a file, with what run_outcome asks of ollama_bench.run.record.RunRecord."""

    id = 1
    writer = types.SimpleNamespace(rejected=0)

    def __init__(self, path):
        self.path = path

    def rows(self, sql, values=()):
        database = connect(self.path, readonly=True)
        try:
            return list(database.query(sql, list(values)))
        finally:
            database.close()

    def level(self, level_id):
        return next(
            iter(
                self.rows(f"{LEVEL_ROWS} WHERE level_id = ?", [level_id])
            ),
            None,
        )

    def levels(self):
        return self.rows(f"{LEVEL_ROWS} ORDER BY level_id")


class Screen:
    """Keeps what would be shown."""

    def __init__(self):
        self.said, self.tables, self.levels = [], [], []
        self.width = 80
        self.warn = self.sentence = self.said.append
        self.table, self.level_finished = (
            lambda rows, in_any_order: self.tables.append(rows),
            self.levels.append,
        )

    def say(self, text, style=None):
        self.said.append(text)


class Server:
    def advice(self, http_status, example):
        return "; start it" if example == "refused" else ""


def settings(path, **judging):
    defaults = {
        "report": False,
        "fail_if": (),
        "search_budget_s": 600.0,
        "objectives": parse("ttft=10"),
    }
    return types.SimpleNamespace(
        output=types.SimpleNamespace(db=str(path)),
        request=types.SimpleNamespace(cache="both"),
        load=types.SimpleNamespace(
            kind="closed", requests=None, deadline_s=None, budget_s=None
        ),
        judging=types.SimpleNamespace(**{**defaults, **judging}),
    )


def show_level(path, level_id):
    screen = Screen()
    reach = run_outcome.show_level(
        settings(path), Record(path), level_id, screen, [Server()]
    )
    return reach, screen


@pytest.fixture
def path(tmp_path):
    made_up_results.write(
        tmp_path / "results.db",
        levels=(1, 2, 4),
        failures=1,
        error="refused",
    )
    change(
        tmp_path / "results.db",
        "INSERT INTO objective (run_id, metric, bound) VALUES (1, 'ttft_s', 10)",
    )
    return tmp_path / "results.db"


def test_a_level_without_failures_is_one_line(path):
    reach, screen = show_level(path, 1)
    assert (
        reach > 1
        and screen.said == []
        and [row["level_id"] for row in screen.levels] == [1]
    )


def test_failures_are_told_with_advice_once_a_run(path):
    reach, screen = show_level(path, 3)
    assert reach == pytest.approx(0.75 / 0.95) and [
        line.strip() for line in screen.said
    ] == [
        "1 reset: refused",
        "start it",
    ]
    change(
        path,
        "UPDATE request SET status = 'reset', error = 'refused' WHERE level_id = 2",
    )
    assert [line.strip() for line in show_level(path, 3)[1].said] == [
        "1 reset: refused"
    ]
    # that one was not shown
    change(path, "UPDATE level SET status = 'interrupted' WHERE id = 2")
    assert len(show_level(path, 3)[1].said) == 2


def test_a_level_in_which_the_machine_slept_reaches_nothing(path):
    change(path, "UPDATE level SET slept_s = 30 WHERE id = 1")
    assert show_level(path, 1)[0] is None


def test_waits_for_a_place_are_told_of_an_open_loop_only(path):
    change(path, "UPDATE level SET pool_waits = 3 WHERE id = 1")
    assert show_level(path, 1)[1].said == []
    change(
        path, "UPDATE level SET load = 'open', rate_per_s = 1 WHERE id = 1"
    )
    (line,) = show_level(path, 1)[1].said
    assert "3 requests found the only place taken when due" in line


def test_a_level_that_somebody_deleted_is_one_line(path):
    with pytest.raises(
        ResultsError, match="run 1 is no longer in .*: another program"
    ):
        show_level(path, 99)


def test_the_end_has_table_answer_and_what_to_type(path):
    screen = Screen()
    run_outcome.show(
        settings(path), Record(path), "interrupted", screen, [Server()]
    )
    assert (
        len(screen.tables[0]) == 3
        and "tiny:7b" in screen.said[1]
        and "Up to 2 at once get" in screen.said[3]
    )
    said = "\n".join(screen.said)
    assert said.count("Up to 2 at once get") == 1
    assert said.index("Up to 2 at once") < said.index("AT ONCE  TOKENS/S")
    assert said.index("AT ONCE") < said.index("prompts of 30 tokens")
    assert (
        "run 1 is in" in screen.said[-1]
        and "--run 1\n    all sentences" in screen.said[-1]
    )


def test_what_the_judgment_says_is_not_said_twice(path):
    screen = Screen()
    run_outcome.show(
        settings(path, fail_if=("ttft>9",)),
        Record(path),
        "finished",
        screen,
        [Server()],
    )
    assert screen.tables == [] and "at once get" not in "".join(
        screen.said
    )


def test_a_run_in_which_nothing_finished_offers_no_answer(path):
    change(
        path,
        "UPDATE request SET status = 'cancelled'",
        "UPDATE level SET status = 'interrupted'",
    )
    screen = Screen()
    run_outcome.show(
        settings(path), Record(path), "interrupted", screen, [Server()]
    )
    assert (
        "datasette" in screen.said[-1] and "analyze" not in screen.said[-1]
    )
    assert screen.tables == []  # it would be empty


def test_in_a_clone_datasette_is_told_where_the_pages_are(
    monkeypatch, tmp_path
):
    root = command_line.PACKAGE.parent
    monkeypatch.chdir(root)
    folder = "ollama_bench/browsing/plugins"
    command = command_line.name_browser("results.db")
    assert command == f"datasette results.db --plugins-dir {folder}"
    assert command in run_outcome.describe_next("results.db", 7, {}, 200)
    monkeypatch.chdir(tmp_path)
    command = command_line.name_browser("results.db")
    assert command.endswith(f" --plugins-dir {root / folder}")


def test_next_names_a_clones_program_by_its_path(monkeypatch, tmp_path):
    root = command_line.PACKAGE.parent
    monkeypatch.setattr(sys, "argv", [str(root / "bench.py")])
    monkeypatch.chdir(root)
    command = run_outcome.name_analysis("results.db", 1, "finished")
    assert command == "python analyze.py"
    monkeypatch.chdir(tmp_path)
    command = run_outcome.name_analysis("results.db", 1, "finished")
    assert command == f"python {root / 'analyze.py'}"


def test_a_narrow_window_breaks_what_to_type_next_between_words(
    monkeypatch,
):
    monkeypatch.setattr(command_line, "is_clone", lambda: False)
    text = run_outcome.describe_next(
        "folder/results.db", 7, {"analyze": "all sentences and charts"}, 40
    )
    assert text.splitlines() == [
        "",
        "run 7 is in folder/results.db. Next:",
        "  analyze     all sentences and charts",
        "  datasette folder/results.db",
        "    browse runs, levels and requests",
    ]


@pytest.mark.parametrize(
    "cold, warm, text",
    [
        (0.0, None, ""),
        (None, 0.5, ""),
        (0.02, 0.05, ", no hits: 5% of the prompt tokens came from it"),
    ],
)
def test_a_warm_level_without_hits_is_called_so(cold, warm, text):
    row = {"cold_cached_ratio": cold, "warm_cached_ratio": warm}
    assert run_outcome.describe_misses(row) == text


@pytest.mark.parametrize(
    "fail_if, code, said",
    [
        ((), 0, ""),
        (("ttft>100",), 0, "run 1"),
        (("ttft>0",), 1, "failed:"),
    ],
)
def test_the_judgment_is_the_exit_code(path, capsys, fail_if, code, said):
    assert run_outcome.judge(settings(path, fail_if=fail_if), 1) == code
    out = capsys.readouterr().out
    assert said in out and bool(out) == bool(fail_if)


def test_a_report_that_cannot_be_written_is_one_line(
    path, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    # it is found before anything is drawn
    monkeypatch.setattr("ollama_bench.report.drawing.Drawing", None)
    (tmp_path / "data").write_text("in the way")
    with pytest.raises(ResultsError) as error:
        run_outcome.judge(settings(path, report=True), 1)
    assert "data" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("kind", "requests", "deadline_s", "shown"),
    [
        (
            "closed",
            100,
            2.5,
            [
                "        60 of 100 requests were never begun:"
                " the deadline of 2.5 s came first"
            ],
        ),
        ("closed", 40, 2.5, []),
        ("closed", 100, None, []),
        ("open", 100, 2.5, []),
    ],
)
def test_what_the_deadline_left_out_is_said(
    kind, requests, deadline_s, shown
):
    screen = Screen()
    asked = settings("results.db")
    asked.load = types.SimpleNamespace(
        kind=kind, requests=requests, deadline_s=deadline_s
    )
    run_outcome.show_never_begun(asked, {"requests": 40}, screen)
    assert screen.said == shown
