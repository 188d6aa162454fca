"""Scales that train well: batch-norm gains near one and filter norms near two, the function as it was.

A refit leaves every scale where least squares puts it. Evaluation does not mind; gradient descent does. A
batch norm undoes the scale of the filters before it, so that a step of rate r turns a filter of norm n as
far as one of rate r / n^2 turns a filter of norm one (T. van Laarhoven 2017, "L2 regularization versus batch
and weight normalization", arXiv:1706.05350), and a gain of 0.2 moves, in proportion, 25 times as far as a
gain of one. What lies between two layers often lets a positive factor through: it may stand in the layer
that writes or in those that read (M. Nagel et al. 2019, "Data-free quantization through weight equalization
and bias correction", arXiv:1906.04721). All factors are powers of two: moving one rounds nothing,
and scaling a filter only the gain behind it, which makes up for the norm's epsilon.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, fx

from joulecut.pruning.folding import FoldedNorm, parameter, set_parameter
from joulecut.workload.trace import argument, operation

__all__ = ["even_scales"]

_HOMOGENEOUS: Final = (
    *("relu", "relu_", "leaky_relu", "leaky_relu_", "dropout", "dropout_", "clone", "contiguous", "alias"),
    *("max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d"),
    *("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d"),
)
"""Operations that give c times as much for c times the input, for any c > 0, channel by channel."""
_RESHAPES: Final = frozenset({"flatten", "view", "reshape", "squeeze"})
_LAYERS: Final = frozenset({"conv1d", "conv2d", "conv3d", "linear"})
_NORM: Final = 2.0
"""Norm of a filter. After an epoch of SGD at 0.1, networks cut to 70, 50, 30 and 20 % of their energy are
right on so many validation images with norms of 1, 2, 4 and with the scales that the refit leaves: ResNet-8
(two seeds) 91.2, 91.4, 91.3, 91.1 %; DS-CNN (one seed, 20 %) 88.5, 88.5, 87.5, 86.7 %. Norms of 2 hardly
mind the rate: 89.97, 90.54, 90.57, 90.49 % at 0.02, 0.05, 0.1, 0.2 (both networks at 50 and 20 %).
"""
_LEAST: Final = 2.0**-20
"""Gains and norms below count as this: a filter of zeros stays where it is."""


@dataclass(frozen=True, slots=True)
class _Region:
    """Values that share a factor for each channel: the batch norms that write them, the layers that read."""

    writers: tuple[FoldedNorm, ...]
    readers: tuple[fx.Node, ...]


def even_scales(module: fx.GraphModule, pairs: Iterable[FoldedNorm]) -> None:
    """Bring gains to within 0.7 and 1.4, filter norms to within 1.4 and 2.9, and leave the function as it is.

    A channel's factor moves from the batch norms that write it into the layers that read it, where only
    operations that let a positive factor through lie between; several batch norms that write into one sum
    share it, by the root mean square of their gains. Filters are scaled where their batch norm has a gain.

    Args:
        module: a network in evaluation mode.
        pairs: its layers with a batch norm behind them, as ``folded_pairs`` finds them.
    """
    pairs = [pair for pair in pairs if pair.gain]
    norms = {pair.norm: pair for pair in pairs if pair.shift}
    done: set[str] = set()
    for node in module.graph.nodes:
        if node.name in norms and node.name not in done:
            region = _region(node, norms)
            if region is not None:
                done.update(pair.norm for pair in region.writers)
                _move_gains(module, region)
    for pair in pairs:
        _scale_filters(module, pair)


def _region(start: fx.Node, norms: Mapping[str, FoldedNorm]) -> _Region | None:
    """All that shares the scale of a batch norm's output; None where something in it fixes the scale."""
    inside, stack = {start: None}, [start]
    readers: dict[fx.Node, None] = {}
    while stack:
        node = stack.pop()
        reading = [user for user in node.users if _reads(user, node)]
        sources = [] if node.name in norms else node.all_input_nodes
        around = [n for n in (*node.users, *sources) if n not in reading and not _is_size(n)]
        if not all(n.name in norms or _lets_through(n) for n in around):
            return None
        readers.update(dict.fromkeys(reading))
        stack += [n for n in around if n not in inside]
        inside.update(dict.fromkeys(around))
    return _Region(tuple(norms[node.name] for node in inside if node.name in norms), tuple(readers))


