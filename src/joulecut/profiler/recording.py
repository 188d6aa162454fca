"""Saved traces: a run that was recorded gives the same measurement again, byte for byte."""

from __future__ import annotations

from pathlib import Path

from joulecut.codec import from_json, to_json, write_text
from joulecut.errors import SchemaError, UsageError
from joulecut.profiler.records import Trace

__all__ = ["load_trace", "save_trace"]


def save_trace(trace: Trace, path: str | Path) -> None:
    """Save a trace as JSON, whole or not at all.

    Raises:
        OutputError: the path cannot be written.
    """
    write_text(Path(path), to_json(trace))


def load_trace(path: str | Path) -> Trace:
    """Load a saved trace.

    Raises:
        UsageError: the file cannot be read.
        SchemaError: it holds no trace, or one whose readings do not fit its domains.
    """
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}.") from error
    trace = from_json(text, Trace, where=str(path))
    width = len(trace.domains)
    for read in trace.reads:
        if (
            any(len(part) not in (0, width) for part in (read.faults, read.stamps_s))
            or len(read.counts) != width
        ):
            raise SchemaError(f"{path} is damaged: a reading does not hold one count for each domain.")
    return trace
