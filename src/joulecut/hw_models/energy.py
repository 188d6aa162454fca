"""Joules and seconds of one layer on one device.

    energy = j_per_mac (dense or depthwise) x MACs + j_per_weight_byte x weight bytes x calls
           + j_per_activation_byte (j_per_elementwise_byte without MACs) x (bytes read + bytes written)
           + j_per_offchip_byte x bytes of the best tiling + j_per_layer x calls
    time   = energy / active power, or s_per_mac x MACs + s_per_layer x calls where none is known
    static = idle power x time, a part of the energy above

Bytes count in the device's number type: a float32 layer on an int8 device moves one byte per element
(indices and masks, int32, int64 and bool, keep their size). Channels are padded to the device's step
only on the axes that the device really pads, and never where they are the network's own input or output.
Zeros cost what other values cost: no device whose data is published here skips them. A layer that has
neither MACs nor bytes (a view) costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from joulecut.errors import UsageError
from joulecut.hw_models.spec import DeviceSpec
from joulecut.hw_models.traffic import offchip_bytes
from joulecut.workload.layer import DTYPE_BITS, LayerWork

__all__ = [
    "INSIDE_OTHERS",
    "NO_WORK",
    "LayerCost",
    "SeenWork",
    "layer_cost",
    "overhead_cost",
    "padded_work",
    "size_ratio",
]

INSIDE_OTHERS: Final = "inside other layers' MACs"
"""``bound_by`` of a layer that the device's data does not price apart from the layers with MACs."""
NO_WORK: Final = "no work"
_KEEP_SIZE: Final = frozenset({"int32", "int64", "bool"})


@dataclass(frozen=True, slots=True)
class LayerCost:
    """Cost of one layer for the whole batch, all calls together.

    Attributes:
        dynamic_j: joules beyond the static part.
        static_j: idle power x time.
        duration_s: seconds; 0 where the device has no time.
        bound_by: the largest term: compute or cycles, weight, activation or off-chip bytes, layer overhead.
    """

    dynamic_j: float
    static_j: float
    duration_s: float
    bound_by: str

    @property
    def total_j(self) -> float:
        """Dynamic and static joules."""
        return self.dynamic_j + self.static_j


class SeenWork(NamedTuple):
    """A layer's work as a device sees it: padded, in the device's number type.

    ``weight_bytes`` are those of one call, the rest is of all calls together; ``offchip_bytes`` is 0 where
    the device has no price for it.
    """

    macs: float
    weight_bytes: float
    activation_bytes: float
    offchip_bytes: float


