"""Files of one integer each, as sysfs has them, kept open and read at one place: 1 to 2 us a file."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

__all__ = ["IntegerFiles", "fault_of", "read_integer", "read_text"]

_LONGEST: Final = 32
"""Bytes of the longest text that is read: a 64-bit integer has at most 20 digits."""
_CLOSED: Final = -1


class IntegerFiles:
    """Kept descriptors of files that hold one integer.

    Raises:
        OSError: a file cannot be opened; nothing stays open then.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._files: list[int] = []
        try:
            for path in paths:
                self._files.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        except OSError:
            self.close()
            raise

    def read(self) -> tuple[tuple[int | None, ...], tuple[str, ...]]:
        """The integers in order, None where one cannot be read, and why; no faults at all give ()."""
        pread = os.pread
        try:
            return tuple([int(pread(file, _LONGEST, 0)) for file in self._files]), ()
        except (OSError, ValueError):
            pairs = [_one(file) for file in self._files]
            return tuple(count for count, _ in pairs), tuple(fault for _, fault in pairs)

    def close(self) -> None:
        """Give the descriptors back; reads from now on are faults."""
        for file in self._files:
            if file != _CLOSED:
                os.close(file)
        self._files = [_CLOSED] * len(self._files)


def _one(file: int) -> tuple[int | None, str]:
    try:
        return int(os.pread(file, _LONGEST, 0)), ""
    except (OSError, ValueError) as error:
        return None, fault_of(error)


def fault_of(error: OSError | ValueError) -> str:
    """What a failed read is called in a trace.

    >>> fault_of(OSError(5, "Input/output error")), fault_of(ValueError())
    ('the read failed with EIO (Input/output error)', 'the file holds no number')
    """
    if isinstance(error, OSError):
        name = errno.errorcode.get(error.errno or 0, "an unknown error")
        return f"the read failed with {name} ({error.strerror})"
    return "the file holds no number"


def read_text(path: Path) -> str:
    """The text of a small file without its line end; "" where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def read_integer(path: Path) -> int | None:
    """The integer that a file holds; None where it is missing, unreadable or holds something else."""
    try:
        return int(read_text(path))
    except ValueError:
        return None
