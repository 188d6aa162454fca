"""Profiles of slow models, kept by the content of everything that they follow from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from joulecut.codec import from_json, to_json, write_text
from joulecut.errors import SchemaError
from joulecut.hw_models.profile import EnergyProfile

__all__ = ["cached", "content_key"]


def content_key(*parts: bytes | str) -> str:
    """A name for content: the same for the same parts in the same order, on every machine.

    >>> content_key("a", b"bc") == content_key("a", "bc"), content_key("a", "bc") == content_key("ab", "c")
    (True, False)
    """
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.hexdigest()


def cached(folder: Path | None, key: str, make: Callable[[], EnergyProfile]) -> EnergyProfile:
    """The profile of that key from a folder, or made and kept there; a damaged file is made again.

    Args:
        folder: where profiles are kept; None for the user's cache.
        key: see ``content_key``.
        make: makes the profile.
    """
    if folder is None:
        from platformdirs import user_cache_path

        folder = user_cache_path("joulecut") / "profiles"
    file = folder / f"{key}.json"
    if file.is_file():
        try:
            return from_json(file.read_bytes(), EnergyProfile, where=str(file))
        except SchemaError:
            file.unlink()
    profile = make()
    folder.mkdir(parents=True, exist_ok=True)
    write_text(file, to_json(profile))
    return profile
