"""Disks that are full, stay full or are read-only: said in one line, and nothing is lost."""

import contextlib
import ctypes
import os
import time

import pytest

from ollama_bench.formats import merge_command
from ollama_bench.storage import writer as storage_writer
from ollama_bench.storage.results_file import ResultsError
from ollama_bench.storage.writer import Writer
from tests.support import made_up_results
from tests.support.beginnings import QUICK, RUN
from tests.system.programs import (
    as_root,
    assert_one_line,
    assert_sound,
    finish,
    linux,
    query,
    start,
    start_impatient,
)

pytestmark = pytest.mark.faults


@contextlib.contextmanager
def mounted(folder, *options):
    folder.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(
        b"tmpfs",
        os.fsencode(folder),
        b"tmpfs",
        0,
        ",".join(options).encode(),
    ):
        pytest.skip("no mounting here")
    try:
        yield lambda flags: libc.mount(
            b"tmpfs", os.fsencode(folder), b"tmpfs", 32 | flags, None
        )  # 32: remount
    finally:
        libc.umount2(os.fsencode(folder), 2)


@linux
@as_root
def test_a_full_disk_is_said_and_waited_for(tmp_path, monkeypatch):
    said = []
    with mounted(tmp_path / "small", "size=2m"):
        with Writer(
            tmp_path / "small" / "results.db", say=said.append
        ) as writer:
            run_id = writer.insert("run", RUN)
            filler = tmp_path / "small" / "filler"
            with (
                contextlib.suppress(OSError),
                filler.open("wb", buffering=0) as file,
            ):
                while True:
                    file.write(b"x" * 4096)
            for _ in range(200):
                writer.add(
                    "event",
                    {"run_id": run_id, "kind": "x", "detail": "y" * 2000},
                )
            until = time.monotonic() + 20
            while not said and time.monotonic() < until:
                time.sleep(0.05)
            filler.unlink()
            writer.flush()
        assert len(said) == 1 and "full" in said[0] and "\n" not in said[0]
        assert query(
            tmp_path / "small" / "results.db", "SELECT count(*) FROM event"
        ) == [(200,)]
        assert_sound(tmp_path / "small" / "results.db")


@linux
@as_root
def test_a_disk_that_stays_full_ends_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(storage_writer, "WRITE_PATIENCE_S", 1.0)
    with mounted(tmp_path / "small", "size=1m"):
        writer = Writer(
            tmp_path / "small" / "results.db", say=lambda text: None
        )
        run_id = writer.insert("run", RUN)
        with pytest.raises(ResultsError, match="full") as caught:
            for _ in range(1000):
                writer.insert(
                    "event",
                    {
                        "run_id": run_id,
                        "kind": "x",
                        "detail": "y" * 20_000,
                    },
                )
        assert "\n" not in str(caught.value)
        with contextlib.suppress(ResultsError):
            writer.close()
        assert_sound(tmp_path / "small" / "results.db")


@linux
@as_root
def test_a_read_only_disk_is_said_in_one_line(steady, tmp_path):
    with mounted(tmp_path / "fixed", "size=4m") as remount:
        assert remount(1) == 0  # MS_RDONLY
        code, _, err = finish(
            start(
                "1", "--host", steady.url, *QUICK, cwd=tmp_path / "fixed"
            )
        )
        assert (
            code == 1
            and len(err.splitlines()) == 1
            and ("read-only" in err or "not writable" in err)
        )


@linux
@as_root
def test_a_run_that_fills_the_disk_ends_in_one_line(steady, tmp_path):
    """What was committed is kept, nothing hangs, and what could not be written is counted."""
    with mounted(tmp_path / "small", "size=600k"):
        process = start_impatient(
            "4,8",
            "--requests",
            "400",
            "--host",
            steady.url,
            *QUICK,
            "--db",
            "small/full.db",
            cwd=tmp_path,
        )
        code, out, err = finish(process)
        assert code == 1
        assert_one_line(
            err,
            "full",
            "make room on its disk",
            "entries could not be written",
        )
        assert out.count("trying again") == 1 and "not there" not in out
        assert_sound(tmp_path / "small" / "full.db")
        assert query(
            tmp_path / "small" / "full.db",
            "SELECT count(*) > 0 FROM request WHERE status = 'completed'",
        ) == [(1,)]


@linux
@as_root
@pytest.mark.parametrize("filled", [700_000, 900_000])
def test_a_merge_into_a_full_disk_is_one_line_and_leaves_nothing(
    tmp_path, capsys, filled
):
    made_up_results.write(tmp_path / "a.db", levels=(32,))
    with mounted(tmp_path / "small", "size=1m"):
        filler = tmp_path / "small" / "filler"
        filler.write_bytes(b"x" * filled)
        output = tmp_path / "small" / "all.db"
        assert (
            merge_command.main([str(tmp_path / "a.db"), "-o", str(output)])
            == 1
        )
        said = capsys.readouterr().err
        assert said == (
            f"ollama-bench merge: {output}: database or disk is full\n"
        )
        assert os.listdir(tmp_path / "small") == ["filler"]
