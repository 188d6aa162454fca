"""Text to numbers and numbers to text: the only place where quantities are parsed and formatted.

Inside joulecut every quantity is a float in SI base units (J, s, W, B); names carry the unit
(``energy_j``). This module turns ``"5 mJ"`` into ``0.005`` and ``0.005`` into ``"5.00 mJ"``.
"""

from __future__ import annotations

import math
import re
from typing import Final

from joulecut.errors import UsageError

__all__ = ["format_count", "format_percent", "format_quantity", "format_ratio", "parse_quantity"]

_EXPONENTS: Final[dict[str, int]] = {
    "f": -15, "p": -12, "n": -9, "u": -6, "µ": -6, "μ": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12,
}  # fmt: skip
_STEPS: Final = (
    (12, "T"),
    (9, "G"),
    (6, "M"),
    (3, "k"),
    (0, ""),
    (-3, "m"),
    (-6, "µ"),
    (-9, "n"),
    (-12, "p"),
    (-15, "f"),
)
_QUANTITY: Final = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([^\s\d]*)\s*")
_EXTRA_UNITS: Final[dict[str, dict[str, float]]] = {
    "J": {"Wh": 3600.0, "mWh": 3.6, "kWh": 3.6e6},
    "s": {"min": 60.0, "h": 3600.0, "d": 86_400.0},
    "C": {"Ah": 3600.0, "mAh": 3.6},
    "B": {"KiB": 1024.0, "MiB": 1024.0**2, "GiB": 1024.0**3, "KB": 1e3},
}


def parse_quantity(text: str, unit: str) -> float:
    """Parse a quantity with an SI prefix into base units.

    Args:
        text: a number with a unit, as ``"5 mJ"`` or ``"12mJ"``.
        unit: the base unit expected: ``"J"``, ``"s"``, ``"W"``, ``"B"``, ``"C"`` (also as Ah) or ``"V"``.

    Returns:
        The value in base units; finite.

    Raises:
        UsageError: no number, no unit, another unit, or a value that is not finite.

    >>> parse_quantity("5 mJ", "J")
    0.005
    >>> parse_quantity("256 KiB", "B")
    262144.0
    """
    example = f"write a number with its unit, as '12 m{unit}'" if unit != "B" else "write a size, as '256 kB'"
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise UsageError(f"{text[:80]!r} is not a quantity in {unit}:", hint=f"{example}.")
    number, suffix = match.groups()
    if not suffix:
        raise UsageError(f"{text[:80]!r} has no unit:", hint=f"{example}.")
    value = _in_base_units(float(number), suffix, unit)
    if value is None:
        raise UsageError(f"{text[:80]!r} is not in {unit}:", hint=f"{example}.")
    if not math.isfinite(value):
        raise UsageError(f"{text[:80]!r} is not a finite quantity:", hint=f"{example}.")
    return value


def _in_base_units(number: float, suffix: str, unit: str) -> float | None:
    factor = _EXTRA_UNITS.get(unit, {}).get(suffix)
    if factor is not None:
        return number * factor
    exponent = _EXPONENTS.get(suffix.removesuffix(unit)) if suffix.endswith(unit) else None
    if exponent is None or (unit == "B" and exponent < 0):
        return None
    return _shift(number, exponent)


def _shift(number: float, exponent: int) -> float:
    """``number * 10**exponent``, rounded once: negative powers of ten are no floats, so it divides."""
    return number * 10.0**exponent if exponent >= 0 else number / 10.0**-exponent


def format_quantity(value: float, unit: str, digits: int = 3) -> str:
    """Format a value in base units with an SI prefix and a fixed number of significant digits.

    >>> format_quantity(0.00512, "J")
    '5.12 mJ'
    >>> format_quantity(0.0, "J")
    '0 J'
    """
    if not math.isfinite(value):
        return f"{value} {unit}"
    if value == 0:
        return f"0 {unit}"
    for exponent, prefix in _STEPS:
        scaled = _significant(_shift(value, -exponent), digits)
        if abs(scaled) >= 1:
            whole = len(str(int(abs(scaled))))
            return f"{scaled:.{max(digits - whole, 0)}f} {prefix}{unit}"
    return f"{value:.{digits - 1}e} {unit}"


def _significant(value: float, digits: int) -> float:
    return float(f"{value:.{digits - 1}e}")


def format_ratio(value: float, digits: int = 3) -> str:
    """Format a ratio with a fixed number of significant digits and no prefix.

    >>> format_ratio(0.49871)
    '0.499'
    """
    return f"{value:#.{digits}g}".rstrip(".")


def format_count(value: int) -> str:
    """Format a count with thousands separators.

    >>> format_count(12501632)
    '12,501,632'
    """
    return f"{value:,}"


def format_percent(share: float, digits: int = 1) -> str:
    """Format a share of one as a percentage.

    >>> format_percent(0.4987)
    '49.9 %'
    """
    return f"{100 * share:.{digits}f} %"
