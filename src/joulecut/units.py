"""Text to numbers and numbers to text: the only place where quantities are parsed and formatted.

Inside joulecut every quantity is a float in SI base units (J, s, W, B); names carry the unit
(``energy_j``). This module turns ``"5 mJ"`` into ``0.005`` and ``0.005`` into ``"5.00 mJ"``.
"""

from __future__ import annotations

import math
import re
from typing import Final

from joulecut.errors import UsageError

__all__ = ["format_count", "format_percent", "format_quantity", "parse_quantity"]

_PREFIXES: Final[dict[str, float]] = {
    "f": 1e-15, "p": 1e-12, "n": 1e-9, "u": 1e-6, "µ": 1e-6, "μ": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
}  # fmt: skip
_STEPS: Final[tuple[tuple[float, str], ...]] = (
    (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p"), (1e-15, "f"),
)  # fmt: skip
_QUANTITY: Final = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([^\s\d]*)\s*")
_EXTRA_UNITS: Final[dict[str, dict[str, float]]] = {
    "J": {"Wh": 3600.0, "mWh": 3.6, "kWh": 3.6e6},
    "s": {"min": 60.0, "h": 3600.0},
    "B": {"KiB": 1024.0, "MiB": 1024.0**2, "GiB": 1024.0**3, "kB": 1e3, "KB": 1e3},
}


def parse_quantity(text: str, unit: str) -> float:
    """Parse a quantity with an SI prefix into base units.

    Args:
        text: a number with a unit, as ``"5 mJ"`` or ``"12mJ"``.
        unit: the base unit expected: ``"J"``, ``"s"``, ``"W"`` or ``"B"``.

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
    factor = _factor(suffix, unit)
    if factor is None:
        raise UsageError(f"{text[:80]!r} is not in {unit}:", hint=f"{example}.")
    value = float(number) * factor
    if not math.isfinite(value):
        raise UsageError(f"{text[:80]!r} is not a finite quantity:", hint=f"{example}.")
    return value


def _factor(suffix: str, unit: str) -> float | None:
    special = _EXTRA_UNITS.get(unit, {}).get(suffix)
    if special is not None:
        return special
    if suffix.endswith(unit):
        return _PREFIXES.get(suffix.removesuffix(unit))
    return None


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
    for step, prefix in _STEPS:
        scaled = _significant(value / step, digits)
        if abs(scaled) >= 1 or step == _STEPS[-1][0]:
            break
    whole = len(str(int(abs(scaled))))
    return f"{scaled:.{max(digits - whole, 0)}f} {prefix}{unit}"


def _significant(value: float, digits: int) -> float:
    return float(f"{value:.{digits - 1}e}")


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
