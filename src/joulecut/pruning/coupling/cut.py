"""Cuts a network: slices its parameters and rewrites every size that stands in its graph."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor, fx
from torch.fx.node import map_arg

from joulecut.errors import ModelError
from joulecut.pruning.coupling.labels import Labels, varies
from joulecut.pruning.coupling.propagate import Walk, shape_of
from joulecut.pruning.coupling.rules_movement import SIZED
from joulecut.pruning.coupling.tying import canonical_names, tensors
from joulecut.workload.trace import argument, operation, source

__all__ = ["Cutter", "check_runs", "copied", "retargeted"]

Masks = tuple[Tensor, ...]


def copied(module: fx.GraphModule) -> fx.GraphModule:
    """A deep copy of a captured network (torch warns about its own tree specs while copying)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return copy.deepcopy(module)


class Cutter:
    """Answers, for any set of living channels, what is left of each value, parameter and argument.

    Args:
        walk: the labelled network.
        root: class of every identity.
    """

    def __init__(self, walk: Walk, root: Tensor) -> None:
        self.module = walk.module
        self._canonical = canonical_names(walk.module)
        self._labels = {name: _rooted(found, root) for name, found in walk.labels.items()}
        self._slices: dict[str, list[tuple[int | None, Tensor]]] = {}
        for use in walk.uses:
            self._slices.setdefault(use.parameter, []).append((use.dim, root[use.ids]))

    def value_masks(self, node: fx.Node, alive: Tensor) -> Masks:
        """Which indices of each dimension of a node's tensor live; ``alive`` is bool by class."""
        return _masks(shape_of(node), self._of(node), alive)

    def classes_along(self, node: fx.Node, dim: int) -> Tensor:
        """The class of each index along a dimension of a value; 0 where none fills the whole slice."""
        classes = torch.zeros(shape_of(node)[dim], dtype=torch.long)
        for label in self._of(node):
            if label.shape[dim] > 1:
                rows = label.movedim(dim, 0).reshape(label.shape[dim], -1)
                whole = (rows == rows[:, :1]).all(1)
                classes = torch.where(whole, rows[:, 0], classes)
        return classes

    def all_classes(self, node: fx.Node) -> Tensor:
        """Every class that appears in a node's value."""
        return torch.cat(
            [torch.unique(label) for label in self._of(node)] or [torch.zeros(0, dtype=torch.long)]
        )

    def parameter_masks(self, name: str, shape: tuple[int, ...], alive: Tensor) -> Masks:
        """Which indices of each dimension of a parameter live."""
        masks = [torch.ones(size, dtype=torch.bool) for size in shape]
        for dim, seen in self._slices.get(self._canonical.get(name, name), []):
            if dim is not None:
                masks[dim] &= alive[seen]
            else:
                for d, mask in enumerate(_masks(shape, (seen,), alive)):
                    masks[d] &= mask
        return tuple(masks)

    def arguments(self, node: fx.Node, alive: Tensor) -> tuple[Any, ...]:
        """The node's arguments with every size rewritten for the living channels."""
        rewrite = _rewriter(node)
        return node.args if rewrite is None else rewrite(self, node, alive)

    def pieces(self, node: fx.Node, alive: Tensor) -> list[Masks]:
        """``value_masks`` of every result of a split."""
        values = node.meta["val"]
        found = self._labels.get(node.name) or ((),) * len(values)
        return [_masks(tuple(v.shape), tuple(labels), alive) for v, labels in zip(values, found, strict=True)]

    def cut(self, alive: Tensor) -> fx.GraphModule:
        """A copy of the network without the dead channels; parameter names stay."""
        module = copied(self.module)
        originals = {n.name: n for n in self.module.graph.nodes}
        twins = {n.name: n for n in module.graph.nodes}
        _slice_parameters(module, self, alive)
        for node in module.graph.nodes:
            original = originals[node.name]
            if _rewriter(original) is not None:
                target, arguments, kwargs = retargeted(original, self.arguments(original, alive))
                node.target = target
                node.args, node.kwargs = map_arg((arguments, kwargs), lambda n: twins[n.name])
        module.recompile()
        return module

    def _of(self, node: fx.Node) -> Labels:
        return tuple(label for label in self._labels.get(node.name, ()) if isinstance(label, Tensor))


def _rooted(found: Labels | tuple[Labels, ...], root: Tensor) -> Any:
    return tuple(root[item] if isinstance(item, Tensor) else tuple(root[x] for x in item) for item in found)


def _masks(shape: tuple[int, ...], labels: Labels, alive: Tensor) -> Masks:
    masks = [torch.ones(size, dtype=torch.bool) for size in shape]
    for label in labels:
        dead = ~alive[label]
        if bool(dead.any()):
            for d in varies(label):
                masks[d] &= ~dead.movedim(d, 0).reshape(dead.shape[d], -1).all(1)
    return tuple(masks)


def _slice_parameters(module: fx.GraphModule, cutter: Cutter, alive: Tensor) -> None:
    """Slice every parameter and buffer in place; tied ones stay tied."""
    done: dict[int, Tensor] = {}
    for name, value in tensors(module).items():
        if id(value) not in done:
            done[id(value)] = _sliced(value, cutter.parameter_masks(name, tuple(value.shape), alive))
        if done[id(value)] is not value:
            path, _, leaf = name.rpartition(".")
            setattr(module.get_submodule(path), leaf, done[id(value)])


