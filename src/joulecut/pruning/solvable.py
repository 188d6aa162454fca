"""Layers that a refit can re-solve, and the rows of their least-squares problems.

A layer is solvable when its weight is a parameter that it alone reads: convolutions of any dimension and
grouping, and linear layers. One row is one output position of one sample; its columns are the inputs under
every tap of the kernel, and a constant when the layer has a bias.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

import torch
from torch import Tensor, fx

from joulecut.workload.trace import argument, operation

__all__ = [
    "Rows",
    "SolvableLayer",
    "columns",
    "in_parts",
    "sample_rows",
    "sampled_columns",
    "solvable_layers",
    "targets",
]

_CONVOLUTIONS: Final = frozenset({"conv1d", "conv2d", "conv3d"})
_KNEES: Final = {"relu": (0.0, None), "relu_": (0.0, None), "relu6": (0.0, 6.0)}


@dataclass(frozen=True, slots=True)
class SolvableLayer:
    """A layer whose weight can be re-solved.

    Attributes:
        node: name of its node.
        source: name of the node that it reads.
        weight: name of its weight.
        bias: name of its bias, or "".
        taps: kernel size by spatial dimension; () for a linear layer.
        stride, padding, dilation: by spatial dimension; padding is (before, after).
        groups: convolution groups; a depthwise layer has as many as it reads channels now.
        depthwise: one input channel a group.
        low, high: where the activation behind the layer saturates, None where it does not. Behind means: it
            alone reads the layer, or it alone reads the addition that alone reads the layer.
        sum_node: name of the addition that alone reads the layer, or "".
        other: the addition's other operand, or "".
    """

    node: str
    source: str
    weight: str
    bias: str
    taps: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int
    depthwise: bool
    low: float | None
    high: float | None
    sum_node: str
    other: str


@dataclass(frozen=True, slots=True)
class Rows:
    """Sampled rows: index of the sample, ascending, and of the flattened position; int64 [rows] each."""

    sample: Tensor
    position: Tensor

    def between(self, start: int, stop: int) -> Rows:
        """The rows of the samples from ``start`` to ``stop``, counted from there."""
        first, last = torch.searchsorted(self.sample, torch.tensor([start, stop])).tolist()
        return Rows(self.sample[first:last] - start, self.position[first:last])


def solvable_layers(module: fx.GraphModule) -> dict[str, SolvableLayer]:
    """Every solvable layer by node name, in the order of execution."""
    layers = (_layer(node) for node in module.graph.nodes if node.op == "call_function")
    return {layer.node: layer for layer in layers if layer is not None}


def _layer(node: fx.Node) -> SolvableLayer | None:
    name = operation(node)
    if name != "linear" and name not in _CONVOLUTIONS:
        return None
    source, weight = argument(node, 0, "input", None), argument(node, 1, "weight", None)
    bias = argument(node, 2, "bias", None)
    if not isinstance(source, fx.Node) or not _sole_parameter(weight):
        return None
    if bias is not None and not _sole_parameter(bias):
        return None
    taps: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    padding: tuple[tuple[int, int], ...] = ()
    if name != "linear":
        taps = tuple(weight.meta["val"].shape[2:])
        stride = _spread(argument(node, 3, "stride", 1), len(taps))
        dilation = _spread(argument(node, 5, "dilation", 1), len(taps))
        padding = _padding(argument(node, 4, "padding", 0), taps, dilation)
    sum_node, other = _sum(node)
    low, high = _knees(next(iter(node.users)) if sum_node else node)
    return SolvableLayer(
        node=node.name,
        source=source.name,
        weight=str(weight.target),
        bias=str(bias.target) if bias is not None else "",
        taps=taps,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=int(argument(node, 6, "groups", 1)) if taps else 1,
        depthwise=bool(taps) and weight.meta["val"].shape[1] == 1 and int(argument(node, 6, "groups", 1)) > 1,
        low=low,
        high=high,
        sum_node=sum_node,
        other=other,
    )


def _sole_parameter(node: object) -> TypeGuard[fx.Node]:
    return isinstance(node, fx.Node) and node.op == "get_attr" and len(node.users) == 1


def _spread(value: Any, dims: int) -> tuple[int, ...]:
    values = [value] if isinstance(value, int) else list(value)
    return tuple(int(v) for v in (values * dims if len(values) == 1 else values))


def _padding(value: Any, taps: Sequence[int], dilation: Sequence[int]) -> tuple[tuple[int, int], ...]:
    if value == "same":
        totals = [d * (k - 1) for k, d in zip(taps, dilation, strict=True)]
        return tuple((total // 2, total - total // 2) for total in totals)
    if value == "valid":
        return ((0, 0),) * len(taps)
    return tuple((p, p) for p in _spread(value, len(taps)))


def _knees(node: fx.Node) -> tuple[float | None, float | None]:
    if len(node.users) != 1:
        return None, None
    user = next(iter(node.users))
    if operation(user) in ("hardtanh", "hardtanh_"):
        low, high = argument(user, 1, "min_val", -1.0), argument(user, 2, "max_val", 1.0)
        return float(low), float(high)
    return _KNEES.get(operation(user), (None, None))


def _sum(node: fx.Node) -> tuple[str, str]:
    if len(node.users) != 1:
        return "", ""
    user = next(iter(node.users))
    operands = user.args[:2]
    if operation(user) not in ("add", "add_") or user.kwargs.get("alpha", 1) != 1 or len(operands) != 2:
        return "", ""
    other = operands[1] if operands[0] is node else operands[0]
    if not isinstance(other, fx.Node) or other is node or _shape(other) != _shape(node):
        return "", ""
    return (user.name, other.name) if _depends_on_input(other) else ("", "")


def _depends_on_input(node: fx.Node) -> bool:
    """Whether a value is computed from the network's input; one that is not has no row for each sample."""
    seen, stack = {node}, [node]
    while stack:
        for read in stack.pop().all_input_nodes:
            if read not in seen:
                seen.add(read)
                stack.append(read)
    return any(found.op == "placeholder" for found in seen)