def _is_size(node: fx.Node) -> bool:
    return isinstance(node.meta.get("val"), (int, torch.SymInt))


def _reads(user: fx.Node, value: fx.Node) -> bool:
    """Whether a layer reads a value by channel, with a weight of its own."""
    if user.op != "call_function" or operation(user) not in _LAYERS:
        return False
    weight = argument(user, 1, "weight", None)
    if not isinstance(weight, fx.Node) or weight.op != "get_attr" or len(weight.users) > 1:
        return False
    return user.args[0] is value and len(_shape(value)) == len(_shape(weight))


def _shape(node: fx.Node) -> tuple[int, ...]:
    value = node.meta.get("val")
    return tuple(value.shape) if isinstance(value, Tensor) else ()


def _lets_through(node: fx.Node) -> bool:
    """Whether an operation gives c times as much for c times the input, and leaves channels in place."""
    if node.op != "call_function" or not node.args or not isinstance(node.args[0], fx.Node):
        return False
    name, given, found = operation(node), _shape(node.args[0]), _shape(node)
    if len(given) < 2 or found[:2] != given[:2]:
        return False
    if name in ("add", "add_"):
        other = node.args[1]
        return isinstance(other, fx.Node) and _shape(other) == given
    if name in ("pad", "constant_pad_nd"):
        value = argument(node, 3 if name == "pad" else 2, "value", None)
        return not value
    if name == "mean":
        dims = argument(node, 1, "dim", None)
        return isinstance(dims, (list, tuple)) and all(d % len(given) > 1 for d in dims)
    if name in _RESHAPES:
        return math.prod(given) == math.prod(given[:2]) == math.prod(found)
    return name in _HOMOGENEOUS


def _factor(scale: Tensor) -> Tensor:
    """The power of two that brings each scale to within 0.7 and 1.4."""
    return torch.exp2(-scale.clamp_min(_LEAST).log2().round())


def _move_gains(module: fx.GraphModule, region: _Region) -> None:
    gains = torch.stack([parameter(module, pair.gain).detach().double() for pair in region.writers])
    factor = _factor(gains.square().mean(0).sqrt()).float()
    for pair in region.writers:
        for name in (pair.gain, pair.shift):
            set_parameter(module, name, parameter(module, name).detach() * factor)
    for reader in region.readers:
        name = str(argument(reader, 1, "weight", None).target)
        weight = parameter(module, name).detach()
        groups = int(argument(reader, 6, "groups", 1)) if weight.ndim > 2 else 1
        by_group = factor.reshape(groups, -1).repeat_interleave(len(weight) // groups, 0)
        set_parameter(module, name, weight / by_group.reshape(*weight.shape[:2], *[1] * (weight.ndim - 2)))


def _scale_filters(module: fx.GraphModule, pair: FoldedNorm) -> None:
    weight = parameter(module, pair.weight).detach()
    norm = weight.flatten(1).norm(dim=1)
    factor = torch.where(norm > _LEAST, _factor(norm / _NORM), 1.0)
    set_parameter(module, pair.weight, weight * factor.reshape(-1, *[1] * (weight.ndim - 1)))
    if pair.own_bias:
        set_parameter(module, pair.bias, parameter(module, pair.bias).detach() * factor)
    variance = parameter(module, pair.variance)
    scaled = variance * factor.square()
    # the norm's epsilon does not scale along
    again = ((scaled + pair.epsilon) / (variance + pair.epsilon)).sqrt() / factor
    set_parameter(module, pair.mean, parameter(module, pair.mean) * factor)
    set_parameter(module, pair.variance, scaled)
    set_parameter(module, pair.gain, parameter(module, pair.gain).detach() * again)
