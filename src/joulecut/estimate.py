"""``Estimate``: a figure with its unit, its interval and where it comes from.

An interval has two parts. The part that is *common* to a device (a coefficient that is 20 % high is
20 % high in every layer) adds up linearly in a sum and cancels in a before/after ratio. The part of
an estimate's *own* (this layer, this repetition) adds up in quadrature in a sum and stays in a ratio.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Final, Literal

from joulecut.units import format_quantity

__all__ = ["CERTAIN", "Estimate", "Origin", "Spread", "exact", "ratio", "total"]

Origin = Literal["measured", "attributed", "modelled", "assumed"]
_ORIGINS: Final[tuple[Origin, ...]] = ("measured", "attributed", "modelled", "assumed")
"""From the surest to the least sure: a sum is only as sure as its least sure term."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Distances from a value to its bounds, in the unit of the value; all non-negative."""

    below_50: float = 0.0
    above_50: float = 0.0
    below_90: float = 0.0
    above_90: float = 0.0

    @staticmethod
    def factors(value: float, factor_50: float, factor_90: float) -> Spread:
        """The spread of ``value ×/÷ factor`` at 50 and at 90 %.

        >>> Spread.factors(10.0, 1.25, 2.0)
        Spread(below_50=2.0, above_50=2.5, below_90=5.0, above_90=10.0)
        """
        if not 1 <= factor_50 <= factor_90:
            raise ValueError(f"need 1 <= factor_50 <= factor_90, got {factor_50} and {factor_90}")
        size = abs(value)
        return Spread(
            size * (1 - 1 / factor_50),
            size * (factor_50 - 1),
            size * (1 - 1 / factor_90),
            size * (factor_90 - 1),
        )

    def scaled(self, factor: float) -> Spread:
        """The spread of the value times a constant ``factor``; a negative one swaps below and above."""
        low50, high50, low90, high90 = (abs(factor) * part for part in self.parts())
        return Spread(low50, high50, low90, high90) if factor >= 0 else Spread(high50, low50, high90, low90)

    def parts(self) -> tuple[float, float, float, float]:
        """The four distances in the order of the fields."""
        return (self.below_50, self.above_50, self.below_90, self.above_90)

    def linear(self, other: Spread) -> Spread:
        """Fully correlated sum."""
        return Spread(*(a + b for a, b in zip(self.parts(), other.parts(), strict=True)))

    def quadrature(self, other: Spread) -> Spread:
        """Independent sum."""
        return Spread(*(math.hypot(a, b) for a, b in zip(self.parts(), other.parts(), strict=True)))


