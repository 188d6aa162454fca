"""What the commands' options have in common: a parser that fails in one sentence, and types of options."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from typing import NoReturn

from joulecut.errors import UsageError
from joulecut.reports.text import printable
from joulecut.units import parse_quantity

__all__ = ["Parser", "count", "path_text", "positive_count", "seconds", "seconds_or_none", "share", "watts"]


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one sentence on stderr; exit code 2, or ``usage_exit``."""

    usage_exit: int = UsageError.exit_code

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """As usual; a command with an exit code of its own for mistakes refuses what it does not know."""
        known, unknown = super().parse_known_args(args, namespace or argparse.Namespace())
        if unknown and self.usage_exit != UsageError.exit_code:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return known, unknown

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the command line and leave."""
        said = printable(" ".join(message.split()))
        self.exit(self.usage_exit, f"joulecut: {said}. `{self.prog} --help` shows what it takes.\n")


def count(text: str) -> int:
    """A whole number from 0 up.

    >>> count("3")
    3
    """
    if not text.isdecimal() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number from 0 up")
    return int(text)


def positive_count(text: str) -> int:
    """A whole number from 1 up."""
    if not text.isdecimal() or len(text) > 9 or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number from 1 up")
    return int(text)


def share(text: str) -> float:
    """A share of one, written as a percentage or as a number.

    >>> share("2%"), share("0.02")
    (0.02, 0.02)
    """
    percent = text.rstrip().endswith("%")
    value = _number(text.rstrip().removesuffix("%")) / (100 if percent else 1)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a share; write it as 2% or 0.02")
    return value


def seconds(text: str) -> float:
    """A positive number of seconds, with or without its unit.

    >>> seconds("30"), seconds("1.5s")
    (30.0, 1.5)
    """
    value = _number(text.strip().removesuffix("s"))
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a positive number of seconds")
    return value


def watts(text: str) -> float:
    """A power, with its unit or in watts.

    >>> watts("20W"), watts("500 mW"), watts("3")
    (20.0, 0.5, 3.0)
    """
    bare = _number(text)
    try:
        value = parse_quantity(text, "W") if math.isnan(bare) else bare
    except UsageError as error:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a power; write it as 20W") from error
    if not 0 <= value <= 10_000:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a power from 0 to 10 kW")
    return value


def seconds_or_none(text: str) -> float:
    """A number of seconds from 0 up, with or without its unit.

    >>> seconds_or_none("0"), seconds_or_none("1.5s")
    (0.0, 1.5)
    """
    value = _number(text.strip().removesuffix("s"))
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a number of seconds from 0 up")
    return value


def path_text(text: str) -> str:
    """The name of a file or folder; not empty."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the name of the file is empty")
    return text


def _number(text: str) -> float:
    """A number, or NaN where the text is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan
