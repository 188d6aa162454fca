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
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from joulecut.errors import OutputError, SchemaError, UsageError
from joulecut.estimate import Estimate

__all__ = ["VERSION", "from_json", "schema_name", "to_json", "to_plain", "write_bytes", "write_text"]

VERSION: Final = 1
"""Version of the saved form; a reader refuses newer ones."""

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
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"cannot save a {type(value).__name__}")


def _estimate(value: Estimate) -> dict[str, Any]:
    low, high = value.bounds(0.9)
    derived = {
        "value": value.value,
        "lo": low,
        "hi": high,
        "confidence": 0.9,
        "bounds": {"0.5": list(value.bounds(0.5)), "0.9": [low, high]},
    }
    stored = {
        f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.name not in ("common", "own")
    }
    return derived | stored | {"common": to_plain(value.common), "own": to_plain(value.own)}


def schema_name(record: type) -> str:
    """The name under which a record type is saved: ``EnergyProfile`` is ``energy_profile``."""
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in record.__name__).lstrip("_")


def to_json(record: object) -> str:
    """A record as indented JSON text with its schema."""
    name = f"joulecut/{schema_name(type(record))}/{VERSION}"
    return json.dumps({"schema": name} | to_plain(record), indent=1, ensure_ascii=False) + "\n"


def from_json(text: str | bytes, record: type[Record], *, where: str = "the text") -> Record:
    """Read a record from JSON.

    Args:
        text: what ``to_json`` wrote.
        record: the type expected.
        where: what to call the text in an error.

    Raises:
        SchemaError: not JSON, another record, a newer version, or a field of the wrong type.
    """
    try:
        plain = json.loads(text)
    except ValueError as error:
        raise SchemaError(f"{where} is not JSON: {error}.") from error
    name, version = split_schema(plain, where)
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


def split_schema(plain: object, where: str) -> tuple[str, int]:
    """Name and version from the ``schema`` key of a decoded file; ("", 0) without one."""
    tag = plain.get("schema", "") if isinstance(plain, dict) else ""
    parts = str(tag).split("/")
    if len(parts) != 3 or parts[0] != "joulecut" or not parts[2].isdigit():
        return "", 0
    return parts[1], int(parts[2])


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all (see ``write_bytes``)."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all: into a temporary file beside it, then renamed.

    Raises:
        OutputError: the folder is missing, read-only or full; nothing is left behind.
    """
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.")
    except OSError as error:
        raise _output_error(path, error) from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        Path(name).chmod(0o666 & ~mask)
        Path(name).replace(path)
    except OSError as error:
        Path(name).unlink(missing_ok=True)
        raise _output_error(path, error) from error
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _output_error(path: Path, error: OSError) -> UsageError:
    return OutputError(
        f"cannot write {path}: {error.strerror or error}.",
        hint="Choose a folder that exists and can be written.",
    )
