"""Devices that stand for a population of measured ones: the shape that they share, without their scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from joulecut.hw_models.figures import FIGURES, TERMS
from joulecut.hw_models.fitting import Fit, fit
from joulecut.hw_models.intervals import residual_factor_90, total_factor_90
from joulecut.hw_models.profile import Boundary
from joulecut.hw_models.resolve import resolve
from joulecut.hw_models.spec import Category, DeviceSpec, Figure, Source
from perf.energy_rows import PublishedRow, Series

__all__ = [
    "CORE_CYCLES",
    "TERM_NAMES",
    "described",
    "figure",
    "group_fit",
    "population",
    "priced",
    "quantities",
    "target",
    "widened",
]

TERM_NAMES: Final = tuple(TERMS)
_BOARD_J: Final = np.array([300e-12, 300e-12, 1e-9, 2e-9, 2e-9, 300e-6, 1e-3])
CORE_CYCLES: Final = np.array([1.5, 4.0, 1.0, 3.0, 3.0, 2000.0, 5000.0])
"""Orders of magnitude that a fit starts from, in the order of ``TERM_NAMES``: joules on a Linux board, cycles
on a microcontroller. The fit may leave them by a factor of e (and further where the rows insist)."""
_WIDE: Final = 1.0


def quantities(row: PublishedRow) -> list[float]:
    """How much of each term a network holds, in the number type that it was measured in."""
    layers = row.workload.layers
    return [
        float(sum(each.macs for each in layers if each.kind != "depthwise")),
        float(sum(each.macs for each in layers if each.kind == "depthwise")),
        float(sum(each.weight_bytes for each in layers)),
        float(sum(each.in_bytes + each.out_bytes for each in layers if each.macs)),
        float(sum(each.in_bytes + each.out_bytes for each in layers if not each.macs)),
        float(len(layers)),
        1.0,
    ]


def target(row: PublishedRow, *, by_cycles: bool) -> float:
    """What is fitted: cycles of a core, or joules of a board."""
    if by_cycles:
        return row.latency_s * row.clock_hz
    assert row.energy_j is not None
    return row.energy_j


def group_fit(series: Sequence[Series], *, by_cycles: bool, prior: NDArray[np.float64] | None = None) -> Fit:
    """One shape for several series, each with its own scale."""
    chosen = [(row, number) for number, each in enumerate(series) for row in each.rows]
    start = prior if prior is not None else CORE_CYCLES if by_cycles else _BOARD_J
    return fit(
        np.array([quantities(row) for row, _ in chosen]),
        np.array([target(row, by_cycles=by_cycles) for row, _ in chosen]),
        start,
        np.array([number for _, number in chosen]),
        **({"shape_sd": _WIDE} if prior is None else {}),
    )


def population(series: Sequence[Series], *, by_cycles: bool) -> NDArray[np.float64]:
    """Coefficients of the device in the middle of several (median of their scales)."""
    found = group_fit(series, by_cycles=by_cycles)
    return found.shape * float(np.exp(np.median(np.log(found.scales))))


def figure(
    key: str, value: float, source: Source, low: float | None = None, high: float | None = None
) -> Figure:
    """A figure from a value in SI units, rounded to 4 digits as fits are no surer."""
    unit, si = FIGURES[key]
    shown, *edges = (None if each is None else float(f"{each / si:.4g}") for each in (value, low, high))
    assert shown is not None
    return Figure(key, shown, unit, source, *edges)


def priced(coefficients: NDArray[np.float64], source: Source, *, by_cycles: bool) -> dict[str, Figure]:
    """The figures of fitted coefficients (in the order of ``TERM_NAMES``)."""
    return {
        keys[by_cycles]: figure(keys[by_cycles], float(value), source)
        for keys, value in zip(TERMS.values(), coefficients, strict=True)
    }


def widened(residuals: NDArray[np.float64], mode: str, source: Source) -> dict[str, Figure]:
    """The interval of a device whose fit leaves more than its mode allows."""
    factor = residual_factor_90(np.expm1(residuals).tolist())
    return {"factor_90": figure("factor_90", factor, source)} if factor > total_factor_90(mode) else {}


def described(
    chip: str,
    runtime: str,
    dtype: str,
    figures: Mapping[str, Figure],
    *,
    core: str,
    category: Category,
    boundary: Boundary,
    mode: str,
    runtime_version: str = "",
    note: str = "",
) -> DeviceSpec:
    """A device with these figures."""
    return resolve(
        chip=chip,
        runtime=runtime,
        dtype=dtype,
        core=core,
        category=category,
        boundary=boundary,
        mode=mode,
        figures={key: figures[key] for key in FIGURES if key in figures},
        pads=(),
        runtime_version=runtime_version,
        prior_only=mode == "datasheet",
        note=note,
    )
