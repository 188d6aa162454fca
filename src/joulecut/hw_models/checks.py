"""Checks of a decoded TOML file: each error names the file and the path of the key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, cast

from joulecut.errors import DeviceFileError
from joulecut.hw_models.figures import close_key

__all__ = ["NAME", "Checks"]

NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]*")
"""What each part of ``chip/runtime/dtype`` looks like."""
_HUGE: Final = 1e300


class Checks:
    """Checks that raise ``DeviceFileError``; ``at`` is always the dotted path of the key.

    Args:
        where: what to call the file in an error.
    """

    def __init__(self, where: str) -> None:
        self.where = where

    def fail(self, at: str, problem: str, hint: str = "") -> DeviceFileError:
        """The error for a key."""
        return DeviceFileError(f"{self.where}: {at} {problem}.", hint=hint)

    def known(self, table: Mapping[str, Any], at: str, allowed: tuple[str, ...]) -> None:
        """No key but the allowed ones."""
        for key in table:
            if key not in allowed:
                near = close_key(key, allowed)
                hint = f"Did you mean {near}?" if near else f"Known keys: {', '.join(allowed)}."
                ends = " (a key ends in its unit)" if near.startswith(f"{key}_") else ""
                raise self.fail(f"{at}.{key}".lstrip("."), f"is not a known key{ends}", hint)

    def table(self, parent: Mapping[str, Any], key: str) -> Mapping[str, Any]:
        """A table that must be there."""
        if key not in parent:
            raise self.fail(key, "is missing")
        return self.as_table(parent[key], key)

    def as_table(self, value: object, at: str) -> Mapping[str, Any]:
        """A value that must be a table."""
        if not isinstance(value, dict):
            raise self.fail(at, f"is {value!r}, not a table")
        return cast(dict[str, Any], value)

    def text(self, table: Mapping[str, Any], key: str, at: str) -> str:
        """A text that must be there and say something."""
        value = table.get(key)
        if value is None:
            raise self.fail(at, "is missing")
        if not isinstance(value, str) or not value.strip():
            raise self.fail(at, f"is {value!r}, not a text")
        return value

    def number(self, table: Mapping[str, Any], key: str, at: str) -> float:
        """A finite number that must be there."""
        value = table.get(key)
        if value is None:
            raise self.fail(at, "is missing")
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < _HUGE:
            raise self.fail(at, f"is {value!r}, not a finite number")
        return float(value)

    def choice(self, at: str, value: object, allowed: tuple[str, ...]) -> None:
        """One of a few words."""
        if value not in allowed:
            raise self.fail(at, f"is {value!r}", f"Choose one of: {', '.join(allowed)}.")

    def name(self, at: str, value: str) -> None:
        """A name that fits into ``chip/runtime/dtype``."""
        if not NAME.fullmatch(value):
            raise self.fail(at, f"is {value!r}", "Names hold lower-case letters, digits, '-', '_' and '.'.")
