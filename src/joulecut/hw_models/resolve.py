"""Figures of a device file into the SI coefficients that energies are computed with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from joulecut.hw_models.figures import FIGURES
from joulecut.hw_models.intervals import interval
from joulecut.hw_models.profile import Boundary
from joulecut.hw_models.spec import Axis, Category, Coefficients, DeviceSpec, Figure, MemoryLevel, OpClass

__all__ = ["CYCLES_BY_CLASS", "resolve", "si"]

CYCLES_BY_CLASS: Final[dict[OpClass, str]] = {
    "conv": "cycles_per_mac_conv",
    "pointwise": "cycles_per_mac_separable",
    "depthwise": "cycles_per_mac_separable",
    "linear": "cycles_per_mac_fc",
}
"""Cycles per MAC are averages over whole networks: MLPerf Tiny ResNet-8 (conv), MobileNetV1-0.25
(separable: its pointwise and depthwise layers together) and the autoencoder of linear layers (fc)."""


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
) -> DeviceSpec:
    """Build the record of a device from checked figures."""
    own = figures.get("own_factor_90")
    return DeviceSpec(
        chip=chip,
        runtime=runtime,
        dtype=dtype,
        core=core,
        category=category,
        boundary=boundary,
        mode=mode,
        interval=interval(mode, own_90=own.value if own else None),
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
    )


def _by_cycles(figures: Mapping[str, Figure]) -> Coefficients:
    """A core whose power hardly depends on what it runs: joules = joules per cycle x cycles."""
    j_per_cycle = si(figures, "pj_per_cycle")
    return Coefficients(
        j_per_mac={op: j_per_cycle * si(figures, key) for op, key in CYCLES_BY_CLASS.items()},
        mac_bound="cycles",
        active_w=j_per_cycle * si(figures, "clock_mhz"),
        idle_w=si(figures, "idle_w"),
    )


def _by_terms(figures: Mapping[str, Figure]) -> Coefficients:
    """MACs, bytes and constants; a device without a depthwise figure prices depthwise MACs as dense ones."""
    dense = si(figures, "pj_per_mac_dense")
    return Coefficients(
        j_per_mac={
            "conv": dense,
            "pointwise": dense,
            "linear": dense,
            "depthwise": si(figures, "pj_per_mac_depthwise", dense),
        },
        mac_bound="compute",
        j_per_weight_byte=si(figures, "pj_per_weight_byte"),
        j_per_activation_byte=si(figures, "pj_per_activation_byte"),
        j_per_layer=si(figures, "uj_per_layer"),
        j_per_inference=si(figures, "uj_per_inference"),
        active_w=si(figures, "active_w"),
        idle_w=si(figures, "idle_w"),
        s_per_mac=si(figures, "ps_per_mac"),
    )


def _memories(figures: Mapping[str, Figure]) -> tuple[MemoryLevel, ...]:
    keys: dict[Literal["flash", "sram"], str] = {"flash": "flash_kib", "sram": "sram_kib"}
    return tuple(
        MemoryLevel(name, si(figures, key), figures[key].source)
        for name, key in keys.items()
        if key in figures
    )
