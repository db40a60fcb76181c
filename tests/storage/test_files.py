"""Output files: whole or not at all, and never where a link leads."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import analyze
from ollama_bench.storage import files
from tests.conftest import plain_user
from tests.support import made_up_results
from tests.support.chart_specs import drawing_nothing

ROOT = Path(__file__).resolve().parents[2]
as_root = pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0, reason="needs root"
)
links = pytest.mark.skipif(
    os.name == "nt", reason="links need a right here"
)


@pytest.fixture(
    params=[True, False] if files.CAN_HOLD_FOLDERS else [False]
)
def ways(request, monkeypatch):
    """As where a system can open a folder, and as where it cannot."""
    monkeypatch.setattr(files, "CAN_HOLD_FOLDERS", request.param)


@pytest.fixture
def victim(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.png").write_text("precious")
    return tmp_path / "elsewhere"


def untouched(victim):
    return [
        (path.name, path.read_text()) for path in victim.iterdir()
    ] == [("a.png", "precious")]


def test_a_file_is_written_into_new_folders_and_replaces_the_old_one(
    ways, tmp_path
):
    for text in ("first", "second"):
        files.write(
            tmp_path / "out" / "model" / "deep" / "a.csv",
            text,
            tmp_path / "out",
        )
    assert [
        path.name
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    ] == ["a.csv"]
    assert (
        tmp_path / "out" / "model" / "deep" / "a.csv"
    ).read_text() == "second"


@links
def test_a_link_in_the_place_of_a_file_is_replaced(ways, tmp_path, victim):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png").symlink_to(victim / "a.png")
    files.write(tmp_path / "out" / "a.png", b"ours", tmp_path / "out")
    assert (
        untouched(victim)
        and (tmp_path / "out" / "a.png").read_bytes() == b"ours"
    )
    assert not (tmp_path / "out" / "a.png").is_symlink()


@links
@pytest.mark.parametrize("inside", ["model/a.png", "model/deep/a.png"])
def test_a_folder_that_is_a_link_is_refused(
    ways, tmp_path, victim, inside
):
    path = tmp_path / "out" / inside
    path.parent.parent.mkdir(parents=True)
    path.parent.symlink_to(victim)
    with pytest.raises(
        files.OutputError, match="is a symbolic link: remove it"
    ) as caught:
        files.write(path, b"ours", tmp_path / "out")
    assert str(path.parent) in str(caught.value) and untouched(victim)


@links
def test_the_folder_that_was_named_may_be_a_link_of_the_users_own(
    ways, tmp_path, victim
):
    (tmp_path / "out").symlink_to("elsewhere")
    files.write(
        tmp_path / "out" / "model" / "b.png", b"ours", tmp_path / "out"
    )
    assert (victim / "model" / "b.png").read_bytes() == b"ours"


@pytest.mark.parametrize("folder", [".", "below"])
def test_a_file_in_the_place_of_a_folder_is_told_in_plain_words(
    ways, tmp_path, folder
):
    (tmp_path / "a.txt").write_text("precious")
    out = tmp_path / "a.txt" / folder
    with pytest.raises(
        files.OutputError, match=r"is not a folder: choose another$"
    ):
        files.write(out / "a.png", b"ours", out)
    assert (tmp_path / "a.txt").read_text() == "precious"


@as_root
def test_the_folder_that_was_named_may_be_no_link_of_another_user(
    tmp_path, victim
):
    (tmp_path / "out").symlink_to("elsewhere")
    os.lchown(tmp_path / "out", plain_user().pw_uid, plain_user().pw_gid)
    with pytest.raises(
        files.OutputError, match="symbolic link of another user"
    ):
        files.write(tmp_path / "out" / "a.png", b"ours", tmp_path / "out")
    assert untouched(victim)


@links
@pytest.mark.skipif(
    not files.CAN_HOLD_FOLDERS, reason="no folder is held open here"
)
def test_a_folder_that_becomes_a_link_after_it_was_looked_at_leads_nowhere(
    tmp_path, victim, monkeypatch
):
    """What was opened is written to, whatever its name leads to by then."""
    model = tmp_path / "out" / "model"
    model.mkdir(parents=True)
    really = files.replace

    def swapped(*arguments):
        model.rename(tmp_path / "out" / "moved")
        model.symlink_to(victim)
        really(*arguments)

    monkeypatch.setattr(files, "replace", swapped)
    files.write(model / "a.png", b"ours", tmp_path / "out")
    assert (
        untouched(victim)
        and (tmp_path / "out" / "moved" / "a.png").read_bytes() == b"ours"
    )


def test_what_cannot_be_written_leaves_the_old_file_and_nothing_else(
    ways, tmp_path, monkeypatch
):
    files.write(tmp_path / "a.csv", "old", tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(
            os,
            "replace",
            lambda *_, **__: (_ for _ in ()).throw(
                OSError(28, "No space left on device")
            ),
        )
        with pytest.raises(OSError, match="No space"):
            files.write(tmp_path / "a.csv", "new", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"] and (
        tmp_path / "a.csv"
    ).read_text() == "old"


@links
@pytest.mark.parametrize(
    "place, arguments",
    [
        ("data/tiny-7b", ["--charts", "energy"]),
        ("ollama", ["--charts", "none", "--export", "study", "."]),
        ("ollama/tiny-7b", ["--charts", "none", "--export", "study", "."]),
    ],
)
def test_analyze_refuses_a_folder_that_is_a_link_in_one_line(
    tmp_path, victim, monkeypatch, capsys, place, arguments
):
    monkeypatch.chdir(tmp_path)
    made_up_results.write("results.db", levels=(1, 2))
    Path(place).parent.mkdir(exist_ok=True)
    Path(place).symlink_to(victim)
    with drawing_nothing():
        assert analyze.main(arguments) == 1 and untouched(victim)
    assert (
        capsys.readouterr().err.strip()
        == f"analyze.py: {place} is a symbolic link: remove it, or choose another folder"
    )


@links
@pytest.mark.faults
def test_analyze_replaces_links_in_the_place_of_its_files(
    tmp_path, victim, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    made_up_results.write("results.db", levels=(1, 2))
    (tmp_path / "data" / "tiny-7b").mkdir(parents=True)
    for link in ("data/report.html", "data/tiny-7b/timeline.png"):
        Path(link).symlink_to(victim / "a.png")
    assert analyze.main([]) == 0 and untouched(victim)
    assert not [
        path
        for path in (tmp_path / "data").rglob("*")
        if path.is_symlink()
    ]


# -- under sudo


@pytest.fixture
def home():
    """A folder of a plain user's, with a results file and a link to what is root's."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    made_up_results.write(folder / "results.db", levels=(1, 2))
    (folder / "roots").mkdir(mode=0o700)
    for path in (folder, folder / "results.db"):
        os.chown(path, plain_user().pw_uid, plain_user().pw_gid)
    yield folder
    shutil.rmtree(folder)


