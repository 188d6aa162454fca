"""Silence for torch's exporters, which log, warn and print graphs on errors that joulecut reports itself."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

__all__ = ["quiet_torch"]


@contextlib.contextmanager
def quiet_torch() -> Iterator[None]:
    """Drop what torch logs, warns and prints to stderr inside the block; all is put back after it."""
    silenced = [
        logger
        for name, logger in logging.root.manager.loggerDict.items()
        if isinstance(logger, logging.Logger) and name.split(".")[0] == "torch" and not logger.disabled
    ]
    for logger in silenced:
        logger.disabled = True
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger in silenced:
            logger.disabled = False
