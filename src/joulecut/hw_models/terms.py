"""The terms that a modelled energy is the sum of: a quantity times figures of the device."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from joulecut.hw_models.energy import op_class, padded_work
from joulecut.hw_models.figures import FIGURES
from joulecut.hw_models.resolve import CYCLES_BY_CLASS
from joulecut.hw_models.spec import DeviceSpec, Figure
from joulecut.workload.layer import LayerWork

__all__ = ["Term", "energy_terms"]


@dataclass(frozen=True, slots=True)
class Term:
    """One term of the sum: a quantity times its figures.

    Attributes:
        name: what is counted, as "dense MACs" or "activation bytes".
        quantity: how many, as the device sees them (padded, in its number type).
        coefficients: the figures that it is multiplied by, each with unit, source, evidence and range.
        joules: quantity x coefficients, static part included.
        share: part of the explained energy, 0 to 1.
    """

    name: str
    quantity: float
    coefficients: tuple[Figure, ...]
    joules: float
    share: float


def energy_terms(device: DeviceSpec, layers: Iterable[LayerWork], *, constant: bool) -> tuple[Term, ...]:
    """The terms of the energy of some layers, in the order in which they first appear.

    Args:
        device: gives the figures.
        layers: the layers to add up.
        constant: add the constant of one inference too.
    """
    counts: dict[str, tuple[float, tuple[str, ...]]] = {}

    def add(name: str, quantity: float, *keys: str) -> None:
        if quantity and all(key in device.figures for key in keys):
            counts[name] = (counts.get(name, (0.0, ()))[0] + quantity, keys)

    for layer in layers:
        macs, weight_bytes, activation_bytes = padded_work(device, layer)
        add(*_mac_term(device, layer, macs))
        add("weight bytes", weight_bytes * layer.calls, "pj_per_weight_byte")
        add("activation bytes", activation_bytes, "pj_per_activation_byte")
        add("layer calls", float(layer.calls) if macs or activation_bytes else 0.0, "uj_per_layer")
    add("inferences", float(constant), "uj_per_inference")
    joules = {name: _product(device.figures, *count) for name, count in counts.items()}
    all_j = math.fsum(joules.values())
    return tuple(
        Term(
            name,
            quantity,
            tuple(device.figures[key] for key in keys),
            joules[name],
            joules[name] / all_j if all_j else 0.0,
        )
        for name, (quantity, keys) in counts.items()
    )


def _mac_term(device: DeviceSpec, layer: LayerWork, macs: float) -> tuple[str, float, *tuple[str, ...]]:
    """Name, quantity and figures of a layer's MACs."""
    kind = op_class(layer)
    if device.coefficients.mac_bound == "cycles":
        return f"{kind} MACs", macs, CYCLES_BY_CLASS[kind], "pj_per_cycle"
    if kind == "depthwise" and "pj_per_mac_depthwise" in device.figures:
        return "depthwise MACs", macs, "pj_per_mac_depthwise"
    return "MACs", macs, "pj_per_mac_dense"


def _product(figures: Mapping[str, Figure], quantity: float, keys: tuple[str, ...]) -> float:
    return quantity * math.prod(figures[key].value * FIGURES[key][1] for key in keys)
