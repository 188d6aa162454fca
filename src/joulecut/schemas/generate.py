"""Writes the JSON schemas of this package from the types of the records."""

from __future__ import annotations

import inspect
import json
from typing import Any, Final

import msgspec

from joulecut.codec import VERSION, schema_name, write_text
from joulecut.schemas import RECORDS, record_type, schema_path

__all__ = ["schema_of", "schema_text"]

_DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
_PAIR: Final = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
_DERIVED: Final[dict[str, Any]] = {
    "lo": {"type": "number", "description": "Lower bound at ``confidence``."},
    "hi": {"type": "number", "description": "Upper bound at ``confidence``."},
    "confidence": {"const": 0.9},
    "bounds": {"type": "object", "properties": {"0.5": _PAIR, "0.9": _PAIR}, "required": ["0.5", "0.9"]},
}
"""What ``codec.to_plain`` adds to an ``Estimate`` for readers that are not joulecut."""


def schema_of(record: type) -> dict[str, Any]:
    """The JSON schema of a record as ``codec.to_json`` writes it.

    >>> from joulecut.benchmarks.records import Comparison
    >>> schema_of(Comparison)["properties"]["schema"]
    {'const': 'joulecut/comparison/1'}
    """
    definitions: dict[str, Any] = msgspec.json.schema(record)["$defs"]
    for definition in definitions.values():
        _shorten(definition)
    estimate = definitions.get("Estimate")
    if estimate is not None:
        estimate["properties"] |= _DERIVED
        estimate["required"] = [*estimate["required"], *_DERIVED]
    root: dict[str, Any] = definitions.pop(record.__name__)
    tag = {"schema": {"const": f"joulecut/{schema_name(record)}/{VERSION}"}}
    own = {"properties": tag | root["properties"], "required": ["schema", *root["required"]]}
    return {"$schema": _DRAFT} | root | own | {"$defs": definitions}


def _shorten(definition: dict[str, Any]) -> None:
    """Keep the first paragraph of a docstring: the rest is for readers of the code."""
    text = inspect.cleandoc(definition.pop("description", ""))
    if text:
        definition["description"] = " ".join(text.partition("\n\n")[0].split())


def schema_text(name: str) -> str:
    """The text of the schema file of a record."""
    return json.dumps(schema_of(record_type(name)), indent=1, ensure_ascii=False) + "\n"


def _write_all() -> None:
    for name in RECORDS:
        write_text(schema_path(name), schema_text(name))


if __name__ == "__main__":
    _write_all()
