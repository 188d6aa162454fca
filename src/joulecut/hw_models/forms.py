"""The energy of a layer as a function of its channels: a form with constant coefficients.

For one layer on one device everything but the channels is constant, and ``energy.layer_cost`` is

    energy = fixed + pair x N_in x N_out + out x N_out + read x bytes read (+ price x bytes off the chip)

with N the channels padded to the device's step where it pads. The coefficients are worked out once, so that a
pruner that changes widths thousands of times pays for a few products only. The same form in neighbouring
channel counts, fitted to measurements, is in Yang et al., "ECC", CVPR 2019, arXiv:1812.01803.
"""

from __future__ import annotations

from typing import NamedTuple

from joulecut.errors import UsageError
from joulecut.hw_models.energy import size_ratio
from joulecut.hw_models.spec import DeviceSpec
from joulecut.hw_models.traffic import LayerShape, layer_shape
from joulecut.workload.layer import LayerWork

__all__ = ["ChannelBytes", "EnergyForm", "energy_form"]


class ChannelBytes(NamedTuple):
    """Bytes as a function of the padded channels: ``fixed + pair x N_in x N_out + out x N_out``."""

    fixed: float
    pair: float
    out: float

    def at(self, n_in: float, n_out: float) -> float:
        """The bytes at these padded counts."""
        return self.fixed + self.pair * n_in * n_out + self.out * n_out


class EnergyForm(NamedTuple):
    """Coefficients of one layer on one device, static part included.

    Attributes:
        layer: the layer that they belong to.
        fixed_j: joules that no channel changes.
        pair_j: joules of a channel in times a channel out.
        out_j: joules of a channel out.
        read_j: joules of a byte read, in the layer's own number type.
        fixed_read: bytes read that no channel changes.
        channel_read: bytes read of a channel in.
        step_in: channels in are padded to multiples of it; 1 where they are not.
        step_out: channels out, likewise.
        offchip_j: joules of a byte over the edge of the chip; 0 where that has no price.
        shape: shape of its tilings; None where they have no price.
        onchip_bytes: memory on the chip.
        size: bytes on the device of a byte of the layer's number type.
        weights: bytes of weights of one call, in the layer's number type.
        writes: bytes written, likewise.
    """

    layer: LayerWork
    fixed_j: float
    pair_j: float
    out_j: float
    read_j: float
    fixed_read: float
    channel_read: float
    step_in: int
    step_out: int
    offchip_j: float
    shape: LayerShape | None
    onchip_bytes: float
    size: float
    weights: ChannelBytes
    writes: ChannelBytes

    def at(self, in_channels: int, out_channels: int, read_bytes: float | None = None) -> float:
        """Joules of the layer with these channels (as ``layer_cost`` counts them).

        Args:
            in_channels: channels read, at least 1 where the layer has such an axis.
            out_channels: channels written.
            read_bytes: bytes read, where they are not those of the channels in (of several operands).

        Raises:
            UsageError: a count below 1.
        """
        if (in_channels < 1 or out_channels < 1) and (self.channel_read or self.out_j or self.pair_j):
            raise UsageError(f"{self.layer.path} cannot have {in_channels} -> {out_channels} channels.")
        n_in = -(-in_channels // self.step_in) * self.step_in
        n_out = -(-out_channels // self.step_out) * self.step_out
        if read_bytes is None:
            reads = self.fixed_read + self.channel_read * n_in
        else:
            reads = read_bytes if n_in == in_channels else read_bytes * n_in / in_channels
        energy_j = self.fixed_j + (self.pair_j * n_in + self.out_j) * n_out + self.read_j * reads
        if self.shape is None:
            return energy_j
        size = self.size
        crossing = self.shape.offchip_bytes(
            self.weights.at(n_in, n_out) * size,
            reads * size,
            self.writes.at(n_in, n_out) * size,
            self.onchip_bytes,
            (n_in, n_out),
        )
        return energy_j + self.offchip_j * crossing


def energy_form(device: DeviceSpec, layer: LayerWork) -> EnergyForm:
    """The form of a layer's energy on a device.

    Raises:
        UsageError: a number type that joulecut does not know.

    >>> from joulecut.hw_models.catalogue import device
    >>> fc = LayerWork("fc", "linear", "dense", 32, 128, 16, 32, (1, 4), (1, 8), (8, 4), 4, 8)
    >>> form = energy_form(device("reference/edge/float32"), fc)
    >>> round(form.at(4, 8) * 1e12), round(form.at(4, 4) * 1e12)  # 16 x 4 + (64 + 16 + 16) x 20
    (3648, 1984)
    """
    c, size = device.coefficients, size_ratio(layer, device.dtype)
    n_in, n_out = (
        (layer.in_channels, layer.out_channels) if layer.in_channels and layer.out_channels else (0, 0)
    )
    macs = _by_channels(layer, layer.macs, n_in, n_out)
    weights = _by_channels(layer, layer.weight_bytes - layer.bias_bytes, n_in, n_out, beside=layer.bias_bytes)
    writes = (
        ChannelBytes(0.0, 0.0, layer.out_bytes / n_out) if n_out else ChannelBytes(layer.out_bytes, 0.0, 0.0)
    )
    mac_j = c.j_per_mac_depthwise if layer.kind == "depthwise" else c.j_per_mac_dense
    weight_j = c.j_per_weight_byte * size * layer.calls
    moved_j = (c.j_per_activation_byte if layer.macs else c.j_per_elementwise_byte) * size
    fixed_j, pair_j, out_j = (
        mac_j * m + weight_j * w + moved_j * o for m, w, o in zip(macs, weights, writes, strict=True)
    )
    works = layer.macs or layer.in_bytes + layer.out_bytes
    offchip_j = c.j_per_offchip_byte if c.onchip_bytes else 0.0
    return EnergyForm(
        layer=layer,
        fixed_j=fixed_j + (c.j_per_layer * layer.calls if works else 0.0),
        pair_j=pair_j,
        out_j=out_j,
        read_j=moved_j,
        fixed_read=0.0 if n_in else layer.in_bytes,
        channel_read=layer.in_bytes / n_in if n_in else 0.0,
        step_in=device.channel_step if "in" in device.pads and not layer.reads_input else 1,
        step_out=device.channel_step if "out" in device.pads and not layer.writes_output else 1,
        offchip_j=offchip_j,
        shape=layer_shape(layer) if offchip_j else None,
        onchip_bytes=c.onchip_bytes,
        size=size,
        weights=weights,
        writes=writes,
    )


def _by_channels(
    layer: LayerWork, whole: float, n_in: int, n_out: int, *, beside: float = 0.0
) -> ChannelBytes:
    """What goes with both counts in a dense layer, with the channels out in others; ``beside`` always so."""
    if not n_in:
        return ChannelBytes(whole + beside, 0.0, 0.0)
    if layer.kind == "dense":
        return ChannelBytes(0.0, whole / (n_in * n_out), beside / n_out)
    return ChannelBytes(0.0, 0.0, (whole + beside) / n_out)
