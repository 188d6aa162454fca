"""Tries a cut on shapes alone, so that what would break is refused before anything is cut."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import torch
from torch import Tensor, fx
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.node import map_arg

from joulecut.pruning.coupling.cut import Cutter
from joulecut.pruning.coupling.propagate import shape_of
from joulecut.pruning.coupling.rules_values import is_movement, run
from joulecut.pruning.coupling.sizes import Masks, retargeted
from joulecut.workload.trace import argument, operation, source

__all__ = ["first_break", "misplacing"]

_BREAKS: Final = (RuntimeError, ValueError, TypeError, IndexError, AssertionError)
# fmt: off
_ORDERLY: Final = frozenset({
    "view", "reshape", "_unsafe_view", "flatten", "unflatten", "permute", "transpose", "t", "movedim",
    "swapaxes", "squeeze", "unsqueeze", "expand", "expand_as", "select", "slice", "narrow", "unbind", "split",
    "split_with_sizes", "chunk", "tensor_split",
})
"""Movements that keep the order of elements and whose sizes and bounds are rewritten: right for every cut."""
# fmt: on


def misplacing(cutter: Cutter, cuts: Sequence[Tensor], nodes: Iterable[fx.Node]) -> list[fx.Node]:
    """The operations, of these, that move other channels in a cut network.

    What may change the order of elements is run on numbered ones, which must arrive where the cut expects
    them. ``cuts`` are living classes, bool by class.
    """
    return [node for node in nodes if _moves(node) and not all(_arrives(cutter, node, cut) for cut in cuts)]


def first_break(cutter: Cutter, alive: Tensor) -> tuple[fx.Node, str] | None:
    """The first operation that a cut breaks, by the shapes, and how; None where the cut network runs."""
    nodes = [node for node in cutter.module.graph.nodes if node.op != "output"]
    values: dict[fx.Node, Any] = {}
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    for node in nodes:
        try:
            values[node] = found = _step(cutter, node, values, alive, mode)
        except _BREAKS as error:
            return node, f"{operation(node)} would fail in a cut network: {str(error).splitlines()[0][:100]}"
        several = isinstance(found, (tuple, list))
        expected: Any = cutter.results(node, alive) if several or isinstance(found, Tensor) else []
        for value, masks in zip(found, expected, strict=True) if several else [(found, expected)]:
            if isinstance(value, Tensor) and list(value.shape) != _sizes(masks):
                return node, f"{operation(node)} would return {list(value.shape)} in a cut network"
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


def _moves(node: fx.Node) -> bool:
    """Whether an operation may change the order of elements, or leave some out."""
    strided = operation(node) == "slice" and argument(node, 4, "step", 1) != 1
    return node.op == "call_function" and is_movement(node) and (operation(node) not in _ORDERLY or strided)


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
    try:
        whole, small, masks = run(node, before), target(*args, **keywords), cutter.results(node, alive)
    except _BREAKS:
        return False
    if isinstance(small, Tensor):
        return torch.equal(small, _cut(whole, masks))  # type: ignore[arg-type]
    return all(torch.equal(a, _cut(b, m)) for a, b, m in zip(small, whole, masks, strict=True))  # type: ignore[arg-type]


def _sizes(masks: Masks) -> list[int]:
    return [int(mask.sum()) for mask in masks]


def _cut(value: Tensor, masks: Masks) -> Tensor:
    for d, mask in enumerate(masks):
        value = value if bool(mask.all()) else value.index_select(d, torch.nonzero(mask).flatten())
    return value
