"""Phrases that every report shares: names made safe to show, figures with interval and origin."""

from __future__ import annotations

import unicodedata
from typing import Final

from joulecut.estimate import Estimate, ratio
from joulecut.units import format_percent, format_quantity

__all__ = [
    "BOUNDARIES",
    "describe",
    "interval",
    "number",
    "points",
    "printable",
    "quantity",
    "remaining",
    "shorten",
    "value",
]

BOUNDARIES: Final[dict[str, str]] = {
    "soc_rail": "counted at the rail of the chip",
    "cpu_package": "counted at the CPU package",
    "board_dc": "counted at the supply of the board",
    "wall_ac": "counted at the wall",
    "definition": "by definition of a reference device that exists on paper only",
}
"""What each boundary means, in words."""

_ELLIPSIS: Final = "…"
_UNSHOWABLE: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories that move the cursor, turn the direction of writing or cannot be encoded."""


def printable(text: str) -> str:
    r"""A text with every character that is not plainly visible written as its escape.

    Names come from the user's model and may hold terminal escapes, line breaks, marks that turn the
    direction of writing, or halves of surrogate pairs; none of them may reach a terminal or a page.

    >>> printable("conv\x1b[31m1")
    'conv\\x1b[31m1'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char.encode("unicode_escape").decode() if unicodedata.category(char) in _UNSHOWABLE else char
        for char in text
    )


def shorten(text: str, width: int) -> str:
    """A text cut in the middle to at most ``width`` characters; both ends of a name say the most.

    >>> shorten("encoder.layers.11.attention.output", 20)
    'encoder.l…ion.output'
    """
    if len(text) <= width:
        return text
    if width < 3:
        return text[: max(width - 1, 0)] + _ELLIPSIS
    tail = width // 2
    return text[: width - tail - 1] + _ELLIPSIS + text[-tail:]


def quantity(amount: float, unit: str) -> str:
    """A figure with its unit; a ratio (unit ``"1"``) is a percentage, a count has the unit ``""``.

    >>> quantity(2359296, ""), quantity(0.499, "1"), quantity(9216, "B")
    ('2.36 M', '49.9 %', '9.22 kB')
    """
    return format_percent(amount) if unit == "1" else format_quantity(amount, unit).strip()


def value(estimate: Estimate) -> str:
    """The figure of an estimate with its unit, without interval and origin."""
    return quantity(estimate.value, estimate.unit)


def interval(estimate: Estimate, confidence: float = 0.9) -> str:
    """The interval of an estimate, its unit written once where both ends share it.

    >>> interval(Estimate(2e-3, "J", "modelled", "demo"))
    '±0'
    >>> from joulecut.estimate import Spread
    >>> interval(Estimate(2e-3, "J", "modelled", "demo", own=Spread.factors(2e-3, 1.1, 1.25)))
    '1.60 to 2.50 mJ'
    """
    low, high = estimate.bounds(confidence)
    if low == high:
        return "±0"
    low_text, high_text = quantity(low, estimate.unit), quantity(high, estimate.unit)
    low_number, _, low_unit = low_text.partition(" ")
    shared = low_unit == high_text.partition(" ")[2]
    return f"{low_number if shared else low_text} to {high_text}"


def describe(estimate: Estimate) -> str:
    """Figure, 90 % interval and origin: how every energy is written in running text.

    >>> describe(Estimate(2e-3, "J", "assumed", "definition"))
    '2.00 mJ ±0 assumed'
    """
    return f"{spread(estimate)} {estimate.origin}"


def spread(estimate: Estimate) -> str:
    """Figure and 90 % interval, as ``2.00 mJ [1.60 to 2.50 mJ]``."""
    bounds = interval(estimate)
    return f"{value(estimate)} {bounds if bounds == '±0' else f'[{bounds}]'}"


def points(change: float, *, unit: bool = True) -> str:
    """A change of a share in percentage points, with its sign.

    >>> points(-0.0042)
    '−0.4 points'
    """
    rounded = round(100 * change, 1) + 0.0
    sign = "−" if rounded < 0 else "+" if rounded > 0 else ""
    return f"{sign}{abs(rounded):.1f}{' points' if unit else ''}"


def number(amount: float, digits: int = 3) -> str:
    """A figure without a prefix (a loss, a price, a figure of a device file).

    >>> number(0.0123456), number(1563.2, 6)
    ('0.0123', '1,563.2')
    """
    return f"{float(f'{amount:.{digits}g}'):,g}"


def remaining(before: Estimate, after: Estimate) -> Estimate | None:
    """The ratio after / before, in which what is common to the device cancels; None where it has no bound."""
    try:
        return ratio(after, before)
    except ValueError:
        return None
