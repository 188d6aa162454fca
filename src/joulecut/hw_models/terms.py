"""The terms that a modelled energy is the sum of: a quantity times figures of the device."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from joulecut.hw_models.energy import padded_work
from joulecut.hw_models.figures import FIGURES, INSTEAD, TERMS
from joulecut.hw_models.spec import DeviceSpec, Figure
from joulecut.workload.layer import LayerWork

__all__ = ["Term", "energy_terms", "price_keys", "quantities"]


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
    counts = quantities(device, layers, constant=constant)
    keys = {term: price_keys(device, term) for term in counts}
    priced = {
        term: (count, keys[term])
        for term, count in counts.items()
        if all(key in device.figures for key in keys[term])
    }
    joules = {term: _product(device.figures, *each) for term, each in priced.items()}
    all_j = math.fsum(joules.values())
    return tuple(
        Term(
            "MACs" if term == "dense MACs" == _priced_as(device, "depthwise MACs") else term,
            count,
            tuple(device.figures[key] for key in used),
            joules[term],
            joules[term] / all_j if all_j else 0.0,
        )
        for term, (count, used) in priced.items()
    )


def quantities(device: DeviceSpec, layers: Iterable[LayerWork], *, constant: bool = True) -> dict[str, float]:
    """How much of each term some layers hold, as the device sees them; terms that they hold nothing of lack.

    Where the device has no price of its own for depthwise MACs or for bytes of layers without MACs, they are
    counted under what prices them.
    """
    counts: dict[str, float] = {}
    under = {term: _priced_as(device, term) for term in TERMS}
    for layer in layers:
        seen = padded_work(device, layer)
        for term, quantity in (
            (under["depthwise MACs" if layer.kind == "depthwise" else "dense MACs"], seen.macs),
            ("weight bytes", seen.weight_bytes * layer.calls),
            (under["activation bytes" if layer.macs else "elementwise bytes"], seen.activation_bytes),
            ("off-chip bytes", seen.offchip_bytes),
            ("layer calls", float(layer.calls) if seen.macs or seen.activation_bytes else 0.0),
        ):
            if quantity:
                counts[term] = counts.get(term, 0.0) + quantity
    if constant:
        counts["inferences"] = 1.0
    return counts


def price_keys(device: DeviceSpec, term: str) -> tuple[str, ...]:
    """The figures that a term is multiplied by on this device, whether its file has them or not."""
    if term == "off-chip bytes":
        return ("pj_per_offchip_byte",)
    by_joules, by_cycles = TERMS[term]
    return (by_cycles, "pj_per_cycle") if device.coefficients.mac_bound == "cycles" else (by_joules,)


def _priced_as(device: DeviceSpec, term: str) -> str:
    """The term whose figure prices this one on this device."""
    return term if price_keys(device, term)[0] in device.figures else INSTEAD.get(term, term)


def _product(figures: Mapping[str, Figure], quantity: float, keys: tuple[str, ...]) -> float:
    return quantity * math.prod(figures[key].value * FIGURES[key][1] for key in keys)
