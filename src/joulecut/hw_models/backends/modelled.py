"""Profiles from other models' layer figures: same records, same interval as a device known by datasheet."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from joulecut.estimate import Estimate, exact, total
from joulecut.hw_models.intervals import Interval, interval
from joulecut.hw_models.profile import Boundary, EnergyProfile, LayerEnergy
from joulecut.workload.layer import Uncounted

__all__ = ["modelled_profile", "modelled_row"]

_MODE: Final = "datasheet"


def modelled_row(
    device: str, *, path: str, op: str, macs: int, energy_j: float, duration_s: float, bound_by: str
) -> LayerEnergy:
    """One layer of another model, with the interval of a device that nothing was measured on.

    Args:
        device: name of the device, which the interval is common to.
        path: name of the layer.
        op: what it does.
        macs: multiply-accumulate operations; 0 where the model does not say.
        energy_j: joules of all its calls.
        duration_s: seconds; 0 where there is no time.
        bound_by: what bounds it.
    """
    width = interval(_MODE)
    return LayerEnergy(
        path=path,
        op=op,
        kind="dense" if macs else "elementwise",
        macs=macs,
        weight_bytes=0,
        in_bytes=0,
        out_bytes=0,
        energy=_figure(energy_j, "J", width, device),
        time=_figure(duration_s, "s", width, device),
        share=0.0,
        static_j=0.0,
        bound_by=bound_by,
    )


def _figure(value: float, unit: str, width: Interval, device: str) -> Estimate:
    return Estimate(
        value,
        unit,
        "modelled",
        f"{_MODE} model",
        common=width.common(value),
        own=width.own(value),
        common_with=device,
    )


def modelled_profile(
    model: str,
    device: str,
    boundary: Boundary,
    rows: Sequence[LayerEnergy],
    *,
    uncounted: tuple[Uncounted, ...] = (),
    provenance: Mapping[str, str],
) -> EnergyProfile:
    """A profile of rows that add up to its total, batch 1, mode ``datasheet``."""
    energy = total((row.energy for row in rows), unit="J", method=f"{_MODE} model")
    shares = [row.energy.value / energy.value if energy.value else 0.0 for row in rows]
    timed = math.fsum(row.time.value for row in rows) > 0
    return EnergyProfile(
        model=model,
        device=device,
        boundary=boundary,
        mode=_MODE,
        batch=1,
        total=energy,
        idle=exact(0.0, "J", "modelled", "static power is not told apart"),
        unattributed=exact(0.0, "J", "modelled", "a model attributes every joule"),
        duration=total((row.time for row in rows), unit="s", method=f"{_MODE} model")
        if timed
        else exact(0.0, "s", "modelled", f"{device} has no time"),
        layers=tuple(replace(row, share=share) for row, share in zip(rows, shares, strict=True)),
        uncounted=uncounted,
        provenance=dict(provenance),
    )
