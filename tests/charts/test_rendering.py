"""PNGs that other processes draw."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ollama_bench.charts import rendering
from ollama_bench.charts.png import make_png
from ollama_bench.charts.rendering import Renderers, RenderingError

NAMES = ("timeline", "itl", "energy", "average_throughput")


def draw_all(specs):
    with Renderers() as renderers:
        pictures = [renderers.draw_png(spec) for spec in specs]
        return [picture.result() for picture in pictures]


@pytest.mark.faults
def test_a_picture_is_the_same_whoever_draws_it_and_when(drawn):
    specs = [drawn[name] for name in NAMES]
    once = draw_all(specs)
    assert once == [make_png(spec) for spec in specs]
    assert once == draw_all(specs[::-1])[::-1]


def test_what_cannot_be_drawn_is_an_error_of_one_line():
    with (
        Renderers() as renderers,
        pytest.raises(RenderingError, match="^cannot draw a chart: .*$"),
    ):
        renderers.draw_png({"mark": "\n"}).result()


@pytest.mark.parametrize("program", ["", "/no/such/python", "sleep"])
def test_where_no_other_process_can_it_is_drawn_here(
    drawn, monkeypatch, program
):
    monkeypatch.setattr(sys, "executable", program)
    assert draw_all([drawn["energy"]]) == [make_png(drawn["energy"])]


@pytest.mark.faults
def test_the_scripts_of_a_page_are_bundled():
    with Renderers() as renderers:
        assert b"vegaEmbed" in renderers.bundle_scripts().result()


def test_no_renderer_outlives_the_work(drawn, monkeypatch):
    started = []

    def start():
        started.append(start_renderer())
        return started[-1]

    start_renderer = rendering.start_renderer
    monkeypatch.setattr(rendering, "start_renderer", start)
    # Ctrl-C, while the second is not yet drawn
    with pytest.raises(KeyboardInterrupt), Renderers() as renderers:
        renderers.draw_png(drawn["energy"]).result()
        renderers.draw_png(drawn["timeline"])
        raise KeyboardInterrupt
    assert started
    assert all(process.poll() is not None for process in started)


def test_a_renderer_ends_with_its_input():
    process = rendering.start_renderer()
    process.communicate(timeout=30)
    assert process.returncode == 0


def test_a_renderer_takes_no_module_from_the_working_directory(
    tmp_path, monkeypatch
):
    (tmp_path / "vl_convert.py").write_text("raise SystemExit('mine')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    process = rendering.start_renderer()
    process.communicate(timeout=30)
    assert process.returncode == 0


def test_what_a_library_prints_is_no_picture(drawn):
    code = (
        "from ollama_bench.charts import rendering; "
        "rendering.do = lambda job: (print('noise', flush=True), (True, b'picture'))[1]; "
        "rendering.serve()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=b"null\n",
        capture_output=True,
        timeout=30,
    )
    assert done.stdout == rendering.HEAD.pack(True, 7) + b"picture"
    assert done.stderr.strip() == b"noise"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no alarm")
def test_a_renderer_ends_though_its_job_does_not(monkeypatch):
    """It may hold the interpreter for hours, and its parent may have been killed."""
    slow = (
        "import sys; sys.path[:] = sys.argv[1:]; import time; "
        "from ollama_bench.charts import rendering as one; "
        "one.LONGEST_JOB_S = 1; one.do = lambda _: time.sleep(60); one.serve()"
    )
    monkeypatch.setattr(rendering, "START", slow)
    with (
        Renderers() as renderers,
        pytest.raises(RenderingError, match="in 300 s"),
    ):
        renderers.bundle_scripts().result(30)
