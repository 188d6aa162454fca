"""Tries a cut on one operation, so that what would break is refused before anything is cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor, fx
from torch.fx.node import map_aggregate

from joulecut.pruning.coupling.cut import Cutter, Masks, retargeted
from joulecut.pruning.coupling.propagate import shape_of, tensor_nodes
from joulecut.pruning.coupling.rules_values import is_movement, run
from joulecut.workload.trace import argument, operation, source

__all__ = ["trouble"]

_BREAKS: Final = (RuntimeError, ValueError, TypeError, IndexError, AssertionError)
# fmt: off
_ORDERLY: Final = frozenset({
    "view", "reshape", "_unsafe_view", "flatten", "unflatten", "permute", "transpose", "t", "movedim",
    "swapaxes", "squeeze", "unsqueeze", "expand", "expand_as", "select", "slice", "narrow", "unbind", "split",
    "split_with_sizes", "chunk", "tensor_split",
})
"""Movements that keep the order of elements and whose sizes and bounds are rewritten: right for every cut."""
# fmt: on
_MOVES: Final = "{} would move other channels in a cut network"


def trouble(cutter: Cutter, node: fx.Node, cuts: Sequence[Tensor]) -> str:
    """What goes wrong with an operation of a network that is cut; "" where nothing does.

    By shapes alone in the first cut. What may change the order of elements is run on numbered ones in each,
    which must arrive where the cut expects them. ``cuts`` are living classes, bool by class.
    """
    strided = operation(node) == "slice" and argument(node, 4, "step", 1) != 1
    moves = is_movement(node) and (operation(node) not in _ORDERLY or strided)
    none = node.op != "call_function" or operation(node) == "getitem"
    for alive in () if none else cuts if moves else cuts[:1]:
        expected = cutter.pieces(node, alive)
        given = {n: cutter.value_masks(n, alive) for n in tensor_nodes(node)}
        if all(bool(mask.all()) for masks in (*expected, *given.values()) for mask in masks):
            continue
        whole = {n: _stand_in(cutter, node, n, given[n] if moves else None) for n in given}
        target, arguments, kwargs = retargeted(node, cutter.arguments(node, alive))
        try:
            small = _called(target, arguments, kwargs, {n: _cut(x, given[n]) for n, x in whole.items()})
            full = run(node, whole) if moves else small
        except _BREAKS as error:
            said = f"{operation(node)} would fail in a cut network: {str(error).splitlines()[0][:100]}"
            return _MOVES.format(operation(node)) if moves else said
        several = isinstance(small, (tuple, list))
        for value, before, masks in zip(
            *((small, full) if several else ([small], [full])), expected, strict=True
        ):
            if moves and not torch.equal(value, _cut(before, masks)):
                return _MOVES.format(operation(node))
            sizes = list(value.shape) if isinstance(value, Tensor) else [len(mask) for mask in masks]
            if sizes != [int(mask.sum()) for mask in masks]:
                return f"{operation(node)} would return {sizes} in a cut network"
    return ""


def _called(target: Any, arguments: Any, kwargs: dict[str, Any], values: dict[fx.Node, Tensor]) -> Any:
    """An operation on values that stand in; on shapes alone where they have no elements."""
    device = next(iter(values.values())).device if values else torch.device("meta")

    def stand_in(given: Any) -> Any:
        if isinstance(given, fx.Node):
            return values.get(given, given.meta["val"])
        return device if isinstance(given, torch.device) else given

    args, keywords = map_aggregate((arguments, kwargs), stand_in)
    with torch.no_grad():
        return target(*args, **keywords)


def _stand_in(cutter: Cutter, node: fx.Node, value: fx.Node, masks: Masks | None) -> Tensor:
    """A shape alone; what a movement of data reads is numbered along dimensions that are cut, or an index."""
    if masks is None:
        return torch.empty(shape_of(value), dtype=value.meta["val"].dtype, device="meta")
    if value is not source(node):
        known = cutter.numbers.get(value.name)
        return torch.zeros(shape_of(value), dtype=torch.long) if known is None else known
    own = [1 if bool(mask.all()) else len(mask) for mask in masks]
    return torch.arange(torch.Size(own).numel()).reshape(own).expand(shape_of(value))


def _cut(value: Tensor, masks: Masks) -> Tensor:
    for d, mask in enumerate(masks):
        value = value if bool(mask.all()) else value.index_select(d, torch.nonzero(mask).flatten())
    return value
