"""A folder of results, written whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from joulecut.errors import OutputError

__all__ = ["write_folder"]


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a folder: all of them, or none.

    They are written into a temporary folder first: beside a folder that does not exist yet, which it then
    becomes, and inside one that does (its parent may be another file system, or not ours to write). A folder
    that exists keeps its other files; files of the same names are replaced.

    Raises:
        OutputError: the folder cannot be made or written; nothing is left behind.
    """
    target = folder.absolute()
    exists = target.is_dir()
    taken = next((name for name in files if (target / name).is_dir()), "")
    if taken:
        raise OutputError(f"cannot write {folder / taken}: it is a folder.", hint="Choose another folder.")
    missing = [parent for parent in target.parents if not parent.exists()]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(dir=target if exists else target.parent, prefix=".joulecut-"))
    except OSError as error:
        _remove(missing)
        raise _failure(folder, error) from error
    try:
        for name, data in files.items():
            (staged / name).write_bytes(data)
        if exists:
            for name in files:
                (staged / name).replace(target / name)
        else:
            mask = os.umask(0)
            os.umask(mask)
            staged.chmod(0o777 & ~mask)
            staged.rename(target)
    except OSError as error:
        raise _failure(folder, error) from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)
        if not target.exists():
            _remove(missing)


def _remove(folders: list[Path]) -> None:
    """Remove folders that were made for nothing, the innermost first."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def _failure(folder: Path, error: OSError) -> OutputError:
    return OutputError(
        f"cannot write the folder {folder}: {error.strerror or error}.",
        hint="Choose a folder that can be written and has room.",
    )
