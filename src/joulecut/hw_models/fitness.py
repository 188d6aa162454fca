"""Whether a network is one that a device's data speaks about: memory, size, operations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from joulecut.hw_models.energy import padded_work
from joulecut.hw_models.intervals import DATASHEET, SCALED, Interval, interval, stated_factor_90
from joulecut.hw_models.spec import DeviceSpec
from joulecut.units import format_count, format_quantity
from joulecut.workload.layer import LayerWork

__all__ = ["network_interval"]

_BEYOND: Final = 2.0
"""How far outside of the fitted sizes a network may be without a warning."""
_LOST: Final = 100.0
"""How far outside of them the fit is worth no more than one of another runtime (mode ``scaled``)."""


def network_interval(
    device: DeviceSpec, layers: Sequence[LayerWork], *, batch: int = 1, mode: str | None = None
) -> tuple[Interval, tuple[str, ...]]:
    """The interval of a network's energy on a device, and why it is wider than the device's own.

    Outside of the sizes that the device's figures were fitted on the interval grows with the distance,
    from the mode's at the edge to that of mode ``scaled`` at a hundred times; no jump, so that a network
    that shrinks step by step stays comparable with itself. A network that does not fit the memory is worth
    mode ``datasheet``. Neither widens an energy that follows from a measured latency; that of a device whose
    power was never measured is worth what its file states, or else mode ``scaled``.

    Args:
        device: what it runs on.
        layers: work of one inference of ``batch`` samples.
        batch: samples in one inference.
        mode: the mode to start from, the device's by default.

    Returns:
        The interval and the warnings, one sentence each; none for a reference that exists on paper.
    """
    mode = mode or device.mode
    if mode == "definition":
        return Interval(), ()
    distance = _distance(device, sum(layer.macs for layer in layers) / batch)
    memory = _memory_warnings(device, layers)
    own = device.figures.get("own_factor_90")
    stated = device.figures.get("factor_90")
    known = stated_factor_90(mode, stated.value if stated and mode == device.mode else None)
    if mode == "latency-measured":
        floor = (stated.value if stated else SCALED) if device.prior_only else known
    else:
        lost = min(math.log(distance) / math.log(_LOST), 1.0)
        floor = known * max(SCALED / known, 1.0) ** lost
        if memory:
            floor = max(floor, DATASHEET)
    size = (_size_warning(device),) if distance > _BEYOND else ()
    return interval(mode, own_90=own.value if own else None, total_90=floor), memory + size


def _distance(device: DeviceSpec, macs: float) -> float:
    """How many times smaller or larger a network is than those behind the figures; at least 1."""
    fitted = device.figures.get("fitted_mmac")
    if fitted is None or fitted.low is None or fitted.high is None:
        return 1.0
    size = max(macs, 1.0) / 1e6
    return max(fitted.low / size, size / fitted.high, 1.0)


def _size_warning(device: DeviceSpec) -> str:
    fitted = device.figures["fitted_mmac"]
    low, high = (format_count(round(1e6 * (edge or 0))) for edge in (fitted.low, fitted.high))
    return f"this network is far from the sizes that {device.name} was fitted on ({low} to {high} MACs)"


def _memory_warnings(device: DeviceSpec, layers: Sequence[LayerWork]) -> tuple[str, ...]:
    work = [(layer, padded_work(device, layer)) for layer in layers]
    largest = max((seen.activation_bytes / layer.calls for layer, seen in work), default=0.0)
    needs = {
        "flash": ("weights take", sum(seen.weight_bytes for _, seen in work)),
        "sram": ("activations of one layer take", largest),
    }
    found = []
    for memory in device.memories:
        what, needed = needs[memory.name]
        if needed > memory.capacity_bytes:
            found.append(
                f"{what} {format_quantity(needed, 'B')}, more than the {memory.name} of {device.chip} "
                f"({format_quantity(memory.capacity_bytes, 'B')})"
            )
    return tuple(found)
