"""Joules of a layer with zero weights: what the device file declares for them, and otherwise nothing.

Zeros cost what other values cost, unless an entry ``[[sparsity]]`` of the device file (see ``sparsity_file``)
holds for the layer's operation, the device's number type, the layer's shape and the pattern of the zeros. The
first entry that holds prices the layer. With z the share of zeros, an entry of kind

- ``nm`` multiplies energy and time of the MACs by ``mac_scale``, the bytes of the weights by
  ``weight_bytes_scale``;
- ``gate`` takes z x ``mac_energy_saved`` off the switched energy of the MACs and z x ``time_saved`` off their
  time, which the static energy follows;
- ``block`` does the same, and stores the kept weights at ``bits_per_nonzero`` where that is known;
- ``compressed`` stores the weights that are not zero, at ``bits_per_nonzero``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final, Literal

from joulecut.errors import UsageError
from joulecut.hw_models.energy import LayerCost, layer_cost
from joulecut.hw_models.spec import DeviceSpec, SparsitySupport
from joulecut.units import format_percent, format_quantity
from joulecut.workload.layer import DTYPE_BITS, LayerWork

__all__ = ["UNSTRUCTURED", "SparsePrice", "WeightPattern", "Zeros", "parse_pattern", "sparse_price"]

_PATTERN: Final = re.compile(r"(\d{1,4})(:|x)(\d{1,4})")


@dataclass(frozen=True, slots=True)
class WeightPattern:
    """Where zeros may stand in the weights of a layer.

    Attributes:
        kind: ``unstructured``; ``nm``: at most n of m consecutive inputs are not zero; ``block``: whole
            blocks of outputs x inputs are zero.
        size: (n, m), or outputs and inputs of a block; (1, 1) where any weight may be zero.
    """

    kind: Literal["unstructured", "nm", "block"]
    size: tuple[int, int] = (1, 1)

    def __str__(self) -> str:
        first, second = self.size
        return {"nm": f"{first}:{second}", "block": f"{first}x{second}"}.get(self.kind, self.kind)


UNSTRUCTURED: Final = WeightPattern("unstructured")


def parse_pattern(text: str) -> WeightPattern:
    """A pattern as users write it.

    Raises:
        UsageError: neither ``2:4`` nor ``4x1`` nor ``unstructured``.

    >>> parse_pattern("2:4"), str(parse_pattern("4x1"))
    (WeightPattern(kind='nm', size=(2, 4)), '4x1')
    """
    if text == UNSTRUCTURED.kind:
        return UNSTRUCTURED
    match = _PATTERN.fullmatch(text)
    size = (int(match[1]), int(match[3])) if match else (0, 0)
    nm = match is not None and match[2] == ":"
    if min(size) < 1 or (nm and size[0] >= size[1]) or (not nm and size == (1, 1)):
        raise UsageError(
            f"{text[:40]!r} is no pattern of zeros.",
            hint="Write 2:4 (two of four inputs stay), 4x1 (blocks of four outputs) or unstructured.",
        )
    return WeightPattern("nm" if nm else "block", size)


@dataclass(frozen=True, slots=True)
class Zeros:
    """Zero weights of a layer: their pattern, and their share of its weights, biases aside, 0 to 1."""

    pattern: WeightPattern
    share: float


@dataclass(frozen=True, slots=True)
class SparsePrice:
    """What a layer costs with zeros.

    Attributes:
        cost: its cost.
        dense: its cost without them.
        support: the entry that prices it, or None.
        reason: why the zeros save nothing; "" where they do.
    """

    cost: LayerCost
    dense: LayerCost
    support: SparsitySupport | None
    reason: str = ""

    @property
    def saved_j(self) -> float:
        """Joules that the zeros save, 0 or more."""
        return self.dense.total_j - self.cost.total_j

    @property
    def told(self) -> str:
        """The saving in words."""
        return f"0 J: {self.reason}" if self.reason else format_quantity(self.saved_j, "J")


def sparse_price(device: DeviceSpec, layer: LayerWork, zeros: Zeros) -> SparsePrice:
    """The cost of a layer with zero weights.

    Args:
        device: what it runs on.
        layer: its work for the whole batch, as if dense.
        zeros: its zero weights.

    Returns:
        The price of the first entry of the device's that holds, or the dense price with the reason.

    >>> from joulecut.hw_models.catalogue import device
    >>> fc = LayerWork("fc", "linear", "dense", 32, 128, 16, 32, (1, 4), (1, 8), (8, 4), 4, 8)
    >>> sparse_price(device("reference/edge/float32"), fc, Zeros(UNSTRUCTURED, 0.9)).reason
    'no zero-skipping for linear/float32 on this device'
    """
    dense = layer_cost(device, layer)
    if not zeros.share:
        return SparsePrice(dense, dense, None, "no weight is zero")
    reason = f"no zero-skipping for {layer.op}/{device.dtype} on this device"
    for entry in (each for each in device.sparsity if layer.op in each.ops and device.dtype in each.dtypes):
        reason = _problem(entry, device.dtype, layer, zeros.pattern)
        if not reason:
            cost = _cost(device, layer, dense, entry, zeros.share)
            if cost.total_j < dense.total_j:
                return SparsePrice(cost, dense, entry)
            reason = f"{format_percent(zeros.share)} zeros are too few to save anything on this device"
            break
    return SparsePrice(dense, dense, None, reason)


def _problem(entry: SparsitySupport, dtype: str, layer: LayerWork, pattern: WeightPattern) -> str:
    """Why an entry for its operation and number type does not price a layer's zeros; "" where it does."""
    if entry.operand == "activation":
        return f"this device skips {entry.zeros} of {layer.op}/{dtype}, not zero weights"
    if not _fits(entry, pattern):
        return f"this device skips {entry.zeros} of {layer.op}/{dtype}, not {pattern} ones"
    dims = _dims(layer)
    if any(have < least for have, least in zip(dims, entry.min_dims, strict=True)):
        have, least = (" x ".join(map(str, each)) for each in (dims, entry.min_dims))
        from_least = f"from {least} (outputs, inputs, positions) up"
        return f"this device skips {entry.zeros} {from_least}, and this is {have}"
    return ""


