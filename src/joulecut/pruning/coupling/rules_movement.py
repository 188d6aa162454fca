"""What data movement does to channel identities: the operation itself is run on the labels."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, fx
from torch.fx.node import map_arg

from joulecut.pruning.coupling.join import Operand, join, operand, trailing
from joulecut.pruning.coupling.labels import Labels, narrowed, varies
from joulecut.pruning.coupling.propagate import Rule, Walk, shape_of
from joulecut.workload.trace import argument, operation, source

__all__ = ["RULES", "constant", "is_movement", "moved", "run"]

_MOVES: Final = frozenset(
    {
        "reshape",
        "_unsafe_view",
        "flatten",
        "unflatten",
        "repeat",
        "repeat_interleave",
        "tile",
        "roll",
        "flip",
        "rot90",
        "index",
        "index_select",
        "gather",
        "take_along_dim",
        "pixel_shuffle",
        "pixel_unshuffle",
        "unfold_copy",
        "expand_copy",
        "permute_copy",
    }
)
"""Movements whose schema does not say that their result is a view."""


def is_movement(node: fx.Node) -> bool:
    """Whether the operation only says where the elements of its first argument go."""
    schema = getattr(node.target, "_schema", None)
    infos = [one.alias_info for one in schema.returns[:1]] if schema is not None else []
    views = any(info is not None and not info.is_write for info in infos)
    return operation(node) in _MOVES or views


def moved(walk: Walk, node: fx.Node) -> Labels | tuple[Labels, ...]:
    """Run a movement of one tensor on each of its labels."""
    value = source(node)
    if operation(node).endswith("_as"):
        return _like(walk, node)
    results: list[Any] = []
    indices = [n for n in node.all_input_nodes if n is not value and shape_of(n)]
    numbers = {n: constant(walk, n) for n in indices}
    ends = [
        {n: torch.full(shape_of(n), end) if known is None else known for n, known in numbers.items()}
        for end in (0, -1)
    ]
    for label in walk.of(value):
        first, last = (run(node, {value: label.expand(shape_of(value)), **end}) for end in ends)
        if first is None:
            return walk.refuse(node, f"the operation {operation(node)} is not handled")
        if any(known is None for known in numbers.values()) and not torch.equal(first, last):
            walk.freeze((label,), node, "a computed number picks channels")
        results.append(first)
    for index in indices:
        walk.freeze(walk.of(index), node, "it says where channels go")
    if isinstance(node.meta["val"], (list, tuple)):
        return tuple(tuple(found[i] for found in results) for i in range(len(node.meta["val"])))
    return tuple(results)


def _like(walk: Walk, node: fx.Node) -> Labels:
    """A movement to the shape of another value: what they share is coupled."""
    value, other = (n for n in node.args[:2] if isinstance(n, fx.Node))
    spelling = tuple(range(len(shape_of(node))))
    expands = operation(node) == "expand_as"
    own = [x.expand(shape_of(value)) for x in walk.of(value)]
    found = walk.of(value) if expands else tuple(narrowed(x.reshape(shape_of(node))) for x in own)
    read = trailing(value, spelling) if expands else spelling
    shape = shape_of(value) if expands else shape_of(node)
    return join(walk, node, [Operand(None, read, shape, found), operand(walk, other, spelling)], spelling)


def run(node: fx.Node, values: dict[fx.Node, Any], arguments: tuple[Any, ...] | None = None) -> Any:
    """The node's own operation on labels, or None where it does not run on whole numbers.

    Sizes computed in the graph take their concrete values.
    """
    every: Any = (node.args if arguments is None else arguments, dict(node.kwargs))
    args, kwargs = map_arg(every, lambda n: values[n] if n in values else n.meta["val"])
    if operation(node) in ("view", "_unsafe_view"):
        return args[0].reshape(args[1]) if not isinstance(args[1], torch.dtype) else None
    target: Any = node.target
    try:
        return target(*args, **kwargs)
    except RuntimeError:
        return None


def constant(walk: Walk, node: fx.Node) -> Tensor | None:
    """The value of a node that depends on no input of the network and is not written into, else None."""
    if node.name not in walk.numbers:
        walk.numbers[node.name] = None
        if node.op == "get_attr":
            path, _, leaf = str(node.target).rpartition(".")
            walk.numbers[node.name] = getattr(walk.module.get_submodule(path), leaf)
        elif node.name not in walk.active and not any(operation(user).endswith("_") for user in node.users):
            known = {n: constant(walk, n) for n in node.all_input_nodes}
            if not any(value is None for value in known.values()):
                walk.numbers[node.name] = run(node, known)
    return walk.numbers[node.name]


def concatenated(walk: Walk, node: fx.Node) -> Labels:
    """Labels end to end along one dimension; along the others the operands are coupled."""
    values = [n for n in node.args[0] if isinstance(n, fx.Node) and shape_of(n) != (0,)]  # type: ignore[union-attr]
    ndim, stacks = len(shape_of(node)), operation(node) == "stack"
    dim = int(argument(node, 1, "dim", 0)) % ndim
    operands: list[Operand] = []
    for i, value in enumerate(values):
        labels, shape = walk.of(value), list(shape_of(value))
        if stacks:
            labels = tuple(label.unsqueeze(dim) for label in labels)
            shape.insert(dim, 1)
        spelling = tuple(("piece", i) if d == dim else d for d in range(ndim))
        operands.append(Operand(value if not stacks else None, spelling, tuple(shape), labels))
    pieces = [one.spelling[dim] for one in operands]
    join(walk, node, operands, (*range(ndim), *pieces), "through")
    beside: dict[tuple[int, ...], Tensor] = {}
    inside: list[list[Tensor]] = []
    for one in operands:
        mine = [label for label in one.labels if label.shape[dim] > 1]
        inside.append(mine)
        for label in one.labels:
            if label.shape[dim] == 1:
                beside.setdefault(tuple(varies(label)), label)
    return (*beside.values(), *_end_to_end(operands, inside, dim))


def _end_to_end(operands: list[Operand], inside: list[list[Tensor]], dim: int) -> list[Tensor]:
    out: list[Tensor] = []
    for i in range(max(len(mine) for mine in inside)):
        used = [mine[i] if i < len(mine) else None for mine in inside]
        wide = {d for label in used if label is not None for d in varies(label)}
        parts = []
        for one, label in zip(operands, used, strict=True):
            shape = [size if d in wide or d == dim else 1 for d, size in enumerate(one.shape)]
            own = torch.zeros((1,) * len(shape), dtype=torch.long) if label is None else label
            parts.append(own.expand(shape))
        out.append(torch.cat(parts, dim))
    return out


def channel_shuffle(walk: Walk, node: fx.Node) -> Labels | tuple[Labels, ...]:
    """Channels change places between groups: the same position goes in every group."""
    for label in walk.of(source(node)):
        if label.shape[1] > 1:
            groups = int(argument(node, 1, "groups", 1))
            table = label.reshape(label.shape[0], groups, -1, *label.shape[2:])
            walk.unite(table, table[:, :1], node)
    return moved(walk, node)


def piece(walk: Walk, node: fx.Node) -> Labels:
    """``getitem``: the labels of one result of several."""
    found = walk.labels.get(source(node).name, ())
    item = found[argument(node, 1, "index", 0)] if found else ()
    return item if isinstance(item, tuple) else ()


RULES: Final[dict[str, Rule]] = {
    **dict.fromkeys(("cat", "concat", "concatenate", "stack"), concatenated),
    "channel_shuffle": channel_shuffle,
    "getitem": piece,
}
