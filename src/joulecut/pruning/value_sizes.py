"""Sizes of the values of a captured network as functions of the widths of its groups."""

from __future__ import annotations

import torch
from torch import Tensor, fx

from joulecut.hw_models.widths import ChannelCount, product
from joulecut.pruning.coupling.engine import Coupling
from joulecut.pruning.coupling.identities import FIXED

__all__ = ["Sizes"]


class Sizes:
    """Answers how large values are when groups keep so many channels.

    Args:
        coupling: the groups of a network.
    """

    def __init__(self, coupling: Coupling) -> None:
        self.coupling = coupling
        self._groups = coupling.all_groups()
        self._owner = torch.zeros(len(coupling.alive({})), dtype=torch.long)
        for number, group in enumerate(self._groups, start=1):
            self._owner[group.classes] = number
        self._known: dict[str, tuple[ChannelCount, ...]] = {}

    @property
    def full(self) -> dict[str, int]:
        """The full width of each group."""
        return {group.name: group.size for group in self._groups}

    def of(self, node: fx.Node) -> tuple[ChannelCount, ...]:
        """The size of each dimension of a tensor; of several results, those of the first that is read."""
        if node.name not in self._known:
            if isinstance(node.meta["val"], (tuple, list)):
                read = next((user for user in node.users if user.users), None)
                self._known[node.name] = self.of(read) if read is not None else ()
            else:
                shape = tuple(node.meta["val"].shape)
                self._known[node.name] = tuple(self._size(node, d, size) for d, size in enumerate(shape))
        return self._known[node.name]

    def elements(self, node: fx.Node) -> ChannelCount:
        """How many elements a tensor has."""
        return product(self.of(node))

    def _size(self, node: fx.Node, dim: int, size: int) -> ChannelCount:
        found: list[Tensor] = []
        for label in self.coupling.cutter.labels.get(node.name, ()):
            if isinstance(label, Tensor) and label.shape[dim] > 1:
                found += self.coupling.cutter.classes_of(label, dim)
        return self._counted(found, size)

    def _counted(self, classes: list[Tensor], size: int) -> ChannelCount:
        """How many of ``size`` indices live, each with all the classes that it belongs to."""
        if not classes:
            return ChannelCount(size)
        table = torch.stack(classes).sort(0).values
        table[1:][table[1:] == table[:-1]] = FIXED
        owners = self._owner[table].sort(0).values
        kinds, counts = torch.unique(owners, dim=1, return_counts=True)
        total = ChannelCount()
        for kind, count in zip(kinds.T.tolist(), counts.tolist(), strict=True):
            total = total + self._product([number for number in kind if number], count)
        return total

    def _product(self, numbers: list[int], count: int) -> ChannelCount:
        """``count`` indices, evenly over the channels of some groups: all different ones of a group.

        What is left over where they are not even (no operation that a cut allows does that) is fixed.
        """
        factors, combinations = ChannelCount(1), 1
        for i, number in enumerate(numbers):
            again = numbers[:i].count(number)
            group = self._groups[number - 1]
            factors = factors * (ChannelCount.of(group.name) + ChannelCount(-again))
            combinations *= max(group.size - again, 1)
        return factors * (count // combinations) + ChannelCount(count % combinations)