CERTAIN: Final = Spread()


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with bounds at 50 and 90 %.

    Attributes:
        value: the figure, in ``unit``.
        unit: ``"J"``, ``"s"``, ``"W"`` or ``"1"`` (a ratio).
        origin: measured, attributed, modelled or assumed.
        method: how it was found, in a few words.
        n: the number of observations behind it (0: none).
        common: the part of the interval that all figures of ``common_with`` share.
        own: the part of the interval that is this figure's own.
        common_with: what the common part is common to (a device name), or "".

    >>> a = Estimate(2.0, "J", "modelled", "demo", common=Spread.factors(2.0, 1.1, 1.5), common_with="board")
    >>> a.bounds(0.9)[1]
    3.0
    >>> ratio(a, a).bounds(0.9)
    (1.0, 1.0)
    """

    value: float
    unit: str
    origin: Origin
    method: str
    n: int = 0
    common: Spread = CERTAIN
    own: Spread = CERTAIN
    common_with: str = ""

    def bounds(self, confidence: float = 0.9) -> tuple[float, float]:
        """Lower and upper bound; ``confidence`` is 0.5 or 0.9.

        Raises:
            ValueError: another confidence (no interpolation is made up).
        """
        both = self.common.quadrature(self.own)
        if confidence == 0.5:
            return self.value - both.below_50, self.value + both.above_50
        if confidence == 0.9:
            return self.value - both.below_90, self.value + both.above_90
        raise ValueError(f"bounds are known at 0.5 and 0.9, not at {confidence}")

    def scaled(self, factor: float, *, method: str | None = None) -> Estimate:
        """This estimate times an exact constant."""
        return replace(
            self,
            value=self.value * factor,
            common=self.common.scaled(factor),
            own=self.own.scaled(factor),
            method=self.method if method is None else method,
        )

    def __add__(self, other: Estimate) -> Estimate:
        if self.unit != other.unit:
            raise ValueError(f"cannot add {other.unit} to {self.unit}")
        same = self.common_with == other.common_with
        origin = max(self.origin, other.origin, key=_ORIGINS.index)
        return Estimate(
            value=self.value + other.value,
            unit=self.unit,
            origin=origin,
            method=self.method if self.method == other.method else "sum",
            n=min(self.n, other.n),
            common=self.common.linear(other.common),
            own=self.own.quadrature(other.own),
            common_with=self.common_with if same else "",
        )

    def __str__(self) -> str:
        low, high = self.bounds(0.9)
        unit = "" if self.unit == "1" else self.unit
        shown = format_quantity(self.value, unit).strip()
        if low == high:
            return f"{shown} ({self.origin})"
        return f"{shown} [{format_quantity(low, unit).strip()} to {format_quantity(high, unit).strip()}] ({self.origin})"


def exact(value: float, unit: str, origin: Origin, method: str) -> Estimate:
    """An estimate without an interval: a definition, a count."""
    return Estimate(value, unit, origin, method)


def total(estimates: Iterable[Estimate], *, unit: str, method: str) -> Estimate:
    """The sum of estimates; an empty sum is an assumed, exact 0.

    The value is summed with ``math.fsum``, so that parts and total agree to the last bits.
    """
    parts: Sequence[Estimate] = tuple(estimates)
    if not parts:
        return exact(0.0, unit, "assumed", method)
    result = reduce(lambda a, b: a + b, parts)
    return replace(result, value=math.fsum(part.value for part in parts), method=method)


def ratio(a: Estimate, b: Estimate) -> Estimate:
    """The ratio a / b; what is common to both (same ``common_with``) cancels.

    Factors are combined in the log domain, as coefficients multiply.

    Raises:
        ValueError: different units, or a divisor whose lower bound is not positive.
    """
    if a.unit != b.unit:
        raise ValueError(f"no ratio of {a.unit} and {b.unit}")
    cancels = bool(a.common_with) and a.common_with == b.common_with
    top = a.own if cancels else a.own.quadrature(a.common)
    bottom = b.own if cancels else b.own.quadrature(b.common)
    if b.value - max(bottom.below_50, bottom.below_90) <= 0:
        raise ValueError("the divisor may be zero")
    value = a.value / b.value
    spread = [
        math.hypot(_log_step(a.value, up, top, at), _log_step(b.value, not up, bottom, at))
        for at in (0, 2)
        for up in (False, True)
    ]
    below_50, above_50, below_90, above_90 = spread
    own = Spread(
        value * -math.expm1(-below_50),
        value * math.expm1(above_50),
        value * -math.expm1(-below_90),
        value * math.expm1(above_90),
    )
    origin = max(a.origin, b.origin, key=_ORIGINS.index)
    return Estimate(value, "1", origin, f"{a.method} / {b.method}", n=min(a.n, b.n), own=own)


def _log_step(value: float, up: bool, spread: Spread, at: int) -> float:
    """Log of the factor from the value to its upper (or lower) bound; ``at`` 0 is 50 %, 2 is 90 %."""
    below, above = spread.parts()[at : at + 2]
    if value == 0:
        return 0.0
    if up:
        return math.log1p(above / value)
    return -math.log1p(-min(below / value, 1 - 1e-12))
