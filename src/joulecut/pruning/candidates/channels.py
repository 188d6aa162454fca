"""Channels and nodes as options: in each group the device step that least squares says is missed least."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import fx

from joulecut.pruning.candidates.option import Option, View
from joulecut.pruning.coupling.groups import Group
from joulecut.pruning.elimination import Proposal, Statistics, gather, propose
from joulecut.pruning.network import Network, Values
from joulecut.pruning.pricing import Pricer
from joulecut.pruning.records import Kind
from joulecut.pruning.refit import Teacher
from joulecut.pruning.settings import SearchSettings

__all__ = ["ChannelOptions", "chunk", "kind_of", "statistics", "useful_chunk"]


def chunk(width: int, step: int) -> int:
    """Channels to remove so that the width left is a multiple of the step; 0 if none would be left.

    >>> [chunk(w, 4) for w in (16, 10, 5, 4, 3)]
    [4, 2, 1, 0, 0]
    """
    left = (width - 1) // step * step
    return width - left if left > 0 else 0


def useful_chunk(pricer: Pricer, network: Network, group: str, step: int) -> tuple[int, float]:
    """The fewest channels on the grid whose removal saves joules, and the saving; (0, 0.0) if none does."""
    widths = network.widths
    taken = 0
    while more := chunk(widths[group] - taken, step):
        taken += more
        saving_j = pricer.saving_j(widths, group, taken, network.gone)
        if saving_j > 0:
            return taken, saving_j
    return 0, 0.0


def statistics(
    network: Network, values: Values, teacher: Teacher, settings: SearchSettings, count: int
) -> Statistics:
    """What proposals need to know of every reader at the current widths, after so many removals."""
    return gather(
        network,
        teacher.layers,
        values,
        teacher.inputs[: settings.gradient_samples],
        rows=settings.gram_rows,
        ridge=settings.ridge,
        seed=settings.seed + count,
    )


def kind_of(group: Group, module: fx.GraphModule) -> Kind:
    """Nodes where only linear layers write the channels, else channels."""
    weights = [part for part in group.of_role("writer") if _weight(module, part.parameter).ndim > 1]
    linear = weights and all(_weight(module, part.parameter).ndim == 2 for part in weights)
    return "nodes" if linear else "channels"


def _weight(module: fx.GraphModule, name: str) -> torch.Tensor:
    path, _, leaf = name.rpartition(".")
    found = getattr(module.get_submodule(path), leaf)
    assert isinstance(found, torch.Tensor)
    return found


@dataclass(frozen=True, slots=True, eq=False)
class ChannelOptions:
    """One option for each group that has a device step to lose and saves joules by it.

    Attributes:
        settings: of the search.
        groups: names of the groups that may be cut.
        zeros_stay: weights that are zero stay so in the layers that make up for a cut.
    """

    settings: SearchSettings
    groups: frozenset[str]
    zeros_stay: bool = False

    @property
    def most(self) -> int:
        """Options whose true loss is measured at one step."""
        return self.settings.shortlist

    def __call__(self, view: View) -> Iterator[Option]:
        """The options now."""
        network, module = view.network, view.network.coupling.module
        chunks = {
            group.name: useful_chunk(view.pricer, network, group.name, view.step)
            for group in network.coupling.all_groups()
            if group.name in self.groups
        }
        if not any(count for count, _ in chunks.values()):
            return
        known = statistics(network, view.values, view.teacher, self.settings, view.count)
        for group in network.coupling.all_groups():
            count, saving_j = chunks.get(group.name, (0, 0.0))
            if count:
                found = propose(network, group, view.teacher.layers, known, count)
                yield Option(
                    kind_of(group, module),
                    group.name,
                    tuple(sorted(found.channels)),
                    saving_j,
                    found.cost,
                    partial(_built, network, found, self.zeros_stay),
                    _starts(network, group),
                )


def _built(network: Network, found: Proposal, zeros_stay: bool) -> Network:
    weights = dict(found.weights)
    if zeros_stay:
        weights = {name: new.masked_fill(network.weights[name] == 0, 0.0) for name, new in weights.items()}
    return network.with_weights(weights).cut(found.group, found.channels)


def _starts(network: Network, group: Group) -> frozenset[str]:
    """The layers that read the group, and what runs over its channels where that is not exact."""
    readers = {part.node for part in group.slices if part.role == "reader"}
    if group.inexact:
        nodes = network.coupling.module.graph.nodes
        readers |= {node.name for node in nodes if _touches(network, node, group)}
    return frozenset(readers)


def _touches(network: Network, node: fx.Node, group: Group) -> bool:
    """Whether a computed value carries channels of a group."""
    if node.op != "call_function":
        return False
    seen = network.coupling.cutter.all_classes(node)
    return bool(torch.isin(seen, group.classes).any())
