"""Interleaved readings of two networks, and what they say of the second and of the ratio, outliers and all.

The middle of the readings is their median, and its bounds are order statistics: of n independent readings
fewer than k lie under the true median with the binomial probability P(B(n, 1/2) < k), whatever the noise
looks like (David and Nagaraja, Order Statistics, 3rd ed. 2003, section 7.1). In a ratio of two readings taken
right after each other, what both share (temperature, clock, the sensor's gain) cancels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist, median
from typing import Final

from joulecut.errors import NothingMeasured
from joulecut.estimate import Estimate, Spread

__all__ = ["FEWEST_ROUNDS", "Pairs", "Readings", "rounds_for"]

FEWEST_ROUNDS: Final = 5
"""Fewer readings have no 95 % bound: all five lie on one side of the median in 1 of 32 cases."""

_NORMAL_90: Final = NormalDist().inv_cdf(0.95)
_HALF: Final = NormalDist().inv_cdf(0.75) / _NORMAL_90
"""Half width at 50 % of a normal distribution over that at 90 %."""


@dataclass(frozen=True, slots=True)
class Readings:
    """Independent readings of one figure.

    Attributes:
        values: five or more.
        unit: of them.
        source: how they were read, in words.
        gain: declared systematic error, relative, half width of a 90 % interval.
    """

    values: tuple[float, ...]
    unit: str
    source: str = ""
    gain: float = 0.0

    def estimate(self) -> Estimate:
        """The median with its bounds at 50 and 90 %.

        >>> str(Readings((0.9, 1.0, 1.1, 1.0, 1.0), "J").estimate())
        '1.00 J [900 mJ to 1.10 J] (measured)'
        """
        middle = median(self.values)
        low_50, low_90 = (middle - self._below(risk) for risk in (0.25, 0.05))
        high_50, high_90 = (self._above(risk) - middle for risk in (0.25, 0.05))
        common_90 = self.gain * middle
        common_50 = _HALF * common_90
        return Estimate(
            middle,
            self.unit,
            "measured",
            self.source,
            n=len(self.values),
            common=Spread(common_50, common_50, common_90, common_90),
            own=Spread(low_50, high_50, low_90, high_90),
            common_with=self.source if self.gain else "",
        )

    def upper(self, risk: float, gain_risk: float = 0.05) -> float:
        """What the figure is not above, but with a probability of ``risk``; infinite where too few can tell.

        Args:
            risk: that the scatter of the readings may cost.
            gain_risk: that the gain may cost beside it.

        >>> Readings((1.0, 2.0, 3.0, 4.0, 5.0), "J").upper(1 / 32)
        5.0
        """
        return self._above(risk) * (1 + self.gain_at(gain_risk))

    def lower(self, risk: float, gain_risk: float = 0.05) -> float:
        """What the figure is not below, likewise."""
        return self._below(risk) / (1 + self.gain_at(gain_risk))

    def gain_at(self, risk: float) -> float:
        """What the relative error of the sensor is not above, but with this probability."""
        return self.gain * NormalDist().inv_cdf(1 - risk) / _NORMAL_90

    def _above(self, risk: float) -> float:
        """The lowest order statistic under which as many readings lie with that probability at most."""
        rank = _rank(len(self.values), risk)
        return sorted(self.values)[rank - 1] if rank <= len(self.values) else math.inf

    def _below(self, risk: float) -> float:
        turned = Readings(tuple(-value for value in self.values), self.unit)
        return -turned._above(risk)


@dataclass(frozen=True, slots=True)
class Pairs:
    """One reading of each of two networks in every round.

    Attributes:
        before: readings of the original, J or s of one inference.
        after: readings of the smaller network, in the same rounds.
        unit: of the readings.
        gain: declared systematic error of the sensor, relative, half width of a 90 % interval.
        source: how they were read, in words.
    """

    before: tuple[float, ...]
    after: tuple[float, ...]
    unit: str = "J"
    gain: float = 0.0
    source: str = ""

    def __post_init__(self) -> None:
        if len(self.before) != len(self.after) or len(self.before) < FEWEST_ROUNDS:
            raise NothingMeasured(
                f"{len(self.before)} and {len(self.after)} readings are no {FEWEST_ROUNDS} pairs.",
                hint="Measure more rounds.",
            )
        if not all(math.isfinite(reading) and reading > 0 for reading in (*self.before, *self.after)):
            raise NothingMeasured(
                "a reading of the meter is not above 0.", hint="Measure longer, or with another sensor."
            )

    @property
    def ratio(self) -> Readings:
        """After / before; the sensor's gain cancels."""
        ratios = tuple(after / before for before, after in zip(self.before, self.after, strict=True))
        return Readings(ratios, "1", self.source)

    @property
    def original(self) -> Readings:
        """Of the original."""
        return Readings(self.before, self.unit, self.source, self.gain)

    @property
    def smaller(self) -> Readings:
        """Of the smaller network."""
        return Readings(self.after, self.unit, self.source, self.gain)


def rounds_for(risk: float) -> int:
    """The fewest readings whose highest is an upper bound at this risk.

    >>> rounds_for(0.05), rounds_for(0.001)
    (5, 10)
    """
    return max(math.ceil(-math.log2(risk)), FEWEST_ROUNDS)


@cache
def _rank(count: int, risk: float) -> int:
    """The fewest of so many readings that lie under the median with that probability at most.

    >>> _rank(8, 0.05), _rank(4, 0.05)  # 9 of 256; all four: 1 of 16
    (7, 5)
    """
    as_many, rank = 0.0, count + 1
    while rank > 1 and (as_many := as_many + math.comb(count, rank - 1) / 2.0**count) <= risk:
        rank -= 1
    return rank
