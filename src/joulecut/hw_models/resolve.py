"""Figures of a device file into the SI coefficients that energies are computed with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from joulecut.hw_models.calibration import Calibration
from joulecut.hw_models.figures import FIGURES, INSTEAD, TERMS
from joulecut.hw_models.intervals import interval, stated_factor_90
from joulecut.hw_models.profile import Boundary
from joulecut.hw_models.spec import (
    Axis,
    Category,
    Coefficients,
    DeviceSpec,
    Figure,
    MemoryLevel,
    SparsitySupport,
)

__all__ = ["resolve", "respecified", "si"]


def si(figures: Mapping[str, Figure], key: str, default: float = 0.0) -> float:
    """A figure in SI units, or ``default`` where the file has none."""
    figure = figures.get(key)
    return default if figure is None else figure.value * FIGURES[key][1]


def resolve(
    *,
    chip: str,
    runtime: str,
    dtype: str,
    core: str,
    category: Category,
    boundary: Boundary,
    mode: str,
    figures: Mapping[str, Figure],
    pads: tuple[Axis, ...],
    runtime_version: str,
    prior_only: bool,
    note: str,
    calibration: Calibration | None = None,
    sparsity: tuple[SparsitySupport, ...] = (),
) -> DeviceSpec:
    """Build the record of a device from checked figures."""
    return DeviceSpec(
        chip=chip,
        runtime=runtime,
        dtype=dtype,
        core=core,
        category=category,
        boundary=boundary,
        mode=mode,
        interval=interval(
            mode,
            own_90=si(figures, "own_factor_90") or None,
            total_90=stated_factor_90(mode, si(figures, "factor_90") or None),
        ),
        coefficients=_by_cycles(figures) if "pj_per_cycle" in figures else _by_terms(figures),
        figures=figures,
        memories=_memories(figures),
        channel_step=int(figures["channel_step"].value),
        pads=pads,
        runtime_version=runtime_version,
        prior_only=prior_only,
        clock_hz=si(figures, "clock_mhz") or None,
        voltage_v=si(figures, "voltage_v") or None,
        note=note,
        calibration=calibration,
        sparsity=sparsity,
    )


def respecified(
    device: DeviceSpec,
    figures: Mapping[str, Figure],
    *,
    mode: str,
    chip: str = "",
    core: str = "",
    prior_only: bool = False,
    note: str = "",
    calibration: Calibration | None = None,
) -> DeviceSpec:
    """A device like another with other figures, and the mode that they are worth.

    What the other does with zero weights holds for the same chip only.
    """
    return resolve(
        chip=chip or device.chip,
        runtime=device.runtime,
        dtype=device.dtype,
        core=core or device.core,
        category=device.category,
        boundary=device.boundary,
        mode=mode,
        figures=figures,
        pads=device.pads,
        runtime_version=device.runtime_version,
        prior_only=prior_only,
        note=note,
        calibration=calibration,
        sparsity=device.sparsity if chip in ("", device.chip) else (),
    )


def _by_cycles(figures: Mapping[str, Figure]) -> Coefficients:
    """A core whose power hardly depends on what it runs: joules = joules per cycle x cycles."""
    j_per_cycle = si(figures, "pj_per_cycle")
    prices = {term: j_per_cycle * si(figures, keys[1]) for term, keys in TERMS.items() if keys[1] in figures}
    return _coefficients(figures, prices, "cycles", active_w=j_per_cycle * si(figures, "clock_mhz"))


def _by_terms(figures: Mapping[str, Figure]) -> Coefficients:
    """MACs, bytes and constants, each with its own price."""
    prices = {term: si(figures, keys[0]) for term, keys in TERMS.items() if keys[0] in figures}
    return _coefficients(figures, prices, "compute", active_w=si(figures, "active_w"))


def _coefficients(
    figures: Mapping[str, Figure], prices: Mapping[str, float], mac_bound: str, *, active_w: float
) -> Coefficients:
    price = {term: prices.get(term, prices.get(INSTEAD.get(term, ""), 0.0)) for term in TERMS}
    return Coefficients(
        j_per_mac_dense=price["dense MACs"],
        j_per_mac_depthwise=price["depthwise MACs"],
        mac_bound=mac_bound,
        j_per_weight_byte=price["weight bytes"],
        j_per_activation_byte=price["activation bytes"],
        j_per_elementwise_byte=price["elementwise bytes"],
        j_per_layer=price["layer calls"],
        j_per_inference=price["inferences"],
        j_per_offchip_byte=si(figures, "pj_per_offchip_byte"),
        onchip_bytes=si(figures, "onchip_kib"),
        active_w=active_w,
        idle_w=si(figures, "idle_w"),
        s_per_mac=si(figures, "ps_per_mac"),
        s_per_layer=si(figures, "us_per_layer"),
    )


def _memories(figures: Mapping[str, Figure]) -> tuple[MemoryLevel, ...]:
    keys: dict[Literal["flash", "sram"], str] = {"flash": "flash_kib", "sram": "sram_kib"}
    return tuple(
        MemoryLevel(name, si(figures, key), figures[key].source)
        for name, key in keys.items()
        if key in figures
    )
