"""Makes every class removable: its elements must fill complete slices of every value they appear in.

After ``x.view(B, g, c, H, W)`` a channel is one cell of a g x c table; a tensor cannot lose one cell.
Such classes are tied along the other dimensions (whole rows of the table go together), keeping the
dimension that leaves the most classes; what still fills no slice is frozen.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, fx

from joulecut.pruning.coupling.identities import FIXED
from joulecut.pruning.coupling.labels import varies
from joulecut.pruning.coupling.propagate import Walk

__all__ = ["make_slabs", "torn"]

_ROUNDS = 8


def make_slabs(walk: Walk) -> None:
    """Tie, then freeze, until every class is a slab, and a part, of every value it appears in."""
    _tie_and_freeze(walk)
    _keep_last_channels(walk)


def _tie_and_freeze(walk: Walk) -> None:
    for _ in range(_ROUNDS):
        root = walk.ids.solve().root
        broken = [(node, label) for node, label in _tables(walk) if torn(root[label])]
        if not broken:
            return
        for node, label in broken:
            keep = max(varies(label), key=lambda d, seen=root[label]: _classes_along(seen, d))  # type: ignore[misc]
            walk.tie(label, [d for d in varies(label) if d != keep], node)
    root = walk.ids.solve().root
    for node, label in _tables(walk):
        for number in torn(root[label]):
            where = torch.nonzero(root == number).flatten()
            walk.freeze((where,), node, "its channels fill no complete slice")


def _keep_last_channels(walk: Walk) -> None:
    """Freeze a class that is all of some value: without it nothing of the value would be left."""
    root = walk.ids.solve().root
    for node, label in _labels(walk):
        seen = root[label].flatten()
        if int(seen[0]) != FIXED and bool((seen == seen[0]).all()):
            walk.freeze((label,), node, "it is the only channel of a value")


def _tables(walk: Walk) -> Iterator[tuple[fx.Node, Tensor]]:
    """Labels that vary along more than one dimension, with the node that they belong to."""
    return ((node, label) for node, label in _labels(walk) if len(varies(label)) > 1)


def _labels(walk: Walk) -> Iterator[tuple[fx.Node, Tensor]]:
    nodes = {node.name: node for node in walk.module.graph.nodes}
    for name, found in walk.labels.items():
        for item in found:
            for label in (item,) if isinstance(item, Tensor) else item:
                yield nodes[name], label
    for use in walk.uses:
        if use.dim is None:
            yield nodes[use.node], use.ids


def _classes_along(seen: Tensor, dim: int) -> int:
    """How many classes are left when a label is tied over every dimension but this one."""
    return int(torch.unique(seen.movedim(dim, 0).reshape(seen.shape[dim], -1).amin(1)).numel())


def torn(seen: Tensor) -> list[int]:
    """Classes of a label that do not fill complete slices along one dimension.

    >>> torn(torch.tensor([[1, 1], [2, 2]]))
    []
    >>> torn(torch.tensor([[1, 2], [2, 1]]))
    [1, 2]
    """
    classes, where, counts = torch.unique(seen, return_inverse=True, return_counts=True)
    whole = classes == FIXED
    for d in varies(seen):
        rows = where.movedim(d, 0).reshape(seen.shape[d], -1)
        constant = (rows == rows[:, :1]).all(1)
        filled = torch.zeros(len(classes), dtype=torch.long)
        filled.index_add_(0, rows[constant, 0], torch.full((int(constant.sum()),), rows.shape[1]))
        whole |= filled == counts
    return [int(c) for c in classes[~whole]]
