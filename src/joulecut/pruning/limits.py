"""Limits of a budget as a search sees them: what is still missing, and how much of that a removal gives.

Every limit has a ceiling: the modelled amount at which the upper bound of its figure meets it, given how wide
the bounds are now. What is over the ceiling is missing. A removal is worth what it takes off that, so that a
search spends nothing on limits that are met, and nothing on more than is asked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from joulecut.errors import UsageError
from joulecut.pruning.budget import all_of
from joulecut.pruning.latency import SecondsPricer
from joulecut.pruning.measured import MeasuredLimit, Measuring, seconds_model
from joulecut.pruning.metering import Look
from joulecut.pruning.modelled import MemoryLimit, PricedLimit, nothing_spared
from joulecut.pruning.network import Network
from joulecut.pruning.pricing import Pricer
from joulecut.pruning.records import Budget, LimitCheck, Met
from joulecut.pruning.training_step import StepPricer

__all__ = ["Limit", "Limits", "Needs", "limits"]

_ROUNDING = 1e-12
"""What is missing, relative to the ceiling, where only rounding or a meter's scatter keeps a limit unmet."""


class Limit(Protocol):
    """One limit."""

    @property
    def what(self) -> str:
        """What is limited, in words."""
        ...

    @property
    def unit(self) -> str:
        """Unit of the amounts: J, s or B."""
        ...

    def ceiling(self, network: Network, /) -> float:
        """The modelled amount that is allowed, given how wide the bounds of this network are."""
        ...

    def excess(self, network: Network, ceiling: float, /) -> float:
        """How much of a network is over a ceiling; 0 where nothing is."""
        ...

    def fits(self, network: Network, /) -> bool:
        """Whether a network would meet the limit, as far as that is known without measuring it."""
        ...

    def check(self, network: Network, /) -> LimitCheck:
        """The limit held against a network."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Needs:
    """What is missing at one point of a search.

    Attributes:
        missing: amounts over the ceiling by limit, in its unit; limits that are met are not in it.
        ceilings: the ceilings of those limits.
    """

    missing: dict[Limit, float]
    ceilings: dict[Limit, float]

    @property
    def unit(self) -> str:
        """Of ``useful``: the unit of the one limit that is missed, or "1" where there are several."""
        units = [limit.unit for limit in self.missing]
        return units[0] if len(units) == 1 else "1"

    def useful(self, saving_j: float, after: Callable[[], Network]) -> float:
        """How much of what is missing a removal gives.

        Args:
            saving_j: joules that it saves.
            after: makes the network without what goes; called where more than joules are missing.

        Returns:
            Joules, seconds or bytes where one limit is missed, and never more than is missing; of several
            limits the shares of what is missing, added up. Not above 0: it helps with nothing.
        """
        gains = {limit: self._gain(limit, saving_j, after) for limit in self.missing}
        if len(gains) == 1:
            return next(iter(gains.values()))
        return sum(gain / self.missing[limit] for limit, gain in gains.items())

    def _gain(self, limit: Limit, saving_j: float, after: Callable[[], Network]) -> float:
        missing = self.missing[limit]
        if limit.unit == "J":
            return min(saving_j, missing)
        return missing - limit.excess(after(), self.ceilings[limit])


@dataclass(frozen=True, slots=True, eq=False)
class Limits:
    """All limits of a budget."""

    each: tuple[Limit, ...]

    def needs(self, network: Network) -> Needs:
        """What is missing at a network."""
        missing: dict[Limit, float] = {}
        ceilings: dict[Limit, float] = {}
        for limit in self.each:
            if limit.check(network).met != "yes":
                ceilings[limit] = limit.ceiling(network)
                over = limit.excess(network, ceilings[limit])
                missing[limit] = max(over, _ROUNDING * ceilings[limit])
        return Needs(missing, ceilings)

    def checks(self, network: Network) -> tuple[LimitCheck, ...]:
        """Each limit held against a network."""
        return tuple(limit.check(network) for limit in self.each)

    def allowed_j(self, network: Network) -> float:
        """The modelled joules that are allowed a network; infinite where joules are not limited."""
        return min((each.ceiling(network) for each in self.each if each.unit == "J"), default=math.inf)

    def fits(self, network: Network) -> bool:
        """Whether a network would meet all of them, as far as that is known without measuring it."""
        return all(limit.fits(network) for limit in self.each)

    @property
    def looks(self) -> dict[str, tuple[Look, ...]]:
        """What was measured, by what is limited; to be kept where the search is."""
        return {limit.what: tuple(limit.metering.looks) for limit in self._measured()}

    def recall(self, looks: Mapping[str, Sequence[Look]]) -> None:
        """Go on from what was measured before."""
        for limit in self._measured():
            limit.metering.looks = list(looks.get(limit.what, ()))

    def _measured(self) -> list[MeasuredLimit]:
        return [limit for limit in self.each if isinstance(limit, MeasuredLimit)]

    def missed(self, network: Network) -> str:
        """What a network is over beside modelled joules, as the end of a sentence that tells these; or ""."""
        words = []
        for limit in self.each:
            found = limit.check(network)
            if found.met != "yes" and not (isinstance(limit, PricedLimit) and limit.unit == "J"):
                words.append(f", its {found.what} being {found.figure} where {found.asked} is asked")
        return "".join(words)

    def met(self, network: Network) -> Met:
        """Whether a network meets all of them."""
        return all_of(found.met for found in self.checks(network))


def limits(
    budget: Budget,
    pricer: Pricer,
    measuring: Measuring | None = None,
    spared: Callable[[Network], float] = nothing_spared,
) -> Limits:
    """The limits of a budget on a device.

    Args:
        budget: what is asked.
        pricer: joules by width, per inference or training step as the budget says.
        measuring: what is measured, and how; without it everything is modelled.
        spared: modelled joules that the zero weights of a network save.

    Raises:
        UsageError: a limit on the latency, on a device of which no time is known and without a meter; or one
            on the joules of a training step, with a meter, which reads inferences.
    """
    inference = pricer.inference if isinstance(pricer, StepPricer) else pricer
    found: list[Limit] = []
    if budget.energy_j is not None or budget.share is not None:
        found.append(_energy(budget, pricer, measuring, spared))
    if budget.latency_s is not None:
        found.append(_latency(budget.latency_s, budget.confidence, inference, measuring))
    if budget.memory_bytes is not None:
        found.append(MemoryLimit(inference, budget.memory_bytes))
    return Limits(tuple(found))


def _energy(
    budget: Budget, pricer: Pricer, measuring: Measuring | None, spared: Callable[[Network], float]
) -> Limit:
    what = f"energy of one {budget.per}"
    if measuring is None or measuring.meters.energy is None:
        before = pricer.total(pricer.sizes) if budget.share is not None else None
        most = budget.share if budget.share is not None else budget.energy_j
        assert most is not None
        return PricedLimit(what, "J", pricer, most, budget.confidence, before, spared)
    if isinstance(pricer, StepPricer):
        raise UsageError("a meter reads inferences, and the budget is one of training steps.")
    risk, meter = _risk(budget.confidence), measuring.meters.energy
    if budget.share is not None:
        return measuring.share(what, meter, pricer, budget.share, risk)
    assert budget.energy_j is not None
    return measuring.amount(what, meter, pricer, budget.energy_j, risk)


def _latency(most_s: float, confidence: float, pricer: Pricer, measuring: Measuring | None) -> Limit:
    if measuring is None or measuring.meters.latency is None:
        return PricedLimit("latency", "s", SecondsPricer(pricer), most_s, confidence)
    model = seconds_model(pricer)
    return measuring.amount("latency", measuring.meters.latency, model, most_s, _risk(confidence))


def _risk(confidence: float) -> float:
    """The probability that a figure lies above the upper bound of a two-sided interval."""
    return (1 - confidence) / 2
