"""Bytes that cross the edge of the chip: a closed form of the best tiling of one layer.

Let W, I and O be the bytes of a layer's weights, of what it reads and of what it writes, and S the memory on
the chip. A layer that fits is read and written once. One that does not is tiled, whichever is cheapest of

- weights outer: groups of output channels, each with a band of the input's rows; the input is read n times;
- inputs outer: bands of rows, each with the weights streamed past; the weights are read n times, the rows
  that neighbouring bands share (the halo) twice;
- spilled: groups of input channels, whose n partial sums leave the chip and come back, W + I + (2 n - 1) O;
- nothing kept: each row of the output streams all weights and its window of the input, which always works.

Every formula is non-decreasing in W, I and O and non-increasing in S, and so is the least of them. The loop
orders are those of Chen et al., "Eyeriss", JSSC 52(1), 2017, doi 10.1109/JSSC.2016.2616357; nothing is kept
on the chip between layers.
"""

from __future__ import annotations

import math
import sys
from typing import Final, NamedTuple

from joulecut.workload.layer import LayerWork

__all__ = ["ROUNDING", "ChannelSplit", "LayerShape", "layer_shape", "offchip_bytes", "tiled_bytes"]

ROUNDING: Final = 1 - 1e-9
"""What exceeds the room by less than a billionth fits: sizes that meet to the byte must not split once more
because they were rounded in another order."""


class ChannelSplit(NamedTuple):
    """Into how many parts channels can be split: one for so many ``channels``, never under ``least``.

    >>> ChannelSplit(1, 4).of(9)
    2
    """

    least: int
    channels: int

    def of(self, channels: int) -> int:
        """The most parts that these channels can be split into."""
        return max(channels // self.channels, self.least)


class LayerShape(NamedTuple):
    """What decides the tilings of a layer besides its bytes and the memory.

    Attributes:
        calls: calls in one inference.
        covered: share of the input that its kernel ever covers.
        rows: rows of the input and of the output.
        kernel_rows: rows of the kernel.
        splits: of the channels read (of one group) and of those written, along which weights can be split.
    """

    calls: int
    covered: float
    rows: tuple[int, int]
    kernel_rows: int
    splits: tuple[ChannelSplit, ChannelSplit]

    def offchip_bytes(
        self,
        weight_bytes: float,
        in_bytes: float,
        out_bytes: float,
        onchip_bytes: float,
        channels: tuple[int, int],
    ) -> float:
        """Bytes over the edge of the chip in all calls; arguments as of the function ``offchip_bytes``."""
        calls, covered, rows, kernel_rows, (split_in, split_out) = self
        reads, writes = in_bytes * covered / calls, out_bytes / calls
        if (once := weight_bytes + reads + writes) <= onchip_bytes:  # without a look at its splits
            return once * calls
        channels = split_in.of(channels[0]), split_out.of(channels[1])
        once = tiled_bytes(
            weight_bytes, reads, writes, onchip_bytes, rows=rows, kernel_rows=kernel_rows, channels=channels
        )
        return once * calls


def layer_shape(layer: LayerWork) -> LayerShape:
    """The shape of a layer's tilings: worked out once, whatever its bytes are later."""
    return LayerShape(
        calls=layer.calls,
        covered=_under_kernel(layer),
        rows=(_rows(layer.in_shape), _rows(layer.out_shape)),
        kernel_rows=layer.weight_shape[2] if len(layer.weight_shape) > 2 else 1,
        splits=_splits(layer),
    )


def _splits(layer: LayerWork) -> tuple[ChannelSplit, ChannelSplit]:
    """Splits at any channels: with them where ``LayerWork.resized`` changes them, and otherwise the same."""
    never = sys.maxsize
    if not layer.in_channels or not layer.out_channels:
        own = max(layer.in_channels // layer.groups, 1), max(layer.out_channels, 1)
        return ChannelSplit(own[0], never), ChannelSplit(own[1], never)
    return ChannelSplit(1, never if layer.kind == "depthwise" else layer.groups), ChannelSplit(1, 1)


def offchip_bytes(
    layer: LayerWork,
    weight_bytes: float,
    in_bytes: float,
    out_bytes: float,
    onchip_bytes: float,
    channels: tuple[int, int] | None = None,
) -> float:
    """Bytes that a layer moves over the edge of the chip in all its calls.

    Args:
        layer: gives the shapes and the number of calls.
        weight_bytes: its weights as the device holds them, of one call.
        in_bytes: what it reads, all calls together.
        out_bytes: what it writes, all calls together.
        onchip_bytes: memory on the chip.
        channels: channels in and out that the bytes are of; those of the layer by default.
    """
    found = channels or (layer.in_channels, layer.out_channels)
    return layer_shape(layer).offchip_bytes(weight_bytes, in_bytes, out_bytes, onchip_bytes, found)


def _under_kernel(layer: LayerWork) -> float:
    """Share of the input that the kernel of a strided convolution ever covers; the rest is never read."""
    if len(layer.weight_shape) != 4 or len(layer.in_shape) != 4 or len(layer.out_shape) != 4:
        return 1.0
    share = 1.0
    for kernel, wide, out in zip(
        layer.weight_shape[2:], layer.in_shape[2:], layer.out_shape[2:], strict=True
    ):
        share *= min(kernel * out / max(wide, 1), 1.0)
    return share


def _rows(shape: tuple[int, ...]) -> int:
    """Rows of an activation (N, C, H, ...), of all samples; tokens of one that is (N, ..., features)."""
    if len(shape) < 3:
        return max(shape[0], 1) if shape else 1
    return max(shape[0] * (shape[2] if len(shape) > 3 else shape[1]), 1)


def tiled_bytes(
    weights: float,
    reads: float,
    writes: float,
    onchip: float,
    *,
    rows: tuple[int, int],
    kernel_rows: int = 1,
    channels: tuple[int, int] = (1, 1),
) -> float:
    """Bytes of one layer over the edge of the chip.

    Args:
        weights: bytes of weights.
        reads: bytes of the input.
        writes: bytes of the output.
        onchip: bytes of memory on the chip.
        rows: rows of the input and of the output.
        kernel_rows: rows of the kernel.
        channels: channels read (of one group) and written, along which weights can be split.

    >>> tiled_bytes(100, 50, 50, 200, rows=(10, 10))
    200.0
    >>> tiled_bytes(100, 50, 50, 60, rows=(10, 10), channels=(1, 10))  # weights in 2 halves, the input twice
    250.0
    """
    once = weights + reads + writes
    if once <= onchip:
        return float(once)
    (rows_in, rows_out), (channels_in, channels_out) = rows, channels
    row_out = writes / rows_out
    window = kernel_rows * reads / rows_in
    found = [rows_out * weights + kernel_rows * reads + writes]
    if (n := _parts(weights, onchip - window - row_out)) <= channels_out:
        found.append(weights + n * reads + writes)
    halo = max(kernel_rows - max(rows_in / rows_out, 1.0), 0.0) * reads / rows_in
    if (n := _parts(reads + writes, onchip - weights / channels_out - halo)) <= rows_out:
        found.append(n * weights + reads + (n - 1) * halo + writes)
    if (n := _parts(weights + window, onchip - row_out)) <= channels_in:
        found.append(weights + reads + (2 * n - 1) * writes)
    return float(max(min(found), once))


def _parts(size: float, room: float) -> float:
    """Into how many parts something must be split to fit."""
    return math.ceil(size / room * ROUNDING) if room > 0 else math.inf