def _fits(entry: SparsitySupport, pattern: WeightPattern) -> bool:
    """Whether every mask of the pattern is one that the entry asks for."""
    first, second = pattern.size
    if entry.kind == "nm":
        whole = entry.m // second if pattern.kind == "nm" and entry.m % second == 0 else 0
        return bool(whole) and first * whole <= entry.n
    if entry.kind == "block":
        return pattern.kind == "block" and first % entry.rows == 0 and second % entry.columns == 0
    return True


def _dims(layer: LayerWork) -> tuple[int, int, int]:
    """Outputs of a group, inputs of an output (channels x taps), positions of a call."""
    count = (layer.weight_bytes - layer.bias_bytes) * 8 // DTYPE_BITS[layer.dtype]
    outputs = max(layer.out_channels, 1)
    positions = layer.macs // max(count * layer.calls, 1)
    return outputs // layer.groups, count // outputs, positions


def _cost(
    device: DeviceSpec, layer: LayerWork, dense: LayerCost, entry: SparsitySupport, share: float
) -> LayerCost:
    """The cost with fewer MACs and bytes, and with the time that passes all the same, at idle power."""
    energy, time, stored = _left(entry, device.dtype, share)
    weights = round((layer.weight_bytes - layer.bias_bytes) * stored)
    fewer = replace(layer, macs=max(round(layer.macs * energy), 1), weight_bytes=weights + layer.bias_bytes)
    cost = layer_cost(device, fewer)
    if time == energy:
        return cost
    fewer = replace(layer, macs=layer.macs // 2)
    per_mac_s = (dense.duration_s - layer_cost(device, fewer).duration_s) / (layer.macs - fewer.macs)
    passing_s = per_mac_s * layer.macs * (time - energy)
    static_j = device.coefficients.idle_w * passing_s
    return replace(cost, static_j=cost.static_j + static_j, duration_s=cost.duration_s + passing_s)


def _left(entry: SparsitySupport, dtype: str, share: float) -> tuple[float, float, float]:
    """What is left of the MACs' switched energy, of their time and of the weights' bytes, each 0 to 1."""
    if entry.kind == "nm":
        return entry.mac_scale, entry.mac_scale, entry.weight_bytes_scale
    stored = 1.0
    if entry.bits_per_nonzero is not None:  # never more than all of them take as if dense
        stored = min((1 - share) * entry.bits_per_nonzero / DTYPE_BITS[dtype], 1.0)
    return 1 - entry.mac_energy_saved * share, 1 - entry.time_saved * share, stored
