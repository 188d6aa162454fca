"""Makes every class removable: its elements must fill complete slices of every value they appear in.

After ``x.view(B, g, c, H, W)`` a channel is one cell of a g x c table; a tensor cannot lose one cell.
Such classes are tied along the other dimensions (whole rows of the table go together), keeping the
dimension that leaves the most classes; what still fills no slice is frozen.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor, fx

from joulecut.pruning.coupling.identities import FIXED
from joulecut.pruning.coupling.labels import narrowed, varies
from joulecut.pruning.coupling.propagate import Walk

__all__ = ["every_label", "make_slabs", "torn"]

_ROUNDS: Final = 12


def make_slabs(walk: Walk) -> None:
    """Tie, then freeze, until every class is a slab, and a part, of every value it appears in."""
    labels = list(every_label(walk))
    for last in range(_ROUNDS):
        solution = walk.ids.solve()
        whole = True
        for node, label in labels:
            if len(varies(label)) < 2:
                continue
            for layer in solution.layers(label):
                seen = narrowed(layer)
                broken = torn(seen, walk.ids.count)
                if len(broken) and last == _ROUNDS - 1:
                    walk.freeze((broken,), node, "its channels fill no complete slice")
                elif len(broken):
                    whole = False
                    _tie(walk, node, seen)
        if whole:
            break
    _keep_last_channels(walk, labels)


def _tie(walk: Walk, node: fx.Node, seen: Tensor) -> None:
    keep = max(varies(seen), key=lambda d: _classes_along(seen, d))
    for d in varies(seen):
        if d != keep:
            walk.unite(seen, seen.narrow(d, 0, 1), node)
            seen = seen.narrow(d, 0, 1)


def _keep_last_channels(walk: Walk, labels: list[tuple[fx.Node, Tensor]]) -> None:
    """Freeze a class that is all of some value: without it nothing of the value would be left."""
    solution = walk.ids.solve()
    for node, label in labels:
        for layer in solution.layers(label):
            seen = layer.flatten()
            if int(seen[0]) != FIXED and bool((seen == seen[0]).all()):
                walk.freeze((seen[:1],), node, "it is the only channel of a value")


def every_label(walk: Walk) -> Iterator[tuple[fx.Node, Tensor]]:
    """Every label once, with the first node that carries it."""
    nodes = {node.name: node for node in walk.module.graph.nodes}
    seen: set[int] = set()
    for name, found in walk.labels.items():
        for item in found:
            for label in (item,) if isinstance(item, Tensor) else item:
                if id(label) not in seen:
                    seen.add(id(label))
                    yield nodes[name], label


def _classes_along(seen: Tensor, dim: int) -> int:
    """How many classes are left when a label is tied over every dimension but this one."""
    return int(torch.unique(seen.movedim(dim, 0).reshape(seen.shape[dim], -1).amin(1)).numel())


def torn(seen: Tensor, classes: int) -> Tensor:
    """Classes, of ``classes``, that do not fill complete slices of a label along one dimension.

    >>> torn(torch.tensor([[1, 1], [2, 2]]), 3)
    tensor([], dtype=torch.int64)
    >>> torn(torch.tensor([[1, 2], [2, 1]]), 3)
    tensor([1, 2])
    """
    counts = torch.bincount(seen.flatten(), minlength=classes)
    whole = counts == 0
    whole[FIXED] = True
    for d in range(seen.ndim):
        rows = seen.movedim(d, 0).reshape(seen.shape[d], -1)
        constant = (rows == rows[:, :1]).all(1)
        filled = torch.bincount(rows[constant, 0], minlength=classes) * rows.shape[1]
        whole |= filled == counts
    return torch.nonzero(~whole).flatten()
