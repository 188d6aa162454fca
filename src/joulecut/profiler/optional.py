"""Optional packages: imported when they are needed, without the words that they print and log on the way."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib import import_module
from typing import Any

from joulecut.errors import MissingExtra

__all__ = ["hushed", "import_optional"]


@contextmanager
def hushed(logger: str) -> Iterator[None]:
    """Drop what a package logs inside the block."""
    found = logging.getLogger(logger)
    before, found.disabled = found.disabled, True
    try:
        yield
    finally:
        found.disabled = before


def import_optional(module: str, *, package: str, extra: str, purpose: str) -> Any:
    """Import a module of an optional package, silently.

    Args:
        module: its dotted name.
        package: the package that holds it, as pip and its logger call it.
        extra: the extra of joulecut that brings it.
        purpose: what needs it, as the beginning of a sentence.

    Raises:
        MissingExtra: it is not installed; with the pip line.

    >>> import_optional("json", package="json", extra="none", purpose="this example").dumps([1])
    '[1]'
    """
    words = io.StringIO()
    try:
        with (
            hushed(package),
            redirect_stdout(words),
            redirect_stderr(words),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            return import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtra(package, extra, purpose) from error
