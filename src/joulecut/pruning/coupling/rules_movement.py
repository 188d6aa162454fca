"""What data movement does to channel identities: the operation itself is run on the labels."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, fx
from torch.fx.node import map_arg

from joulecut.pruning.coupling.labels import Labels, narrowed, varies
from joulecut.pruning.coupling.propagate import Rule, Walk, shape_of
from joulecut.workload.trace import argument, operation, source

__all__ = ["RULES", "SIZED"]

SIZED: Final = frozenset({"view", "reshape", "_unsafe_view", "expand", "unflatten"})
"""Movements whose sizes stand in the graph as constants and are rewritten after a cut."""

_ONE_INPUT = (
    "view",
    "reshape",
    "_unsafe_view",
    "permute",
    "transpose",
    "t",
    "flatten",
    "unflatten",
    "squeeze",
    "unsqueeze",
    "select",
    "narrow",
    "expand",
    "split",
    "split_with_sizes",
    "chunk",
    "unbind",
    "movedim",
    "swapaxes",
    "numpy_T",
    "pixel_shuffle",
    "pixel_unshuffle",
    "flip",
)
_MANY_INPUTS = ("cat", "concat", "concatenate")


def move(walk: Walk, node: fx.Node) -> Labels | tuple[Labels, ...]:
    """Run a movement of one tensor on each of its labels."""
    value = source(node)
    labels = walk.parameter_label(value, node) if walk.is_parameter(value) else walk.of(value)
    results = [_run(node, {value: label.expand(shape_of(value))}) for label in labels]
    if isinstance(node.meta["val"], (list, tuple)):
        pieces = len(node.meta["val"])
        return tuple(tuple(result[i] for result in results) for i in range(pieces))
    return tuple(_checked(walk, node, result) for result in results)


def strided(walk: Walk, node: fx.Node) -> Labels:
    """A slice; one that leaves channels out in turn would pick others after a cut, so these stay."""
    value, dim = source(node), int(argument(node, 1, "dim", 0))
    if argument(node, 4, "step", 1) != 1:
        labels = walk.parameter_label(value, node) if walk.is_parameter(value) else walk.of(value)
        picked = tuple(label for label in labels if label.shape[dim % label.ndim] > 1)
        walk.freeze(picked, node, "every n-th channel is taken")
    found = move(walk, node)
    return tuple(label for label in found if isinstance(label, Tensor))


def channel_shuffle(walk: Walk, node: fx.Node) -> Labels:
    """Channels change places between groups: the same position goes in every group."""
    for label in walk.of(source(node)):
        if label.shape[1] > 1:
            groups = int(argument(node, 1, "groups", 1))
            table = label.reshape(label.shape[0], groups, -1, *label.shape[2:])
            walk.unite(table, table[:, :1], node)
    found = move(walk, node)
    return tuple(label for label in found if isinstance(label, Tensor))


def concatenate(walk: Walk, node: fx.Node) -> Labels:
    """Lay the labels of all operands end to end; operands without channels are fixed."""
    operands = node.args[0]
    assert isinstance(operands, (list, tuple))
    values = [n for n in operands if isinstance(n, fx.Node)]
    lists = [walk.parameter_label(v, node) if walk.is_parameter(v) else walk.of(v) for v in values]
    families = max((len(labels) for labels in lists), default=0)
    out: list[Tensor] = []
    for i in range(families):
        env = {
            value: (labels[i] if i < len(labels) else torch.zeros((), dtype=torch.long)).expand(
                shape_of(value)
            )
            for value, labels in zip(values, lists, strict=True)
        }
        out.append(_run(node, env))
    return tuple(out)


def piece(walk: Walk, node: fx.Node) -> Labels:
    """``getitem``: the labels of one result of a split."""
    found = walk.labels.get(source(node).name, ())
    item = found[argument(node, 1, "index", 0)] if found else ()
    return item if isinstance(item, tuple) else ()


def _checked(walk: Walk, node: fx.Node, label: Tensor) -> Tensor:
    """A size that the graph computes at run time cannot be rewritten: its channels stay."""
    sizes = argument(node, 1, "size", ()) if operation(node) in SIZED else ()
    if isinstance(sizes, (list, tuple)):
        computed = [d for d, size in enumerate(sizes) if isinstance(size, fx.Node)]
        if any(d in varies(narrowed(label)) for d in computed):
            walk.freeze((label,), node, "its size is computed at run time")
    return label


def _run(node: fx.Node, env: dict[fx.Node, Tensor]) -> Any:
    """The node's own operation on labels; sizes computed in the graph take their concrete values."""
    arguments: Any = (node.args, dict(node.kwargs))
    args, kwargs = map_arg(arguments, lambda n: env[n] if n in env else n.meta["val"])
    name = operation(node)
    if name in ("view", "_unsafe_view"):
        return args[0].reshape(args[1])
    target = node.target
    assert callable(target)
    return target(*args, **kwargs)


RULES: Final[dict[str, Rule]] = {
    **dict.fromkeys(_ONE_INPUT, move),
    **dict.fromkeys(_MANY_INPUTS, concatenate),
    "slice": strided,
    "channel_shuffle": channel_shuffle,
    "getitem": piece,
}
