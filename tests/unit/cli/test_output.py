import os
from pathlib import Path

import pytest

from joulecut.cli.output import check_file, check_folder
from joulecut.errors import OutputError


def test_a_file_in_a_folder_that_is_there_may_be_written(tmp_path: Path) -> None:
    check_file(None)
    check_file(str(tmp_path / "new.json"))
    (tmp_path / "old.json").touch()
    check_file(str(tmp_path / "old.json"))
    assert [path.name for path in tmp_path.iterdir()] == ["old.json"]


def test_an_output_folder_is_new_or_empty_or_forced(tmp_path: Path) -> None:
    check_folder(str(tmp_path / "new"), force=False)
    assert not (tmp_path / "new").exists()
    check_folder(str(tmp_path), force=False)
    (tmp_path / "kept").touch()
    with pytest.raises(OutputError, match="is not empty"):
        check_folder(str(tmp_path), force=False)
    check_folder(str(tmp_path), force=True)


@pytest.mark.parametrize("force", [False, True])
def test_a_file_is_no_output_folder(tmp_path: Path, force: bool) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="is a file, not a folder"):
        check_folder(str(tmp_path / "file"), force=force)
    with pytest.raises(OutputError, match="there is no folder"):
        check_folder(str(tmp_path / "file" / "under"), force=force)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="read-only"):
        check_file(str(tmp_path / "a.json"))
    with pytest.raises(OutputError, match="permission denied"):
        check_folder(str(tmp_path), force=True)
