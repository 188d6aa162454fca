"""Records of what a network does, whatever it runs on: ``LayerWork`` and ``Workload``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

__all__ = ["DTYPE_BITS", "Kind", "LayerWork", "Uncounted", "Workload"]

Kind = Literal["dense", "depthwise", "elementwise", "data_movement"]

DTYPE_BITS: Final[dict[str, int]] = {
    "float64": 64, "float32": 32, "float16": 16, "bfloat16": 16, "int64": 64, "int32": 32, "int16": 16,
    "int8": 8, "uint8": 8, "int4": 4, "bool": 8, "uint4": 4, "uint16": 16, "uint32": 32, "uint64": 64,
    "float8_e4m3fn": 8, "float8_e5m2": 8, "complex64": 64,
    "float8_e4m3fnuz": 8, "float8_e5m2fnuz": 8, "float8_e8m0": 8, "float4_e2m1": 4, "int2": 2, "uint2": 2,
    "complex128": 128,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class LayerWork:
    """The work of one layer in one inference (the whole batch).

    A layer that is called several times is one record: ``macs``, ``in_bytes`` and ``out_bytes`` are
    summed over its calls, ``weight_bytes`` is what is stored once.

    Attributes:
        path: dotted module path; functional operations carry their caller's path and their name.
        op: the operation, as ``conv2d``, ``linear``, ``add``.
        kind: dense, depthwise, elementwise or data_movement.
        macs: multiply-accumulate operations.
        weight_bytes: bytes of weights and bias.
        in_bytes: bytes of activations read.
        out_bytes: bytes of activations written.
        in_shape: shape of the first activation read, batch included.
        out_shape: shape of the activation written, batch included.
        weight_shape: shape of the weight, or () without one.
        in_channels: channels read (features of a linear layer); 0 where there is no such axis.
        out_channels: channels written.
        groups: convolution groups.
        dtype: type of weights and activations, a key of ``DTYPE_BITS``.
        calls: how often the layer runs in one inference.
        bias_bytes: the part of ``weight_bytes`` that is bias.
        reads_input: its channels in are the network's own input (never padded, never pruned).
        writes_output: its channels out are the network's own output.
    """

    path: str
    op: str
    kind: Kind
    macs: int
    weight_bytes: int
    in_bytes: int
    out_bytes: int
    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    weight_shape: tuple[int, ...] = ()
    in_channels: int = 0
    out_channels: int = 0
    groups: int = 1
    dtype: str = "float32"
    calls: int = 1
    bias_bytes: int = 0
    reads_input: bool = False
    writes_output: bool = False

    def resized(self, in_channels: int, out_channels: int) -> LayerWork:
        """The same layer with other channel counts.

        MACs and weights of a dense layer go with both counts, those of a depthwise one with the
        channels out; activations go with their own count. Layers without channels are returned as is.

        Raises:
            ValueError: a count below 1.
        """
        if in_channels < 1 or out_channels < 1:
            raise ValueError(f"{self.path}: {in_channels} -> {out_channels} channels")
        if not self.in_channels or not self.out_channels:
            return self
        share_in = in_channels / self.in_channels
        share_out = out_channels / self.out_channels
        share = share_in * share_out if self.kind == "dense" else share_out
        bias = round(self.bias_bytes * share_out)
        return replace(
            self,
            macs=round(self.macs * share),
            weight_bytes=round((self.weight_bytes - self.bias_bytes) * share) + bias,
            bias_bytes=bias,
            in_bytes=round(self.in_bytes * share_in),
            out_bytes=round(self.out_bytes * share_out),
            in_channels=in_channels,
            out_channels=out_channels,
            groups=in_channels if self.kind == "depthwise" else self.groups,
        )


@dataclass(frozen=True, slots=True)
class Uncounted:
    """An operation whose arithmetic no rule counts; its bytes are counted where they are known."""

    op: str
    path: str
    calls: int
    reason: str


@dataclass(frozen=True, slots=True)
class Workload:
    """Everything a network does in one inference of ``batch`` samples.

    Attributes:
        name: name of the network.
        layers: in the order of execution.
        uncounted: what no rule counts; never silently 0.
        batch: samples in one inference.
        input_shapes: shapes of the inputs, batch included.
        parameters: number of parameters, whatever their type.
    """

    name: str
    layers: tuple[LayerWork, ...]
    uncounted: tuple[Uncounted, ...] = ()
    batch: int = 1
    input_shapes: tuple[tuple[int, ...], ...] = ()
    parameters: int = 0

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations of the whole network."""
        return sum(layer.macs for layer in self.layers)

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights and biases that layers read."""
        return sum(layer.weight_bytes for layer in self.layers)
