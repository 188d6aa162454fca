"""A folder of results, written whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from joulecut.errors import OutputError

__all__ = ["write_folder"]


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a folder: all of them, or none.

    They are written into a temporary folder beside it first. A folder that exists and holds other files
    keeps those; files of the same names are replaced.

    Raises:
        OutputError: the folder cannot be made or written; nothing is left behind.
    """
    target = folder.absolute()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    except OSError as error:
        raise _failure(folder, error) from error
    try:
        staged.chmod(0o755)
        for name, data in files.items():
            (staged / name).write_bytes(data)
        if target.is_dir() and any(target.iterdir()):
            for name in files:
                (staged / name).replace(target / name)
        else:
            staged.replace(target)
    except OSError as error:
        raise _failure(folder, error) from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _failure(folder: Path, error: OSError) -> OutputError:
    return OutputError(
        f"cannot write the folder {folder}: {error.strerror or error}.",
        hint="Choose a folder that can be written and has room.",
    )
