"""How far a modelled energy may be off, by how much is known of the device.

The factors are split-conformal: whole boards were left out of the published MLPerf Tiny and MLPerf Inference
power results and predicted from the rest (``python -m perf.energy_models`` prints the coverage). Errors have
heavier tails than a normal distribution's, so the 50 % factors are quantiles of their own. Two laboratories
that measured the same device were 24 to 35 % apart, so nothing here claims less than 1.2.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from joulecut.estimate import CERTAIN, Spread

__all__ = [
    "DATASHEET",
    "MODES",
    "OWN_FACTOR_90",
    "SCALED",
    "Interval",
    "interval",
    "residual_factor_90",
    "stated_factor_90",
    "total_factor_90",
]

DATASHEET: Final = 3.5
"""No joule measured on the device."""

SCALED: Final = 2.5
"""Measured, but with another runtime or on networks of quite another size."""

MODES: Final[dict[str, tuple[float, float]]] = {
    "datasheet": (1.5, DATASHEET),
    "scaled": (1.4, SCALED),
    "calibrated-1": (1.11, 1.5),
    "calibrated-3": (1.085, 1.3),
    "calibrated-8": (1.075, 1.25),
    "latency-measured": (1.055, 1.22),
    "definition": (1.0, 1.0),
}
"""Factors of the 50 and the 90 % interval (value x/÷ factor) by mode; calibrated-N holds from N up."""

OWN_FACTOR_90: Final = 1.17
"""The part of a network's interval that stays in a ratio of two networks on one device: MobileNet V1 at other
widths than 1, predicted on Linux boards without any of the family, has ratios E(w)/E(1) whose logarithms are
off by less than sqrt(2) ln 1.17 in 90 % of the cases. Assumed to hold for other devices whose model prices
more than MACs."""

_OWN_EXPONENT_50: Final = 0.31
"""The 50 % factor of that part is its 90 % factor to this power: sqrt(2) ln 1.05 in the same trials."""

_NORMAL_90: Final = 1.6449
"""Half-width of the central 90 % of the normal distribution."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Factors of value x/÷ factor at 50 and 90 %.

    ``common`` is what all figures of a device share (it cancels in a before/after ratio), ``own`` what
    a network has of its own.
    """

    common_50: float = 1.0
    common_90: float = 1.0
    own_50: float = 1.0
    own_90: float = 1.0

    @property
    def total_90(self) -> float:
        """Both parts at 90 %, joined in the log domain.

        >>> round(interval("calibrated-3").total_90, 6)
        1.3
        """
        return math.exp(math.hypot(math.log(self.common_90), math.log(self.own_90)))

    def common(self, value: float) -> Spread:
        """The common spread of a value."""
        return CERTAIN if self.common_90 == 1.0 else Spread.factors(value, self.common_50, self.common_90)

    def own(self, value: float, share: float = 1.0) -> Spread:
        """The own spread of a value, ``share`` times as wide as that of a whole network; never below 0."""
        if self.own_90 == 1.0:
            return CERTAIN
        wide = Spread.factors(value, self.own_50, self.own_90).scaled(share)
        size = abs(value)
        return Spread(min(wide.below_50, size), wide.above_50, min(wide.below_90, size), wide.above_90)


def total_factor_90(mode: str) -> float:
    """The 90 % factor of a mode (see ``_factors``).

    Raises:
        ValueError: a mode that does not exist.

    >>> total_factor_90("calibrated-28"), total_factor_90("calibrated-2")
    (1.25, 1.5)
    """
    return _factors(mode)[1]


def _factors(mode: str) -> tuple[float, float]:
    match = re.fullmatch(r"calibrated-([1-9]\d*)", mode)
    if match:
        networks = int(match[1])
        return MODES[f"calibrated-{8 if networks >= 8 else 3 if networks >= 3 else 1}"]
    if mode not in MODES:
        raise ValueError(f"no mode {mode!r}")
    return MODES[mode]


def interval(mode: str, *, own_90: float | None = None, total_90: float | None = None) -> Interval:
    """The interval of a mode, split so that both parts together give the mode's factor.

    Args:
        mode: datasheet, scaled, calibrated-N, latency-measured or definition.
        own_90: the own part at 90 %; ``OWN_FACTOR_90`` by default.
        total_90: the factor of both parts together at 90 %; the mode's by default.

    Raises:
        ValueError: a mode that does not exist.
    """
    half, most = _factors(mode)
    total = most if total_90 is None else total_90
    if total == 1.0:
        return Interval()
    wider = math.log(total) / math.log(most) if most > 1 else 1.0
    total_50 = half**wider if half > 1 else total**_OWN_EXPONENT_50
    own = min(OWN_FACTOR_90 if own_90 is None else own_90, total)
    own_50 = min(own**_OWN_EXPONENT_50, total_50)
    return Interval(_rest(total_50, own_50), _rest(total, own), own_50, own)


def _rest(total: float, own: float) -> float:
    """The factor that makes ``total`` together with ``own``, in the log domain."""
    return math.exp(math.sqrt(math.log(total) ** 2 - math.log(own) ** 2))


def stated_factor_90(mode: str, stated: float | None) -> float:
    """The 90 % factor of a device whose file may state one of its own.

    A figure widens what the mode is worth; that of a device scaled from another takes its place.

    >>> [stated_factor_90(*each) for each in (("calibrated-8", 1.1), ("scaled", 1.6), ("scaled", None))]
    [1.25, 1.6, 2.5]
    """
    if stated is None:
        return total_factor_90(mode)
    return stated if mode == "scaled" else max(total_factor_90(mode), stated)


def residual_factor_90(residuals: Sequence[float]) -> float:
    """The 90 % factor that a fit's own residuals (measured / modelled - 1) speak for.

    Half as much again as their root mean square: a network that was not fitted lies further out.

    >>> residual_factor_90([0.0]), round(residual_factor_90([0.1, -0.1]), 2)
    (1.0, 1.28)
    """
    logs = [math.log1p(residual) for residual in residuals]
    return math.exp(1.5 * _NORMAL_90 * math.sqrt(math.fsum(each * each for each in logs) / len(logs)))
