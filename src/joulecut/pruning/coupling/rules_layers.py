"""What layers with weights do to channel identities: convolutions, linear layers, norms."""

from __future__ import annotations

from typing import Any, Final

from torch import Tensor, fx

from joulecut.pruning.coupling.labels import Labels, along, channel_label, varies
from joulecut.pruning.coupling.propagate import Rule, Walk, shape_of
from joulecut.workload.trace import argument, operation, source

__all__ = ["RULES"]


def _fresh_output(walk: Walk, node: fx.Node, weight: fx.Node, bias: Any, dim: int, weight_dim: int) -> Tensor:
    """New identities for the channels a layer writes."""
    out = walk.ids.fresh(shape_of(weight)[weight_dim])
    walk.use(weight, weight_dim, "writer", out, node)
    if walk.is_parameter(bias):
        walk.use(bias, 0, "writer", out, node)
    return channel_label(out, dim, len(shape_of(node)))


def _channel_dim(weight: fx.Node) -> int:
    """Where a convolution's channels are, counted from the end: before its spatial dimensions."""
    return 1 - len(shape_of(weight))


def _read(walk: Walk, node: fx.Node, dim: int) -> tuple[Tensor | None, list[Tensor]]:
    """Identities along the dimension that a layer contracts, and the labels that pass beside it."""
    value = source(node)
    beside: list[Tensor] = []
    read: Tensor | None = None
    for label in walk.of(value):
        d = dim % label.ndim
        if label.shape[d] == 1:
            beside.append(label)
            continue
        vector = along(walk.tie(label, [other for other in varies(label) if other != d], node), d)
        if read is None:
            read = vector
        else:
            walk.unite(read, vector, node)
    return read, beside


def _weight(walk: Walk, node: fx.Node) -> fx.Node | None:
    """The weight, if it is a parameter; else everything read is frozen."""
    weight = argument(node, 1, "weight", None)
    if walk.is_parameter(weight):
        return weight
    walk.refuse(node, "its weight is computed, not a parameter")
    return None


def linear(walk: Walk, node: fx.Node) -> Labels:
    """Contracts the last dimension: readers are columns of the weight, writers its rows."""
    weight = _weight(walk, node)
    if weight is None:
        return ()
    read, beside = _read(walk, node, -1)
    if read is not None:
        walk.use(weight, 1, "reader", read, node)
    label = _fresh_output(walk, node, weight, argument(node, 2, "bias", None), -1, 0)
    return (*beside, label)


def convolution(walk: Walk, node: fx.Node) -> Labels:
    """Convolution of any number of dimensions, dense, grouped or depthwise."""
    weight = _weight(walk, node)
    if weight is None:
        return ()
    dim = _channel_dim(weight)
    read, beside = _read(walk, node, dim)
    passing = _without_spatial(walk, node, beside, dim)
    label = _fresh_output(walk, node, weight, argument(node, 2, "bias", None), dim, 0)
    groups = int(argument(node, 6, "groups", 1))
    if read is not None and groups == 1:
        walk.use(weight, 1, "reader", read, node)
    elif read is not None:
        _grouped(walk, node, weight, read, along(label, dim), groups)
    elif groups > 1:
        walk.freeze((label,), node, "a grouped convolution reads the network's input")
    return (*passing, label)


def _without_spatial(walk: Walk, node: fx.Node, labels: list[Tensor], dim: int) -> Labels:
    """Freeze labels along the spatial dimensions, which come after the channels at ``dim``."""
    spatial = [label for label in labels if any(d > label.ndim + dim for d in varies(label))]
    walk.freeze(tuple(spatial), node, f"{operation(node)} slides over it")
    return tuple(label for label in labels if not any(label is other for other in spatial))


def _grouped(walk: Walk, node: fx.Node, weight: fx.Node, read: Tensor, out: Tensor, groups: int) -> None:
    """Depthwise: channels pass through. Grouped: the same position goes in every group."""
    per_group_in = read.reshape(groups, -1)
    per_group_out = out.reshape(groups, -1)
    if per_group_in.shape[1] == 1:
        walk.unite(per_group_in.expand_as(per_group_out), per_group_out, node)
        return
    walk.unite(per_group_in, per_group_in[:1], node)
    walk.unite(per_group_out, per_group_out[:1], node)
    walk.use(weight, 1, "reader", per_group_in[0], node)


def transposed_convolution(walk: Walk, node: fx.Node) -> Labels:
    """Transposed convolution: the weight is [in, out, ...]."""
    weight = _weight(walk, node)
    if weight is None:
        return ()
    dim = _channel_dim(weight)
    read, beside = _read(walk, node, dim)
    passing = _without_spatial(walk, node, beside, dim)
    groups = int(argument(node, 6, "groups", 1))
    if groups > 1:
        walk.refuse(node, "a grouped transposed convolution is not handled")
        return ()
    label = _fresh_output(walk, node, weight, argument(node, 2, "bias", None), dim, 1)
    if read is not None:
        walk.use(weight, 0, "reader", read, node)
    return (*passing, label)


def batch_norm(walk: Walk, node: fx.Node) -> Labels:
    """Per-channel parameters and statistics go with their channel (dimension 1)."""
    return _per_channel(walk, node, [a for a in node.args[1:5] if walk.is_parameter(a)])


def prelu(walk: Walk, node: fx.Node) -> Labels:
    """One slope for each channel (dimension 1), or one for all."""
    slope = argument(node, 1, "weight", None)
    if not walk.is_parameter(slope):
        walk.refuse(node, "its slope is computed, not a parameter")
        return ()
    return _per_channel(walk, node, [slope] if shape_of(slope) != (1,) else [])


def _per_channel(walk: Walk, node: fx.Node, parameters: list[fx.Node]) -> Labels:
    labels = walk.of(source(node))
    for label in labels:
        if label.shape[1] > 1:
            vector = along(walk.tie(label, [d for d in varies(label) if d != 1], node), 1)
            for parameter in parameters:
                walk.use(parameter, 0, "through", vector, node)
    return labels


def layer_norm(walk: Walk, node: fx.Node) -> Labels:
    """Gain and bias go with their channel; the norm itself runs over channels, so the family is inexact."""
    value = source(node)
    labels = walk.of(value)
    first = len(shape_of(value)) - len(argument(node, 1, "normalized_shape", ()))
    over = tuple(label for label in labels if any(d >= first for d in varies(label)))
    walk.mark_inexact(over, node)
    for parameter in node.args[2:4]:
        if not walk.is_parameter(parameter):
            continue
        for own in walk.parameter_label(parameter, node):
            for label in over:
                walk.unite(own.reshape((1,) * first + tuple(own.shape)), label, node)
    return labels


RULES: Final[dict[str, Rule]] = {
    "linear": linear,
    "conv1d": convolution,
    "conv2d": convolution,
    "conv3d": convolution,
    "conv_transpose1d": transposed_convolution,
    "conv_transpose2d": transposed_convolution,
    "conv_transpose3d": transposed_convolution,
    "batch_norm": batch_norm,
    "layer_norm": layer_norm,
    "prelu": prelu,
}
