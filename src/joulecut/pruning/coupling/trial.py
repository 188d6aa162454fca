"""Tries a cut on shapes alone, so that what would break is refused before anything is cut."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.node import map_arg

from joulecut.pruning.coupling.cut import Cutter
from joulecut.pruning.coupling.propagate import shape_of
from joulecut.pruning.coupling.rules_values import is_movement, run
from joulecut.pruning.coupling.sizes import Masks, retargeted
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
            arrives = node.op != "call_function" or not is_movement(node) or _arrives(cutter, node, alive)
        except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
            return node, f"{operation(node)} would fail in a cut network: {str(error).splitlines()[0][:100]}"
        several = isinstance(values[node], (tuple, list))
        expected: Any = cutter.results(node, alive) if several or isinstance(values[node], Tensor) else []
        for value, masks in (
            zip(values[node], expected, strict=True) if several else [(values[node], expected)]
        ):
            if isinstance(value, Tensor) and list(value.shape) != _sizes(masks):
                return node, f"{operation(node)} would return {list(value.shape)} in a cut network"
        if not arrives:
            return node, f"{operation(node)} would move other channels in a cut network"
    return None


def _step(
    cutter: Cutter, node: fx.Node, values: dict[fx.Node, Any], alive: Tensor, mode: FakeTensorMode
) -> Any:
    meta = node.meta["val"]
    if node.op != "call_function":
        shape = _sizes(cutter.value_masks(node, alive))
        with mode:
            return (
                torch.empty(shape, dtype=meta.dtype, device=meta.device) if isinstance(meta, Tensor) else meta
            )
    target, arguments, kwargs = retargeted(node, cutter.arguments(node, alive))
    args, keywords = map_arg((arguments, kwargs), values.__getitem__)
    with torch.no_grad(), mode:
        return target(*args, **keywords)


def _arrives(cutter: Cutter, node: fx.Node, alive: Tensor) -> bool:
    """Whether a movement of data leaves every element where the cut expects it."""
    value = source(node)
    moving = [d for d, mask in enumerate(cutter.value_masks(value, alive)) if not bool(mask.all())]
    if not moving:
        return True
    shape = shape_of(value)
    own = [size if d in moving else 1 for d, size in enumerate(shape)]
    before: dict[fx.Node, Any] = {n: n.meta["val"] for n in node.all_input_nodes}
    for index in (n for n in before if shape_of(n)):
        known = cutter.numbers.get(index.name)
        before[index] = torch.zeros(shape_of(index), dtype=torch.long) if known is None else known
    before[value] = torch.arange(int(torch.Size(own).numel())).reshape(own).expand(shape)
    after = {n: _cut(v, cutter.value_masks(n, alive)) if shape_of(n) else v for n, v in before.items()}
    target, arguments, kwargs = retargeted(node, cutter.arguments(node, alive))
    args, keywords = map_arg((arguments, kwargs), after.__getitem__)
    whole, small, masks = run(node, before), target(*args, **keywords), cutter.results(node, alive)
    if isinstance(small, Tensor):
        return torch.equal(small, _cut(whole, masks))  # type: ignore[arg-type]
    return all(torch.equal(a, _cut(b, m)) for a, b, m in zip(small, whole, masks, strict=True))  # type: ignore[arg-type]


def _sizes(masks: Masks) -> list[int]:
    return [int(mask.sum()) for mask in masks]


def _cut(value: Tensor, masks: Masks) -> Tensor:
    for d, mask in enumerate(masks):
        value = value if bool(mask.all()) else value.index_select(d, torch.nonzero(mask).flatten())
    return value
