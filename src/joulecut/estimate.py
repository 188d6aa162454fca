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

from joulecut.units import format_quantity, format_ratio

__all__ = ["CERTAIN", "Estimate", "Origin", "Spread", "difference", "exact", "ratio", "total"]

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
            size - size / factor_50,
            size * (factor_50 - 1),
            size - size / factor_90,
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
        return Estimate(
            value=self.value + other.value,
            unit=self.unit,
            origin=_least_sure(self, other),
            method=self.method if self.method == other.method else "sum",
            n=min(self.n, other.n),
            common=self.common.linear(other.common),
            own=self.own.quadrature(other.own),
            common_with=_common_name(self, other),
        )

    def __str__(self) -> str:
        low, high = self.bounds(0.9)
        shown, least, most = (self._show(value) for value in (self.value, low, high))
        if low == high:
            return f"{shown} ({self.origin})"
        return f"{shown} [{least} to {most}] ({self.origin})"

    def _show(self, value: float) -> str:
        return format_ratio(value) if self.unit == "1" else format_quantity(value, self.unit)


def _least_sure(a: Estimate, b: Estimate) -> Origin:
    return _ORIGINS[max(_ORIGINS.index(a.origin), _ORIGINS.index(b.origin))]


def _common_name(a: Estimate, b: Estimate) -> str:
    """What the common part of a sum is common to; a term without a common part does not blur the name."""
    if a.common == CERTAIN and not a.common_with:
        return b.common_with
    if b.common == CERTAIN and not b.common_with:
        return a.common_with
    return a.common_with if a.common_with == b.common_with else ""


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


def difference(a: Estimate, b: Estimate, *, method: str) -> Estimate:
    """The difference a - b, as in joules before minus joules after.

    What is common to both moves them together, so that the difference is as uncertain as itself and not as
    uncertain as both; their own parts add up in quadrature.

    Raises:
        ValueError: different units.

    >>> spread = Spread.factors(1.0, 1.25, 2.0)
    >>> a = Estimate(3.0, "J", "modelled", "demo", common=spread.scaled(3.0), common_with="board")
    >>> b = Estimate(1.0, "J", "modelled", "demo", common=spread, common_with="board")
    >>> difference(a, b, method="saving").bounds(0.9)
    (1.0, 4.0)
    """
    if a.unit != b.unit:
        raise ValueError(f"cannot subtract {b.unit} from {a.unit}")
    name = _common_name(a, b)
    swapped = b.common.scaled(-1.0)
    return Estimate(
        value=a.value - b.value,
        unit=a.unit,
        origin=_least_sure(a, b),
        method=method,
        n=min(a.n, b.n),
        common=_common_difference(a.common, b.common) if name else a.common.linear(swapped),
        own=a.own.quadrature(b.own.scaled(-1.0)),
        common_with=name,
    )


def _common_difference(a: Spread, b: Spread) -> Spread:
    """Spread of a difference whose terms rise and fall together."""
    down_50, up_50, down_90, up_90 = (x - y for x, y in zip(a.parts(), b.parts(), strict=True))
    below_50, above_50 = max(down_50, -up_50, 0.0), max(up_50, -down_50, 0.0)
    below_90, above_90 = max(down_90, -up_90, 0.0), max(up_90, -down_90, 0.0)
    return Spread(below_50, above_50, below_90, above_90)


def ratio(a: Estimate, b: Estimate) -> Estimate:
    """The ratio a / b; what is common to both (same ``common_with``) cancels.

    Factors are combined in the log domain, as coefficients multiply: where the common factor is ``x`` for a
    and ``y`` for b, ``x / y`` is left of it (nothing where they are the same).

    Raises:
        ValueError: different units, a negative value, or a divisor whose lower bound is not positive.
    """
    if a.unit != b.unit:
        raise ValueError(f"no ratio of {a.unit} and {b.unit}")
    if a.value < 0:
        raise ValueError(f"no ratio of a negative value, {a.value}")
    cancels = bool(a.common_with) and a.common_with == b.common_with
    certain_below = b.own.below_90 if cancels else b.own.quadrature(b.common).below_90
    if b.value - certain_below <= 0:
        raise ValueError("the divisor may be zero")
    value = a.value / b.value
    below_50, above_50, below_90, above_90 = (
        math.hypot(
            _log_step(a.value, up, a.own, at),
            _log_step(b.value, not up, b.own, at),
            *_common_steps(a, b, up, at, cancels),
        )
        for at in (0, 2)
        for up in (False, True)
    )
    own = Spread(
        value * -math.expm1(-below_50),
        value * math.expm1(above_50),
        value * -math.expm1(-below_90),
        value * math.expm1(above_90),
    )
    return Estimate(value, "1", _least_sure(a, b), f"{a.method} / {b.method}", n=min(a.n, b.n), own=own)


def _common_steps(a: Estimate, b: Estimate, up: bool, at: int, cancels: bool) -> tuple[float, ...]:
    """What the common parts leave in the log of a ratio: their difference, or both when unrelated."""
    if not cancels:
        return _log_step(a.value, up, a.common, at), _log_step(b.value, not up, b.common, at)
    if a.value == 0:
        return ()
    down, rise = (
        _log_step(a.value, way, a.common, at) - _log_step(b.value, way, b.common, at) for way in (False, True)
    )
    return (max(rise, -down, 0.0) if up else max(down, -rise, 0.0),)


def _log_step(value: float, up: bool, spread: Spread, at: int) -> float:
    """Log of the factor from the value to its upper (or lower) bound; ``at`` 0 is 50 %, 2 is 90 %."""
    below, above = spread.parts()[at : at + 2]
    if value == 0:
        return 0.0
    if up:
        return math.log1p(above / value)
    return -math.log1p(-min(below / value, 1 - 1e-12))