PRELUDE = """
import sys, altair
# root's Python may be out of the user's reach
altair.Chart(altair.Data(values=[{"a": 1}])).mark_line().encode(x="a:Q").to_dict()
from ollama_bench.formats import import_command as importer
from ollama_bench.report import drawing
import analyze
"""


def sudo(home, program, *arguments, user=None):
    """A program as root, started by a user."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("SUDO_")
    }
    code = f"{PRELUDE}\nsys.exit({program}.main({list(arguments)}))"
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=home,
        capture_output=True,
        text=True,
        timeout=120,
        env={
            **clean,
            "SUDO_UID": user or str(plain_user().pw_uid),
            "PYTHONPATH": str(ROOT),
        },
    )


def owners(home):
    return {
        path.lstat().st_uid
        for path in home.rglob("*")
        if "roots" not in path.parts
    }


@as_root
@pytest.mark.faults
def test_what_analyze_writes_under_sudo_is_the_users(home):
    done = sudo(home, "analyze", "--export", "study", ".")
    assert done.returncode == 0, done.stderr
    assert (
        len(list(home.rglob("*.png"))) > 5
        and list(home.rglob("*.csv"))
        and owners(home) == {plain_user().pw_uid}
    )
    done = sudo(home, "importer", "ollama", "--db", "again.db")
    assert (
        done.returncode == 0
        and (home / "again.db").exists()
        and owners(home) == {plain_user().pw_uid}
    ), done.stderr


@as_root
@pytest.mark.parametrize(
    "link, command",
    [
        (
            "data",
            ["analyze", "--charts", "none", "--export", "study", "data"],
        ),
        ("new.db", ["importer", "ollama", "--db", "new.db"]),
    ],
)
@pytest.mark.faults
def test_no_link_is_followed_with_roots_rights(home, link, command):
    assert (
        sudo(
            home, "analyze", "--charts", "none", "--export", "study", "."
        ).returncode
        == 0
    )
    (home / link).symlink_to(
        home / "roots" / ("" if link == "data" else "new.db")
    )
    os.lchown(home / link, plain_user().pw_uid, plain_user().pw_gid)
    done = sudo(home, *command)
    assert (
        done.returncode == 1
        and len(done.stderr.splitlines()) == 1
        and list((home / "roots").iterdir()) == []
    ), done.stderr


@as_root
@pytest.mark.parametrize("command", [["analyze"], ["importer", "ollama"]])
def test_a_user_that_is_none_is_one_line(home, command):
    done = sudo(home, *command, user="root")
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    program = {"analyze": "analyze.py", "importer": "ollama-bench import"}[
        command[0]
    ]
    assert done.stderr.startswith(
        f"{program}: invalid SUDO_UID 'root': expected the ID of a user"
    )
