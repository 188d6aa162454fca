"""Tries a cut on shapes alone, so that what would break is refused before anything is cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.node import map_arg

from joulecut.pruning.coupling.cut import Cutter, Masks
from joulecut.pruning.coupling.propagate import shape_of
from joulecut.pruning.coupling.rules_movement import is_movement, run
from joulecut.pruning.coupling.sizes import retargeted
from joulecut.workload.trace import operation, source

__all__ = ["first_break"]


def first_break(cutter: Cutter, alive: Tensor) -> tuple[fx.Node, str] | None:
    """The first operation that a cut breaks, and how; None where the cut network runs.

    Nothing is computed: shapes are propagated, and each movement of data is run on numbered elements, which
    must arrive where the cut expects them.
    """
    values: dict[fx.Node, Any] = {}
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    for node in cutter.module.graph.nodes:
        if node.op == "output":
            break
        try:
            values[node] = _step(cutter, node, values, alive, mode)
            arrives = node.op != "call_function" or _arrives(cutter, node, alive)
        except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
            return node, f"cut, {operation(node)} would fail: {str(error).splitlines()[0][:100]}"
        for value, masks in _results(cutter, node, values[node], alive):
            if tuple(value.shape) != tuple(int(mask.sum()) for mask in masks):
                return node, f"cut, {operation(node)} would return {list(value.shape)}"
        if not arrives:
            return node, f"cut, {operation(node)} would move other channels"
    return None


def _step(
    cutter: Cutter, node: fx.Node, values: dict[fx.Node, Any], alive: Tensor, mode: FakeTensorMode
) -> Any:
    meta = node.meta["val"]
    if node.op != "call_function":
        if not isinstance(meta, Tensor):
            return meta
        shape = [int(mask.sum()) for mask in cutter.value_masks(node, alive)]
        with mode:
            return torch.empty(shape, dtype=meta.dtype, device=meta.device)
    target, arguments, kwargs = retargeted(node, cutter.arguments(node, alive))
    args, keywords = map_arg((arguments, kwargs), values.__getitem__)
    with torch.no_grad(), mode:
        return target(*args, **keywords)


def _results(cutter: Cutter, node: fx.Node, value: Any, alive: Tensor) -> Sequence[tuple[Tensor, Masks]]:
    if isinstance(value, Tensor):
        return [(value, cutter.value_masks(node, alive))]
    if isinstance(value, (tuple, list)) and all(isinstance(item, Tensor) for item in value):
        return list(zip(value, cutter.pieces(node, alive), strict=True))
    return []


def _arrives(cutter: Cutter, node: fx.Node, alive: Tensor) -> bool:
    """Whether a movement of data leaves every element where the cut expects it."""
    if not is_movement(node):
        return True
    value = source(node)
    masks = cutter.value_masks(value, alive)
    moving = [d for d, mask in enumerate(masks) if not bool(mask.all())]
    if not moving:
        return True
    own = [size if d in moving else 1 for d, size in enumerate(shape_of(value))]
    probe = torch.arange(int(torch.Size(own).numel())).reshape(own).expand(shape_of(value))
    before: dict[fx.Node, Any] = {n: n.meta["val"] for n in node.all_input_nodes}
    for index in (n for n in before if shape_of(n)):
        known = cutter.numbers.get(index.name)
        before[index] = torch.zeros(shape_of(index), dtype=torch.long) if known is None else known
    before[value] = probe
    after = {n: _cut(v, cutter.value_masks(n, alive)) if shape_of(n) else v for n, v in before.items()}
    target, arguments, kwargs = retargeted(node, cutter.arguments(node, alive))
    args, keywords = map_arg((arguments, kwargs), after.__getitem__)
    whole, small = run(node, before), target(*args, **keywords)
    if isinstance(small, Tensor):
        return torch.equal(small, _cut(whole, cutter.value_masks(node, alive)))
    pieces = cutter.pieces(node, alive)
    return all(torch.equal(a, _cut(b, m)) for a, b, m in zip(small, whole, pieces, strict=True))


def _cut(value: Tensor, masks: Masks) -> Tensor:
    for d, mask in enumerate(masks):
        if not bool(mask.all()):
            value = value.index_select(d, torch.nonzero(mask).flatten())
    return value
