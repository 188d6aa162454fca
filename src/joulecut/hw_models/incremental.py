"""Joules of a network that changes one group of channels at a time: only what the group touches is priced."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from joulecut.errors import UsageError
from joulecut.hw_models.energy import layer_cost, overhead_cost
from joulecut.hw_models.forms import energy_form
from joulecut.hw_models.spec import DeviceSpec
from joulecut.hw_models.widths import PricedLayer, Widths

__all__ = ["IncrementalEnergy", "layer_price"]

_EVERY: Final = 1000
"""After so many changes the total is added up from scratch, so that rounding errors do not pile up."""


class _Touch(NamedTuple):
    """What one more channel of a group changes in a layer."""

    layer: int
    reads: int
    writes: int
    read_bytes: int


def layer_price(device: DeviceSpec, layer: PricedLayer) -> Callable[[Widths], float]:
    """Joules of a layer as a function of the widths: its form, or its work counted anew where it has none."""
    if layer.amounts is not None:
        return lambda widths: layer_cost(device, layer.at(widths)).total_j
    form, reads, writes, read_bytes = (
        energy_form(device, layer.work),
        layer.reads,
        layer.writes,
        layer.read_bytes,
    )
    return lambda widths: form.at(reads.at(widths), writes.at(widths), read_bytes(widths))


class IncrementalEnergy:
    """Joules of one inference of a network, kept up to date while its groups change width.

    Args:
        device: the device that prices.
        layers: layers with their channel counts.
        sizes: width of each group to begin with.

    >>> from joulecut.hw_models.catalogue import device
    >>> from joulecut.hw_models.widths import ChannelCount
    >>> from joulecut.workload.layer import LayerWork
    >>> fc = LayerWork("fc", "linear", "dense", 32, 128, 16, 32, (1, 4), (1, 8), (8, 4), 4, 8)
    >>> layer = PricedLayer("fc", fc, ChannelCount(4), ChannelCount.of("hidden"))
    >>> net = IncrementalEnergy(device("reference/edge/float32"), [layer], {"hidden": 8})
    >>> round(net.saving_j("hidden", 4) * 1e12), round(net.resize("hidden", 4) * 1e12)
    (1664, 1984)
    """

    def __init__(self, device: DeviceSpec, layers: Sequence[PricedLayer], sizes: Widths) -> None:
        self.device = device
        self.widths = dict(sizes)
        self._forms = [energy_form(device, layer.work) for layer in layers]
        self._prices = [layer_price(device, layer) for layer in layers]
        self._reads = [layer.reads.at(sizes) for layer in layers]
        self._writes = [layer.writes.at(sizes) for layer in layers]
        self._read_bytes = [layer.read_bytes(sizes) for layer in layers]
        self._touched: dict[str, list[_Touch]] = {name: [] for name in sizes}
        self._repriced: dict[str, list[int]] = {name: [] for name in sizes}
        for number, layer in enumerate(layers):
            if layer.is_linear:
                for name, touch in _touches(number, layer).items():
                    self._touched[name].append(touch)
            else:
                for name in layer.groups:
                    self._repriced[name].append(number)
        self._overhead_j = overhead_cost(device).total_j
        self._layer_j = [price(sizes) for price in self._prices]
        self._changes = 0
        self.total_j = self._added_up()

    def saving_j(self, group: str, channels: int) -> float:
        """Joules saved by removing so many channels of a group; nothing changes.

        Raises:
            UsageError: no such group, or a layer would be left without channels.
        """
        return -sum(after - self._layer_j[layer] for layer, after in self._priced(group, -channels))

    def resize(self, group: str, width: int) -> float:
        """Give a group another width.

        Returns:
            The joules of the whole network afterwards.

        Raises:
            UsageError: no such group, or a layer would be left without channels; nothing changes then.
        """
        added = width - self._width(group)
        priced = self._priced(group, added)
        total_j, layer_j = self.total_j, self._layer_j
        for layer, energy_j in priced:
            total_j += energy_j - layer_j[layer]
            layer_j[layer] = energy_j
        for layer, reads, writes, per_channel in self._touched[group]:
            self._reads[layer] += reads * added
            self._writes[layer] += writes * added
            read_bytes = self._read_bytes[layer]
            if read_bytes is not None:
                self._read_bytes[layer] = read_bytes + per_channel * added
        self.total_j = total_j
        self.widths[group] = width
        self._changes += 1
        if self._changes % _EVERY == 0:
            self.total_j = self._added_up()
        return self.total_j

    def _priced(self, group: str, added: int) -> list[tuple[int, float]]:
        """The layers that a group touches, with their joules at that many channels more."""
        self._width(group)
        found = []
        for layer, reads, writes, per_channel in self._touched[group]:
            read_bytes = self._read_bytes[layer]
            if read_bytes is not None:
                read_bytes += per_channel * added
            energy_j = self._forms[layer].at(
                self._reads[layer] + reads * added, self._writes[layer] + writes * added, read_bytes
            )
            found.append((layer, energy_j))
        if self._repriced[group]:
            widths = {**self.widths, group: self.widths[group] + added}
            found += [(layer, self._prices[layer](widths)) for layer in self._repriced[group]]
        return found

    def _width(self, group: str) -> int:
        if group not in self.widths:
            raise UsageError(f"there is no group {group[:80]!r} in this network.")
        return self.widths[group]

    def _added_up(self) -> float:
        return math.fsum(self._layer_j) + self._overhead_j


def _touches(number: int, layer: PricedLayer) -> dict[str, _Touch]:
    """By group, what one more of its channels changes in a layer."""
    found: dict[str, list[int]] = {}
    reads, writes = ((1, count) for count in (layer.reads, layer.writes))
    for position, (size, count) in enumerate((reads, writes, *layer.operands)):
        for (name,), multiplicity in count.terms:
            found.setdefault(name, [0, 0, 0])[min(position, 2)] += size * multiplicity
    return {name: _Touch(number, *changes) for name, changes in found.items()}
