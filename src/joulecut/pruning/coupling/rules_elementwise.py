"""What elementwise operations, pools and reductions do to channel identities."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from torch import Tensor, fx

from joulecut.pruning.coupling.labels import Labels, reshaped_to, varies
from joulecut.pruning.coupling.propagate import Rule, Walk, shape_of, tensor_nodes
from joulecut.workload.trace import argument, operation, source

__all__ = ["RULES"]

_UNARY = (
    "relu",
    "relu_",
    "relu6",
    "gelu",
    "silu",
    "silu_",
    "hardtanh",
    "hardtanh_",
    "hardswish",
    "hardswish_",
    "hardsigmoid",
    "hardsigmoid_",
    "sigmoid",
    "sigmoid_",
    "tanh",
    "tanh_",
    "leaky_relu",
    "leaky_relu_",
    "elu",
    "elu_",
    "celu",
    "selu",
    "mish",
    "mish_",
    "softplus",
    "dropout",
    "dropout_",
    "feature_dropout",
    "alpha_dropout",
    "exp",
    "log",
    "neg",
    "abs",
    "sqrt",
    "rsqrt",
    "square",
    "pow",
    "clamp",
    "clamp_",
    "clamp_min",
    "clamp_max",
    "erf",
    "sin",
    "cos",
    "reciprocal",
    "softsign",
    "logsigmoid",
    "contiguous",
    "clone",
    "alias",
    "detach",
    "detach_",
    "lift_fresh_copy",
)
_BINARY = ("add", "add_", "mul", "mul_", "sub", "sub_", "div", "div_", "maximum", "minimum", "where")
_POOLS = (
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool2d",
    "upsample_nearest2d",
    "upsample_bilinear2d",
    "reflection_pad2d",
    "replication_pad2d",
)
_REDUCTIONS = ("mean", "sum", "amax", "amin", "var", "std")
_NORMALISING = ("softmax", "log_softmax")


def unary(walk: Walk, node: fx.Node) -> Labels:
    """Each element on its own: labels pass."""
    if len(tensor_nodes(node)) > 1:  # pow, clamp: also of two tensors
        return binary(walk, node)
    value = tensor_nodes(node)[0]
    return walk.parameter_label(value, node) if walk.is_parameter(value) else walk.of(value)


def binary(walk: Walk, node: fx.Node) -> Labels:
    """Operands are coupled where both vary; a real extent without channels freezes its partner."""
    ndim = len(shape_of(node))
    activations = [n for n in tensor_nodes(node) if not walk.is_parameter(n)]
    merged: list[Tensor] = []
    for operand in activations:
        for label in walk.of(operand):
            _merge(walk, node, merged, reshaped_to(label, ndim))
    for operand in activations:
        _freeze_against(walk, node, operand, merged, ndim)
    for operand in tensor_nodes(node):
        if walk.is_parameter(operand):
            _couple_parameter(walk, node, operand, merged, ndim)
    return tuple(merged)


def _merge(walk: Walk, node: fx.Node, merged: list[Tensor], label: Tensor) -> None:
    """Unite a label with every one that varies along a common dimension."""
    dims = set(varies(label))
    hit = False
    for i, other in enumerate(merged):
        if dims & set(varies(other)):
            walk.unite(label, other, node)
            merged[i] = other.expand(np.broadcast_shapes(other.shape, label.shape))
            hit = True
    if not hit:
        merged.append(label)


def _freeze_against(walk: Walk, node: fx.Node, operand: fx.Node, merged: list[Tensor], ndim: int) -> None:
    """Freeze labels along dimensions where this operand has a real extent but no channels."""
    shape = (1,) * (ndim - len(shape_of(operand))) + shape_of(operand)
    own = [set(varies(reshaped_to(label, ndim))) for label in walk.of(operand)]
    for label in merged:
        dims = set(varies(label))
        if any(shape[d] > 1 for d in dims) and not any(dims & mine for mine in own):
            walk.freeze((label,), node, f"{operation(node)} meets a value whose extent is fixed")


def _couple_parameter(walk: Walk, node: fx.Node, parameter: fx.Node, merged: list[Tensor], ndim: int) -> None:
    """A parameter used elementwise is sliced with the channels it meets."""
    shape = (1,) * (ndim - len(shape_of(parameter))) + shape_of(parameter)
    touched = [label for label in merged if any(shape[d] > 1 for d in varies(label))]
    if not touched:
        return
    own = walk.parameter_label(parameter, node)
    if not own or len(touched) > 1:
        walk.freeze(tuple(touched), node, f"the parameter {parameter.target} cannot be sliced with it")
        return
    walk.unite(reshaped_to(own[0], ndim), touched[0], node)


def pool(walk: Walk, node: fx.Node) -> Labels | tuple[Labels, ...]:
    """Windows over the spatial dimensions, as many as the name says: what has channels there is frozen."""
    labels = walk.of(source(node))
    first = len(shape_of(source(node))) - int(operation(node)[-2])
    passing = _unless(walk, node, labels, lambda d: d >= first, "slides over it")
    results = node.meta["val"]
    return (passing,) * len(results) if isinstance(results, (tuple, list)) else passing


def pad(walk: Walk, node: fx.Node) -> Labels:
    """Padding: labels pass where nothing is added to their extent."""
    sizes = [int(size) for size in argument(node, 1, "pad", ())]
    last = len(shape_of(source(node))) - 1
    padded = {last - i // 2 for i, size in enumerate(sizes) if size}
    return _unless(walk, node, walk.of(source(node)), padded.__contains__, "adds to it")


def _unless(walk: Walk, node: fx.Node, labels: Labels, changed: Callable[[int], bool], what: str) -> Labels:
    """The labels that vary along no changed dimension; the others are frozen."""
    stopped = [any(changed(d) for d in varies(label)) for label in labels]
    walk.freeze(
        tuple(x for x, stop in zip(labels, stopped, strict=True) if stop), node, f"{operation(node)} {what}"
    )
    return tuple(x for x, stop in zip(labels, stopped, strict=True) if not stop)


def reduction(walk: Walk, node: fx.Node) -> Labels:
    """Labels survive a reduction over other dimensions; one over channels makes the family inexact."""
    value = source(node)
    ndim = len(shape_of(value))
    over = _dims(argument(node, 1, "dim", None), ndim)
    keeps = len(shape_of(node)) == ndim
    out: list[Tensor] = []
    for label in walk.of(value):
        if any(label.shape[d] > 1 for d in over):
            walk.mark_inexact((label,), node)
        if all(d in over for d in varies(label)):
            continue
        tied = walk.tie(label, over, node)
        out.append(tied if keeps else tied.squeeze(over))
    return tuple(out)


def _dims(dims: Any, ndim: int) -> list[int]:
    if dims is None:
        return list(range(ndim))
    chosen = [dims] if isinstance(dims, int) else list(dims)
    return [d % ndim for d in chosen] or list(range(ndim))


def normalising(walk: Walk, node: fx.Node) -> Labels:
    """A softmax over channels passes labels but makes the family inexact."""
    value = source(node)
    dim = int(argument(node, 1, "dim", -1)) % len(shape_of(value))
    walk.mark_inexact(tuple(label for label in walk.of(value) if label.shape[dim] > 1), node)
    return walk.of(value)


RULES: Final[dict[str, Rule]] = {
    **dict.fromkeys(_UNARY, unary),
    **dict.fromkeys(_BINARY, binary),
    **dict.fromkeys(_POOLS, pool),
    **dict.fromkeys(("pad", "constant_pad_nd"), pad),
    **dict.fromkeys(_REDUCTIONS, reduction),
    **dict.fromkeys(_NORMALISING, normalising),
}
