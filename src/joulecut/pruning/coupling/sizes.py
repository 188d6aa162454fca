"""Rewrites every size that stands in a graph as a constant, for the channels that live."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor, fx

from joulecut.pruning.coupling.propagate import shape_of
from joulecut.workload.trace import argument, operation, source

if TYPE_CHECKING:
    from joulecut.pruning.coupling.cut import Cutter

__all__ = ["retargeted", "rewriter"]

_SIZES: Final = frozenset({"size", "shape", "sizes", "normalized_shape"})
"""Arguments that hold the shape, or the last sizes, of the result."""

_SPLITS: Final = frozenset({"split", "split_with_sizes", "chunk", "tensor_split"})

Rewrite = Callable[["Cutter", fx.Node, Tensor], tuple[Any, ...]]


def _sizes(cutter: Cutter, node: fx.Node, alive: Tensor) -> tuple[Any, ...]:
    """Sizes of the result; one that the graph computes is left to the operation where it changes."""
    position, name = _size_argument(node)
    kept = [int(mask.sum()) for mask in cutter.value_masks(node, alive)]
    full = shape_of(node)
    args = list(node.args)
    sizes: Any = args[position]
    offset = len(full) - len(sizes) if name == "normalized_shape" else 0
    if name == "sizes" and operation(node) == "unflatten":
        offset = argument(node, 1, "dim", 0) % len(shape_of(source(node)))
    args[position] = [
        size
        if size == -1 or kept[offset + i] == full[offset + i]
        else kept[offset + i]
        if isinstance(size, int)
        else -1
        for i, size in enumerate(sizes)
    ]
    return tuple(args)


def _size_argument(node: fx.Node) -> tuple[int, str]:
    schema = getattr(node.target, "_schema", None)
    for i, one in enumerate(schema.arguments if schema is not None else ()):
        if one.name in _SIZES and i < len(node.args) and isinstance(node.args[i], (list, tuple)):
            return i, one.name
    return -1, ""


def _split(cutter: Cutter, node: fx.Node, alive: Tensor) -> tuple[Any, ...]:
    value = source(node)
    dim = argument(node, 2, "dim", 0) % len(shape_of(value))
    return (value, [int(masks[dim].sum()) for masks in cutter.pieces(node, alive)], dim)


def _slice(cutter: Cutter, node: fx.Node, alive: Tensor) -> tuple[Any, ...]:
    value = source(node)
    args: list[Any] = list(node.args)
    dim = int(args[1]) if len(args) > 1 else 0
    mask = cutter.value_masks(value, alive)[dim]
    if bool(mask.all()):
        return node.args
    before = [0, *mask.cumsum(0).tolist()]
    size = len(mask)

    def moved(index: int) -> int:
        return int(before[max(0, min(size, index + size if index < 0 else index))])

    if operation(node) == "narrow":
        start, length = int(args[2]), int(args[3])
        args[2:4] = [moved(start), moved(start + length) - moved(start)]
        return tuple(args)
    args[2:3] = [moved(args[2] or 0) if len(args) > 2 else 0]
    if operation(node) == "slice" and len(args) > 3 and args[3] is not None:
        args[3] = moved(min(int(args[3]), size))
    return tuple(args)


def _convolution(cutter: Cutter, node: fx.Node, alive: Tensor) -> tuple[Any, ...]:
    args = list(node.args)
    dim = len(shape_of(source(node))) - len(shape_of(argument(node, 1, "weight", None))) + 1
    if shape_of(source(node))[dim] == argument(node, 6, "groups", 1):
        args[6] = int(cutter.value_masks(source(node), alive)[dim].sum())
    return tuple(args)


def _group_norm(cutter: Cutter, node: fx.Node, alive: Tensor) -> tuple[Any, ...]:
    args = list(node.args)
    if args[1] == shape_of(node)[1]:
        args[1] = int(cutter.value_masks(node, alive)[1].sum())
    return tuple(args)


def _squeeze(_cutter: Cutter, node: fx.Node, _alive: Tensor) -> tuple[Any, ...]:
    """A squeeze without dimensions would also drop a dimension that a cut leaves with one channel."""
    if len(node.args) > 1:
        return node.args
    return (source(node), [d for d, size in enumerate(shape_of(source(node))) if size == 1])


_REWRITES: Final[dict[str, Rewrite]] = {
    **dict.fromkeys(_SPLITS, _split),
    **dict.fromkeys(("slice", "narrow", "select"), _slice),
    "squeeze": _squeeze,
    "group_norm": _group_norm,
}


def rewriter(node: fx.Node) -> Rewrite | None:
    """The function that rewrites a node's arguments, if any of them holds a size."""
    if node.op != "call_function":
        return None
    name = operation(node)
    if name.startswith("conv") and len(node.args) > 6:
        return _convolution if argument(node, 6, "groups", 1) > 1 else None
    return _REWRITES.get(name) or (_sizes if _size_argument(node)[1] else None)


def retargeted(node: fx.Node, arguments: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """Target, arguments and keywords of a node; where sizes turn uneven, those of its general form."""
    name = operation(node)
    if name in _SPLITS:
        return torch.ops.aten.split_with_sizes.default, arguments, {}
    if name in ("view", "_unsafe_view"):
        return torch.ops.aten.reshape.default, arguments, {}
    if name == "squeeze" and len(node.args) == 1:
        return torch.ops.aten.squeeze.dims, arguments, {}
    if name == "scaled_dot_product_attention" and node.kwargs.get("scale") is None:
        return node.target, arguments, {**node.kwargs, "scale": shape_of(source(node))[-1] ** -0.5}
    return node.target, arguments, dict(node.kwargs)
