"""How far a modelled energy may be off, by how much is known of the device.

The factors were found by leaving boards and networks out of the published MLPerf Tiny and MLPerf
Inference power results and predicting them from the rest: split-conformal factors times 1.15. Two
laboratories that measured the same device were 24 to 35 % apart, so nothing here claims less than 1.2.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final

from joulecut.estimate import CERTAIN, Spread

__all__ = ["DATASHEET", "MODES", "OWN_FACTOR_90", "SCALED", "Interval", "interval", "total_factor_90"]

DATASHEET: Final = 3.3
"""No joule measured on the device."""

SCALED: Final = 2.5
"""Measured, but with another runtime or on networks of quite another size."""

MODES: Final[dict[str, float]] = {
    "datasheet": DATASHEET,
    "scaled": SCALED,
    "calibrated-1": 1.8,
    "calibrated-3": 1.35,
    "calibrated-8": 1.26,
    "latency-measured": 1.2,
    "definition": 1.0,
}
"""Factor of the 90 % interval (value x/÷ factor) by mode; calibrated-N holds from N networks up."""

OWN_FACTOR_90: Final = 1.10
"""The part of a network's interval that stays in a ratio of two networks on one device: width ratios
E(w)/E(1) of measured Linux boards are predicted with a mean absolute error of 0.04 to 0.045, 90 % of them
within 0.10. Assumed to hold for other devices whose model prices more than MACs."""

_EXPONENT_50: Final = 0.41
"""The 50 % factor is the 90 % factor to this power: 0.6745 / 1.6449, the quantiles of the normal
distribution, in the log domain."""


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
        1.35
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
    """The 90 % factor of a mode.

    Raises:
        ValueError: a mode that does not exist.

    >>> total_factor_90("calibrated-28"), total_factor_90("calibrated-2")
    (1.26, 1.8)
    """
    match = re.fullmatch(r"calibrated-([1-9]\d*)", mode)
    if match:
        networks = int(match[1])
        return MODES[f"calibrated-{8 if networks >= 8 else 3 if networks >= 3 else 1}"]
    if mode not in MODES:
        raise ValueError(f"no mode {mode!r}")
    return MODES[mode]


def interval(mode: str, *, own_90: float | None = None, at_least: float = 1.0) -> Interval:
    """The interval of a mode, split so that both parts together give the mode's factor.

    Args:
        mode: datasheet, scaled, calibrated-N, latency-measured or definition.
        own_90: the own part at 90 %; ``OWN_FACTOR_90`` by default.
        at_least: a floor for the factor of both parts together at 90 %.

    Raises:
        ValueError: a mode that does not exist.
    """
    total = max(total_factor_90(mode), at_least)
    if total == 1.0:
        return Interval()
    own = min(OWN_FACTOR_90 if own_90 is None else own_90, total)
    common = math.exp(math.sqrt(math.log(total) ** 2 - math.log(own) ** 2))
    return Interval(common**_EXPONENT_50, common, own**_EXPONENT_50, own)
