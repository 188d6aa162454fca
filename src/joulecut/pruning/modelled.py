"""Limits on what a device's data say of a network: joules, seconds and bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from joulecut.estimate import Estimate, exact, ratio
from joulecut.pruning.budget import judge_figure
from joulecut.pruning.memory import PeakMemory, peak_memory
from joulecut.pruning.network import Network
from joulecut.pruning.pricing import Pricer
from joulecut.pruning.records import LimitCheck, Met
from joulecut.units import format_percent, format_quantity

__all__ = ["MemoryLimit", "PricedLimit", "nothing_spared", "without"]


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
        amount = self.pricer.total_j(network.widths, network.gone) - self.spared(network)
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
        figure = without(self.pricer.total(network.widths, network.gone), self.spared(network))
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
        return self._memory(network).excess(network.widths, ceiling)

    def fits(self, network: Network, /) -> bool:
        """Whether a network meets the limit."""
        return self.check(network).met == "yes"

    def check(self, network: Network, /) -> LimitCheck:
        """The limit held against a network."""
        peak = self._memory(network).at(network.widths)
        figure = exact(peak, "B", "modelled", "values alive at the same time, in the order of the graph")
        met: Met = "yes" if peak <= self.most else "no"
        return LimitCheck(self.what, f"at most {format_quantity(self.most, 'B')}", figure, met)

    def _memory(self, network: Network) -> PeakMemory:
        if network.gone not in self._known:
            found = peak_memory(network.coupling, self.pricer.layers, self.pricer.device, network.dropped)
            self._known[network.gone] = found
        return self._known[network.gone]
