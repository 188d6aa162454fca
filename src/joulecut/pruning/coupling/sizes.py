"""Rewrites every size that stands in a graph as a constant, for the channels that live."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor, fx

from joulecut.pruning.coupling.propagate import shape_of
from joulecut.workload.trace import argument, operation, schema_of, source

__all__ = ["Masks", "retargeted", "rewritten"]

Masks = tuple[Tensor, ...]
_SIZES: Final = frozenset({"size", "shape", "sizes", "normalized_shape"})
"""Arguments that hold the shape, or the last sizes, of the result."""
_SPLITS: Final = frozenset({"split", "split_with_sizes", "chunk", "tensor_split"})


def rewritten(node: fx.Node, masks: Callable[[fx.Node], Masks]) -> tuple[Any, ...]:
    """The arguments of a node for the channels that live.

    Args:
        node: of the full network.
        masks: which indices of each dimension of a node's (only) value live.
    """
    name, args = operation(node), list[Any](node.args)
    if node.op != "call_function":
        return node.args
    if name in _SPLITS:
        dim = argument(node, 2, "dim", 0) % len(shape_of(source(node)))
        pieces = masks(source(node))[dim].split([piece.shape[dim] for piece in node.meta["val"]])
        return (source(node), [int(piece.sum()) for piece in pieces], dim)
    if name in ("slice", "narrow", "select"):
        return _bounds(node, masks(source(node))[int(argument(node, 1, "dim", 0))])
    if name == "squeeze" and len(args) == 1:  # would also drop a dimension that a cut leaves with one channel
        return (args[0], [d for d, size in enumerate(shape_of(source(node))) if size == 1])
    if name == "group_norm" and args[1] > 1:  # whole groups go
        args[1] = int(masks(node)[1].sum()) * args[1] // shape_of(node)[1]
    elif name.startswith("conv") and argument(node, 6, "groups", 1) > 1:
        dim = len(shape_of(source(node))) - len(shape_of(argument(node, 1, "weight", None))) + 1
        if shape_of(source(node))[dim] == args[6]:
            args[6] = int(masks(source(node))[dim].sum())
    schema = schema_of(node)
    for i, one in enumerate(schema.arguments[: len(args)] if schema is not None else ()):
        if one.name in _SIZES and isinstance(args[i], (list, tuple)):
            args[i] = _shaped(node, args[i], one.name, masks(node))
    return tuple(args)


def _shaped(node: fx.Node, sizes: Any, name: str, masks: Masks) -> list[Any]:
    """The result's sizes, or its last ones; one that the graph computes is left to the operation."""
    first = len(shape_of(node)) - len(sizes) if name == "normalized_shape" else 0
    if operation(node) == "unflatten":
        first = argument(node, 1, "dim", 0) % len(shape_of(source(node)))
    return [
        size if size == -1 or bool(mask.all()) else int(mask.sum()) if isinstance(size, int) else -1
        for size, mask in zip(sizes, masks[first:], strict=False)
    ]


def _bounds(node: fx.Node, mask: Tensor) -> tuple[Any, ...]:
    """A slice counts the living channels before its bounds."""
    args: list[Any] = list(node.args)
    before, size = [0, *mask.cumsum(0).tolist()], len(mask)

    def moved(index: int) -> int:
        return int(before[max(0, min(size, index + size if index < 0 else index))])

    if bool(mask.all()):
        return node.args
    if operation(node) == "narrow":
        start, length = int(args[2]), int(args[3])
        return (*args[:2], moved(start), moved(start + length) - moved(start))
    args[2:3] = [moved(argument(node, 2, "start", 0) or 0)]
    if operation(node) == "slice" and len(args) > 3 and args[3] is not None:
        args[3] = moved(args[3])
    return tuple(args)


def retargeted(node: fx.Node, arguments: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """Target, arguments and keywords of a node; where sizes turn uneven, those of its general form."""
    name, kwargs = operation(node), dict(node.kwargs)
    if name in _SPLITS:
        return torch.ops.aten.split_with_sizes.default, arguments, {}
    if name in ("view", "_unsafe_view"):
        return torch.ops.aten.reshape.default, arguments, {}
    if name == "squeeze" and len(node.args) == 1:
        return torch.ops.aten.squeeze.dims, arguments, {}
    if name == "scaled_dot_product_attention" and kwargs.get("scale") is None:
        kwargs["scale"] = shape_of(source(node))[-1] ** -0.5  # of the width before a cut
    return node.target, arguments, kwargs
