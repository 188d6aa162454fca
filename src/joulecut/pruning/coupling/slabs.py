"""Makes every class removable: its elements must fill complete slices of every value they appear in.

After ``x.view(B, g, c, H, W)`` a channel is one cell of a g x c table; a tensor cannot lose one cell.
Such classes are tied along the other dimensions (whole rows of the table go together), keeping the
dimension that leaves the most classes; what still fills no slice is frozen.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from joulecut.pruning.coupling.identities import FIXED
from joulecut.pruning.coupling.propagate import Walk, narrowed, varies

__all__ = ["make_slabs", "torn"]

_ROUNDS: Final = 12


def make_slabs(walk: Walk) -> None:
    """Tie, then freeze, until every class is a slab, and a part, of every value it appears in."""
    labels = list(walk.every())
    tables = [(node, label) for node, label in labels if len(varies(label)) > 1]
    for last in reversed(range(_ROUNDS)):
        solution, whole = walk.ids.solve(), True
        for node, seen in ((node, narrowed(x)) for node, label in tables for x in solution.layers(label)):
            broken = torn(seen, walk.ids.count) if len(varies(seen)) > 1 else seen[:0]
            if len(broken) and not last:
                walk.freeze((broken,), node, "its channels fill no complete slice")
            elif len(broken):
                keep = max(varies(seen), key=lambda d, seen=seen: _classes_along(seen, d))  # type: ignore[misc]
                walk.tie(seen, [d for d in varies(seen) if d != keep], node)
                whole = False
        if whole:
            break
    solution = walk.ids.solve()
    for node, seen in ((node, x) for node, label in labels for x in solution.layers(label)):
        only = seen.flatten()[:1]
        if int(only) != FIXED and bool((seen == only).all()):
            walk.freeze((only,), node, "it is the only channel of a value")


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
    for d in varies(seen):
        rows = seen.movedim(d, 0).flatten(1)
        least = rows.amin(1)
        constant = least == rows.amax(1)
        whole |= torch.bincount(least[constant], minlength=classes) * rows.shape[1] == counts
    return torch.nonzero(~whole).flatten()
