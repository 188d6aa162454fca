"""``calibrate``: a device's coefficients fitted to what was measured on it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from joulecut.errors import UsageError
from joulecut.hw_models.calibration import Calibration, CalibrationRow
from joulecut.hw_models.calibration_rows import Measured, RawRow, measured_rows
from joulecut.hw_models.checks import NAME
from joulecut.hw_models.figures import FIGURES, PRIOR_KEYS, TERMS
from joulecut.hw_models.fitting import fit
from joulecut.hw_models.intervals import residual_factor_90, total_factor_90
from joulecut.hw_models.resolve import respecified, si
from joulecut.hw_models.spec import DeviceSpec, Figure, Source
from joulecut.hw_models.terms import price_keys, quantities

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["calibrate"]

_SOURCE: Final = "calibration"
_OF_A_BOARD: Final = ("clock_mhz", "cores", "macs_per_instruction", "idle_w")
_LEAST: Final = 0.1
"""Part of a row's energy that is left to the fitted terms at least, whatever off-chip traffic costs; less
where the prior gives them less."""


def calibrate(
    device: DeviceSpec, rows: Sequence[RawRow], *, power_w: float | None = None, chip: str | None = None
) -> DeviceSpec:
    """Fit a device to measured networks.

    Args:
        device: the prior: a device of the same kind, best of the same runtime and number type. Its terms are
            fitted and its shape is held to; its scale plays no part.
        rows: 1 to 16 of (workload, joules, seconds) of one inference, each workload with its own batch;
            joules or seconds may be None.
        power_w: mean power while a network runs, where seconds are all that was measured.
        chip: name of the board, the prior's by default.

    Returns:
        The device in mode ``calibrated-N``, with coefficients, residuals and the interval that so many
        networks are worth (wider where the fit leaves more). ``active_w`` is the mean of the rows' powers.

    Raises:
        UsageError: rows that cannot be fitted to (see ``measured_rows``), a reference device, a bad name.

    >>> from joulecut.hw_models.catalogue import device as named
    >>> from joulecut.workload.layer import LayerWork, Workload
    >>> fc = LayerWork("fc", "linear", "dense", 32, 128, 16, 32, (1, 4), (1, 8), (8, 4), 4, 8)
    >>> mine = calibrate(named("raspberry-pi-4b/tflite/float32"), [(Workload("w", (fc,)), 2e-3, 1e-3)])
    >>> mine.mode, round(mine.coefficients.active_w, 6)
    ('calibrated-1', 2.0)
    """
    import numpy as np

    if device.mode == "definition":
        raise UsageError(
            f"{device.name} exists on paper only and cannot be calibrated.",
            hint="Choose a device of the kind that you measured; `joulecut devices` lists them.",
        )
    if chip is not None and not NAME.fullmatch(chip):
        raise UsageError(
            f"{chip!r} is no name of a device.",
            hint="Names hold lower-case letters, digits, '-', '_' and '.'.",
        )
    found = measured_rows(rows, power_w)
    held = [quantities(device, row.workload.layers) for row in found]
    prices = {term: price for term in TERMS if (price := _price(device, term))}
    counts = np.array([[each.get(term, 0.0) for term in prices] for each in held])
    if not np.all(counts.sum(axis=1) > 0):
        raise UsageError(f"a row holds nothing that {device.name} has a price for.")
    per_one = np.array(list(prices.values()))
    crossing = np.array([_offchip_j(device, each) for each in held])
    energies = np.array([row.energy_j for row in found])
    beside = counts @ per_one
    joules = np.maximum(energies - crossing, energies * np.minimum(_LEAST, beside / (beside + crossing)))
    result = fit(counts, joules, per_one)
    fitted = dict(zip(prices, (result.shape * result.scales[0]).tolist(), strict=True))
    calibration = _calibration(device, found, result.residuals, power_w)
    figures = _figures(device, fitted, calibration, float(result.scales[0]))
    return respecified(
        device,
        figures,
        mode=f"calibrated-{len(found)}",
        chip=chip or device.chip,
        calibration=calibration,
        prior_only=False,
    )


def _price(device: DeviceSpec, term: str) -> float:
    """Joules of one of a term; 0 where the device does not price it."""
    keys = price_keys(device, term)
    return math.prod(si(device.figures, key) for key in keys)


def _offchip_j(device: DeviceSpec, held: Mapping[str, float]) -> float:
    """Joules of traffic off the chip, which keeps its price: it belongs to the memory, not to the runtime."""
    return held.get("off-chip bytes", 0.0) * device.coefficients.j_per_offchip_byte


def _calibration(
    device: DeviceSpec, rows: Sequence[Measured], residuals: NDArray[np.float64], power_w: float | None
) -> Calibration:
    kept = tuple(
        CalibrationRow(
            row.workload.name, row.workload.macs, row.energy_j, row.latency_s, math.expm1(float(residual))
        )
        for row, residual in zip(rows, residuals, strict=True)
    )
    prior = sorted((key, figure.value) for key, figure in device.figures.items())
    text = repr((device.name, prior, [(r.network, r.macs, r.energy_j, r.latency_s) for r in kept], power_w))
    return Calibration(device.name, kept, hashlib.sha256(text.encode()).hexdigest(), power_w)


def _figures(
    device: DeviceSpec, fitted: Mapping[str, float], calibration: Calibration, scale: float
) -> dict[str, Figure]:
    """The prior's figures with what was fitted in their place, in the order of the schema."""
    rows = calibration.rows
    names = ", ".join(row.network for row in rows)
    source = Source(
        f"{_SOURCE}-{calibration.digest[:8]}",
        f"fit to {len(rows)} measured network{'s'[: len(rows) > 1]} ({names}), with the shape of "
        f"{calibration.prior} as prior",
        "measured",
    )
    by_cycles = device.coefficients.mac_bound == "cycles"
    figures = {key: each for key, each in device.figures.items() if _stays(each)}
    if by_cycles:
        figures["clock_mhz"] = device.figures["clock_mhz"]
    powers = [row.energy_j / row.latency_s for row in rows if row.latency_s is not None]
    mean_w = math.exp(math.fsum(map(math.log, powers)) / len(powers)) if powers else 0.0
    spread = (min(powers), max(powers)) if powers else (None, None)
    j_per_cycle = 1.0

    def put(key: str, value: float, low: float | None = None, high: float | None = None) -> None:
        unit, si_unit = FIGURES[key]
        edges = [edge if edge is None else edge / si_unit for edge in (low, high)]
        shown = value / si_unit
        if edges[0] is not None and edges[1] is not None:
            shown = min(max(shown, edges[0]), edges[1])
        figures[key] = Figure(key, shown, unit, source, *edges)

    if by_cycles:
        clock_hz = si(device.figures, "clock_mhz")
        j_per_cycle = mean_w / clock_hz if powers else si(device.figures, "pj_per_cycle") * scale
        edges = [edge if edge is None else edge / clock_hz for edge in spread]
        put("pj_per_cycle", j_per_cycle, *edges)
    elif powers:
        put("active_w", mean_w, *spread)
    for term, joules in fitted.items():
        put(TERMS[term][by_cycles], joules / j_per_cycle)
    idle = figures.get("idle_w")
    active_w = j_per_cycle * si(figures, "clock_mhz") if by_cycles else si(figures, "active_w")
    if idle is not None and active_w and idle.value > active_w:
        del figures["idle_w"]  # another board's idle power, which cannot be this one's
    error = math.fsum(abs(row.residual) for row in rows) / len(rows)
    put("fit_error_percent", 100 * error)
    macs = [float(row.macs) for row in rows]
    put("fitted_mmac", max(macs), min(macs), max(macs))
    factor = residual_factor_90([row.residual for row in rows])
    if factor > total_factor_90(f"calibrated-{len(rows)}"):
        put("factor_90", factor)
    return {key: figures[key] for key in FIGURES if key in figures}


def _stays(figure: Figure) -> bool:
    """Figures that are neither fitted again, nor only remembered, nor assumed of a board in general."""
    if figure.key in ("fit_error_percent", "fitted_mmac", "factor_90", "ps_per_mac", "us_per_layer"):
        return False
    if figure.source.evidence == "assumed" and figure.key in _OF_A_BOARD:
        return False
    return figure.source.evidence != "remembered" or figure.key in PRIOR_KEYS
