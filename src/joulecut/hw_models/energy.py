"""Joules and seconds of one layer on one device.

    energy = j_per_mac[class] x MACs + j_per_weight_byte x weight bytes x calls
           + j_per_activation_byte x (bytes read + bytes written) + j_per_layer x calls
    time   = energy / active power, or seconds per MAC x MACs where no active power is known
    static = idle power x time, a part of the energy above

Bytes count in the device's number type: a float32 layer on an int8 device moves one byte per element
(indices and masks, int32, int64 and bool, keep their size). Channels are padded to the device's step
only on the axes that the device really pads, and never where they are the network's own input or output.
A layer that has neither MACs nor bytes (a view) costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from joulecut.errors import UsageError
from joulecut.hw_models.spec import DeviceSpec, OpClass
from joulecut.workload.layer import DTYPE_BITS, LayerWork

__all__ = ["INSIDE_OTHERS", "NO_WORK", "LayerCost", "layer_cost", "op_class", "overhead_cost", "padded_work"]

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
        bound_by: the largest term: compute or cycles, weight bytes, activation bytes, layer overhead.
    """

    dynamic_j: float
    static_j: float
    duration_s: float
    bound_by: str

    @property
    def total_j(self) -> float:
        """Dynamic and static joules."""
        return self.dynamic_j + self.static_j


def op_class(layer: LayerWork) -> OpClass:
    """The class of operation that decides the price of a MAC.

    >>> op_class(LayerWork("c", "conv2d", "dense", 1, 1, 1, 1, (), (), weight_shape=(8, 4, 3, 3)))
    'conv'
    """
    if layer.kind == "depthwise":
        return "depthwise"
    kernel = layer.weight_shape[2:]
    if not kernel:
        return "linear"
    return "conv" if max(kernel) > 1 else "pointwise"


def padded_work(
    device: DeviceSpec, layer: LayerWork, in_channels: int | None = None, out_channels: int | None = None
) -> tuple[float, float, float]:
    """MACs, weight bytes (of one call) and activation bytes as the device sees them.

    Args:
        device: gives the number type and the padding.
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
    size = 1.0 if layer.dtype == device.dtype else _size_ratio(layer, device.dtype)
    if (n_in == had_in and n_out == had_out) or not had_in or not had_out:
        return float(layer.macs), layer.weight_bytes * size, (layer.in_bytes + layer.out_bytes) * size
    if n_in < 1 or n_out < 1:
        raise UsageError(f"{layer.path} cannot have {n_in} -> {n_out} channels.")
    share_in, share_out = n_in / had_in, n_out / had_out
    share = share_in * share_out if layer.kind == "dense" else share_out
    weights = (layer.weight_bytes - layer.bias_bytes) * share + layer.bias_bytes * share_out
    activations = layer.in_bytes * share_in + layer.out_bytes * share_out
    return layer.macs * share, weights * size, activations * size


def _size_ratio(layer: LayerWork, dtype: str) -> float:
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
    macs, weight_bytes, activation_bytes = padded_work(device, layer, in_channels, out_channels)
    weights_j = c.j_per_weight_byte * weight_bytes * layer.calls
    activations_j = c.j_per_activation_byte * activation_bytes
    macs_j = c.j_per_mac[op_class(layer)] * macs if macs else 0.0
    calls_j = c.j_per_layer * layer.calls if macs or activation_bytes else 0.0
    energy_j = macs_j + weights_j + activations_j + calls_j
    if energy_j == 0.0:
        return LayerCost(0.0, 0.0, 0.0, INSIDE_OTHERS if macs or activation_bytes else NO_WORK)
    largest = max(macs_j, weights_j, activations_j, calls_j)
    if largest == macs_j:
        bound_by = c.mac_bound
    elif largest == activations_j:
        bound_by = "activation bytes"
    else:
        bound_by = "weight bytes" if largest == weights_j else "layer overhead"
    duration_s = energy_j / c.active_w if c.active_w else c.s_per_mac * macs
    static_j = c.idle_w * duration_s
    return LayerCost(energy_j - static_j, static_j, duration_s, bound_by)


def overhead_cost(device: DeviceSpec) -> LayerCost:
    """The constant of one inference, whatever the network and the batch."""
    c = device.coefficients
    duration_s = c.j_per_inference / c.active_w if c.active_w else 0.0
    static_j = c.idle_w * duration_s
    return LayerCost(c.j_per_inference - static_j, static_j, duration_s, "overhead")
