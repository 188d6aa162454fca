"""Blocks and layers as options: left out whole, with everything else refitted to make up for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from joulecut.pruning.blocks import Removable, removable_blocks, removable_layers
from joulecut.pruning.candidates.option import Option, View
from joulecut.pruning.network import Network
from joulecut.pruning.records import Kind
from joulecut.workload.trace import Traced

__all__ = ["BlockOptions", "Parts", "parts_of"]

Parts = Mapping[tuple[Kind, str], Removable]
"""Blocks and layers that a network can do without, by kind and name."""


def parts_of(network: Network) -> Parts:
    """The residual blocks of a network, and the layers not of a block's name, that it can do without."""
    graph = Traced("", network.coupling.module, (), False)
    blocks, layers = removable_blocks(graph), removable_layers(graph)
    names = {part.name for part in blocks}
    found: dict[tuple[Kind, str], Removable] = {("block", part.name): part for part in blocks}
    found |= {("layer", part.name): part for part in layers if part.name not in names}
    return {key: part for key, part in found.items() if network.can_drop(part)}


@dataclass(frozen=True, slots=True, eq=False)
class BlockOptions:
    """One option for each block and layer that is still there and whose absence saves joules.

    The predicted cost is the loss before the refit that belongs to it, as far as it is above that now.

    Attributes:
        parts: what may go.
        refit: re-solves a network.
        most: options whose loss is measured at one step; each takes a refit.
    """

    parts: Parts
    refit: Callable[[Network], Network]
    most: int

    def __call__(self, view: View) -> Iterator[Option]:
        """The options now."""
        network = view.network
        widths = network.widths
        for (kind, name), part in self.parts.items():
            if part.output in network.gone or not network.can_drop(part):
                continue
            saving_j = view.pricer.drop_saving_j(widths, network.gone, frozenset(part.nodes))
            if saving_j > 0:
                without = network.drop(part)
                cost = view.loss(view.rerun(without, frozenset([part.output]))) - view.now
                build = partial(self.refit, without)
                yield Option(kind, name, (), saving_j, cost, build, None)