def _sliced(value: Tensor, masks: Masks) -> Tensor:
    """The value itself where nothing is cut off."""
    sliced = value.detach()
    for d, mask in enumerate(masks):
        if not bool(mask.all()):
            sliced = sliced.index_select(d, torch.nonzero(mask).flatten())
    if sliced.shape == value.shape:
        return value
    if isinstance(value, torch.nn.Parameter):
        return torch.nn.Parameter(sliced, requires_grad=value.requires_grad)
    return sliced


# One function for each operation whose arguments hold sizes.


def _sizes(cutter: Cutter, node: fx.Node, alive: Tensor) -> tuple[Any, ...]:
    kept = [int(mask.sum()) for mask in cutter.value_masks(node, alive)]
    full = shape_of(node)
    args = list(node.args)
    unflattens = operation(node) == "unflatten"
    position = 2 if unflattens else 1
    offset = argument(node, 1, "dim", 0) % len(shape_of(source(node))) if unflattens else 0
    sizes = args[position]
    assert isinstance(sizes, (list, tuple))
    args[position] = [
        size
        if not isinstance(size, int) or size == -1 or kept[offset + i] == full[offset + i]
        else kept[offset + i]
        for i, size in enumerate(sizes)
    ]
    return tuple(args)


def _split(cutter: Cutter, node: fx.Node, alive: Tensor) -> tuple[Any, ...]:
    value = source(node)
    dim = argument(node, 2, "dim", 0) % len(shape_of(value))
    return (value, [int(masks[dim].sum()) for masks in cutter.pieces(node, alive)], dim)


def _slice(cutter: Cutter, node: fx.Node, alive: Tensor) -> tuple[Any, ...]:
    value = source(node)
    args: list[Any] = list(node.args)
    dim = int(args[1]) if len(args) > 1 else 0
    dim %= len(shape_of(value))
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
    args[2] = moved(args[2] or 0) if len(args) > 2 else 0
    if operation(node) == "slice" and len(args) > 3 and args[3] is not None:
        args[3] = moved(min(int(args[3]), size))
    return tuple(args)


def _convolution(cutter: Cutter, node: fx.Node, alive: Tensor) -> tuple[Any, ...]:
    args = list(node.args)
    if shape_of(argument(node, 1, "weight", None))[1] == 1:
        args[6] = int(cutter.value_masks(source(node), alive)[1].sum())
    return tuple(args)


def _normalized_shape(cutter: Cutter, node: fx.Node, alive: Tensor) -> tuple[Any, ...]:
    args = list(node.args)
    shape = args[1]
    assert isinstance(shape, (list, tuple))
    kept = [int(mask.sum()) for mask in cutter.value_masks(node, alive)]
    args[1] = kept[len(kept) - len(shape) :]
    return tuple(args)


def _squeeze(_cutter: Cutter, node: fx.Node, _alive: Tensor) -> tuple[Any, ...]:
    """A squeeze without dimensions would also drop a dimension that a cut leaves with one channel."""
    if len(node.args) > 1:
        return node.args
    return (source(node), [d for d, size in enumerate(shape_of(source(node))) if size == 1])


_Rewrite = Callable[[Cutter, fx.Node, Tensor], tuple[Any, ...]]
_REWRITES: Final[dict[str, _Rewrite]] = {
    **dict.fromkeys(SIZED, _sizes),
    **dict.fromkeys(("split", "split_with_sizes", "chunk"), _split),
    **dict.fromkeys(("slice", "narrow", "select"), _slice),
    "layer_norm": _normalized_shape,
    "squeeze": _squeeze,
}


def _rewriter(node: fx.Node) -> _Rewrite | None:
    if node.op != "call_function":
        return None
    name = operation(node)
    if name.startswith("conv") and not name.startswith("conv_transpose") and len(node.args) > 6:
        return _convolution if argument(node, 6, "groups", 1) > 1 else None
    return _REWRITES.get(name)


def retargeted(node: fx.Node, arguments: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """Target, arguments and keywords of a node; where sizes turn uneven, those of its general form."""
    name = operation(node)
    if name in ("split", "split_with_sizes", "chunk"):
        return torch.ops.aten.split_with_sizes.default, arguments, {}
    if name in ("view", "_unsafe_view"):
        return torch.ops.aten.reshape.default, arguments, {}
    if name == "squeeze" and len(node.args) == 1:
        return torch.ops.aten.squeeze.dims, arguments, {}
    return node.target, arguments, dict(node.kwargs)


def check_runs(module: fx.GraphModule, inputs: tuple[Tensor, ...], expected: tuple[int, ...]) -> None:
    """Run a cut network once.

    Raises:
        ModelError: it breaks, or its output has another shape or holds NaN.
    """
    try:
        with torch.no_grad():
            out = module(*inputs)
    except RuntimeError as error:
        raise ModelError(f"the cut network does not run: {str(error).splitlines()[0]}") from error
    first = out[0] if isinstance(out, (tuple, list)) else out
    if tuple(first.shape) != expected:
        raise ModelError(f"the cut network returns {tuple(first.shape)} instead of {expected}")
    if not math.isfinite(float(first.float().abs().sum())):
        raise ModelError("the cut network returns values that are not finite")