def padded_work(
    device: DeviceSpec, layer: LayerWork, in_channels: int | None = None, out_channels: int | None = None
) -> SeenWork:
    """A layer's work as the device sees it.

    Args:
        device: gives the number type, the padding and the memory on the chip.
        layer: work of the layer as it is.
        in_channels: other channels in than the layer has, or None.
        out_channels: other channels out.

    Raises:
        UsageError: a number type that joulecut does not know, or a channel count below 1.
    """
    had_in, had_out = layer.in_channels, layer.out_channels
    n_in = had_in if in_channels is None else in_channels
    n_out = had_out if out_channels is None else out_channels
    if device.pads:
        step = device.channel_step
        if "in" in device.pads and not layer.reads_input:
            n_in = -(-n_in // step) * step
        if "out" in device.pads and not layer.writes_output:
            n_out = -(-n_out // step) * step
    size = 1.0 if layer.dtype == device.dtype else size_ratio(layer, device.dtype)
    if (n_in == had_in and n_out == had_out) or not had_in or not had_out:
        macs: float = layer.macs
        weights: float = layer.weight_bytes
        reads: float = layer.in_bytes
        writes: float = layer.out_bytes
    elif n_in < 1 or n_out < 1:
        raise UsageError(f"{layer.path} cannot have {n_in} -> {n_out} channels.")
    else:
        share_in, share_out = n_in / had_in, n_out / had_out
        share = share_in * share_out if layer.kind == "dense" else share_out
        macs = layer.macs * share
        weights = (layer.weight_bytes - layer.bias_bytes) * share + layer.bias_bytes * share_out
        reads, writes = layer.in_bytes * share_in, layer.out_bytes * share_out
    crossing, onchip = 0.0, device.coefficients.onchip_bytes
    if onchip:
        crossing = offchip_bytes(layer, weights * size, reads * size, writes * size, onchip, (n_in, n_out))
    return SeenWork(float(macs), weights * size, (reads + writes) * size, crossing)


def size_ratio(layer: LayerWork, dtype: str) -> float:
    """Bytes on a device of type ``dtype`` of one byte of a layer's; indices and masks keep their size."""
    if layer.dtype in _KEEP_SIZE:
        return 1.0
    if layer.dtype not in DTYPE_BITS:
        raise UsageError(f"{layer.path} has the number type {layer.dtype!r}, which joulecut does not know.")
    return DTYPE_BITS[dtype] / DTYPE_BITS[layer.dtype]


def layer_cost(
    device: DeviceSpec, layer: LayerWork, in_channels: int | None = None, out_channels: int | None = None
) -> LayerCost:
    """Cost of a layer, as it is or with other channel counts (as ``LayerWork.resized`` counts them).

    Args:
        device: what it runs on.
        layer: its work for the whole batch.
        in_channels: channels in, when they differ from the layer's own.
        out_channels: channels out.

    Raises:
        UsageError: a number type that joulecut does not know, or a channel count below 1.

    >>> from joulecut.hw_models.catalogue import device
    >>> fc = LayerWork("fc", "linear", "dense", 32, 128, 16, 32, (1, 4), (1, 8), (8, 4), 4, 8)
    >>> layer_cost(device("reference/edge/float32"), fc).dynamic_j * 1e12  # 32 x 4 + 176 x 20
    3648.0
    """
    c = device.coefficients
    macs, weight_bytes, activation_bytes, crossing = padded_work(device, layer, in_channels, out_channels)
    weights_j = c.j_per_weight_byte * weight_bytes * layer.calls
    macs_j = (c.j_per_mac_depthwise if layer.kind == "depthwise" else c.j_per_mac_dense) * macs
    activations_j = (c.j_per_activation_byte if layer.macs else c.j_per_elementwise_byte) * activation_bytes
    calls_j = c.j_per_layer * layer.calls if macs or activation_bytes else 0.0
    crossing_j = c.j_per_offchip_byte * crossing
    energy_j = macs_j + weights_j + activations_j + calls_j + crossing_j
    if energy_j == 0.0:
        return LayerCost(0.0, 0.0, 0.0, INSIDE_OTHERS if macs or activation_bytes else NO_WORK)
    largest = max(macs_j, weights_j, activations_j, calls_j, crossing_j)
    if largest == macs_j:
        bound_by = c.mac_bound
    elif largest == activations_j:
        bound_by = "activation bytes"
    elif largest == crossing_j:
        bound_by = "off-chip bytes"
    else:
        bound_by = "weight bytes" if largest == weights_j else "layer overhead"
    if c.active_w:
        duration_s = energy_j / c.active_w
    else:
        duration_s = c.s_per_mac * macs + (c.s_per_layer * layer.calls if macs or activation_bytes else 0.0)
    static_j = c.idle_w * duration_s
    return LayerCost(energy_j - static_j, static_j, duration_s, bound_by)


def overhead_cost(device: DeviceSpec) -> LayerCost:
    """The constant of one inference, whatever the network and the batch."""
    c = device.coefficients
    duration_s = c.j_per_inference / c.active_w if c.active_w else 0.0
    static_j = c.idle_w * duration_s
    return LayerCost(c.j_per_inference - static_j, static_j, duration_s, "overhead")
