"""A result folder is written whole or not at all."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from joulecut.errors import OutputError
from joulecut.jobs.folder import write_folder

FILES = {"a.json": b"{}", "b.bin": b"\x00" * 100}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def everything(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def test_a_new_folder_holds_exactly_the_files_and_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_folder(tmp_path / "deep" / "out", FILES)
    finally:
        os.umask(before)
    assert contents(tmp_path / "deep" / "out") == FILES
    assert everything(tmp_path) == ["deep", "deep/out", "deep/out/a.json", "deep/out/b.bin"]
    assert stat.S_IMODE((tmp_path / "deep" / "out").stat().st_mode) == 0o750
    assert stat.S_IMODE((tmp_path / "deep" / "out" / "a.json").stat().st_mode) == 0o640


def test_a_folder_that_exists_keeps_its_other_files(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"old")
    (tmp_path / "notes.txt").write_bytes(b"mine")
    (tmp_path / "sub").mkdir()
    write_folder(tmp_path, FILES)
    assert contents(tmp_path) == {**FILES, "notes.txt": b"mine"}
    assert "sub" in everything(tmp_path)


def test_an_empty_folder_and_a_link_to_one_are_filled(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.mkdir()
    link.symlink_to(real)
    write_folder(link, FILES)
    assert contents(real) == FILES
    assert link.is_symlink()


def test_below_a_regular_file_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    for target in (tmp_path / "file", tmp_path / "file" / "out", tmp_path / "file" / "a" / "b"):
        with pytest.raises(OutputError, match="cannot write the folder") as caught:
            write_folder(target, FILES)
        assert "\n" not in str(caught.value)
    assert contents(tmp_path) == {"file": b"mine"}
    assert everything(tmp_path) == ["file"]


def test_a_folder_under_the_name_of_a_file_stops_all(tmp_path: Path) -> None:
    (tmp_path / "b.bin").mkdir()
    (tmp_path / "a.json").write_bytes(b"old")
    with pytest.raises(OutputError, match=r"b\.bin: it is a folder"):
        write_folder(tmp_path, FILES)
    assert contents(tmp_path) == {"a.json": b"old"}


FULL = """
import resource, sys
from pathlib import Path
from joulecut.errors import OutputError
from joulecut.jobs.folder import write_folder
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_folder(Path(sys.argv[1]), {"a.json": b"{}", "b.bin": bytes(5000)})
except OutputError as error:
    print(error)
"""


@pytest.mark.parametrize("exists", [True, False])
def test_on_a_full_disk_all_stays_as_it_was(tmp_path: Path, exists: bool) -> None:
    """A limit on the size of files stops the second one half-way, as a full disk does."""
    target = tmp_path / "deep" / "out"
    if exists:
        write_folder(target, {"a.json": b"old", "notes.txt": b"mine"})
    before = (contents(tmp_path), everything(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(target)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"cannot write the folder {target}: File too large.")
    assert (contents(tmp_path), everything(tmp_path)) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_not_ours_stays_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"old")
    tmp_path.chmod(0o555)
    try:
        for target in (tmp_path, tmp_path / "new" / "out"):
            with pytest.raises(OutputError, match="Permission denied"):
                write_folder(target, FILES)
    finally:
        tmp_path.chmod(0o755)
    assert contents(tmp_path) == {"a.json": b"old"}
