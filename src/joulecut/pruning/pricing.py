"""Prices widths in joules: what a network costs when its groups keep so many channels.

Every layer's channel counts are linear in the widths of the groups, so a change of one group re-prices only
the layers that touch it, the neighbours included.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import fx

from joulecut.estimate import Estimate
from joulecut.hw_models.energy import overhead_cost
from joulecut.hw_models.fitness import network_interval
from joulecut.hw_models.forms import energy_form
from joulecut.hw_models.modelling import total_estimate
from joulecut.hw_models.spec import DeviceSpec
from joulecut.hw_models.widths import ChannelCount, PricedLayer, Widths
from joulecut.pruning.coupling.engine import Coupling
from joulecut.pruning.coupling.groups import Group
from joulecut.pruning.coupling.propagate import shape_of, tensor_nodes
from joulecut.workload.layer import LayerWork

__all__ = ["ChannelCount", "PricedLayer", "Pricer", "pricer"]


class Pricer:
    """Joules of one network on one device at any widths.

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
        self._forms = {layer.node: energy_form(device, layer.work) for layer in layers}
        self._touched: dict[str, list[PricedLayer]] = {name: [] for name in sizes}
        for layer in layers:
            counts = (layer.reads, layer.writes, *(count for _, count in layer.operands))
            for name in {group for count in counts for group, _ in count.terms}:
                self._touched[name].append(layer)

    def layer_j(self, layer: PricedLayer, widths: Widths) -> float:
        """Joules of one layer, its static share included."""
        reads, writes = layer.reads.at(widths), layer.writes.at(widths)
        return self._forms[layer.node].at(reads, writes, layer.read_bytes(widths))

    def total_j(self, widths: Widths) -> float:
        """Joules of one inference."""
        return math.fsum(self.layer_j(layer, widths) for layer in self.layers) + self._overhead_j

    def saving_j(self, widths: Widths, group: str, channels: int) -> float:
        """Joules saved by removing so many channels of a group, neighbours included."""
        fewer = {**widths, group: widths[group] - channels}
        touched = self._touched[group]
        return math.fsum(self.layer_j(layer, widths) - self.layer_j(layer, fewer) for layer in touched)

    def works(self, widths: Widths) -> dict[str, LayerWork]:
        """The work of each priced node at these widths."""
        return {layer.node: layer.at(widths) for layer in self.layers}

    def total(self, widths: Widths) -> Estimate:
        """Joules of one inference with the interval that the device's data are worth for such a network."""
        width, _ = network_interval(self.device, tuple(self.works(widths).values()))
        return total_estimate(self.device, self.total_j(widths), width)


def pricer(coupling: Coupling, works: Mapping[str, LayerWork], device: DeviceSpec) -> Pricer:
    """Join the counted layers of a captured network with its groups.

    Args:
        coupling: the groups of the network.
        works: counted work by node name (``workload.from_torch.layer_works``).
        device: the device that prices.
    """
    owner = torch.zeros(len(coupling.alive({})), dtype=torch.long)
    groups = coupling.groups()
    for number, group in enumerate(groups, start=1):
        owner[group.classes] = number
    nodes = {node.name: node for node in coupling.module.graph.nodes}
    layers = tuple(
        _priced(coupling, nodes[name], work, owner, groups) for name, work in works.items() if name in nodes
    )
    return Pricer(device, layers, {group.name: group.size for group in groups})


def _priced(
    coupling: Coupling, node: fx.Node, work: LayerWork, owner: torch.Tensor, groups: tuple[Group, ...]
) -> PricedLayer:
    writes = _count(coupling, node, work.out_channels, owner, groups)
    source = node.args[0] if node.args else None
    if work.kind in ("dense", "depthwise") and isinstance(source, fx.Node):
        return PricedLayer(node.name, work, _count(coupling, source, work.in_channels, owner, groups), writes)
    scale_in = ChannelCount(work.in_channels, ()) if work.in_channels != work.out_channels else writes
    operands = _operands(coupling, node, work, owner, groups)
    return PricedLayer(node.name, work, scale_in, writes, operands)


def _operands(
    coupling: Coupling, node: fx.Node, work: LayerWork, owner: torch.Tensor, groups: tuple[Group, ...]
) -> tuple[tuple[int, ChannelCount], ...]:
    """Bytes per channel and channels of each activation that an operation reads, where there are several."""
    read = [n for n in tensor_nodes(node) if n.op != "get_attr"]
    found = []
    for operand in read if len(read) > 1 else ():
        value = operand.meta["val"]
        counts = [_count(coupling, operand, int(value.shape[d]), owner, groups) for d in (-1, 1 % value.ndim)]
        count = max(counts, key=lambda count: len(count.terms))
        channels = count.at({group.name: group.size for group in groups})
        found.append((value.numel() * value.element_size() // channels, count))
    total = sum(size * count.at({group.name: group.size for group in groups}) for size, count in found)
    return tuple(found) if total == work.in_bytes else ()


def _count(
    coupling: Coupling, node: fx.Node, channels: int, owner: torch.Tensor, groups: tuple[Group, ...]
) -> ChannelCount:
    if isinstance(node.meta.get("val"), (tuple, list)):  # of several results the first that is read
        node = next((user for user in node.users if user.users), node)
    shape = shape_of(node)
    dims = [d for d in (1, len(shape) - 1) if 0 < d < len(shape) and shape[d] == channels]
    for d in dims:
        numbers = torch.bincount(
            owner[coupling.cutter.classes_along(node, d)], minlength=len(groups) + 1
        ).tolist()
        terms = tuple(
            (group.name, numbers[i] // group.size)
            for i, group in enumerate(groups, start=1)
            if numbers[i] >= group.size
        )
        if terms:
            sizes = {group.name: group.size for group in groups}
            return ChannelCount(channels - sum(m * sizes[name] for name, m in terms), terms)
    return ChannelCount(channels, ())
