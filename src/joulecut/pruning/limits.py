"""Limits of a budget as a search sees them: what is still missing, and how much of that a removal gives.

Every limit has a ceiling: the modelled amount at which the upper bound of its figure meets it, given how wide
the bounds are now. What is over the ceiling is missing. A removal is worth what it takes off that, so that a
search spends nothing on limits that are met, and nothing on more than is asked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from joulecut.errors import UsageError
from joulecut.estimate import Estimate, exact, ratio
from joulecut.pruning.budget import all_of, judge_figure
from joulecut.pruning.latency import SecondsPricer
from joulecut.pruning.measured import MeasuredLimit, Measuring, seconds_model
from joulecut.pruning.memory import PeakMemory, peak_memory
from joulecut.pruning.metering import Look
from joulecut.pruning.network import Network
from joulecut.pruning.pricing import Pricer
from joulecut.pruning.records import Budget, LimitCheck, Met
from joulecut.pruning.training_step import StepPricer
from joulecut.units import format_percent, format_quantity

__all__ = ["Limit", "Limits", "MemoryLimit", "Needs", "PricedLimit", "limits", "nothing_spared", "without"]

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


def nothing_spared(_: Network) -> float:
    """Zero weights save nothing."""
    return 0.0


def without(total: Estimate, spared_j: float) -> Estimate:
    """What is left of an amount, as sure as the whole."""
    return total if spared_j == 0 else total.scaled(1 - spared_j / total.value)


@dataclass(frozen=True, slots=True, eq=False)
class PricedLimit:
    """A limit on what a ``Pricer`` sums up: joules, or seconds.

    Attributes:
        what: what is limited, in words.
        unit: J or s.
        pricer: what it costs.
        most: the limit, in the unit, or a share of the original.
        confidence: of the bound that must meet it.
        before: the original's, where the limit is a share of it; what is common to both then cancels.
        spared: what the zero weights of a network save beside what its widths say.
    """

    what: str
    unit: str
    pricer: Pricer
    most: float
    confidence: float
    before: Estimate | None = None
    spared: Callable[[Network], float] = nothing_spared

    def ceiling(self, network: Network, /) -> float:
        """The modelled amount that is allowed."""
        figure, bounded = self._figures(network)
        return figure.value * self.most / bounded.bounds(self.confidence)[1]

    def excess(self, network: Network, ceiling: float, /) -> float:
        """What is over the ceiling, in the unit."""
        amount = self.pricer.total_j(_widths(network), network.gone) - self.spared(network)
        return max(amount - ceiling, 0.0)

    def fits(self, network: Network, /) -> bool:
        """Whether a network meets the limit."""
        return self.check(network).met == "yes"

    def check(self, network: Network, /) -> LimitCheck:
        """The limit held against a network."""
        figure, bounded = self._figures(network)
        if self.before is None:
            asked = f"at most {format_quantity(self.most, self.unit)}"
        else:
            asked = f"at most {format_percent(self.most)} of the original"
        return LimitCheck(self.what, asked, figure, judge_figure(bounded, self.most, self.confidence))

    def _figures(self, network: Network) -> tuple[Estimate, Estimate]:
        """The amount, and the figure that is limited."""
        figure = without(self.pricer.total(_widths(network), network.gone), self.spared(network))
        return figure, figure if self.before is None else ratio(figure, self.before)


@dataclass(frozen=True, slots=True, eq=False)
class MemoryLimit:
    """A limit on the peak memory of one inference, which is counted and therefore exact.

    Attributes:
        pricer: knows the layers and the device.
        most: bytes.
    """

    pricer: Pricer
    most: float
    what: str = "memory peak"
    unit: str = "B"
    _known: dict[frozenset[str], PeakMemory] = field(default_factory=dict)

    def ceiling(self, _: Network, /) -> float:
        """The limit itself."""
        return self.most

    def excess(self, network: Network, ceiling: float, /) -> float:
        """Bytes over the ceiling, summed over the operations (see ``PeakMemory.excess``)."""
        return self._memory(network).excess(_widths(network), ceiling)

    def fits(self, network: Network, /) -> bool:
        """Whether a network meets the limit."""
        return self.check(network).met == "yes"

    def check(self, network: Network, /) -> LimitCheck:
        """The limit held against a network."""
        peak = self._memory(network).at(_widths(network))
        figure = exact(peak, "B", "modelled", "values alive at the same time, in the order of the graph")
        met: Met = "yes" if peak <= self.most else "no"
        return LimitCheck(self.what, f"at most {format_quantity(self.most, 'B')}", figure, met)

    def _memory(self, network: Network) -> PeakMemory:
        if network.gone not in self._known:
            found = peak_memory(network.coupling, self.pricer.layers, self.pricer.device, network.dropped)
            self._known[network.gone] = found
        return self._known[network.gone]


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


def _widths(network: Network) -> dict[str, int]:
    return {name: len(kept) for name, kept in network.kept.items()}
