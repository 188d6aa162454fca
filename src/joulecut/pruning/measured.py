"""Limits on what a meter reads of the cut network itself, in place of what a device's data say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from torch import fx, nn

from joulecut.hw_models.spec import Coefficients
from joulecut.pruning.blocks import removable_blocks, removable_layers, without_blocks
from joulecut.pruning.coupling.engine import Coupling
from joulecut.pruning.latency import SecondsPricer, has_time
from joulecut.pruning.metering import Meter, Metering, MeteringSettings
from joulecut.pruning.network import Network
from joulecut.pruning.pairs import Pairs, Readings
from joulecut.pruning.pricing import Pricer
from joulecut.pruning.records import LimitCheck
from joulecut.units import format_percent, format_quantity
from joulecut.workload.trace import Traced

__all__ = ["MeasuredLimit", "Measuring", "Meters", "cut_module", "seconds_model"]


@dataclass(frozen=True, slots=True, eq=False)
class Meters:
    """Who measures what.

    Attributes:
        energy: joules of one inference; None: they are modelled.
        latency: seconds of one inference; None: they are modelled.
        settings: how often and how long.
    """

    energy: Meter | None = None
    latency: Meter | None = None
    settings: MeteringSettings = field(default_factory=MeteringSettings)


@dataclass(frozen=True, slots=True, eq=False)
class Measuring:
    """How the networks of a search are measured.

    Attributes:
        meters: who measures what.
        original: the network before any cut.
        build: makes a module of a network of the search; only its shapes matter.
        steps: how many steps the search has taken.
    """

    meters: Meters
    original: nn.Module
    build: Callable[[Network], nn.Module]
    steps: Callable[[], int]

    def amount(self, what: str, meter: Meter, pricer: Pricer, most: float, risk: float) -> MeasuredLimit:
        """A limit on joules or seconds that a meter has the last word on.

        Args:
            what: what is limited, in words.
            meter: reads it.
            pricer: models it, to be rescaled.
            most: the limit.
            risk: the probability of calling a network met that is not.
        """
        return self._limit(what, meter, pricer, _Limited(most, 1.0, _smaller), risk)

    def share(self, what: str, meter: Meter, pricer: Pricer, most: float, risk: float) -> MeasuredLimit:
        """The same for a share of the original, measured beside it."""
        whole = pricer.total_j(pricer.sizes)
        return self._limit(what, meter, pricer, _Limited(most, whole, _ratio), risk)

    def _limit(
        self, what: str, meter: Meter, pricer: Pricer, limited: _Limited, risk: float
    ) -> MeasuredLimit:
        def measure(network: Network, rounds: int) -> Pairs:
            return meter.pairs(self.original, self.build(network), rounds)

        def modelled(network: Network) -> float:
            return pricer.total_j(network.widths, network.gone) / limited.whole

        metering = Metering(measure, modelled, limited.most, limited.of, risk, self.meters.settings)
        return MeasuredLimit(what, pricer, metering, limited.whole, self.steps)


class _Limited(NamedTuple):
    """A limit, the modelled amount that it is a part of, and the readings that it limits."""

    most: float
    whole: float
    of: Callable[[Pairs], Readings]


def _ratio(pairs: Pairs) -> Readings:
    return pairs.ratio


def _smaller(pairs: Pairs) -> Readings:
    return pairs.smaller


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredLimit:
    """A limit on what a meter reads: the model steers the search, rescaled, and fresh readings decide.

    Attributes:
        what: what is limited, in words.
        pricer: models it; its unit is that of ``excess``.
        metering: the measurements of this search.
        whole: what the model says of the original, of which the limit is a share; 1 where it is an amount.
        steps: how many steps the search has taken.
    """

    what: str
    pricer: Pricer
    metering: Metering[Network]
    whole: float
    steps: Callable[[], int]

    @property
    def unit(self) -> str:
        """Unit of the amounts: J or s."""
        return "s" if isinstance(self.pricer, SecondsPricer) else "J"

    def ceiling(self, network: Network, /) -> float:
        """The modelled amount at which a measurement is likely to meet the limit."""
        return self.whole * self.metering.ceiling(network, self.steps())

    def excess(self, network: Network, ceiling: float, /) -> float:
        """The modelled amount over the ceiling."""
        return max(self.pricer.total_j(network.widths, network.gone) - ceiling, 0.0)

    def fits(self, network: Network, /) -> bool:
        """Whether a measurement would likely meet the limit."""
        return self.metering.fits(network, self.steps())

    def check(self, network: Network, /) -> LimitCheck:
        """The limit held against a network, which is measured if it is likely to meet it."""
        met = self.metering.met(network, self.steps())
        figure, most = self.metering.figure(network, self.steps()), self.metering.limit
        asked = format_quantity(most, self.unit)
        if figure.unit == "1":
            asked = f"{format_percent(most)} of the original"
        return LimitCheck(self.what, f"at most {asked}", figure, met)


def seconds_model(pricer: Pricer) -> SecondsPricer:
    """A model of seconds to be rescaled by measurements: the device's, or 1 ns a MAC where it has none."""
    device = pricer.device
    if has_time(device):
        return SecondsPricer(pricer)
    c = device.coefficients
    bare = Coefficients(c.j_per_mac_dense, c.j_per_mac_depthwise, c.mac_bound, s_per_mac=1e-9)
    return SecondsPricer(Pricer(replace(device, coefficients=bare), pricer.layers, pricer.sizes))


def cut_module(coupling: Coupling, network: Network) -> fx.GraphModule:
    """A network of a search as a module: cut, and without the blocks and layers that are left out.

    Its weights are those of the coupled network and not of the search.

    Args:
        coupling: of the network before any cut.
        network: with the same groups.
    """
    module = coupling.apply(network.kept)
    if not network.dropped:
        return module
    whole = Traced("", coupling.module, (), dynamic_batch=False)
    named = {part.name: part for part in (*removable_layers(whole), *removable_blocks(whole))}
    return without_blocks(
        replace(whole, module=module), [named[part.name] for part in network.dropped]
    ).module
