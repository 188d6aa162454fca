"""Makes every class removable: its elements must fill complete slices of every value they appear in.

After ``x.view(B, g, c, H, W)`` a channel is one cell of a g x c table; a tensor cannot lose one cell.
Whole rows of such a table are tied, along the dimension that leaves the most classes; what still fills no
slice is frozen. Then each operation is tried on cuts, so that what would break is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, fx

from joulecut.pruning.coupling.cut import Cutter, Masks, called, selected
from joulecut.pruning.coupling.identities import FIXED
from joulecut.pruning.coupling.propagate import ONLY, Walk, narrowed, shape_of, varies
from joulecut.pruning.coupling.rules_values import is_movement
from joulecut.workload.trace import argument, operation, source

__all__ = ["make_slabs", "torn", "trouble"]

_ROUNDS: Final = 12
# fmt: off
_ORDERLY: Final = frozenset({
    "view", "reshape", "_unsafe_view", "flatten", "unflatten", "permute", "transpose", "t", "movedim",
    "swapaxes", "squeeze", "unsqueeze", "expand", "expand_as", "select", "slice", "narrow", "unbind", "split",
    "split_with_sizes", "chunk", "tensor_split",
})
"""Movements that keep the order of elements and whose sizes and bounds are rewritten: right for every cut."""
# fmt: on
_BREAKS: Final = (RuntimeError, ValueError, TypeError, IndexError, AssertionError)


def make_slabs(walk: Walk) -> None:
    """Tie, then freeze, until every class is slabs, and not all, of every value it appears in."""
    labels = list(walk.every())
    tables = [(node, label) for node, label in labels if len(varies(label)) > 1]
    for last in reversed(range(_ROUNDS)):
        solution, whole = walk.ids.solve(), True
        for node, seen in ((node, narrowed(x)) for node, label in tables for x in solution.layers(label)):
            broken = torn(seen, walk.ids.count) if len(varies(seen)) > 1 else seen[:0]
            if len(broken) and not last:
                walk.freeze((broken,), node, "its channels fill no complete slice")
            elif len(broken):
                left = [torch.unique(seen.movedim(d, 0).flatten(1).amin(1)).numel() for d in varies(seen)]
                keep = varies(seen)[left.index(max(left))]
                walk.tie(seen, [d for d in varies(seen) if d != keep], node)
                whole = False
        if whole:
            break
    solution = walk.ids.solve()
    for node, seen in ((node, x) for node, label in labels for x in solution.layers(label)):
        only = seen.flatten()[:1]
        if int(only) != FIXED and bool((seen == only).all()):
            walk.freeze((only,), node, ONLY)


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


def trouble(cutter: Cutter, node: fx.Node, cuts: Sequence[Tensor]) -> str:
    """What goes wrong with an operation of a network that is cut; "" where nothing does.

    By shapes alone in the first cut. What may change the order of elements is run on numbered ones in each,
    which must arrive where the cut expects them. ``cuts`` are living classes, bool by class.
    """
    name = operation(node)
    strided = name == "slice" and argument(node, 4, "step", 1) != 1
    moves = is_movement(node) and (name not in _ORDERLY or strided)
    none = node.op != "call_function" or name == "getitem"
    for alive in () if none else cuts if moves else cuts[:1]:
        expected = cutter.pieces(node, alive)
        given = {n: cutter.value_masks(n, alive) for n in node.all_input_nodes if shape_of(n)}
        if all(bool(mask.all()) for masks in (*expected, *given.values()) for mask in masks):
            continue
        whole = {n: _stand_in(cutter, node, n, given[n] if moves else None) for n in given}
        cut = {n: selected(x, given[n]) for n, x in whole.items()}
        try:
            small = called(node, cutter.arguments(node, alive), cut)
            full = called(node, node.args, whole) if moves else small
        except _BREAKS as error:
            said = f"{name} would fail in a cut network: {str(error).splitlines()[0][:100]}"
            return f"{name} would move other channels in a cut network" if moves else said
        both = zip(small, full, strict=True) if isinstance(small, (tuple, list)) else [(small, full)]
        for (value, before), masks in zip(both, expected, strict=True):
            if moves and not torch.equal(value, selected(before, masks)):
                return f"{name} would move other channels in a cut network"
            sizes = list(value.shape) if isinstance(value, Tensor) else [len(mask) for mask in masks]
            if sizes != [int(mask.sum()) for mask in masks]:
                return f"{name} would return {sizes} in a cut network"
    return ""


def _stand_in(cutter: Cutter, node: fx.Node, value: fx.Node, masks: Masks | None) -> Tensor:
    """A shape alone; what a movement of data reads is numbered along dimensions that are cut, or an index."""
    if masks is None:
        return torch.empty(shape_of(value), dtype=value.meta["val"].dtype, device="meta")
    if value is not source(node):
        known = cutter.numbers.get(value.name)
        return torch.zeros(shape_of(value), dtype=torch.long) if known is None else known
    own = [1 if bool(mask.all()) else len(mask) for mask in masks]
    return torch.arange(torch.Size(own).numel()).reshape(own).expand(shape_of(value))
