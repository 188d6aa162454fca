"""The error tree of joulecut: one readable page of everything that can go wrong.

    JoulecutError                 exit code
    ├── UsageError                2   bad input: what, where, what to do
    │   ├── DeviceFileError           a device file, with the path of the key
    │   ├── UnknownDevice             with close names
    │   ├── SchemaError               a saved file that this version cannot read
    │   ├── MissingExtra              an optional package, with the pip line
    │   ├── NothingMeasured           a gate or report without a single measurement
    │   └── OutputError               an output folder that is full, read-only or no folder
    ├── BudgetUnreachable         3   carries the best point found
    ├── SensorError               4
    │   ├── SensorMissing
    │   │   └── SensorUnusable        the device is there, and its energy cannot be told
    │   ├── SensorDenied              with the command that grants access
    │   └── CounterReset
    ├── Inconclusive              5
    ├── ModelError                6   a network that cannot be read, traced or exported
    │   ├── TraceError
    │   └── ParityError
    └── FarmError                 7

A failed gate exits 1, an unforeseen exception 70, Ctrl-C 130.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import ClassVar, Final

__all__ = [
    "EXIT_GATE_FAILED",
    "EXIT_INTERRUPTED",
    "EXIT_UNFORESEEN",
    "BudgetUnreachable",
    "CounterReset",
    "DeviceFileError",
    "FarmError",
    "Inconclusive",
    "JoulecutError",
    "MissingExtra",
    "ModelError",
    "NothingMeasured",
    "OutputError",
    "ParityError",
    "SchemaError",
    "SensorDenied",
    "SensorError",
    "SensorMissing",
    "SensorUnusable",
    "TraceError",
    "UnknownDevice",
    "UsageError",
]

EXIT_GATE_FAILED: Final = 1
EXIT_UNFORESEEN: Final = 70
EXIT_INTERRUPTED: Final = 130


class JoulecutError(Exception):
    """Base of every error that joulecut raises on purpose.

    Args:
        message: one sentence that says what is wrong and where.
        hint: one sentence that says what to do, or "".
    """

    exit_code: ClassVar[int] = EXIT_UNFORESEEN

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class UsageError(JoulecutError):
    """Bad input from the user."""

    exit_code = 2


class DeviceFileError(UsageError):
    """A device file breaks the schema; the message holds the path of the key."""


class UnknownDevice(UsageError):
    """No device of that name; the message offers close names."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        close = get_close_matches(name[:80], list(known), n=3, cutoff=0.4)
        hint = f"Close names: {', '.join(close)}." if close else "`joulecut devices` lists them all."
        super().__init__(f"unknown device {name[:80]!r}.", hint=hint)
        self.name = name
        self.close = tuple(close)


class SchemaError(UsageError):
    """A saved file is damaged or was written by a newer joulecut."""


class MissingExtra(UsageError):
    """An optional package is needed and not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package}.",
            hint=f"Install it with: pip install 'joulecut[{extra}]'",
        )
        self.extra = extra


class NothingMeasured(UsageError):
    """A comparison or gate without a single measurement behind it."""


class OutputError(UsageError):
    """An output path cannot be written."""


class BudgetUnreachable(JoulecutError):
    """The budget cannot be met.

    Attributes:
        best: joules of the best point that was found.
        result: what pruning would have given for it; None where nothing was cut.
    """

    exit_code = 3

    def __init__(self, message: str, *, best: object = None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.best = best
        self.result: object = None


class SensorError(JoulecutError):
    """A sensor failed."""

    exit_code = 4


class SensorMissing(SensorError):
    """No sensor answers."""


class SensorUnusable(SensorMissing):
    """The device is there, and its energy cannot be told: a GPU split by MIG, a driver of another version."""


class SensorDenied(SensorError):
    """A sensor is there but may not be read; the hint is the command that grants access."""


class CounterReset(SensorError):
    """A counter went backwards for another reason than a wrap-around."""


class Inconclusive(JoulecutError):
    """The measurements do not decide the question."""

    exit_code = 5


class ModelError(JoulecutError):
    """A network cannot be read, run or exported."""

    exit_code = 6


class TraceError(ModelError):
    """torch.export cannot capture the network."""


class ParityError(ModelError):
    """An exported network computes something else than the original."""


class FarmError(JoulecutError):
    """A remote board or worker failed."""

    exit_code = 7
