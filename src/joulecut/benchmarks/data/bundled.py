"""Files that come with joulecut, verified against their SHA-256 each time they are read."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from joulecut.errors import UsageError

__all__ = ["CHECKSUMS", "read_bundled"]

CHECKSUMS = "SHA256SUMS"
"""Lines of ``<hex digest>  <file name>``, as ``sha256sum`` writes and checks them."""


def read_bundled(name: str, folder: Path | None = None) -> bytes:
    """The bytes of a bundled file.

    Args:
        name: file name, as ``digits.npz``.
        folder: where to look; the bundled folder by default.

    Raises:
        UsageError: no such file, no checksum for it, or one that does not match.
    """
    where: Traversable = folder or files("joulecut.benchmarks.data").joinpath("files")
    repair = "Install joulecut again."
    try:
        sums = where.joinpath(CHECKSUMS).read_text(encoding="ascii")
        content = where.joinpath(name).read_bytes()
    except OSError as error:
        raise UsageError(f"the bundled file {name} cannot be read: {error}.", hint=repair) from error
    known = {entry[1]: entry[0] for line in sums.splitlines() if len(entry := line.split()) == 2}
    if name not in known:
        raise UsageError(f"the bundled file {name} has no checksum in {CHECKSUMS}.", hint=repair)
    if hashlib.sha256(content).hexdigest() != known[name]:
        raise UsageError(
            f"the bundled file {name} is damaged: its SHA-256 is not the recorded one.", hint=repair
        )
    return content
