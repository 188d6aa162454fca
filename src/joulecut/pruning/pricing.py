"""Prices widths in joules: what a network costs when its groups keep so many channels.

A change of one group re-prices only the layers that touch it, the neighbours included.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import fx

from joulecut.estimate import Estimate
from joulecut.hw_models.energy import overhead_cost
from joulecut.hw_models.fitness import network_interval
from joulecut.hw_models.incremental import layer_price
from joulecut.hw_models.modelling import total_estimate
from joulecut.hw_models.spec import DeviceSpec
from joulecut.hw_models.widths import ChannelCount, PricedLayer, Widths
from joulecut.pruning.amounts import amounts_of, is_plain, operands_of
from joulecut.pruning.coupling.engine import Coupling
from joulecut.pruning.regions import Regions
from joulecut.pruning.value_sizes import Sizes
from joulecut.workload.layer import LayerWork
from joulecut.workload.trace import operation

__all__ = ["ChannelCount", "PricedLayer", "Pricer", "pricer"]

_NOTHING: frozenset[str] = frozenset()


class Pricer:
    """Joules of one network on one device at any widths, whole or with parts left out.

    Args:
        device: the device that prices.
        layers: layers with their channel counts.
        sizes: full width by group.
    """

    def __init__(self, device: DeviceSpec, layers: tuple[PricedLayer, ...], sizes: Widths) -> None:
        self.device = device
        self.layers = layers
        self.sizes = dict(sizes)
        self._overhead_j = overhead_cost(device).total_j
        self._prices = {layer.node: layer_price(device, layer) for layer in layers}
        self._touched: dict[str, list[str]] = {name: [] for name in sizes}
        for layer in layers:
            for name in sorted(layer.groups):
                self._touched[name].append(layer.node)

    def layer_j(self, layer: PricedLayer, widths: Widths) -> float:
        """Joules of one layer, its static share included."""
        return self._prices[layer.node](widths)

    def total_j(self, widths: Widths, gone: frozenset[str] = _NOTHING) -> float:
        """Joules of one inference.

        Args:
            widths: channels that each group keeps.
            gone: names of nodes that dropped blocks take away; they cost nothing.
        """
        prices = (price(widths) for node, price in self._prices.items() if node not in gone)
        return math.fsum(prices) + self._overhead_j

    def saving_j(self, widths: Widths, group: str, channels: int, gone: frozenset[str] = _NOTHING) -> float:
        """Joules saved by removing so many channels of a group, neighbours included."""
        fewer = {**widths, group: widths[group] - channels}
        touched = [self._prices[node] for node in self._touched[group] if node not in gone]
        return math.fsum(price(widths) - price(fewer) for price in touched)

    def drop_saving_j(self, widths: Widths, gone: frozenset[str], more: frozenset[str]) -> float:
        """Joules saved when, with some nodes gone, more of them go."""
        return math.fsum(self._prices[node](widths) for node in sorted(more - gone) if node in self._prices)

    def works(self, widths: Widths, gone: frozenset[str] = _NOTHING) -> dict[str, LayerWork]:
        """The work of each priced node at these widths."""
        return {layer.node: layer.at(widths) for layer in self.layers if layer.node not in gone}

    def total(self, widths: Widths, gone: frozenset[str] = _NOTHING) -> Estimate:
        """Joules of one inference with the interval that the device's data are worth for such a network."""
        width, _ = network_interval(self.device, tuple(self.works(widths, gone).values()))
        return total_estimate(self.device, self.total_j(widths, gone), width)


def pricer(coupling: Coupling, works: Mapping[str, LayerWork], device: DeviceSpec) -> Pricer:
    """Join the counted layers of a captured network with its groups.

    Args:
        coupling: the groups of the network.
        works: counted work by node name (``workload.from_torch.layer_works``).
        device: the device that prices.
    """
    nodes = {node.name: node for node in coupling.module.graph.nodes}
    sizes, regions = Sizes(coupling), Regions(coupling.module)
    layers = tuple(
        _priced(nodes[name], work, sizes, regions) for name, work in works.items() if name in nodes
    )
    return Pricer(device, layers, sizes.full)


def _priced(node: fx.Node, work: LayerWork, sizes: Sizes, regions: Regions) -> PricedLayer:
    data = [n for n in operands_of(node) if n not in regions.constant]
    writes = _channels(node, work.out_channels, sizes)
    if work.kind in ("dense", "depthwise"):
        reads = _channels(data[0], work.in_channels, sizes) if work.in_channels else ChannelCount()
    elif work.in_channels == work.out_channels:
        reads = writes
    else:
        reads = _channels(max(data, key=lambda n: n.meta["val"].numel()), work.in_channels, sizes)
    operands = _operands(data, work, sizes) if work.kind not in ("dense", "depthwise") else ()
    found = amounts_of(node, work, sizes, regions)
    total = sum((count * size for size, count in operands), ChannelCount()) if operands else None
    if is_plain(work, reads, writes, total, found):
        return PricedLayer(node.name, work, reads, writes, operands)
    return PricedLayer(node.name, work, reads, writes, amounts=found)


def _operands(data: list[fx.Node], work: LayerWork, sizes: Sizes) -> tuple[tuple[int, ChannelCount], ...]:
    """Bytes per channel and channels of each activation that an operation reads, where there are several."""
    found = []
    for n in data if len(data) > 1 else ():
        size = sizes.of(n)
        count = max((size[-1], size[1 % len(size)]), key=lambda count: len(count.terms))
        value = n.meta["val"]
        found.append((value.numel() * value.element_size() // count.at(sizes.full), count))
    total = sum(size * count.at(sizes.full) for size, count in found)
    return tuple(found) if total == work.in_bytes else ()


def _channels(node: fx.Node, channels: int, sizes: Sizes) -> ChannelCount:
    """The count of the axis that holds so many channels: the second or the last, rather one of those cut."""
    size = sizes.of(node)
    if not size:
        return ChannelCount(channels)
    first, last = size[1 % len(size)], size[-1]
    order = (first, last) if not operation(node).startswith("linear") else (last, first)
    found = [count for count in order if count.at(sizes.full) == channels]
    return next((count for count in found if count.terms), ChannelCount(channels))
