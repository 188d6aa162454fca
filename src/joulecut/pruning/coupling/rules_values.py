"""What norms, reductions, pools and elementwise operations do to channel identities."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor, fx

from joulecut.pruning.coupling.join import join, operand, trailing
from joulecut.pruning.coupling.labels import Labels, along, varies
from joulecut.pruning.coupling.propagate import FACTORIES, Rule, Walk, named, shape_of, tensor_nodes
from joulecut.workload.trace import argument, operation, source

__all__ = ["RULES", "elementwise", "is_elementwise", "is_window", "windows"]

_ELEMENTWISE: Final = frozenset(
    {
        "hardswish",
        "log_sigmoid",
        "rsub",
        "dropout",
        "feature_dropout",
        "alpha_dropout",
        "feature_alpha_dropout",
        "copy",
        "fill",
        "zero",
        "to",
        "type_as",
        "_to_copy",
        "contiguous",
        "clone",
        "alias",
        "detach",
        "lift_fresh_copy",
        "floor_divide",
        "zeros_like",
        "ones_like",
        "full_like",
        "empty_like",
        "rand_like",
        "randn_like",
        "bernoulli",
        "masked_fill",
    }
)
"""Elementwise operations that torch does not tag as such."""

_WINDOWS: Final = re.compile(r"(?:pool|upsample|pad)\D*(\d)d")


def is_elementwise(node: fx.Node) -> bool:
    """Whether each element of the result depends on the elements at its place only."""
    return (
        torch.Tag.pointwise in getattr(node.target, "tags", ()) or operation(node).rstrip("_") in _ELEMENTWISE
    )


def elementwise(walk: Walk, node: fx.Node) -> Labels:
    """Operands are coupled where both vary; a real extent without channels freezes its partner."""
    spelling = tuple(range(len(shape_of(node))))
    values = tensor_nodes(node)
    if len(values) == 1 and shape_of(values[0]) == shape_of(node):
        return walk.of(values[0])
    return join(walk, node, [operand(walk, n, trailing(n, spelling)) for n in values], spelling, "through")


def is_window(node: fx.Node) -> bool:
    """Whether the operation runs over the spatial dimensions, as many as its name says."""
    return _WINDOWS.search(operation(node)) is not None


def windows(walk: Walk, node: fx.Node) -> Labels | tuple[Labels, ...]:
    """Pools, padding and interpolation: what has channels along the spatial dimensions is frozen."""
    found = _WINDOWS.search(operation(node))
    ndim = len(shape_of(source(node)))
    spatial = range(ndim - int(found[1]) if found else 0, ndim)
    passing = walk.without(walk.of(source(node)), spatial, node, f"{operation(node)} slides over it")
    results = node.meta["val"]
    return (passing,) * len(results) if isinstance(results, (tuple, list)) else passing


def pad(walk: Walk, node: fx.Node) -> Labels:
    """Constants around a value: channels that are padded lie beside fixed ones."""
    labels = walk.of(source(node))
    sizes = [int(size) for size in argument(node, 1, "pad", ())]
    last = len(shape_of(source(node))) - 1
    padded = [last - i // 2 for i, size in enumerate(sizes) if size]
    if argument(node, 2, "mode", "constant") in ("reflect", "replicate", "circular"):
        return walk.without(labels, padded, node, "it mirrors channels")
    return tuple(
        torch.constant_pad_nd(x, [s if x.shape[last - i // 2] > 1 else 0 for i, s in enumerate(sizes)], 0)
        for x in labels
    )


def _dims(dims: Any, ndim: int) -> list[int]:
    if dims is None:
        return list(range(ndim))
    chosen = [dims] if isinstance(dims, int) else list(dims)
    return [d % ndim for d in chosen] or list(range(ndim))


def reduction(walk: Walk, node: fx.Node) -> Labels | tuple[Labels, ...]:
    """Labels along other dimensions survive; a sum over channels reads them, a mean is inexact."""
    value, name, results = source(node), operation(node), node.meta["val"]
    ndim = len(shape_of(value))
    over = _dims(named(node, "dim", None), ndim)
    several = isinstance(results, (tuple, list))
    if name in ("max", "min") and several and any(u.args[1] == 1 and u.users for u in node.users):
        return walk.refuse(node, "its result holds numbers of channels")
    order = named(node, "ord", named(node, "p", 2))
    if name not in ("sum", "nansum") and not (name in ("norm", "linalg_vector_norm") and order in (1, 2, 3)):
        walk.mark_inexact(walk.of(value), over, node)
    spelling = tuple(range(ndim))
    keeps = (results[0] if several else results).ndim == ndim
    rest = tuple(d for d in spelling if d not in over)
    found = join(walk, node, [operand(walk, value, spelling)], rest, "through")
    if keeps:
        found = tuple(
            x.reshape([x.shape[rest.index(d)] if d in rest else 1 for d in spelling]) for x in found
        )
    return (found,) * len(results) if several else found


def running(walk: Walk, node: fx.Node) -> Labels:
    """A softmax over channels passes labels but makes the family inexact."""
    value = source(node)
    walk.mark_inexact(walk.of(value), _dims(argument(node, 1, "dim", -1), len(shape_of(value))), node)
    return walk.of(value)


def cumulative(walk: Walk, node: fx.Node) -> Labels:
    """Each element depends on those before it: channels along that dimension stay."""
    value = source(node)
    dims = _dims(argument(node, 1, "dim", -1), len(shape_of(value)))
    return walk.without(walk.of(value), dims, node, f"{operation(node)} runs over it")


def gated(walk: Walk, node: fx.Node) -> Labels:
    """One half of the channels gates the other."""
    value = source(node)
    dim = int(argument(node, 1, "dim", -1)) % len(shape_of(value))
    out: list[Tensor] = []
    for label in walk.of(value):
        halves = label.chunk(2, dim) if label.shape[dim] > 1 else (label, label)
        walk.unite(halves[0], halves[1], node)
        out.append(halves[0])
    return tuple(out)


def _normed(walk: Walk, node: fx.Node, parameters: Sequence[Any], dim: int | None) -> Labels:
    """Gains, biases and statistics go with their channel: along ``dim``, or trailing."""
    spelling = tuple(range(len(shape_of(source(node)))))
    read = [operand(walk, source(node), spelling)]
    read += [
        operand(walk, one, trailing(one, spelling) if dim is None else (spelling[dim],))
        for one in parameters
        if isinstance(one, fx.Node)
    ]
    return join(walk, node, read, spelling, "through")


def batch_norm(walk: Walk, node: fx.Node) -> Labels:
    """Over everything but the channels, with statistics that are fixed unless it trains."""
    labels = _normed(walk, node, node.args[1:5], 1)
    spatial = operation(node) == "instance_norm"
    if argument(node, 5, "training", False):
        others = range(len(shape_of(node)))[2:] if spatial else [0, *range(len(shape_of(node)))[2:]]
        walk.mark_inexact(labels, others, node)
    return labels


def layer_norm(walk: Walk, node: fx.Node) -> Labels:
    """Runs over channels, the last dimensions, so the family is inexact."""
    labels = _normed(walk, node, node.args[2:4], None)
    ndim = len(shape_of(node))
    walk.mark_inexact(labels, range(ndim - len(argument(node, 1, "normalized_shape", ())), ndim), node)
    return labels


def group_norm(walk: Walk, node: fx.Node) -> Labels:
    """Runs over the channels of a group: the same position goes in every group."""
    labels = _normed(walk, node, node.args[2:4], 1)
    groups, channels = int(argument(node, 1, "num_groups", 1)), shape_of(source(node))[1]
    for label in labels:
        if groups < channels and label.shape[1] > 1:
            table = along(walk.project(label, [1], node), 1).reshape(groups, -1)
            walk.unite(table, table[:1], node)
    walk.mark_inexact(labels, range(1 + int(groups == channels), len(shape_of(node))), node)
    return labels


def weight_norm(walk: Walk, node: fx.Node) -> tuple[Labels, ...]:
    """A weight of given norms: those run over what each output reads."""
    value, gain = source(node), argument(node, 1, "g", None)
    spelling = tuple(range(len(shape_of(value))))
    read = [operand(walk, value, spelling), operand(walk, gain, spelling)]
    labels = join(walk, node, read, spelling, "through")
    dim = int(argument(node, 2, "dim", 0)) % len(spelling)
    walk.mark_inexact(labels, set(spelling) - {dim}, node)
    return (labels, tuple(label for label in labels if varies(label) == [dim]))


def prelu(walk: Walk, node: fx.Node) -> Labels:
    """One slope for each channel (dimension 1), or one for all."""
    slopes = node.args[1]
    return _normed(
        walk, node, [slopes] if isinstance(slopes, fx.Node) and shape_of(slopes) != (1,) else [], 1
    )


def unfold(walk: Walk, node: fx.Node) -> Labels:
    """Patches laid out as channels: a channel becomes as many as a patch has places."""
    labels = walk.without(walk.of(source(node)), _last(node, 2), node, "im2col slides over it")
    places = int(torch.Size(node.args[1]).numel())  # type: ignore[arg-type]
    return tuple((x.repeat_interleave(places, -3) if x.shape[-3] > 1 else x).squeeze(-1) for x in labels)


def fold(walk: Walk, node: fx.Node) -> Labels:
    """Patches summed back into an image: the places of a patch go together."""
    labels = walk.without(walk.of(source(node)), _last(node, 1), node, "col2im slides over it")
    places = int(torch.Size(node.args[2]).numel())  # type: ignore[arg-type]
    out: list[Tensor] = []
    for label in labels:
        if label.shape[-2] > 1:
            table = label.reshape(*label.shape[:-2], -1, places, label.shape[-1])
            walk.unite(table, table[..., :1, :], node)
            label = table[..., 0, :]
        out.append(label.unsqueeze(-1))
    return tuple(out)


def _last(node: fx.Node, count: int) -> range:
    ndim = len(shape_of(source(node)))
    return range(ndim - count, ndim)


def nothing(_walk: Walk, _node: fx.Node) -> Labels:
    """Computes no value of the network."""
    return ()


RULES: Final[dict[str, Rule]] = {
    **dict.fromkeys(
        (
            "mean",
            "sum",
            "nansum",
            "amax",
            "amin",
            "max",
            "min",
            "var",
            "std",
            "prod",
            "norm",
            "linalg_vector_norm",
            "logsumexp",
            "var_mean",
            "std_mean",
        ),
        reduction,
    ),
    **dict.fromkeys(("softmax", "log_softmax", "_softmax", "_safe_softmax"), running),
    **dict.fromkeys(("cumsum", "cumprod", "logcumsumexp"), cumulative),
    **dict.fromkeys(("pad", "constant_pad_nd"), pad),
    **dict.fromkeys(("batch_norm", "instance_norm"), batch_norm),
    **dict.fromkeys(("layer_norm", "rms_norm"), layer_norm),
    **dict.fromkeys(
        ("sym_size", "_assert_tensor_metadata", "_assert_scalar", "sym_constrain_range"), nothing
    ),
    **dict.fromkeys((*FACTORIES, "arange", "eye", "rand", "randn", "scalar_tensor", "linspace"), nothing),
    "group_norm": group_norm,
    "_weight_norm_interface": weight_norm,
    "prelu": prelu,
    "glu": gated,
    "im2col": unfold,
    "col2im": fold,
}
