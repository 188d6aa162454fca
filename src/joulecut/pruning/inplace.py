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


def out_of_place(module: fx.GraphModule) -> None:
    """Replace every in-place operation of a graph; what reads the overwritten value reads the new one.

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
        others = (other for other in _sharing(written) if order[other] < order[node])
        if any(order[user] > order[node] for other in others for user in other.users):
            where = source_line(node) or node.name
            raise ModelError(
                f"{operation(node)} at {where} writes into a value that is read later under another name.",
                hint="Write it without the in-place operation.",
            )
        node.target = target
        written.replace_all_uses_with(node, lambda user, node=node: order.get(user, 0) > order[node])  # type: ignore[misc]
    module.recompile()


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
