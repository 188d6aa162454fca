"""Operations that write into their operand, replaced by those that return a new value.

The search keeps values of one run for many others; a value that a later operation overwrites would be
another one by then.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import fx

from joulecut.errors import ModelError
from joulecut.workload.trace import operation, source_line

__all__ = ["out_of_place"]

_VIEWS: Final = frozenset(
    {
        "view", "reshape", "flatten", "unflatten", "permute", "transpose", "t", "squeeze", "unsqueeze",
        "expand", "select", "slice", "narrow", "split", "split_with_sizes", "chunk", "unbind",
        "getitem", "detach", "alias", "movedim", "swapaxes", "numpy_T", "contiguous", "to",
    }
)  # fmt: skip
"""Operations whose result may share the memory of their operand."""


_SCATTERS: Final = {
    "slice": torch.ops.aten.slice_scatter.default,
    "select": torch.ops.aten.select_scatter.default,
}
"""What puts a part back, by the operation that took it; with the same arguments behind the first two."""


def out_of_place(module: fx.GraphModule) -> None:
    """Replace every in-place operation of a graph; what reads the overwritten value reads the new one.

    What is written into a slice is put back into a copy of the whole.

    Raises:
        ModelError: another value that shares the memory, as a view does, is read later.
    """
    nodes = list(module.graph.nodes)
    order = {node: i for i, node in enumerate(nodes)}
    for node in nodes:
        target = _functional(node)
        if target is None:
            continue
        written = node.args[0]
        assert isinstance(written, fx.Node)
        parts, whole = _parts(written)
        seen = {*parts, whole}
        others = (other for other in _sharing(written) if order.get(other, 0) < order[node])
        if any(
            order.get(user, 0) > order[node] for other in others if other not in seen for user in other.users
        ):
            where = source_line(node) or node.name
            raise ModelError(
                f"{operation(node)} at {where} writes into a value that is read later under another name.",
                hint="Write it without the in-place operation.",
            )
        node.target = target
        if target is torch.ops.aten.copy.default:  # has no derivative
            node.target, node.args = torch.ops.aten.expand_as.default, (node.args[1], written)
        new = node
        for old, replaces in zip((*parts, whole), (None, *parts), strict=True):
            if replaces is not None:
                new = _scattered(old, new, replaces)
                order[new] = order[node]
            old.replace_all_uses_with(new, lambda user, node=node: order[user] > order[node])  # type: ignore[misc]
    module.recompile()


def _parts(written: fx.Node) -> tuple[list[fx.Node], fx.Node]:
    """The slices that lead to a value, itself first, and the whole that they are of."""
    parts: list[fx.Node] = []
    while operation(written) in _SCATTERS and written.op == "call_function":
        parts.append(written)
        first = written.args[0]
        assert isinstance(first, fx.Node)
        written = first
    return parts, written


def _scattered(whole: fx.Node, part: fx.Node, taken: fx.Node) -> fx.Node:
    """A new node: the whole with a part in the place from which another was taken."""
    with whole.graph.inserting_after(part):
        target = _SCATTERS[operation(taken)]
        new = whole.graph.call_function(target, (whole, part, *taken.args[1:]), dict(taken.kwargs))
    new.meta = dict(whole.meta)
    return new


def _functional(node: fx.Node) -> Any:
    """The same operation without the write, or None for one that does not write."""
    name = operation(node)
    if node.op != "call_function" or not name.endswith("_") or name.endswith("__"):
        return None
    packet = getattr(torch.ops.aten, name.rstrip("_"), None)
    overload = str(getattr(node.target, "_overloadname", "default"))
    return getattr(packet, overload, None)


def _sharing(node: fx.Node) -> set[fx.Node]:
    """Other values that may share a value's memory."""
    base = node
    while base.op == "call_function" and operation(base) in _VIEWS:
        first = base.args[0]
        assert isinstance(first, fx.Node)
        base = first
    family, stack = {base}, [base]
    while stack:
        for user in stack.pop().users:
            if operation(user) in _VIEWS and user not in family:
                family.add(user)
                stack.append(user)
    return family - {node}
