"""Measured budgets: the model prices, a meter corrects it on the way and has the last word.

Every few steps the smaller network is measured against the original in interleaved pairs, and the model is
rescaled by what they say. Where the rescaled model meets the limit, fresh readings must confirm it: their
upper bound has to be under the limit, and no reading that led there counts. A search that looks again and
again would meet a lucky reading sooner or later, so the j-th confirmation may err with

    risk x 6 / (pi j)^2

which adds up to ``risk`` however many there are (Bonferroni's inequality; the series is Basel's). So a
network is called ``met`` while its true figure is over the limit in at most that share of the runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from statistics import NormalDist, median
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from joulecut.estimate import Estimate
from joulecut.pruning.pairs import Pairs, Readings, rounds_for
from joulecut.pruning.records import Met

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Look", "Meter", "Metering", "MeteringSettings"]

At = TypeVar("At")


class Meter(Protocol):
    """Measures two networks against each other."""

    def pairs(self, before: nn.Module, after: nn.Module, rounds: int) -> Pairs:
        """One reading of each network in every round, their order turned around from round to round."""
        ...


@dataclass(frozen=True, slots=True)
class MeteringSettings:
    """How often and how long is measured.

    Attributes:
        every: fewest steps between two looks that only rescale the model.
        fall: least relative change of the modelled figure between them.
        rounds: pairs of readings of such a look.
        confirming_rounds: pairs of readings of a confirmation.
        margin: how far below the limit a network is aimed, in expected distances of a confirmation's upper
            bound from its median.
        recent: looks that the model is rescaled by.
    """

    every: int = 4
    fall: float = 0.03
    rounds: int = 8
    confirming_rounds: int = 40
    margin: float = 0.75
    recent: int = 2


@dataclass(frozen=True, slots=True)
class Look:
    """One measurement on the way.

    Attributes:
        step: steps of the search before it.
        modelled: what the model said of the network, in the unit of the limit.
        pairs: the readings.
        confirming: it decided whether the limit was met.
    """

    step: int
    modelled: float
    pairs: Pairs
    confirming: bool


@dataclass(slots=True, eq=False)
class Metering(Generic[At]):
    """A limit on a measured figure, along one search.

    Attributes:
        measure: measures a network against the original, so many rounds.
        modelled: what the model says of a network, in the unit of the limit.
        limit: joules or seconds, or a share of the original's.
        of: the readings that are limited: ``smaller`` or ``ratio`` of the pairs.
        risk: the probability of calling a network met that is not.
        settings: see ``MeteringSettings``.
        looks: what was measured, in order; a search that goes on from here keeps them.
    """

    measure: Callable[[At, int], Pairs]
    modelled: Callable[[At], float]
    limit: float
    of: Callable[[Pairs], Readings]
    risk: float = 0.05
    settings: MeteringSettings = MeteringSettings()
    looks: list[Look] = field(default_factory=list)
    _ceiling: tuple[int, float] = (0, 0.0)

    def factor(self) -> Estimate:
        """Measured over modelled, by the last looks.

        Raises:
            IndexError: nothing was measured yet.
        """
        last = self.of(self.looks[-1].pairs)
        recent = self.looks[-self.settings.recent :]
        scaled = (value / look.modelled for look in recent for value in self.of(look.pairs).values)
        return replace(last, values=tuple(scaled), unit="1").estimate()

    def ceiling(self, at: At, step: int) -> float:
        """The modelled amount at which a confirmation is likely to be under the limit.

        Args:
            at: the network now; measured where a look is due.
            step: steps of the search before it.
        """
        if self._due(at, step):
            self._look(at, step, self.settings.rounds, confirming=False)
        if self._ceiling[0] != len(self.looks):
            self._ceiling = len(self.looks), self.limit / (self.factor().value * (1 + self._margin()))
        return self._ceiling[1]

    def met(self, at: At, step: int) -> Met:
        """Whether the measured figure meets the limit; unsure without a look where the ceiling is not met."""
        known = self._confirmation(at, step)
        if known is None:
            if not self.fits(at, step):
                return "unsure"
            rounds = max(self.settings.confirming_rounds, rounds_for(self._risk(self._confirmed() + 1)))
            known = self._look(at, step, rounds, confirming=True)
        return self._verdict(known)

    def fits(self, at: At, step: int) -> bool:
        """Whether a confirmation is likely; none is made."""
        return self.modelled(at) <= self.ceiling(at, step)

    def figure(self, at: At, step: int) -> Estimate:
        """What the confirmation of this network read; without one the model, rescaled.

        Raises:
            IndexError: nothing was measured yet.
        """
        known = self._confirmation(at, step)
        if known is not None:
            return self.of(known.pairs).estimate()
        figure = self.factor().scaled(self.modelled(at), method="modelled, rescaled by measurements")
        return replace(figure, unit=self.of(self.looks[-1].pairs).unit)

    def _due(self, at: At, step: int) -> bool:
        if not self.looks:
            return True
        last = self.looks[-1]
        changed = abs(self.modelled(at) / last.modelled - 1) >= self.settings.fall
        return changed and step - last.step >= self.settings.every

    def _confirmation(self, at: At, step: int) -> Look | None:
        modelled = self.modelled(at)
        same = (look for look in self.looks if look.step == step and look.modelled == modelled)
        return next((look for look in same if look.confirming), None)

    def _look(self, at: At, step: int, rounds: int, *, confirming: bool) -> Look:
        look = Look(step, self.modelled(at), self.measure(at, rounds), confirming)
        self.looks.append(look)
        return look

    def _verdict(self, look: Look) -> Met:
        number = 1 + [known for known in self.looks if known.confirming].index(look)
        readings = self.of(look.pairs)
        if readings.upper(self._risk(number), self.risk / 2) <= self.limit:
            return "yes"
        return "no" if readings.lower(self._risk(number), self.risk / 2) > self.limit else "unsure"

    def _confirmed(self) -> int:
        return sum(look.confirming for look in self.looks)

    def _risk(self, number: int) -> float:
        """What a confirmation may spend of the risk; the sensor's gain, wrong for all alike, takes half."""
        whole = self.risk / 2 if self.of(self.looks[-1].pairs).gain else self.risk
        return whole * 6 / (math.pi * number) ** 2

    def _margin(self) -> float:
        """How far above its median the next confirmation's bound is expected, relative.

        The median of n normal readings scatters by 1.2533 sd / sqrt(n); sd is 1.4826 x the median distance
        from the median, which outliers hardly move.
        """
        distances = []
        for look in self.looks:
            values = self.of(look.pairs).values
            middle = median(values)
            distances += [abs(value / middle - 1) for value in values]
        z = NormalDist().inv_cdf(1 - self._risk(self._confirmed() + 1))
        bound = z * 1.2533 * 1.4826 * median(distances) / math.sqrt(self.settings.confirming_rounds)
        gain = self.of(self.looks[-1].pairs).gain_at(self.risk / 2)
        return self.settings.margin * bound + gain