def _shape(node: fx.Node) -> tuple[int, ...]:
    value = node.meta.get("val")
    return tuple(value.shape) if isinstance(value, Tensor) else ()


def sample_rows(shape: Sequence[int], linear: bool, cap: int) -> Rows:
    """Choose at most ``cap`` rows of an output of this shape.

    The choice depends on the numbers of samples and positions alone, so that a layer and the sum behind it
    share their rows.
    """
    samples = shape[0]
    positions = _prod(shape[1:-1] if linear else shape[2:])
    total = samples * positions
    if total <= cap:
        chosen = torch.arange(total)
    else:
        generator = torch.Generator().manual_seed(total)
        chosen = torch.randperm(total, generator=generator)[:cap].sort().values
    return Rows(chosen // positions, chosen % positions)


def _prod(sizes: Sequence[int]) -> int:
    product = 1
    for size in sizes:
        product *= int(size)
    return product


def in_parts(parts: Sequence[Tensor], rows: Rows) -> Iterator[tuple[Tensor, Rows]]:
    """Each part of a value with its rows, in the order of the rows (which are sorted by sample)."""
    first = 0
    for part in parts:
        yield part, rows.between(first, first + len(part))
        first += len(part)


def targets(value: Tensor, rows: Rows, linear: bool) -> Tensor:
    """Rows of a layer's output: float [rows, channels]."""
    if linear:
        return value.reshape(value.shape[0], -1, value.shape[-1])[rows.sample, rows.position]
    coordinates = _coordinates(rows.position, value.shape[2:])
    return value.movedim(1, -1)[(rows.sample, *coordinates)]


def columns(layer: SolvableLayer, value: Tensor, output: Sequence[int], rows: Rows) -> Tensor:
    """Rows of the inputs of a layer.

    Args:
        layer: which layer.
        value: what it reads.
        output: spatial shape of what it writes; unused for a linear layer.
        rows: which rows.

    Returns:
        Float [groups, rows, channels in a group x taps (+ 1)], channel-major; the last column is the
        constant 1 when the layer has a bias.
    """
    if not layer.taps:
        picked = value.reshape(value.shape[0], -1, value.shape[-1])[rows.sample, rows.position]
        x = picked[None]
    else:
        x = _taps(layer, value, output, rows)
    if layer.bias:
        x = torch.cat([x, torch.ones(*x.shape[:2], 1)], 2)
    return x


def sampled_columns(
    layer: SolvableLayer, parts: Sequence[Tensor], output: Sequence[int], most: int
) -> Tensor:
    """At most so many rows of the inputs of a layer, of samples in parts: as ``columns`` gives them."""
    read = parts[0].shape
    shape = (sum(map(len, parts)), *((1, *output) if layer.taps else (*read[1:-1], 1)))
    picked = in_parts(parts, sample_rows(shape, not layer.taps, most))
    return torch.cat([columns(layer, value, output, rows) for value, rows in picked], 1)


def _taps(layer: SolvableLayer, value: Tensor, output: Sequence[int], rows: Rows) -> Tensor:
    pads = [p for pair in reversed(layer.padding) for p in pair]
    padded = (torch.nn.functional.pad(value, pads) if any(pads) else value).movedim(1, -1)
    corners = [c * s for c, s in zip(_coordinates(rows.position, output), layer.stride, strict=True)]
    picked = [
        padded[(rows.sample, *(c + o * d for c, o, d in zip(corners, offsets, layer.dilation, strict=True)))]
        for offsets in itertools.product(*(range(k) for k in layer.taps))
    ]
    stacked = torch.stack(picked, 2)  # rows, channels, taps
    count, channels, taps = stacked.shape
    groups = channels if layer.depthwise else layer.groups
    return stacked.reshape(count, groups, channels // groups * taps).transpose(0, 1)


def _coordinates(position: Tensor, spatial: Sequence[int]) -> list[Tensor]:
    out: list[Tensor] = []
    for size in reversed(list(spatial)):
        out.append(position % size)
        position = position // size
    return out[::-1]
