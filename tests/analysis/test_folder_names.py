"""Folders of models."""

from __future__ import annotations

import pytest

import analyze
from ollama_bench.analysis.folder_names import safe_name
from tests.support import made_up_results
from tests.support.selections import chosen


@pytest.mark.parametrize(
    "model, folder",
    [
        ("qwen3:8b", "qwen3-8b"),
        ("../../etc/passwd", "etc-passwd"),
        ("hf.co/a/b:Q4_K_M", "hf.co-a-b-Q4_K_M"),
        ("con", "model-con"),
        ("NUL.gguf", "model-NUL.gguf"),
        ("...", "model-"),
        ("<script>", "script"),
        ("x" * 300, "x" * 100),
    ],
)
def test_a_folder_name_is_safe_everywhere(model, folder):
    assert safe_name(model) == folder


def test_models_whose_names_would_be_one_folder_have_two(
    results, tmp_path
):
    """Such as deepseek-r1:7b of a run and deepseek-r1-7b of an imported tree.

    On macOS and Windows names that differ only in case would share a folder, too.
    """
    names = ["tiny:7b", "tiny-7b", "Tiny 7b", "tiny-7b-2"]
    for model in names:
        made_up_results.write(results, levels=(1,), model=model)
    folders = {study.model: study.folder for study in chosen(results)}
    assert folders == {
        "tiny:7b": "tiny-7b",
        "tiny-7b": "tiny-7b-2",
        "Tiny 7b": "Tiny-7b-3",
        "tiny-7b-2": "tiny-7b-2-2",
    }
    assert (
        chosen(results, ["tiny-7b"])[0].model == "tiny-7b"
        and chosen(results, ["Tiny 7b"], [3])[0].folder == "Tiny-7b-3"
    )
    assert (
        analyze.main(
            [
                "--db",
                str(results),
                "--charts",
                "none",
                "--export",
                "study",
                str(tmp_path),
            ]
        )
        == 0
    )
    assert sorted(
        path.name for path in (tmp_path / "ollama").iterdir()
    ) == sorted(folders.values())
