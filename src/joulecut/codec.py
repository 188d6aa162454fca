"""Records to JSON and back; files are written whole or not at all.

A saved record is one JSON object: its fields, and ``schema`` with the record's name and version. An
``Estimate`` also shows what follows from its fields (``lo``, ``hi``, ``confidence``, ``bounds``), for
readers that are not joulecut; decoding ignores them.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from joulecut.errors import OutputError, SchemaError
from joulecut.estimate import Estimate

__all__ = [
    "VERSION",
    "from_json",
    "schema_name",
    "split_schema",
    "to_json",
    "to_json_line",
    "to_plain",
    "write_bytes",
    "write_text",
]

VERSION: Final = 1
"""Version of the saved form; a reader refuses newer ones."""

_TAG: Final = re.compile(r"joulecut/([a-z_]+)/([0-9]{1,9})")

Record = TypeVar("Record")


def to_plain(value: object) -> Any:
    """A record as dicts, lists, strings and numbers.

    Raises:
        ValueError: a number that is not finite (JSON has no such numbers).
    """
    if isinstance(value, Estimate):
        return _estimate(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} cannot be saved")
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if value is None or isinstance(value, (bool, int, float)):
        return value
    raise TypeError(f"cannot save a {type(value).__name__}")


def _estimate(value: Estimate) -> dict[str, Any]:
    low, high = value.bounds(0.9)
    derived: dict[str, Any] = {
        "value": value.value,
        "lo": low,
        "hi": high,
        "confidence": 0.9,
        "bounds": {"0.5": list(value.bounds(0.5)), "0.9": [low, high]},
    }
    stored = {
        f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.name not in ("common", "own")
    }
    parts = {"common": to_plain(value.common), "own": to_plain(value.own)}
    return {key: to_plain(item) for key, item in (derived | stored | parts).items()}


def schema_name(record: type) -> str:
    """The name under which a record type is saved: ``EnergyProfile`` is ``energy_profile``."""
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in record.__name__).lstrip("_")


def to_json(record: object) -> str:
    """A record as indented JSON text with its schema."""
    name = f"joulecut/{schema_name(type(record))}/{VERSION}"
    return json.dumps({"schema": name} | to_plain(record), indent=1, ensure_ascii=False) + "\n"


def to_json_line(record: object) -> str:
    """A record as JSON on one line, with its schema."""
    return json.dumps(json.loads(to_json(record)), ensure_ascii=False) + "\n"


def from_json(text: str | bytes, record: type[Record], *, where: str = "the text") -> Record:
    """Read a record from JSON.

    Args:
        text: what ``to_json`` wrote.
        record: the type expected.
        where: what to call the text in an error.

    Raises:
        SchemaError: not JSON, another record, a newer version, or a field of the wrong type.
    """
    import msgspec  # late: writing needs no msgspec

    try:
        plain = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise SchemaError(f"{where} is not JSON: {error}.") from error
    name, version = split_schema(plain)
    if name != schema_name(record):
        raise SchemaError(
            f"{where} holds a {name or 'JSON value without a schema'}, not a {schema_name(record)}."
        )
    if version > VERSION:
        raise SchemaError(
            f"{where} was written by a newer joulecut (schema {version}).", hint="Upgrade joulecut."
        )
    try:
        return msgspec.convert(plain, record, strict=True)
    except msgspec.ValidationError as error:
        raise SchemaError(f"{where} is damaged: {error}.") from error


def split_schema(plain: object) -> tuple[str, int]:
    """Name and version from the ``schema`` key of a decoded file; ("", 0) without one."""
    tag = plain.get("schema", "") if isinstance(plain, dict) else ""
    match = _TAG.fullmatch(str(tag))
    return (match[1], int(match[2])) if match else ("", 0)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all (see ``write_bytes``)."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all: into a temporary file beside it, then renamed.

    A link is followed. Something that is no file and no folder, as ``/dev/stdout``, is written in place.

    Raises:
        OutputError: the folder is missing, read-only or full; nothing is left behind.
    """
    try:
        target = path.resolve()
        if target.exists() and not target.is_file() and not target.is_dir():
            path.write_bytes(data)
        else:
            _replace(target, data)
    except (OSError, RuntimeError) as error:
        raise _output_error(path, error) from error


def _replace(path: Path, data: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        Path(name).chmod(0o666 & ~mask)
        Path(name).replace(path)
    finally:  # gone already where all went well
        Path(name).unlink(missing_ok=True)


def _output_error(path: Path, error: OSError | RuntimeError) -> OutputError:
    reason = getattr(error, "strerror", None) or error
    return OutputError(
        f"cannot write {path}: {reason}.",
        hint="Choose a folder that exists, can be written and is not full.",
    )
