"""A device at another voltage and clock than it was measured at.

Switching energy goes with the square of the voltage and not with the clock (P = C V^2 f); what idles goes on
in time, which goes with the clock. Leakage is left as it was: it is small beside the rest while a core runs.
The only published pair of one chip at two voltages, a Syntiant NDP9120 at 0.9 V, 30.7 MHz and 1.1 V,
98.7 MHz, comes out 9 and 10 % off (MLPerf Tiny v1.0), and so the interval widens by a factor of 1.25.
"""

from __future__ import annotations

import math
from typing import Final

from joulecut.errors import UsageError
from joulecut.hw_models.figures import FIGURES
from joulecut.hw_models.resolve import respecified
from joulecut.hw_models.spec import DeviceSpec, Figure, Source

__all__ = ["at_operating_point"]

_WIDER: Final = 1.25


def at_operating_point(
    device: DeviceSpec, *, clock_hz: float | None = None, voltage_v: float | None = None
) -> DeviceSpec:
    """The same device at another clock or voltage.

    Args:
        device: a device that is modelled by cycles: on others static power cannot be told from the rest.
        clock_hz: clock, as it is by default.
        voltage_v: voltage, as it is by default; the device must say at which voltage it was measured.

    Returns:
        The device, in mode ``scaled`` where energies changed, with an interval a factor of 1.25 wider.

    Raises:
        UsageError: not modelled by cycles, an unknown voltage, or a value that is not positive.

    >>> from joulecut.hw_models.catalogue import device as named
    >>> slow = named("syntiant-ndp9120-0p9v/syntiant-tdk/int8")
    >>> fast = at_operating_point(slow, clock_hz=98.7e6, voltage_v=1.1)
    >>> round(fast.coefficients.j_per_mac_dense / slow.coefficients.j_per_mac_dense, 3)  # (1.1 / 0.9)^2
    1.494
    """
    if device.coefficients.mac_bound != "cycles" or device.clock_hz is None:
        raise UsageError(
            f"{device.name} is not modelled by cycles, so no other clock or voltage follows from its data.",
            hint="Measure a few networks there and calibrate it.",
        )
    for value, what, unit in ((clock_hz, "clock", "Hz"), (voltage_v, "voltage", "V")):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise UsageError(f"a {what} of {value} {unit} is not a positive number.")
    if voltage_v is not None and device.voltage_v is None:
        raise UsageError(f"{device.name} does not say at which voltage it was measured.")
    changes: dict[str, float] = {}
    if clock_hz is not None:
        changes["clock_mhz"] = clock_hz
    squared = 1.0
    if voltage_v is not None and device.voltage_v is not None:
        squared = (voltage_v / device.voltage_v) ** 2
        changes["voltage_v"] = voltage_v
        changes["pj_per_cycle"] = device.figures["pj_per_cycle"].value * FIGURES["pj_per_cycle"][1] * squared
    if squared != 1.0:
        changes["factor_90"] = device.interval.total_90 * _WIDER
    return _changed(device, changes)


def _changed(device: DeviceSpec, changes: dict[str, float]) -> DeviceSpec:
    source = Source(
        "operating-point",
        f"{device.name} scaled from {_shown(device)}: joules per cycle with the square of the voltage",
        "assumed",
    )
    figures = dict(device.figures)
    for key, value in changes.items():
        unit, si = FIGURES[key]
        figures[key] = Figure(key, value / si, unit, source)
    return respecified(
        device,
        {key: figures[key] for key in FIGURES if key in figures},
        mode=device.mode if "pj_per_cycle" not in changes or device.prior_only else "scaled",
        prior_only=device.prior_only,
        note=device.note,
        calibration=device.calibration,
    )


def _shown(device: DeviceSpec) -> str:
    clock = f"{(device.clock_hz or 0) / 1e6:g} MHz"
    return clock if device.voltage_v is None else f"{clock}, {device.voltage_v:g} V"
